"""Small checkpoints under the names by which the pages of the documentation call published ones."""

import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

import transformers
from transformers import LlamaConfig, LlamaForCausalLM
from transformers_heterogeneous import HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM
from transformers_heterogeneous.scripts.demo import __main__ as demo

from .converters import published
from .converters.checkpoints import CHECKPOINTS
from .converters.test_dequantise import nvfp4
from .converters.test_dequantise import write as write_quantised
from .converters.test_subblock_library import STUDENT, TEACHER, qwen3_layers, solution_of, split, write_solutions
from .converters.test_subblock_library import tensors_of as seeded_tensors


def super_49b(folder: Path) -> None:
    """NVIDIA's table of 80 layers, at a sixty-fourth of the hidden size, with a tokenizer."""
    with mock.patch.object(demo, "SCALE", 64):
        demo.write_checkpoint(folder)


def ultra_253b(folder: Path) -> None:
    """162 layers, half of them empty."""
    pairs = [(published.SCHEMA_A[each], published.LAYERS[each]) for each in (0, 4)] * 81
    config = {**published.CONFIG, "num_hidden_layers": 162, "block_configs": [block for block, _ in pairs]}
    published.write_checkpoint(folder, config, published.tensors_of([layer for _, layer in pairs]))


def llama(folder: Path, layers: int = 32, std: float = 0.02, width: int = 8192, hidden: int = 32) -> None:
    """A plain Llama as transformers saves it, with a tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        intermediate_size=width,
        initializer_range=std,
        bos_token_id=296,
        eos_token_id=299,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    demo.write_tokenizer(folder, {"bos_token_id": 296, "eos_token_id": [299]})


def cut_llama(folder: Path) -> None:
    """A Llama some of whose layers were cut, with the config of the whole one, which does not say how wide a head is."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4}
    widths, heads = [96, 96, 64, 128, 128, 128], [4, 4, 4, 2, 4, None]
    mixers = ["attention"] * 5 + ["none"]
    cut = HeterogeneousLlamaConfig(
        **sizes, intermediate_size=widths, num_key_value_heads=heads, mixer_types=mixers, head_dim=128
    )
    HeterogeneousLlamaForCausalLM(cut).save_pretrained(folder)
    config = LlamaConfig(**sizes, num_key_value_heads=4, intermediate_size=128).to_dict()
    (folder / "config.json").write_text(
        json.dumps({name: each for name, each in config.items() if name != "head_dim"})
    )


def texts(file: Path) -> None:
    lines = [json.dumps({"text": f"{number} layers that are not there cost nothing"}) for number in range(8)]
    file.write_text("\n".join(lines) + "\n")


def modeling_foo(file: Path) -> None:
    """A modeling file of somebody's: a fork of Arcee's, whose MLP has another name for a matrix."""
    text = (Path(transformers.__file__).parent / "models/arcee/modeling_arcee.py").read_text()
    file.write_text(
        text.replace("from ...", "from transformers.")
        .replace("from .configuration_arcee", "from transformers.models.arcee.configuration_arcee")
        .replace("up_proj", "expand")
    )


def puzzle(folder: Path) -> None:
    """What Puzzletron leaves: a teacher, a student, and what its search chose of them."""
    split(folder / "ckpts/teacher", TEACHER, seeded_tensors(qwen3_layers(2, 48), 1))
    split(folder / "ckpts/student", STUDENT, seeded_tensors(qwen3_layers(1, 16), 2))
    (folder / "mip").mkdir()
    write_solutions(folder / "mip", [solution_of(folder)])


def published_as(name: str) -> Callable[[Path], object]:
    return CHECKPOINTS[name].write


MADE: dict[str, Callable[[Path], object]] = {
    "Llama-3_3-Nemotron-Super-49B-v1": super_49b,
    "Nemotron-3-Nano-30B-A3B-NVFP4": lambda folder: write_quantised(folder, "Nemotron 3 Nano", nvfp4),
    "Ultra-253B": ultra_253b,
    "gpt-oss-puzzle-88B": published_as("gpt-oss-puzzle, MXFP4"),
    "modeling_foo.py": modeling_foo,
    "plain-llama": llama,
    "small-llama": lambda folder: llama(folder, layers=4, std=0.2, width=128, hidden=64),
    "pruned-elsewhere": cut_llama,
    "puzzle_dir": puzzle,
    "realised": published_as("AnyModel v2 Llama"),
    "texts.jsonl": texts,
}
