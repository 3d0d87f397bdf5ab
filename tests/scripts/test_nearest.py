"""`hetero nearest`: the nearest model of a file, on an index of five models, and the shard that expands to the file again."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from transformers_heterogeneous.scripts.command import nearest
from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.command.new import models_folder
from transformers_heterogeneous.scripts.likeness import likeness_index
from transformers_heterogeneous.scripts.likeness.class_features import known_classes, model_prefix
from transformers_heterogeneous.scripts.likeness.inheritance import heirs, main_parents, parents_by_class
from transformers_heterogeneous.scripts.likeness.likeness_index import build_index, index_of
from transformers_heterogeneous.scripts.likeness.model_ranking import ranking
from transformers_heterogeneous.scripts.maintenance import parents_history
from transformers_heterogeneous.scripts.modular_converter.run import expand


FIVE = ["gemma", "gpt_neox", "llama", "qwen2", "qwen3"]
MODELS = models_folder()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def five(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(nearest, "parents", lambda: FIVE)
    monkeypatch.setattr(parents_history, "parents", lambda: FIVE)


def hetero(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["nearest", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def foreign(folder: Path) -> Path:
    """Qwen3 as a stranger might have copied it: another name, an MLP that scales, a norm of its own."""
    for kind in ("modeling", "configuration"):
        text = (MODELS / f"qwen3/{kind}_qwen3.py").read_text()
        text = (
            re.sub(r"from \.\.\.(\w)", r"from transformers.\1", text).replace("Qwen3", "Foo").replace("qwen3", "foo")
        )
        if kind == "modeling":
            text = text.replace("import torch\n", "import torch\nfrom transformers import initialization as init\n", 1)
            text = text.replace("down_proj = self.down_proj(", "down_proj = 2 * self.down_proj(")
            text = text.replace(
                "class FooMLP",
                "class FooGate(nn.Module):\n    def forward(self, x):\n        return init.zeros_(x) - 1\n\n\nclass FooMLP",
            )
        (folder / f"{kind}_foo.py").write_text(text)
    return folder / "modeling_foo.py"


def test_a_copy_with_other_names_of_model_and_variables_is_nearest_to_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "modeling_bar.py"
    text = (MODELS / "gpt_neox/modeling_gpt_neox.py").read_text().replace("GPTNeoX", "Bar")
    path.write_text(re.sub(r"\bhidden_states\b", "stream", text))
    code, out, _ = hetero(path, "--json")
    found = json.loads(out)
    assert code == 0 and found["models"][0]["model"] == "gpt_neox"
    pairs = {each["class"]: each["nearest"] for each in found["classes"]}
    assert pairs["BarAttention"] == "GPTNeoXAttention" and pairs["BarMLP"] == "GPTNeoXMLP"
    assert len(pairs) > 8 and all(each["model"] == "gpt_neox" for each in found["classes"])


def test_a_model_itself_is_left_out_by_name_and_by_file() -> None:
    answers = [json.loads(hetero(asked, "--json")[1]) for asked in ("qwen3", MODELS / "qwen3/modeling_qwen3.py")]
    assert answers[0] == answers[1]
    assert sorted(each["model"] for each in answers[0]["models"]) == [name for name in FIVE if name != "qwen3"]
    assert answers[0]["models"][0]["model"] == "qwen2" and answers[0]["models"][0]["heirs"] == 0


def test_what_is_printed() -> None:
    code, out, _ = hetero("qwen3")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines if line and line[0] in FIVE] == [
        "qwen2",
        *(line[0] for line in lines if line and line[0] in FIVE[:3]),
    ]
    assert ["Qwen3MLP", "Qwen2MLP", "qwen2", "1.00"] in lines
    assert "class Qwen3MLP(Qwen2MLP): pass\n" in out
    assert re.search(r"class Qwen3Attention(\(\w+\): \.\.\.  # overrides .*__init__|: \.\.\.  # written out)", out)


def test_the_shard_that_is_written_expands_to_the_file_again(tmp_path: Path) -> None:
    path = foreign(tmp_path)
    code, out, err = hetero(path, "--write", tmp_path / "shards")
    assert code == 0, out + err
    shard = tmp_path / "shards/modular_foo.py"
    text = shard.read_text()
    for inherited in ("FooRMSNorm(Qwen3RMSNorm)", "FooAttention(Qwen3Attention)", "FooConfig(Qwen3Config)"):
        assert f"class {inherited}:\n" in text
    body = re.split(r"class FooMLP\(\w+MLP\):\n", text)[1].partition("\nclass ")[0]
    assert re.findall(r"def (\w+)", body) == ["forward"] and "2 * self.down_proj(" in body
    assert "class FooGate(nn.Module):" in text and len(text) < 0.3 * len(path.read_text())
    run = expand([shard], lambda _: tmp_path / "out")
    assert not run.failed
    for kind in ("modeling", "configuration"):
        expected, found = (
            classes_in(each)
            for each in ((tmp_path / f"{kind}_foo.py").read_text(), run.files[tmp_path / f"out/{kind}_foo.py"])
        )
        assert expected == found and expected


@pytest.mark.parametrize("config", ["beside it", "the parent's"])
def test_a_fork_that_kept_its_parents_names_becomes_a_family_of_the_files_name(tmp_path: Path, config: str) -> None:
    path = foreign(tmp_path)
    for file in (path, tmp_path / "configuration_foo.py"):
        file.write_text(file.read_text().replace("Foo", "Qwen3").replace('"foo"', '"qwen3"'))
    if config == "the parent's":
        (tmp_path / "configuration_foo.py").unlink()
        theirs = "transformers.models.qwen3.configuration_qwen3"
        path.write_text(path.read_text().replace("from .configuration_foo", f"from {theirs}"))
    code, out, err = hetero(path, "--write", tmp_path / "shards")
    assert code == 0, out + err
    assert "Qwen3... is Foo... in the shard" in out
    text = (tmp_path / "shards/modular_foo.py").read_text()
    for inherited in ("FooRMSNorm(Qwen3RMSNorm)", "FooAttention(Qwen3Attention)", "FooForCausalLM(Qwen3ForCausalLM)"):
        assert f"class {inherited}:\n    pass\n" in text
    assert ("class FooConfig(Qwen3Config)" in text) == (config == "beside it")
    run = expand([tmp_path / "shards/modular_foo.py"], lambda _: tmp_path / "out")
    expected, found = classes_in(path.read_text()), classes_in(run.files[tmp_path / "out/modeling_foo.py"])
    own = re.compile(r"\bQwen3(?!Config)")
    expected = {own.sub("Foo", name): own.sub("Foo", code) for name, code in expected.items()}
    if config == "beside it":
        expected = {name: code.replace("Qwen3Config", "FooConfig") for name, code in expected.items()}
    assert expected == found and expected


def test_a_shard_of_its_parents_own_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "modeling_qwen3.py"
    path.write_text(foreign(tmp_path).read_text().replace("Foo", "Qwen3"))
    code, out, err = hetero(path, "--write", tmp_path / "shards")
    assert (code, out) == (2, "") and "copy it to modeling_NAME.py" in err
    assert not (tmp_path / "shards").exists()


def test_names_that_are_imported_of_transformers_are_looked_up(tmp_path: Path) -> None:
    path = foreign(tmp_path)
    text = re.sub(r"from transformers\.modeling_utils import .*PreTrainedModel\n", "", path.read_text())
    text = text.replace("class FooGate(nn.Module)", "class FooGate(PreTrainedModel)")
    path.write_text(text.replace("import torch\n", "import torch\nfrom transformers import PreTrainedModel\n", 1))
    code, out, err = hetero(path, "--write", tmp_path / "shards")
    assert code == 0, out + err
    assert (
        "from transformers.modeling_utils import PreTrainedModel\n" in (tmp_path / "shards/modular_foo.py").read_text()
    )


def classes_in(text: str) -> dict[str, str]:
    """Independent of how the command compares: all of each class, docstrings cut out."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    found = {each.name: ast.unparse(each) for each in tree.body if isinstance(each, ast.ClassDef)}
    return {name: re.sub(r"@auto_docstring(\(.*\))?\n", "", code) for name, code in found.items()}


