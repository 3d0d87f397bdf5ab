"""Puzzletron's library of sub-blocks: written beside a checkpoint, and a checkpoint put together from what a solution chose."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from transformers import AutoModelForCausalLM
from transformers_heterogeneous.converters import CheckpointError, convert, infer, prune
from transformers_heterogeneous.converters.formats import recognition
from transformers_heterogeneous.scripts.command.cli import app

from ..generated import stock_gpt_oss
from ..generated.llama_shaped import stock_model
from . import published_families as published
from .checkpoints import CHECKPOINTS, TOKENS, logits
from .published import assert_same_tensors, read_tensors, write_checkpoint, write_index


FILES = (
    "block_library.json",
    "replacement_library.json",
    "single_sequence_replacement_solutions.json",
    "subblock_library.json",
)
REST = {"replace_with_linear": False, "sparsify": None, "weights_precision": "bf16"}


def attention(kv_heads: int | None) -> dict[str, Any]:
    return {"no_op": kv_heads is None, "num_key_value_heads": kv_heads, "llama4": None, "mamba": None, **REST}


def ffn(width: int | None) -> dict[str, Any]:
    return {"no_op": width is None, "intermediate_size": width, "moe": None, **REST}


def moe(num_experts: int, top_k: int) -> dict[str, Any]:
    sizes = {"num_local_experts": num_experts, "num_experts_per_tok": top_k, "expert_intermediate_dim": 32}
    return {**ffn(None), "no_op": False, "moe": {**sizes, "shared_expert_intermediate_dim": None}}


def block(mixer: dict[str, Any], mlp: dict[str, Any]) -> dict[str, Any]:
    return {"attention": mixer, "ffn": mlp, "parallel_blocks": None}


def split(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """A checkpoint as Puzzletron splits it, of a model with Llama's names."""
    groups = {
        "input_layernorm": "attention",
        "self_attn": "attention",
        "post_attention_layernorm": "ffn",
        "mlp": "ffn",
    }
    files: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        group = f"block_{parts[2]}_{groups[parts[3]]}" if parts[1] == "layers" else "lm_head"
        group = "embeddings" if "embed_tokens" in name else group
        files.setdefault(f"subblocks_safetensors/{group}.safetensors", {})[name] = tensor
    (folder / "subblocks_safetensors").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name, members in files.items():
        save_file(members, folder / name, metadata={"format": "pt"})
    write_index(folder, {tensor: name for name, members in files.items() for tensor in members})


