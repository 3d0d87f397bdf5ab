"""The graph of families: parents counted by hand, lines as `wc -l` has them, of our shards, of strangers' and of transformers'."""

import json
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from typer.testing import CliRunner

from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.family_graph.lineage import Family, Lineage, lineage_of
from transformers_heterogeneous.scripts.family_graph.lineage_svg import svg_of
from transformers_heterogeneous.scripts.modular_converter.sources.paths import package_folder


ROOT = Path(__file__).resolve().parents[2]


def run(*words):
    return CliRunner().invoke(app, ["graph", *map(str, words)])


def lines_of(*paths: Path) -> int:
    return sum(path.read_text().count("\n") for path in paths)


def test_our_own_families_are_what_their_shards_say():
    lineage = lineage_of(ROOT / "modular")
    qwen3 = lineage.families["heterogeneous_qwen3"]
    assert dict(qwen3.parents) == {"qwen3": 10, "heterogeneous": 2, "heterogeneous_qwen2": 2}
    assert qwen3.shard_lines == lines_of(ROOT / "modular" / "modular_heterogeneous_qwen3.py")
    assert qwen3.lines == lines_of(*(ROOT / "generated").glob("*_heterogeneous_qwen3.py"))
    lock = tomllib.loads((ROOT / "modular" / "overrides.lock").read_text())
    assert sum(qwen3.overrides.values()) == len(lock["modular_heterogeneous_qwen3.py"])
    assert {name for name in lineage.asked if name.count("_") and name != "heterogeneous_values"} == {
        path.stem.removeprefix("modeling_") for path in (ROOT / "generated").glob("modeling_heterogeneous_*.py")
    }
    # A parent's parents, up to a model that is written out whole
    above = [qwen3.name]
    while (parent := lineage.families[above[-1]].parent) is not None:
        above.append(parent)
    assert above == ["heterogeneous_qwen3", "qwen3", "qwen2", "llama"]
    assert lineage.families["llama"].shard_lines is None and lineage.families["qwen3"].of == "transformers"


def test_transformers_itself():
    lineage = lineage_of(None)
    models = package_folder("transformers") / "models"
    assert len(lineage.asked) == len(list(models.glob("*/modular_*.py"))) > 300
    assert set(lineage.families["gemma2"].parents) == {"gemma"}
    assert all(parent in lineage.families for each in lineage.families.values() for parent in each.parents)
    placed = [family.name for _, family in lineage.depth_first()]
    assert len(placed) == len(set(placed)) == len(lineage.families)


def test_a_strangers_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "modular_mine.py").write_text(
        "from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP, Qwen3ForCausalLM as Base\n"
        "from transformers.models.llama.configuration_llama import LlamaConfig\n"
        "from transformers.modeling_utils import PreTrainedModel\n"
        "class MineMLP(Qwen3MLP):\n    pass\n"
        "class MineForCausalLM(Base):\n    pass\n"
        "class MineConfig(LlamaConfig):\n    pass\n"
        "class MineModel(PreTrainedModel):\n    pass\n"
    )
    (tmp_path / "modular_yours.py").write_text(
        "from .modular_mine import MineMLP\nclass YoursMLP(MineMLP):\n    pass\n"
    )
    lineage = lineage_of(tmp_path)
    assert set(lineage.asked) == {"mine", "yours"}
    assert dict(lineage.families["mine"].parents) == {"qwen3": 2, "llama": 1}
    assert lineage.families["yours"].parents == {"mine": 1} and lineage.families["mine"].overrides is None
    shown = run(tmp_path).stdout
    assert "mine  11 lines, 4 classes; also of llama 1" in shown and "yours  3 lines, 1 classes" in shown
    assert "2 families, 14 lines of shards, 0 lines of what they expand to\n" in shown


def test_a_circle_is_broken():
    one, two = Family("one", "here", 1, 1, 1, {"two": 1}), Family("two", "here", 1, 1, 1, {"one": 1})
    three = Family("three", "here", 1, 1, 1, {"two": 1})
    lineage = Lineage({each.name: each for each in (one, two, three)}, ("one", "two", "three"))
    assert [(depth, each.name) for depth, each in lineage.depth_first()] == [(0, "one"), (1, "two"), (2, "three")]


def test_the_picture_has_every_family_once_right_of_what_it_is_made_of():
    lineage = lineage_of(ROOT / "modular")
    space = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(svg_of(lineage))
    places = {text.text: (int(text.get("x")), int(text.get("y"))) for text in root.iter(f"{space}text")}
    assert places.keys() == lineage.families.keys()
    assert len({y for _, y in places.values()}) == len(places)
    assert all(places[name][0] > places[parent][0] for name in places if (parent := lineage.parent_of(name)))
    assert len(list(root.iter(f"{space}path"))) == len([name for name in places if lineage.parent_of(name)])


def test_json_and_file(tmp_path):
    told = json.loads(run("--json", "--svg", tmp_path / "graph.svg").stdout)
    assert (tmp_path / "graph.svg").read_text().startswith("<svg")
    by_name = {each["name"]: each for each in told["families"]}
    assert by_name["heterogeneous_llama"]["parents"]["llama"] > 10 and "heterogeneous_llama" in told["asked"]


def test_mistakes(tmp_path):
    assert "there are no shards" in run(tmp_path).stderr
    assert "one of them" in run(tmp_path, "--transformers").stderr
    (tmp_path / "modular_bad.py").write_text("class (")
    assert run(tmp_path).exit_code == 2
    done = run("--svg", tmp_path / "no" / "graph.svg")
    assert done.exit_code == 2 and "No such file" in done.stderr