def test_members_that_the_file_lacks_are_taken_away(tmp_path: Path) -> None:
    path = foreign(tmp_path)
    text = path.read_text()
    extra = text.index("    def extra_repr(self):")
    path.write_text(text[:extra] + text[text.index("class FooGate") :])
    code, out, err = hetero(path, "--write", tmp_path / "shards")
    assert code == 0, out + err
    assert re.search(r"class FooRMSNorm\(\w+\): \.\.\.  # without extra_repr", out)
    body = re.split(r"class FooRMSNorm\(\w+\):\n", (tmp_path / "shards/modular_foo.py").read_text())[1]
    assert body.startswith("    def extra_repr(self):\n        raise AttributeError\n")


def test_what_cannot_be_expanded_is_written_and_said(tmp_path: Path) -> None:
    path = foreign(tmp_path)
    path.write_text(
        path.read_text()
        .replace("from torch import nn\n", "from torch import nn\nfrom transformers.not_there import thing\n")
        .replace("init.zeros_(x) - 1", "thing(x)")
    )
    code, out, _ = hetero(path, "--write", tmp_path / "shards", "--json")
    found = json.loads(out)["shard"]
    assert code == 1 and any("there is no module transformers.not_there" in each for each in found["problems"])
    text = (tmp_path / "shards/modular_foo.py").read_text()
    assert "FooAttention" in found["inherited"] and "class FooAttention(Qwen3Attention):\n    pass" in text


