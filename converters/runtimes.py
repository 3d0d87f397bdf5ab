"""
Programs that read the published formats, and what they make of a model: from runs of `make readers`, where each rule has a
case. docs/readers.md says what was seen to be right, and what was not tried.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers_heterogeneous.integrations.vllm.limits import ARCHITECTURES, model_problems

from .engine.errors import CheckpointError


if TYPE_CHECKING:
    from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig


Problems = Callable[[Any], Iterator[str]]
ONE_OF_PUZZLE = ("n_routed_experts", "moe_latent_size", "moe_shared_expert_intermediate_size", "ssm_state_size")
REMEDY = "Leave out --for, and the report says what is known of those that were tried."


@dataclass(frozen=True, eq=False)
class Runtime:
    """
    A program that reads published formats.

    Attributes:
        name: What `--for` calls it.
        program: Which, and the release that was run.
        problems: Name of a format that it reads -> what it would compute wrongly or fail at.
        fields: Name of a format -> the fields of config.json as this program needs them.
        was_run: Whether the rules are from runs. Who was not run is written for where it is named, and reported of nothing.
    """

    name: str
    program: str
    problems: Mapping[str, tuple[Problems, ...]]
    fields: Mapping[str, Callable[[Any, Mapping[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    was_run: bool = True

    def __str__(self) -> str:
        return self.program

    def cannot(self, format_name: str, config: "HeterogeneousPreTrainedConfig") -> list[str]:
        """What keeps the program from computing this model from this format, empty if nothing does."""
        if format_name not in self.problems:
            return [f"{self} is not known to read {format_name}, but {', '.join(self.problems)}"]
        return [problem for problems in self.problems[format_name] for problem in problems(config)]

    def config(
        self, format_name: str, config: "HeterogeneousPreTrainedConfig", fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """config.json as this program needs it."""
        changed = self.fields.get(format_name)
        return dict(fields) if changed is None else changed(config, fields)


def windows(config: "HeterogeneousPreTrainedConfig") -> Iterator[str]:
    found = {layer: window for layer, window in enumerate(config.layer_sizes("sliding_window")) if window is not None}
    if found:
        yield f"sliding_window is {sorted({*found.values()})} in layers {[*found]}: it attends to everything, without a word"


def lone_attention(config: Any) -> Iterator[str]:
    for layer_idx, kinds in enumerate(zip(config.mixer_types, config.mlp_types, strict=True)):
        if kinds == ("attention", "none"):
            yield f"layer {layer_idx} has attention and no MLP: it leaves the layer out, without a word"


def first_layer(config: Any) -> Iterator[str]:
    if config.mixer_types[0] != "attention":
        yield f"mixer_types[0] is {config.mixer_types[0]!r}: it fails where layer 0 does not attend"


def linear_mlp(config: Any) -> Iterator[str]:
    for layer_idx, mlp in enumerate(config.mlp_types):
        if mlp == "linear":
            yield f"mlp_types[{layer_idx}] is 'linear': it fails"


def linear_attention(config: Any) -> Iterator[str]:
    for layer_idx, mixer in enumerate(config.mixer_types):
        if mixer == "linear":
            yield f"mixer_types[{layer_idx}] is 'linear': it fails"


def head_dim(config: "HeterogeneousPreTrainedConfig") -> Iterator[str]:
    derived = config.hidden_size // config.num_attention_heads
    if config.head_dim != derived:
        yield f"head_dim = {config.head_dim}: it takes hidden_size / num_attention_heads = {derived}, and fails"


def rope(*known: str) -> Problems:
    """The kinds of RoPE that a program was seen to compute."""

    def of_other_kinds(config: "HeterogeneousPreTrainedConfig") -> Iterator[str]:
        kind = config.rope_parameters.get("rope_type", "default")
        if kind not in known:
            yield f"rope_type = {kind!r}: right are {', '.join(known)}, others wrong without a word, or not tried"

    return of_other_kinds


def one_of(*names: str) -> Problems:
    """Sizes that a program has one of for all layers."""

    def that_differ(config: "HeterogeneousPreTrainedConfig") -> Iterator[str]:
        for name in names:
            if isinstance(value := getattr(config, name), list) and len({*value} - {None}) > 1:
                yield f"{name} = {value}: it fails where layers differ in it"

    return that_differ


def both_mixers(config: Any) -> Iterator[str]:
    if absent := {"mamba", "attention"}.difference(config.mixer_types):
        yield f"no layer of {' and of '.join(sorted(absent))}: it fails"


def dense_mlps(config: Any) -> Iterator[str]:
    if dense := [layer_idx for layer_idx, mlp in enumerate(config.mlp_types) if mlp == "dense"]:
        yield f"layers {dense} have a dense MLP: it fails, as transformers 5 has it take every such model for one of experts"


def latent(config: "HeterogeneousPreTrainedConfig") -> Iterator[str]:
    if not any(config.layer_sizes("moe_latent_size")):
        yield "moe_latent_size is null: it fails without a latent space of the experts"


def with_rope_scaling(config: "HeterogeneousPreTrainedConfig", fields: Mapping[str, Any]) -> dict[str, Any]:
    """RoPE by the two fields that transformers had before 5."""
    rope = dict(config.rope_parameters)
    theta, scaled = rope.pop("rope_theta"), rope["rope_type"] != "default"
    return {**fields, "rope_theta": theta, "rope_scaling": rope if scaled else None}


def with_older_layer_types(config: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Layers by older words, which transformers reads too."""
    return {**fields, "layer_types": list(config.mixer_types)}


