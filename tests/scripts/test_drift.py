"""`hetero drift` against releases made by hand from the installed transformers."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from transformers_heterogeneous.scripts.command.cli import app


INSTALLED = Path(importlib.util.find_spec("transformers").origin).parent
MODELING = "transformers/models/llama/modeling_llama.py"
FAMILY = "modular_heterogeneous_llama"


@pytest.fixture
def release(tmp_path):
    """The models of transformers that the families are made of, at version 9.9.9, and what lies around the models."""
    package = tmp_path / "transformers"
    package.mkdir()
    for entry in INSTALLED.iterdir():
        if entry.name not in ("models", "__init__.py", "__pycache__"):
            (package / entry.name).symlink_to(entry)
    models = (
        "auto",
        "gpt_oss",
        "granitemoehybrid",
        "llama",
        "llama4",
        "mistral",
        "mixtral",
        "nemotron_h",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "qwen3_next",
        "qwen3_vl",
        "qwen3_vl_moe",
    )
    for model in models:
        shutil.copytree(
            INSTALLED / "models" / model, package / "models" / model, ignore=shutil.ignore_patterns("*.pyc")
        )
    (package / "__init__.py").write_text('__version__ = "9.9.9"\n')
    return tmp_path


def edit(release: Path, old: str, new: str) -> None:
    path = release / MODELING
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def drift(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["drift", *map(str, arguments)])
    return result.exit_code, result.output


def test_an_equal_release_changes_nothing(release):
    code, output = drift("--against", release)
    assert code == 0
    assert "against transformers 9.9.9" in output and f"{FAMILY}: the shard applies, 0 pieces change" in output


def test_changes_are_named_by_class_and_method(release):
    edit(release, "* torch.rsqrt(variance + self.variance_epsilon)", "/ torch.sqrt(variance + self.variance_epsilon)")
    edit(release, "    _supports_flex_attn = True\n", "")
    code, output = drift("--against", release / "transformers")
    assert code == 1 and "2 pieces change" in output
    assert "changed: HeterogeneousLlamaRMSNorm.forward" in output
    assert "-        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)" in output
    assert "+        hidden_states = hidden_states / torch.sqrt(variance + self.variance_epsilon)" in output
    assert "removed: HeterogeneousLlamaPreTrainedModel._supports_flex_attn" in output


def test_a_change_in_code_that_is_not_used_is_none(release):
    edit(release, "def rotate_half(x):", "def unused():\n    return 1\n\n\ndef rotate_half(x):")
    assert drift("--against", release)[0] == 0


def test_a_shard_that_no_longer_applies_says_why(release):
    edit(release, "class LlamaMLP(", "class LlamaFeedForward(")
    code, output = drift("--against", release)
    assert code == 1 and f"{FAMILY}: the shard no longer applies" in output
    assert f"{FAMILY}.py:" in output and "LlamaMLP" in output


@pytest.mark.parametrize("against", ["nothing", "folder", "file.whl"])
def test_what_is_no_release_is_refused(against, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file.whl").write_text("not a wheel")
    code, output = drift("--against", against)
    assert code == 2 and against in output


def test_a_stale_override_never_applies(release):
    """What the parent changed in an overridden method merges, or does not; the family's own files stay as they are."""
    shard = Path(__file__).parents[2] / "modular" / f"{FAMILY}.py"
    before = shard.read_text()
    edit(release, "        hidden_states = residual + hidden_states\n        return", "        return")
    code, output = drift("--against", release, shard)
    assert code == 1 and f"{FAMILY}: the shard applies" not in output
    assert f"{FAMILY}: `hetero rebase` " in output and "HeterogeneousLlamaDecoderLayer.forward" in output
    assert shard.read_text() == before