def test_a_difference_that_is_left_is_said(tmp_path: Path) -> None:
    path = foreign(tmp_path)
    path.write_text(path.read_text() + "\n\n_NOBODY_READS_THIS = 1\n")
    code, out, _ = hetero(path, "--write", tmp_path / "shards")
    assert code == 1 and "  differs: _NOBODY_READS_THIS: not in the expansion\n" in out


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("no_file.py", None, "there is no file no_file.py", id="no file"),
        pytest.param(
            "qwen", None, "qwen is neither a file nor a model of transformers; did you mean qwen", id="no model"
        ),
        pytest.param("modeling_a.py", "class A(:\n", "modeling_a.py:1:9: invalid syntax", id="no Python"),
        pytest.param("modeling_a.py", "class A:\0", "modeling_a.py: source code string cannot", id="a null byte"),
        pytest.param("modeling_a.py", "x = 1\n", "modeling_a.py defines no class", id="no class"),
        pytest.param("mine.py", "class A:\n    x = 1\n", "call mine.py modeling_NAME.py", id="the file's name"),
    ],
)
def test_errors_say_what_to_do(
    name: str, text: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(name).write_text(text)
    code, out, err = hetero(name, "--write", "shards")
    assert code == 2 and not out and err.startswith("hetero nearest: ") and message in err
    assert not Path("shards").exists()


def test_a_shard_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "modular_foo.py").write_text("mine")
    code, _, err = hetero(foreign(tmp_path), "--write", tmp_path)
    assert code == 2 and "modular_foo.py exists; nothing is overwritten" in err
    assert (tmp_path / "modular_foo.py").read_text() == "mine"


def test_the_shards_folder_is_no_file(tmp_path: Path) -> None:
    path = foreign(tmp_path)
    code, _, err = hetero(path, "--write", path)
    assert code == 2 and "is a file; --write names the folder" in err


def test_classes_of_one_line_are_inherited_or_written_out(tmp_path: Path) -> None:
    path = foreign(tmp_path)
    text = re.sub(r"(class FooForSequence\w+\(.*\)):\n    pass", r"\1: ...", path.read_text())
    path.write_text(re.sub(r"(class FooForToken\w+\(.*\)):\n    pass", r"\1: threshold = 2", text))
    code, out, err = hetero(path, "--write", tmp_path / "shards")
    assert code == 0, out + err
    shard = (tmp_path / "shards/modular_foo.py").read_text()
    assert re.search(r"class FooForSequenceClassification\(Qwen\dForSequenceClassification\):\n    pass\n", shard)
    assert re.search(r"class FooForTokenClassification\(.*\):\n    threshold = 2\n", shard)