def tensors_of(layers: list[published.Shapes], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = published.llama_like(layers)
    return {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}


def qwen3_layers(kv_heads: int, width: int) -> list[published.Shapes]:
    return [published.dense_attention("qwen3", kv_heads) | published.dense_mlp(width)] * 3


QWEN3 = {**published.QWEN3, "use_sliding_window": False, "sliding_window": None}
TEACHER = {**QWEN3, "block_configs": [block(attention(2), ffn(48))] * 3}
STUDENT = {**QWEN3, "block_configs": [block(attention(1), ffn(16))] * 3}
# Layer -> block, and the checkpoints of its halves
CHOSEN = [
    (block(attention(2), ffn(16)), {"attention": "teacher", "ffn": "student"}),
    (block(attention(None), ffn(48)), {"ffn": "teacher"}),
    (block(attention(1), ffn(None)), {"attention": "student"}),
]


def solution_of(puzzle: Path, chosen: Any = CHOSEN) -> dict[str, Any]:
    replacements = [
        {
            "parent_layer_indices": [layer],
            "child_block_configs": [each],
            "weight_paths": [
                str(puzzle / f"ckpts/{name}/subblocks_safetensors/block_{layer}_{half}.safetensors")
                for half, name in halves.items()
            ],
        }
        for layer, (each, halves) in enumerate(chosen)
    ]
    return {"chosen_replacements": replacements, "total_value": {"loss": float("nan")}}


@pytest.fixture
def puzzle(tmp_path) -> Path:
    """Puzzletron's folder: a teacher, and one that is thinner throughout."""
    split(tmp_path / "puzzle/ckpts/teacher", TEACHER, tensors_of(qwen3_layers(2, 48), 1))
    split(tmp_path / "puzzle/ckpts/student", STUDENT, tensors_of(qwen3_layers(1, 16), 2))
    (tmp_path / "puzzle/ckpts/teacher/tokenizer.json").write_text("{}")
    write_solutions(tmp_path / "puzzle", [solution_of(tmp_path / "puzzle")])
    return tmp_path / "puzzle"


def write_solutions(puzzle: Path, solutions: Any) -> Path:
    (puzzle / "solutions.json").write_text(json.dumps(solutions))
    return puzzle / "solutions.json"


def chosen_tensors(puzzle: Path) -> dict[str, torch.Tensor]:
    """The bytes that the solution names, and those around the layers of the teacher."""
    checkpoints = puzzle / "ckpts"
    files = [checkpoints / f"teacher/subblocks_safetensors/{name}.safetensors" for name in ("embeddings", "lm_head")]
    for layer, (_, halves) in enumerate(CHOSEN):
        files += [
            checkpoints / name / f"subblocks_safetensors/block_{layer}_{half}.safetensors"
            for half, name in halves.items()
        ]
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


# --- put together -----------------------------------------------------------------------------------------------------


def test_a_solution_is_the_model_of_these_bytes(puzzle, tmp_path):
    """Against transformers' own layers, put together by hand, with the tensors of the files that the solution names."""
    report = convert(puzzle, tmp_path / "ours", solution=puzzle / "solutions.json")
    assert (report.source, report.format, report.model_type) == (str(puzzle), "anymodel", "heterogeneous_qwen3")
    assert_same_tensors(read_tensors(tmp_path / "ours"), chosen_tensors(puzzle))
    assert (tmp_path / "ours/tokenizer.json").exists()
    fields = {
        name: QWEN3[name] for name in ("vocab_size", "hidden_size", "head_dim", "rms_norm_eps", "num_hidden_layers")
    }
    fields |= {"num_attention_heads": 4, "max_position_embeddings": 256}
    fields |= {"rope_parameters": {"rope_type": "default", "rope_theta": QWEN3["rope_theta"]}}
    fields |= {"num_key_value_heads": [2, None, 1], "intermediate_size": [16, 48, None]}
    fields |= {"mixer_types": ["attention", "none", "attention"], "mlp_types": ["dense", "dense", "none"]}
    stock = stock_model("Qwen3")(fields).eval()
    stock.load_state_dict(chosen_tensors(puzzle))
    with torch.no_grad():
        assert torch.equal(logits(tmp_path / "ours"), stock(TOKENS))


def test_gpt_oss(tmp_path):
    """Whose experts Puzzletron gives a width under a name that nobody reads; here the width is that of the files."""
    layers = [published.gpt_oss_attention(kv) | published.gpt_oss_experts(num) for kv, num in ((2, 4), (2, 4), (2, 4))]
    teacher = {**published.GPT_OSS, "block_configs": [block(attention(2), moe(4, 2))] * 3}
    split(tmp_path / "puzzle/ckpts/teacher", teacher, tensors_of(layers, 3))
    fewer = [published.gpt_oss_attention(1) | published.gpt_oss_experts(2)] * 3
    student = {**published.GPT_OSS, "block_configs": [block(attention(1), moe(2, 1))] * 3}
    split(tmp_path / "puzzle/ckpts/student", student, tensors_of(fewer, 4))
    chosen = [
        (block(attention(2), moe(2, 1)), {"attention": "teacher", "ffn": "student"}),
        (block(attention(1), ffn(None)), {"attention": "student"}),
        (block(attention(None), moe(4, 2)), {"ffn": "teacher"}),
    ]
    solutions = write_solutions(tmp_path / "puzzle", solution_of(tmp_path / "puzzle", chosen))
    convert(tmp_path / "puzzle", tmp_path / "ours", solution=solutions)
    config = json.loads((tmp_path / "ours/config.json").read_text())
    assert config["intermediate_size"] == 32 and "moe_intermediate_size" not in config
    fields = {name: published.GPT_OSS[name] for name in ("vocab_size", "hidden_size", "head_dim", "pad_token_id")}
    fields |= {"num_attention_heads": 4, "max_position_embeddings": 256, "num_hidden_layers": 3}
    fields |= {"rope_parameters": {**published.GPT_OSS["rope_scaling"], "rope_theta": 150000}}
    fields |= {"num_key_value_heads": [2, 1, None], "num_local_experts": [2, None, 4], "intermediate_size": 32}
    fields |= {"num_experts_per_tok": [1, None, 2], "sliding_window": [8, None, 8]}
    fields |= {"mixer_types": ["attention", "attention", "none"], "mlp_types": ["moe", "none", "moe"]}
    stock = stock_gpt_oss.StockModel(fields).eval()
    stock.load_state_dict(read_tensors(tmp_path / "ours"))
    with torch.no_grad():
        assert torch.equal(logits(tmp_path / "ours"), stock(TOKENS))


def test_as_the_forms_that_puzzletron_reads(puzzle, tmp_path):
    solutions = puzzle / "solutions.json"
    convert(puzzle, tmp_path / "split", solution=solutions, to="anymodel")
    found = {path.relative_to(tmp_path / "split").as_posix() for path in (tmp_path / "split").rglob("*.safetensors")}
    parts = ["embeddings", "lm_head", "block_0_attention", "block_0_ffn", "block_1_ffn", "block_2_attention"]
    assert found == {f"subblocks_safetensors/{name}.safetensors" for name in parts}
    source = puzzle / "ckpts/student/subblocks_safetensors/block_0_ffn.safetensors"
    assert (tmp_path / "split/subblocks_safetensors/block_0_ffn.safetensors").read_bytes() == source.read_bytes()
    blocks = json.loads((tmp_path / "split/config.json").read_text())["block_configs"]
    assert blocks == [each for each, _ in CHOSEN]
    convert(puzzle, tmp_path / "typed", solution=solutions, to="anymodel_v2")
    assert torch.equal(logits(tmp_path / "typed"), logits(tmp_path / "split"))


@pytest.mark.parametrize("form", ["an object", "of a validation", "of the MIP", "text", "in another order"])
def test_forms_of_a_solution(form, puzzle, tmp_path):
    solution = solution_of(puzzle)
    chosen = solution["chosen_replacements"]
    if form == "of a validation":
        solution = {"i_solution": 0, "puzzle_solution": solution}
    elif form == "of the MIP":
        solution["chosen_replacements"] = [
            {"block_config": each["child_block_configs"][0], "metrics": {}, "layer_replacement": each}
            for each in chosen
        ]
    elif form == "text":
        solution["chosen_replacements"] = list(map(json.dumps, chosen))
    elif form == "in another order":
        solution["chosen_replacements"] = chosen[::-1]
    convert(puzzle, tmp_path / "ours", solution=write_solutions(puzzle, solution))
    assert_same_tensors(read_tensors(tmp_path / "ours"), chosen_tensors(puzzle))


def test_one_of_several(puzzle, tmp_path):
    teacher = [(block(attention(2), ffn(48)), {"attention": "teacher", "ffn": "teacher"})] * 3
    solutions = write_solutions(puzzle, [solution_of(puzzle, teacher), solution_of(puzzle)])
    with pytest.raises(CheckpointError, match="holds 2 solutions: say which with --index"):
        convert(puzzle, tmp_path / "ours", solution=solutions)
    with pytest.raises(CheckpointError, match="holds 2 solutions: there is no number 2"):
        convert(puzzle, tmp_path / "ours", solution=solutions, index=2)
    assert not (tmp_path / "ours").exists()
    command = ["convert", str(puzzle), str(tmp_path / "ours"), "--solution", str(solutions), "--index", "1"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert_same_tensors(read_tensors(tmp_path / "ours"), chosen_tensors(puzzle))
    # The teacher itself is one too, and keeps its way back
    whole = convert(puzzle, tmp_path / "whole", solution=solutions, index=0)
    assert (
        "hetero_origin.json" in whole.written
        and "hetero_origin.json" not in convert(puzzle, tmp_path / "again", solution=solutions, index=1).written
    )


def test_beside_the_checkpoints_that_it_is_put_together_from(puzzle):
    convert(puzzle, puzzle / "ckpts/chosen", solution=puzzle / "solutions.json", to="anymodel")
    assert recognition.read_config(puzzle / "ckpts/chosen")[0].name == "anymodel"


def test_a_library_that_was_moved(puzzle, tmp_path):
    expected = chosen_tensors(puzzle)
    puzzle.rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere"
    convert(moved, tmp_path / "ours", solution=moved / "solutions.json")
    assert_same_tensors(read_tensors(tmp_path / "ours"), expected)
    relative = solution_of(Path())
    convert(moved, tmp_path / "relative", solution=write_solutions(moved, relative))
    assert_same_tensors(read_tensors(tmp_path / "relative"), expected)


def test_pruned_on_the_way(puzzle, tmp_path):
    """The bytes are read where they lie, whatever is done with them."""
    prune(puzzle, tmp_path / "ours", {1: {"intermediate_size": 8}}, by="first", solution=puzzle / "solutions.json")
    found, expected = read_tensors(tmp_path / "ours"), chosen_tensors(puzzle)
    name = "model.layers.1.mlp.gate_proj.weight"
    assert found[name].shape == (8, 64) and found["lm_head.weight"].equal(expected["lm_head.weight"])


@pytest.mark.parametrize("link", ["hardlink", "copy"])
def test_links_lead_to_the_files_that_were_chosen(link, puzzle, tmp_path):
    convert(puzzle, tmp_path / "ours", solution=puzzle / "solutions.json", to="anymodel", link=link)
    found = tmp_path / "ours/subblocks_safetensors/block_2_attention.safetensors"
    source = puzzle / "ckpts/student/subblocks_safetensors/block_2_attention.safetensors"
    assert found.samefile(source) == (link == "hardlink")


# --- refused ----------------------------------------------------------------------------------------------------------


def change(at: int, **members: Any):
    def changed(solution: dict[str, Any]) -> None:
        solution["chosen_replacements"][at] |= members

    return changed


def many_for_one(solution: dict[str, Any]) -> None:
    _, second, last = solution["chosen_replacements"]
    second["parent_layer_indices"] = [0, 1]
    solution["chosen_replacements"] = [second, last]


def twice(solution: dict[str, Any]) -> None:
    solution["chosen_replacements"][2] = solution["chosen_replacements"][0]


def another_layer(solution: dict[str, Any]) -> None:
    path = solution["chosen_replacements"][2]["weight_paths"][0]
    solution["chosen_replacements"][2]["weight_paths"] = [path.replace("block_2", "block_1")]


def two_of_one_name(solution: dict[str, Any]) -> None:
    path = solution["chosen_replacements"][0]["weight_paths"][1]
    solution["chosen_replacements"][0]["weight_paths"].append(path.replace("student", "teacher"))


REFUSED: dict[str, tuple[Any, list[str]]] = {
    "several layers for one": (many_for_one, [r"\[0\]: 1 child_block_configs for the layers \[0, 1\]: one block for"]),
    "one layer twice": (twice, [r"layers \[0\] are replaced more than once"]),
    "a layer too few": (
        lambda solution: solution["chosen_replacements"].pop(1),
        [r"layers \[1\] are replaced by nothing, not even themselves"],
    ),
    "the last too few": (
        lambda solution: solution["chosen_replacements"].pop(),
        ["block_configs has 2 entries, num_hidden_layers is 3"],
    ),
    "a layer that no model has": (
        change(1, parent_layer_indices=[10**9]),
        [r"\[1\]: parent_layer_indices = \[1000000000\]"],
    ),
    "a path that no file can have": (
        change(1, weight_paths=[f"subblocks_safetensors/block_{'1' * 300}.safetensors"]),
        ["names weights that are not there"],
    ),
    "no layers": (change(1, parent_layer_indices="1"), [r"\[1\]: parent_layer_indices = '1': a list of layers"]),
    "no blocks": (change(1, child_block_configs=[7]), [r"\[1\]: child_block_configs = \[7\]: a block is needed"]),
    "no paths": (change(1, weight_paths=None), [r"\[1\]: weight_paths = None: a list of files is needed"]),
    "no file of a sub-block": (
        change(1, weight_paths=["/etc/passwd", "subblocks_safetensors/lm_head.safetensors"]),
        [r"'/etc/passwd' is no file of a sub-block", "lm_head.safetensors' is no file of a sub-block"],
    ),
    "a file that is not there": (
        change(1, weight_paths=["/nowhere/subblocks_safetensors/block_1_ffn.safetensors"]),
        ["names weights that are not there", "/nowhere/subblocks_safetensors/block_1_ffn.safetensors"],
    ),
    "weights of another layer": (another_layer, [r"model.layers.2.self_attn.q_proj.weight.* is missing"]),
    "weights of other sizes": (
        change(0, child_block_configs=[block(attention(2), ffn(48))]),
        [r"model.layers.0.mlp.up_proj.weight"],
    ),
    "two files of one sub-block": (two_of_one_name, ["are of the same sub-block"]),
    "no replacements": (
        lambda solution: solution.pop("chosen_replacements"),
        ["solution 0 has no list of chosen_repl"],
    ),
    "the second generation": (
        change(1, child_block_configs=[{"subblock_configs": [{"kind": "ffn"}]}], weight_paths=[]),
        ["second generation, whose sub-blocks lie in no files"],
    ),
    "a library of the second generation": (
        lambda solution: solution.update(version=2, entries=[]) or solution.pop("chosen_replacements"),
        ["second generation, whose sub-blocks lie in no files"],
    ),
    "what no family expresses": (
        change(0, child_block_configs=[block({**attention(2), "sparsify": ["x"]}, ffn(16))]),
        [r"block_configs\[0\].attention: sparsify"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing(name, puzzle, tmp_path):
    spoil, complaints = REFUSED[name]
    solution = solution_of(puzzle)
    spoil(solution)
    before = sorted(tmp_path.rglob("*"))
    solutions = write_solutions(puzzle, [solution])
    for complaint in complaints:
        with pytest.raises(CheckpointError, match=complaint):
            convert(puzzle, tmp_path / "ours", solution=solutions)
    assert sorted(tmp_path.rglob("*")) == before


def test_files_that_are_none(puzzle, tmp_path):
    for text in ("", "[", '{"a": 1, "a": 2}', "\udcff"):
        (puzzle / "solutions.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(CheckpointError, match=r"solutions.json: not JSON that can be read"):
            convert(puzzle, tmp_path / "ours", solution=puzzle / "solutions.json")
    with pytest.raises(CheckpointError, match=r"missing.json: cannot be read"):
        convert(puzzle, tmp_path / "ours", solution=puzzle / "missing.json")
    assert not (tmp_path / "ours").exists()


def test_folders_that_are_no_library(puzzle, tmp_path):
    solutions = puzzle / "solutions.json"
    with pytest.raises(CheckpointError, match=r"no library of sub-blocks: there is no config\.json"):
        convert(tmp_path, tmp_path / "ours", solution=solutions)
    with pytest.raises(CheckpointError, match="no library of sub-blocks"):
        convert("org/name", tmp_path / "ours", solution=solutions)
    CHECKPOINTS["Qwen3"].write(tmp_path / "plain")
    with pytest.raises(CheckpointError, match="is in the format qwen3, and its sub-blocks do not lie in files"):
        convert(tmp_path / "plain", tmp_path / "ours", solution=solutions)
    assert not (tmp_path / "ours").exists()


def test_a_link_that_leads_out_of_its_checkpoint(puzzle, tmp_path):
    path = puzzle / "ckpts/student/subblocks_safetensors/block_0_ffn.safetensors"
    path.rename(tmp_path / "hidden.safetensors")
    path.symlink_to(tmp_path / "hidden.safetensors")
    with pytest.raises(CheckpointError, match="is a link to a file outside the checkpoint"):
        convert(puzzle, tmp_path / "ours", solution=puzzle / "solutions.json")


def test_options_that_go_with_others(puzzle, tmp_path):
    with pytest.raises(CheckpointError, match="index: says which of the solutions of a file"):
        convert(puzzle, tmp_path / "ours", index=1)
    CHECKPOINTS["Qwen3"].write(tmp_path / "plain")
    for to in (None, "anymodel_v2"):
        with pytest.raises(CheckpointError, match=r"--subblocks: .* has no library of sub-blocks"):
            convert(tmp_path / "plain", tmp_path / "ours", to=to, subblocks=True)
    with pytest.raises(CheckpointError, match="solution: puts together whole sub-blocks"):
        infer(tmp_path / "plain", tmp_path / "ours", solution=puzzle / "solutions.json")
    assert not (tmp_path / "ours").exists()


# --- written ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path) -> Path:
    write_checkpoint(tmp_path / "plain", QWEN3, tensors_of(qwen3_layers(2, 48), 1))
    report = convert(tmp_path / "plain", tmp_path / "library", to="anymodel", subblocks=True)
    assert set(FILES) <= set(report.written)
    return tmp_path / "library"


def read(library: Path, name: str) -> Any:
    return json.loads((library / name).read_text())


def test_what_the_library_says(library):
    """After what ModelOpt 0.47 itself writes of such a teacher: rows, members, words and order."""
    subblocks = read(library, "subblock_library.json")
    told = [(row["block_idx"], row["block_repr"], row["attention_repr"], row["ffn_repr"]) for row in subblocks]
    mixer, mlp = "  attention  kv_heads_2", "  ffn  intermediate_48"
    own = [
        (layer, *each)
        for layer in range(3)
        for each in ((mixer + mlp, mixer, mlp), (None, mixer, None), (None, None, mlp))
    ]
    absent = [(layer, None, None, "  ffn  no_op ") for layer in range(3)]
    assert told == own + absent + [(layer, None, "  attention  no_op ", None) for layer in range(3)]
    assert subblocks[0] == {
        "attention_checkpoint_dir": str(library),
        "ffn_checkpoint_dir": str(library),
        "block_config": block(attention(2), ffn(48)),
        "attention_config": attention(2),
        "ffn_config": ffn(48),
        "block_idx": 0,
        "block_repr": mixer + mlp,
        "attention_repr": mixer,
        "ffn_repr": mlp,
    }
    assert subblocks[9] == {
        **dict.fromkeys(subblocks[0]),
        "block_idx": 0,
        "ffn_config": ffn(None),
        "ffn_repr": "  ffn  no_op ",
    }
    found = [
        (each["parent_layer_indices"], each["child_block_configs"])
        for each in read(library, "replacement_library.json")
    ]
    without_mlp, without_attention = block(attention(2), ffn(None)), block(attention(None), ffn(48))
    expected = [([layer], [block(attention(2), ffn(48))]) for layer in range(3)]
    expected += [([layer], [without_mlp]) for layer in range(3)]
    for layer in range(3):
        expected += [([layer], [each]) for each in (without_attention, block(attention(None), ffn(None)))]
    assert found == expected
    blocks = read(library, "block_library.json")
    assert [(each["block_idx"], each["block_config"]) for each in blocks] == [(a, b) for (a,), (b,) in expected]


def test_paths_are_those_of_the_files(library):
    files = {str(path) for path in (library / "subblocks_safetensors").glob("block_*")}
    replacements = read(library, "replacement_library.json")
    assert {path for each in replacements for path in each["weight_paths"]} == files and len(files) == 6
    assert [Path(path).name for path in replacements[1]["weight_paths"]] == [
        "block_1_attention.safetensors",
        "block_1_ffn.safetensors",
    ]
    assert replacements[-1]["weight_paths"] == []


@pytest.mark.parametrize("moved", [False, True])
def test_each_solution_can_be_put_together(moved, library, tmp_path):
    solutions = read(library, "single_sequence_replacement_solutions.json")
    assert len(solutions) == 9
    if moved:
        library = library.rename(tmp_path / "moved")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    file = library / "single_sequence_replacement_solutions.json"
    for index in (0, 4, 8):
        (layer,) = solutions[index]["single_sequence_replacement"]["parent_layer_indices"]
        (chosen,) = solutions[index]["single_sequence_replacement"]["child_block_configs"]
        assert solutions[index]["block_configs"][layer] == chosen
        report = convert(library, tmp_path / f"{index}", solution=file, index=index)
        skip = [name for name, half in (("attention", "attention"), ("mlp", "ffn")) if chosen[half]["no_op"]]
        convert(tmp_path / "plain", tmp_path / f"{index}, skipped", skip=[f"{name}:{layer}" for name in skip])
        assert torch.equal(logits(tmp_path / f"{index}"), logits(tmp_path / f"{index}, skipped"))
        assert not {each.name for each in report.not_carried}.isdisjoint(FILES)
        assert not any((tmp_path / f"{index}" / name).exists() for name in FILES)  # they name other weights
    assert model.num_parameters() > report.num_parameters


def test_a_library_of_another_is_written_anew(library, tmp_path):
    convert(library, tmp_path / "again", to="anymodel", subblocks=True)
    for name in FILES:
        text = (library / name).read_text()
        assert (tmp_path / "again" / name).read_text() == text.replace(str(library), str(tmp_path / "again"))
    shutil.rmtree(library)
    file = tmp_path / "again/single_sequence_replacement_solutions.json"
    convert(tmp_path / "again", tmp_path / "ours", solution=file, index=0)


@pytest.mark.parametrize("name", ["gpt-oss", "Nemotron 3 Nano", "AnyModel Nemotron-H", "Qwen2", "AnyModel gpt-oss"])
def test_libraries_of_other_families(name, tmp_path):
    source = CHECKPOINTS[name].write(tmp_path / "source")
    convert(source, tmp_path / "library", to="anymodel", subblocks=True)
    replacements = read(tmp_path / "library", "replacement_library.json")
    files = {str(path) for path in (tmp_path / "library/subblocks_safetensors").glob("block_*")}
    assert {path for each in replacements for path in each["weight_paths"]} == files
    file = tmp_path / "library/single_sequence_replacement_solutions.json"
    last = len(json.loads(file.read_text())) - 1
    report = convert(tmp_path / "library", tmp_path / "ours", solution=file, index=last)
    assert report.num_tensors < len(CHECKPOINTS[name].tensors)


def test_mamba_and_experts_are_told_as_puzzletron_does(tmp_path):
    CHECKPOINTS["Nemotron 3 Nano"].write(tmp_path / "source")
    convert(tmp_path / "source", tmp_path / "library", to="anymodel", subblocks=True)
    told = [row["block_repr"] for row in read(tmp_path / "library", "block_library.json")]
    experts = "num_experts_4  expert_intermediate_dim_24  shared_expert_intermediate_dim_40  num_experts_per_tok_2"
    assert told[:2] == ["  mamba  num_heads_8  head_dim_16  ffn  no_op ", f"  attention  no_op   moe  {experts}"]
    first = read(tmp_path / "library", "config.json")["block_configs"][0]["attention"]
    assert first["mamba"] == {"state_dim": 16, "num_heads": 8, "head_dim": 16, "num_groups": 2}
