"""Checkpoints named by their id on the hub: huggingface_hub's own code, against a hub on this machine."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from typer.testing import CliRunner

from transformers_heterogeneous.converters import CheckpointError, convert, infer, prune, summarise, verify
from transformers_heterogeneous.scripts.command.cli import app

from . import hub_server, published


VOCAB_SIZE = 2**14  # the hub's client reads ahead, so small files would be read whole


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one repository, an empty cache and a working folder for what comes of them."""
    hidden_size = published.CONFIG["hidden_size"]
    config = {**published.CONFIG, "vocab_size": VOCAB_SIZE}
    large = {name: torch.randn(VOCAB_SIZE, hidden_size) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    tensors = published.tensors_of(published.LAYERS) | large
    repository = tmp_path / "repository"
    published.write_checkpoint(repository, config, tensors)
    for name in ("README.md", "modeling_decilm.py", "pytorch_model.bin"):
        (repository / name).write_text(name)
    published.write_checkpoint(repository / "original", file_names=("model.safetensors",))  # as gpt-oss has it
    with hub_server.serving({"nvidia/Tiny": repository}) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.endpoint)
        url = f"{server.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        yield server


def num_weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def num_sent(hub: hub_server.Hub) -> int:
    """Bytes of the checkpoint's weights."""
    return sum(num_bytes for name, num_bytes in hub.sent.items() if name.startswith("model-"))


def test_repository_is_downloaded_without_what_stays_behind(hub):
    report = convert("nvidia/Tiny", "converted", revision=hub_server.COMMIT)
    assert report.source == "nvidia/Tiny" and report.num_tensors == len(published.tensors_of(published.LAYERS))
    carried = {"README.md", "config.json", "model.safetensors.index.json", "original/config.json"}
    assert {name for name in hub.sent if not name.endswith(".safetensors")} == carried
    (cached,) = Path(huggingface_hub.constants.HF_HUB_CACHE).glob("models--*/snapshots/*")
    assert not (cached / "original/model.safetensors").exists()
    assert not [path for path in Path("converted").iterdir() if path.is_symlink()]
    assert "from `nvidia/Tiny`" in Path("converted/README.md").read_text()
    assert verify("nvidia/Tiny", "converted").same


def test_dry_run_downloads_headers_and_no_weights(hub):
    """And says what one of the folder itself says, and what it would download."""
    repository = hub.repositories["nvidia/Tiny"]
    report = convert("nvidia/Tiny", "converted", dry_run=True)
    assert 0 < num_sent(hub) < num_weight_bytes(repository) / 8
    assert report.plan == convert(repository, "converted", dry_run=True).plan
    assert report.cost.num_bytes_downloaded == num_weight_bytes(repository)
    (cached,) = Path(huggingface_hub.constants.HF_HUB_CACHE).glob("models--*")
    assert {path.name for path in cached.iterdir()} == {"blobs", "refs", "snapshots", "trees"}
    shown = CliRunner().invoke(app, ["convert", "nvidia/Tiny", "converted", "--dry-run"]).stdout
    assert f"download: {num_weight_bytes(repository):,} bytes" in shown
    assert not Path("converted").exists()


def test_what_is_in_the_cache_is_not_asked_for_again(hub):
    convert("nvidia/Tiny", "converted")
    before = num_sent(hub)
    assert convert("nvidia/Tiny", "again", dry_run=True).cost.num_bytes_downloaded == 0
    convert("nvidia/Tiny", "again")
    assert num_sent(hub) == before
    (snapshot,) = Path(huggingface_hub.constants.HF_HUB_CACHE).glob("models--*/snapshots/*")
    weights = snapshot / "model-00002-of-00002.safetensors"
    weights.resolve().unlink()
    weights.unlink()
    partly = convert("nvidia/Tiny", "partly", dry_run=True)
    assert 0 < partly.cost.num_bytes_downloaded < num_weight_bytes(hub.repositories["nvidia/Tiny"])
    assert partly.plan == convert("nvidia/Tiny", "partly").plan