def test_the_index_is_built_once_and_again_when_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built: list[Path] = []

    def counted(models: Path, names: list[str]) -> likeness_index.Index:
        built.append(models)
        return build_index(models, names)

    monkeypatch.setattr(likeness_index, "build_index", counted)
    file = tmp_path / "models/small/modeling_small.py"
    file.parent.mkdir(parents=True)
    file.write_text("class SmallMLP:\n    def forward(self, x):\n        return self.down(x) + 1\n")
    first, again = (index_of(tmp_path / "models", ["small"]) for _ in range(2))
    assert len(built) == 1
    assert list(first.classes) == list(again.classes) == [("small", "SmallMLP")]
    assert first.features.tolist() == again.features.tolist() and first.ends.tolist() == again.ends.tolist()
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    kept.write_bytes(kept.read_bytes()[:-40])
    index_of(tmp_path / "models", ["small"])
    assert len(built) == 2
    file.write_text("class SmallGatedMLP:\n    pass\n")
    assert index_of(tmp_path / "models", ["small"]).classes == [("small", "SmallGatedMLP")] and len(built) == 3


def test_names_docstrings_and_annotations_are_left_out(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"modeling_{name}.py" for name in "abc")
    first.write_text(
        'class AMLP:\n    """Says."""\n    def forward(self, x: int) -> int:\n        y = self.up(x)\n        return y * self.gate(y)\n\n\nclass ANorm: pass\n'
    )
    second.write_text(
        "class BbMLP:\n    def forward(self, h):\n        z = self.up(h)\n        return z * self.gate(z)\n\n\nclass BbNorm: pass\n"
    )
    third.write_text(second.read_text().replace("z * ", "z + "))
    mine, same, other = (known_classes(each)[0].features for each in (first, second, third))
    assert mine == same and len(mine & other) < len(mine)


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["Qwen3MoeMLP", "Qwen3MoeAttention", "Qwen3MoeModel", "Qwen3MoeForCausalLM"], "Qwen3Moe"),
        (["DeciLMMLP", "DeciLMAttention", "DeciLMModel"], "DeciLM"),
        (["MoEGate", "DeepseekV3MLP", "DeepseekV3Model", "DeepseekV3Attention"], "DeepseekV3"),
        (["Attention"], ""),
    ],
)
def test_how_classes_spell_their_model(names: list[str], prefix: str) -> None:
    assert model_prefix(names) == prefix


def test_parents_are_those_that_the_shard_names() -> None:
    of = parents_by_class(MODELS, "qwen3")
    assert of["Qwen3MLP"] == ("gemma", "GemmaMLP") and of["Qwen3RMSNorm"] == ("qwen2", "Qwen2RMSNorm")
    assert of["Qwen3Attention"] == ("llama", "LlamaAttention") and main_parents(of) == {"qwen2"}
    family = {"b": {"BX": ("a", "AX")}, "c": {"CX": ("b", "BX")}, "d": {"DX": ("e", "EX")}}
    assert heirs(family, "a") == {"b", "c"} and heirs(family, "c") == set()


def test_an_identical_class_is_never_behind_one_that_more_inherit_from() -> None:
    index = build_index(MODELS, FIVE)
    famous = {f"heir{number}": {"X": ("llama", "LlamaMLP")} for number in range(1000)}
    index = likeness_index.Index(index.classes, index.features, index.ends, famous)
    found = ranking(index, known_classes(MODELS / "gpt_neox/modeling_gpt_neox.py"))
    assert found.models[0][0] == "gpt_neox" and found.models[0][1] == pytest.approx(1)


def test_history_leaves_out_the_model_and_its_heirs(capsys: pytest.CaptureFixture[str]) -> None:
    index = index_of(MODELS, FIVE)
    found = parents_history.found_for(index, "qwen2")
    assert (
        found.first == "llama" and found.rank == 1 and found.authors == {"llama"}
    )  # not qwen3, which inherits from it
    parents_history.main(show=True)
    out = capsys.readouterr().out
    assert re.search(r"shards, of which 4 inherit", out) and re.search(r"is first in [34] of 4, among three in 4", out)


def test_it_needs_neither_torch_nor_transformers(tmp_path: Path) -> None:
    code = f"""
import importlib.util, sys
spec = importlib.util.find_spec("transformers_heterogeneous")
sys.modules["transformers_heterogeneous"] = importlib.util.module_from_spec(spec)
from transformers_heterogeneous.scripts.command import nearest
nearest.parents = lambda: {FIVE}
assert nearest.nearest_command("qwen2", None, True) == 0
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["models"][0]["model"] == "qwen3"