def beyond_vllm(config: "HeterogeneousPreTrainedConfig") -> Iterator[str]:
    yield from model_problems(config, config.max_position_embeddings)


# What ModelOpt 0.47 writes for vLLM's AnyModel, beside `skip`
ANYMODEL_SIZES = (
    *("num_key_value_heads", "intermediate_size", "moe_intermediate_size"),
    *("num_local_experts", "n_routed_experts", "num_experts"),
)


def beyond_anymodel(config: "HeterogeneousPreTrainedConfig") -> Iterator[str]:
    for name in config.per_layer_sizes:
        if (
            isinstance(value := getattr(config, name), list)
            and len({*value} - {None}) > 1
            and name not in ANYMODEL_SIZES
        ):
            yield f"{name} = {value}: layers may differ in {', '.join(ANYMODEL_SIZES)}"
    hybrid = "mamba" in config.supported_mixer_types
    for layer_idx, skipped in enumerate(config.skipped_sub_blocks()):
        if skipped and (hybrid or not {"attention", "mlp"} >= set(skipped)):
            yield f"layer {layer_idx} skips {', '.join(skipped)}: attention and mlp may be, and nothing in a hybrid"


def as_anymodel(config: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Layers by their plain numbers, and the class that vLLM wraps in the place of the one that it would take."""
    layers = {str(int(layer)): override for layer, override in fields["per_layer_config"].items()}
    (base,) = fields["architectures"]
    return {**fields, "per_layer_config": layers, "architectures": ["AnyModel"], "base_architecture": base}


RUNTIMES = (
    Runtime(
        name="llama.cpp",
        program="llama.cpp b11549",
        problems={
            "nemotron-nas": (windows, lone_attention, first_layer, linear_mlp, head_dim, rope("default", "llama3")),
            "nemotron_h": (both_mixers, dense_mlps),
            "nemotron_h_puzzle": (both_mixers, dense_mlps, latent, one_of(*ONE_OF_PUZZLE)),
            "llama": (),
            "granitemoehybrid": (),
        },
        fields={"granitemoehybrid": with_older_layer_types},
    ),
    Runtime(
        name="mlx",
        program="mlx-lm 0.32.2",
        problems={
            "nemotron-nas": (
                windows,
                linear_attention,
                linear_mlp,
                head_dim,
                rope("default", "llama3", "linear", "yarn"),
            ),
            "nemotron_h": (),
            "llama": (),
        },
        fields={"nemotron-nas": with_rope_scaling},
    ),
    Runtime(  # with this package's plug-in, which finds the families' own folders: `make vllm`
        name="vllm",
        program="vLLM 0.32.0",
        problems=dict.fromkeys(ARCHITECTURES, (beyond_vllm,)),
    ),
    Runtime(  # a pull request and no release, and nothing to run on a CPU: by what ModelOpt 0.47 writes for it
        name="vllm-anymodel",
        program="vLLM with AnyModel (PR 36512)",
        problems={"per_layer_config": (beyond_anymodel,)},
        fields={"per_layer_config": as_anymodel},
        was_run=False,
    ),
)


def runtimes_of(
    format_name: str, config: "HeterogeneousPreTrainedConfig", fields: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """
    Who reads a model in a format; who is not known to read the format at all is not mentioned.

    Args:
        fields: config.json as it was written.

    Returns:
        Program -> the option that it should have been written with, empty if none; program -> why it does not read it.
    """
    known = [runtime for runtime in RUNTIMES if format_name in runtime.problems and runtime.was_run]
    cannot = {str(runtime): runtime.cannot(format_name, config) for runtime in known}
    can = [runtime for runtime in known if not cannot[str(runtime)]]
    changed = {runtime.program: runtime.config(format_name, config, fields) != fields for runtime in can}
    options = {runtime.program: f"--for {runtime.name}" if changed[runtime.program] else "" for runtime in can}
    return options, {program: problems for program, problems in cannot.items() if problems}


def runtime_named(name: str) -> Runtime:
    """
    The program that `--for` names.

    Raises:
        CheckpointError: where it is none of those that were tried.
    """
    if found := next((runtime for runtime in RUNTIMES if runtime.name == name), None):
        return found
    raise CheckpointError(f"--for {name}: known are {', '.join(runtime.name for runtime in RUNTIMES)}", remedy=REMEDY)
