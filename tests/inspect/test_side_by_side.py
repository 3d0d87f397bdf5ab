"""Two models side by side, and what the command says of its options."""

import json
from pathlib import Path

from typer.testing import CliRunner

from transformers_heterogeneous.converters import summarise
from transformers_heterogeneous.scripts.command.cli import app

from ..generated import small, small_gpt_oss


DATA = Path(__file__).parents[1] / "data"


def run(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def write(folder: Path, module, fields) -> Path:
    module.CONFIG(**fields).save_pretrained(folder)
    return folder


def test_what_differs_is_in_a_row_with_its_layers(tmp_path):
    one = write(tmp_path / "one", small, small.MIXED)
    changed = {**small.MIXED, "num_key_value_heads": [None, 4, 4, None, None, 4, 2, 2]}
    other = write(tmp_path / "other", small, {**changed, "sliding_window": [None, None, 5, None, None, 9, None, 7]})
    lines = run("inspect", one, other).stdout.splitlines()
    rows = [
        line.split() for line in lines[lines.index(next(line for line in lines if line.startswith("differs"))) + 2 :]
    ]
    by_name = {(*row[:-1],) if row else (): row for row in rows}
    assert ["KV", "heads", "2", "4", "2"] in by_name.values() and ["KV", "heads", "1", "4", "5"] in by_name.values()
    assert ["KV", "heads", "1", "2", "6"] in by_name.values() and ["window", "full", "7", "7"] in by_name.values()
    assert not [row for row in rows if row and row[0] in ("mixer", "MLP", "width", "heads")]
    (parameters,) = [line.split() for line in lines if line.startswith("parameters ") and "per layer" not in line]
    assert parameters[1:] == [f"{summarise(path).num_parameters:,}" for path in (one, other)]


def test_layers_that_only_one_has(tmp_path):
    one = write(tmp_path / "one", small, small.UNIFORM)
    other = write(tmp_path / "other", small, {**small.UNIFORM, "num_hidden_layers": 6})
    rows = [" ".join(line.split()) for line in run("inspect", one, other).stdout.splitlines()]
    assert "mixer - attention 4-5" in rows and "width - 96 4-5" in rows


def test_the_same_twice_and_json(tmp_path):
    one = write(tmp_path / "one", small_gpt_oss, small_gpt_oss.MIXED)
    assert "the layers are alike" in run("inspect", one, one).stdout
    told = json.loads(run("inspect", one, one, "--json", "--context", 7).stdout)
    assert [each["flops_per_token"]["context"] for each in told] == [7, 7] and told[0] == told[1]
    alone = json.loads(run("inspect", one, "--json", "--context", 7).stdout)
    assert alone == told[0] and alone["layers"][1]["flops_per_key"] == 4 * 4 * 16


def test_flops_are_told_at_the_length_that_is_asked_for(tmp_path):
    one = write(tmp_path / "one", small, small.UNIFORM)
    short, long = (run("inspect", one, "--context", number).stdout for number in (1, 1000))
    assert "to decode the last of 1,000" in long and short != long


def test_mistakes(tmp_path):
    one = write(tmp_path / "one", small, small.UNIFORM)
    done = run("inspect", one, tmp_path / "nowhere")
    assert done.exit_code == 2 and "nowhere" in done.stderr and not done.stdout
    done = run("inspect", one, one, "--plot", tmp_path / "a.png")
    assert done.exit_code == 2 and "--plot draws one model" in done.stderr


def test_options_of_convert_are_in_groups_behind_which_are_examples():
    shown = run("convert", "--help").stdout
    places = [
        shown.index(words) for words in ("What is written", "How it is done", "What becomes of layers", "Examples:")
    ]
    assert places == sorted(places)
    assert (
        places[0] < shown.index("--dequantise") < places[1] < shown.index("--jobs") < places[2] < shown.index("--fuse")
    )
    examples = [line.split() for line in shown[places[3] :].splitlines() if "hetero convert" in line]
    options = {word for words in examples for word in words if word.startswith("--")}
    assert len(examples) == 5 and options <= {word for word in shown[: places[3]].split() if word.startswith("--")}