def test_a_hub_that_is_down(hub):
    """What is in the cache serves."""
    hub.is_up = False
    with pytest.raises(CheckpointError, match=r"nvidia/Tiny: no such folder here, and the hub"):
        convert("nvidia/Tiny", "converted", dry_run=True)
    hub.is_up = True
    convert("nvidia/Tiny", "converted")
    hub.is_up = False
    convert("nvidia/Tiny", "again")
    assert verify("converted", "again").same


def test_refused_before_the_download(hub, monkeypatch):
    """By the repository's name: what was looked at is gone."""
    repository = hub.repositories["nvidia/Tiny"]
    with pytest.raises(CheckpointError, match="cannot be written as llama"):
        convert("nvidia/Tiny", "converted", to="llama")
    hub.repositories["nvidia/Lying"] = repository.parent / "lying"
    published.write_checkpoint(hub.repositories["nvidia/Lying"], {**published.CONFIG, "vocab_size": 5})
    with pytest.raises(CheckpointError, match=r"^nvidia/Lying: the tensors are not those"):
        convert("nvidia/Lying", "converted")
    wanted = num_weight_bytes(repository)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": wanted * 3 // 2}))
    with pytest.raises(CheckpointError, match=f"converted: takes .* after a download of {wanted:,}, .* free"):
        convert("nvidia/Tiny", "converted", link="copy")
    assert num_sent(hub) < wanted / 2
    assert list(Path().iterdir()) == []


def test_a_config_alone_is_inspected(hub):
    for revision in (None, "main", hub_server.COMMIT):
        assert summarise("nvidia/Tiny", revision).layers == summarise(hub.repositories["nvidia/Tiny"]).layers
    assert set(hub.sent) == {"config.json"}
    done = CliRunner().invoke(app, ["inspect", "nvidia/Tiny", "--revision", "main"])
    assert done.exit_code == 0 and done.stdout.startswith("nvidia/Tiny (")
    done = CliRunner().invoke(app, ["inspect", "nvidia/Missing"])
    assert done.exit_code == 2 and "nvidia/Missing: no such folder here" in done.stderr


def test_folder_of_that_name_comes_first(hub):
    published.write_checkpoint(Path("nvidia/Tiny"))
    convert("nvidia/Tiny", "converted")
    assert not hub.sent
    with pytest.raises(CheckpointError, match="has no revision 'main'"):
        convert("nvidia/Tiny", "again", revision="main")


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "../x", "/etc/x", "~x/y"])
def test_paths_are_no_repositories(hub, name):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        convert(name, "converted")
    assert not hub.sent


@pytest.mark.parametrize(("name", "revision"), [("org/missing", None), ("nvidia/Tiny", "missing"), ("a--b/c", None)])
def test_repository_that_cannot_be_had(hub, name, revision):
    with pytest.raises(CheckpointError, match=rf"{name}: no such folder here"):
        convert(Path(name), "converted", revision=revision)
    assert not Path("converted").exists()


def test_pruned_by_numbers_and_read_by_shapes(hub, tmp_path):
    """By headers alone before the download, which says what would be refused; then by what the weights hold."""
    plan = {1: {"intermediate_size": 64}}
    with pytest.raises(CheckpointError, match="is more than there is"):
        prune("nvidia/Tiny", "thin", {1: {"intermediate_size": 9999}}, by="norm")
    assert infer("nvidia/Tiny").config["num_key_value_heads"] == [2, None, None, 1]
    assert num_sent(hub) < num_weight_bytes(tmp_path / "repository")
    prune("nvidia/Tiny", "thin", plan, by="norm")
    prune(tmp_path / "repository", "same", plan, by="norm")
    prune(tmp_path / "repository", "first", plan)
    assert verify("thin", "same").same and not verify("thin", "first").same
