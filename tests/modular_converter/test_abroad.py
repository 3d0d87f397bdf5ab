"""Twenty shards over twenty parents, none of which this package has: each executed, expanded, and both run side by side."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from transformers_heterogeneous.scripts.command import run_shard
from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.command.new import new_shard
from transformers_heterogeneous.scripts.command.oracle import Pair, load
from transformers_heterogeneous.scripts.modular_converter.run import Run, expand


SHARDS = Path(__file__).parents[1] / "data" / "shards"
SPEECH = {"conv_dim": [16, 16], "conv_stride": [5, 4], "conv_kernel": [8, 4], "num_conv_pos_embeddings": 16}
# What the names of a config do not tell of how to make it small.
FIELDS = {
    "quick_wave": SPEECH | {"num_conv_pos_embedding_groups": 4, "num_feat_extract_layers": 2},
    "still_hub": SPEECH | {"num_conv_pos_embedding_groups": 4, "num_feat_extract_layers": 2},
    "wide_conv": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
}
NAMES = [path.stem.removeprefix("modular_") for path in sorted(SHARDS.glob("modular_*.py"))]


@pytest.fixture(scope="module")
def expanded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Path]]:
    folder = tmp_path_factory.mktemp("abroad")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        run = expand(sorted(SHARDS.glob("modular_*.py")), lambda path: folder)
    for path, text in run.files.items():
        path.write_text(text, encoding="utf-8")
    yield run, folder


def test_there_are_twenty_parents() -> None:
    parents = {
        line.split(".")[2]
        for path in SHARDS.glob("*.py")
        for line in path.read_text().splitlines()
        if ".models." in line
    }
    assert len(NAMES) == len(parents) == 20


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_it_says(name: str, expanded: tuple[Run, Path]) -> None:
    run, folder = expanded
    shard = SHARDS / f"modular_{name}.py"
    assert [str(problem) for problem in run.problems if problem.path == shard] == []
    comparison = run_shard.compare(shard, folder, FIELDS.get(name, {}))
    assert comparison.failures == []
    assert comparison.differences == []
    assert any(each.endswith("with outputs") for each in comparison.compared), comparison.compared
    assert unused_classes(load(shard, folder), FIELDS.get(name, {})) == set()


def unused_classes(pair: Pair, fields: dict) -> set[str]:
    """The modules of a shard that its models are not made of: what they compute would not have been compared."""
    models = [each for name, _, each in pair.classes() if issubclass(each, run_shard.PreTrainedModel)]
    others = {name for name, _, each in pair.classes() if issubclass(each, run_shard.torch.nn.Module)}
    built = [
        run_shard.built(each, pair, run_shard._that_run(each, pair, fields)[0])
        for each in models
        if each.__name__ in (pair.shard.exported or ())
    ]
    return others - {type(module).__name__ for model in built for module in model.modules()}


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        pytest.param("return self.softness * ", "return ", "output logits differs by up to", id="what it computes"),
        pytest.param("nn.Softplus()", "nn.Linear(32, 32)", "parameter ", id="its parameters"),
        pytest.param(
            "def forward(self, hidden_states)",
            "def forward(self, x=1)",
            "SoftVitMLP.forward: executed",
            id="a signature",
        ),
        pytest.param("self.softness = config.softness", "pass", "could not be run", id="whether it runs"),
    ],
)
def test_what_differs_is_seen(expanded: tuple[Run, Path], tmp_path: Path, old: str, new: str, difference: str) -> None:
    _, folder = expanded
    for kind in ("configuration", "modeling"):
        text = (folder / f"{kind}_soft_vit.py").read_text(encoding="utf-8")
        head, mark, tail = text.partition("class SoftVitMLP(")
        tail = (
            tail.replace(old, new, 1).replace("hidden_states)", "x)", 1) if "x=1" in new else tail.replace(old, new, 1)
        )
        (tmp_path / f"{kind}_soft_vit.py").write_text(head + mark + tail, encoding="utf-8")
    comparison = run_shard.compare(SHARDS / "modular_soft_vit.py", tmp_path, {})
    assert any(difference in each for each in (*comparison.differences, *comparison.failures)), comparison


def check(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = SHARDS / "modular_sharp_olmo.py"
    code, out, _ = check("--run", shard, "--config", '{"num_hidden_layers": 1}')
    assert (code, out) == (
        0,
        "modular_sharp_olmo.py: equal; compared: SharpOlmoConfig, SharpOlmoAttention, SharpOlmoForCausalLM with outputs\n",
    )

    def otherwise(shards: list[Path], place: object) -> Run:
        run = expand(shards, place)
        run.files = {
            path: text.replace("= self.scaling * config.sharpness", "= 3.0") for path, text in run.files.items()
        }
        return run

    monkeypatch.setattr(run_shard, "expand", otherwise)
    code, out, _ = check("--run", shard)
    assert code == 1 and "modular_sharp_olmo.py: SharpOlmoForCausalLM: output logits differs by up to" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--run"], "--run takes the shards to run", id="no shard"),
        pytest.param(["--run", "modular_none.py"], "there is no shard modular_none.py", id="no such shard"),
        pytest.param(["--config", "{}"], "--config and --heterogeneous belong to --run", id="config alone"),
        pytest.param(
            ["--run", SHARDS / "modular_sharp_olmo.py", "--config", "{"],
            "--config is neither JSON nor a file of it",
            id="no JSON",
        ),
        pytest.param(
            ["--run", SHARDS / "modular_sharp_olmo.py", "--config", '{"num_attention_heads": 5}'],
            "SharpOlmoForCausalLM could not be run from the small config (give its fields with --config)",
            id="a config that does not fit",
        ),
        pytest.param(
            ["--run", SHARDS / "modular_sharp_olmo.py", "--config", '{"num_hidden_layer": 1}'],
            "--config: num_hidden_layer is no field of SharpOlmoConfig; did you mean num_hidden_layers?",
            id="a field that no config has",
        ),
    ],
)
def test_what_cannot_be_run_says_why(arguments: list, message: str) -> None:
    code, _, err = check(*arguments)
    assert code == 2 and message in err


def test_a_shard_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "modular_sharp_olmo.py"
    text = (SHARDS / path.name).read_text(encoding="utf-8").replace("Olmo2Attention)", "Olmo2Atention)")
    path.write_text(text, encoding="utf-8")
    code, _, err = check("--run", path)
    assert code == 2 and f"{path}:" in err


@pytest.mark.parametrize("parent", ["dots1", "siglip2", "paligemma"])
def test_an_unedited_copy_is_run_whole(parent: str, tmp_path: Path) -> None:
    """Its abstract base too, heads that make their base by `AutoModel`, and the configs inside its own."""
    shard, _ = new_shard(f"my_{parent}", parent, tmp_path, 2026)
    code, out, err = check("--run", shard)
    assert (code, err) == (0, "") and ": equal; compared: " in out
    models = [each for each in out.partition("compared: ")[2].split(", ") if "Config" not in each]
    assert [each for each in models if "with outputs" not in each] == [models[0]] and "PreTrainedModel" in models[0]


def test_a_forward_that_names_no_parameters_is_run(tmp_path: Path) -> None:
    shard = tmp_path / "modular_open_olmo.py"
    text = (SHARDS / "modular_sharp_olmo.py").read_text()
    assert text.count("(Olmo2ForCausalLM):\n    pass\n") == 1
    forward = '    def forward(self, **super_kwargs):\n        r"""Example."""\n        return super().forward(**super_kwargs)\n'
    text = text.replace("(Olmo2ForCausalLM):\n    pass\n", f"(Olmo2ForCausalLM):\n{forward}")
    shard.write_text(text.replace("SharpOlmo", "OpenOlmo"))
    code, out, _ = check("--run", shard)
    assert code == 0 and "OpenOlmoForCausalLM with outputs" in out


def test_a_comparison_of_nothing_is_not_equal(tmp_path: Path) -> None:
    shard = tmp_path / "modular_no_olmo.py"
    shard.write_text('def limit(x):\n    return x\n\n\n__all__ = ["limit"]\n')
    code, out, err = check("--run", shard)
    assert code == 2 and "nothing was compared" in err and "equal" not in out
