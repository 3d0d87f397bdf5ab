"""
`make puzzletron`: what `describe` says of a model beside what NVIDIA's ModelOpt says of it, in an environment of its own.

ModelOpt's `hf` extra pins a transformers that is older than any wheel of ours. Without the extra it is imported beside our oldest.
For each family small models, some of whose layers have no attention, or no MLP, or less of it: transformers' own model as
Puzzletron patches it, and ours. The table that is printed stands in docs/describe.md.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .tools import MODELS, SIZES


ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".releases/puzzletron"
MODELOPT, TRANSFORMERS = "nvidia-modelopt[puzzletron]==0.47.0", "5.19"
# What is imported and not asked for without the `hf` extra
BESIDE = ("accelerate", "datasets", "requests")
COLUMNS = ("family", "names", "groups", "its no-ops", "ours as a descriptor", "pruning", "parameters of sub-blocks")
NO_WINDOW = {"sliding_window": None}
DENSE = {**MODELS["Qwen3"], **NO_WINDOW}
EXPERTS_ALONE = ["none", "moe", "none", "moe", "none"]  # ModelOpt's first descriptor of Nemotron-H knows no dense MLP
GRANITE = {
    **{**MODELS["GraniteMoeHybrid"], "head_dim": None, "mlp_types": ["moe", "moe", "moe", "none"]},
    **{"num_local_experts": [4, 6, 8, None], "num_experts_per_tok": [2, 2, 3, None], "shared_intermediate_size": 64},
}


@dataclass(frozen=True)
class Case:
    """A family, the class of transformers', what ModelOpt calls its descriptor ("" where it has none), and a small model."""

    family: str
    parent: str
    descriptor: str
    fields: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("Llama", "Llama", "llama", DENSE),
    Case("GptOss", "GptOss", "gpt_oss", MODELS["GptOss"]),
    Case("NemotronH", "NemotronH", "nemotron_h", {**MODELS["NemotronH"], "mlp_types": EXPERTS_ALONE}),
    Case("NemotronH", "NemotronH", "nemotron_h_v2", MODELS["NemotronH"]),
    Case("Qwen2", "Qwen2", "qwen2", {**DENSE, "head_dim": None}),
    Case("Qwen3", "Qwen3", "qwen3", DENSE),
    Case("Mistral", "Mistral", "mistral_small", DENSE),
    Case("Qwen3Moe", "Qwen3Moe", "", MODELS["Qwen3Moe"]),
    Case("GraniteMoeHybrid", "GraniteMoeHybrid", "", GRANITE),
)


def rows(case: Case) -> Iterator[str]:
    """What is equal, a cell each."""
    import torch
    from modelopt.torch.puzzletron.anymodel.model_descriptor import ModelDescriptorFactory

    import transformers
    import transformers_heterogeneous
    from transformers_heterogeneous.converters import describe
    from transformers_heterogeneous.integrations.modelopt import descriptor_of

    from .vllm_proof import shaken

    fields = {name: value for name, value in {**SIZES, **case.fields}.items() if name != "head_dim" or value}
    config = getattr(transformers_heterogeneous, f"Heterogeneous{case.family}Config")(**fields)
    config._attn_implementation = "eager"
    model = shaken(config, case.family)
    parent_class = getattr(transformers, f"{case.parent}ForCausalLM")
    parent_config = parent_of(config, parent_class)
    found = describe(parent_config)
    ours: Any = descriptor_of(found)
    theirs: Any = ModelDescriptorFactory.get(case.descriptor) if case.descriptor else None
    blocks = [describe(config).block_config(layer) for layer in range(config.num_hidden_layers)]
    tokens = torch.arange(11)[None]
    with torch.no_grad():
        expected = model(tokens, use_cache=False).logits

    def same(descriptor: Any) -> str:
        patched = patched_parent(parent_class, parent_config, native(descriptor, ours), blocks)
        patched.load_state_dict(model.state_dict())
        with torch.no_grad():
            logits = patched.eval()(tokens, use_cache=False).logits
        return "the same logits" if torch.equal(logits, expected) else f"{(logits - expected).abs().max():.1e} apart"

    yield f"{case.family}: {case.descriptor or 'none of its own'}"
    if theirs is None:
        yield from ("", "", "", same(ours), f"(ours: {', '.join(ours.pruning_mixins()) or 'none'})")
        yield parameters_of(model, parent_config, ours, blocks)
        return
    yield names_of(theirs, ours, found)
    yield groups_of(parent_class(parent_config), theirs, ours)
    yield same(theirs)
    yield same(ours)
    yield mixins_of(theirs, ours)
    yield parameters_of(model, parent_config, ours, blocks)


def parent_of(config: Any, parent_class: Any) -> Any:
    """The parent's config, its sizes those that most layers have."""
    from transformers_heterogeneous.converters.formats.expression import most_common

    members = {name: value for name, value in config.to_dict().items() if not name.startswith("_")}
    for name in config.per_layer_sizes:
        members[name] = most_common(config.layer_sizes(name), members.get(name))
    kinds = list(zip(config.mixer_types, config.mlp_types, strict=True))
    for name in ("mixer_types", "mlp_types", "fused_blocks", "per_layer_config", "model_type", "architectures"):
        members.pop(name, None)
    parent = parent_class.config_class
    if "layers_block_type" in parent.__dataclass_fields__ or parent.model_type == "nemotron_h":
        words = {"mamba": "mamba", "attention": "attention", "moe": "moe", "dense": "mlp"}
        words["none"] = "mlp" if "dense" in config.mlp_types else "moe"
        members.pop("layer_types", None)
        members.pop("num_hidden_layers")
        members["layers_block_type"] = [words[mlp if mixer == "none" else mixer] for mixer, mlp in kinds]
    if parent.model_type == "qwen3_moe":
        members["mlp_only_layers"] = [layer for layer, (_, mlp) in enumerate(kinds) if mlp == "dense"]
    if parent.model_type == "granitemoehybrid":
        members["layer_types"] = ["mamba" if mixer == "mamba" else "attention" for mixer, _ in kinds]
    made = parent(**members)
    made._attn_implementation = "eager"
    return made


def native(descriptor: Any, ours: Any) -> Any:
    """A descriptor whose layers are transformers' own: those of Nemotron-H look for remote code's."""
    return type(descriptor.__name__, (descriptor,), {"decoder_layer_cls": staticmethod(ours.decoder_layer_cls)})


def patched_parent(parent_class: Any, config: Any, descriptor: Any, blocks: Sequence[dict[str, Any]]) -> Any:
    """The parent's model as Puzzletron makes it; no-ops are put in once it is built, as its own statistics do it where a model
    asks for its norms by name when it is."""
    from modelopt.torch.puzzletron.anymodel.puzzformer import deci_x_patcher
    from modelopt.torch.puzzletron.block_config import maybe_cast_block_configs

    later = {"attn_no_op_post_init": staticmethod(nothing), "mlp_no_op_post_init": staticmethod(nothing)}
    cast = maybe_cast_block_configs(deepcopy(list(blocks)))
    config = deepcopy(config)
    config.block_configs = cast
    with deci_x_patcher(type("Later", (descriptor,), later), cast):
        model = parent_class(config)
    for layer, block in zip(model.base_model.layers, cast, strict=True):
        layer.config = config
        if block.attention.no_op:
            descriptor.attn_no_op_post_init(layer)
        if block.ffn.no_op:
            descriptor.mlp_no_op_post_init(layer)
    return model


def nothing(decoder_layer: Any) -> None:
    """No no-op yet."""


def names_of(theirs: Any, ours: Any, found: Any) -> str:
    """Whether modules are called the same, where the parent's code and remote code may begin names otherwise."""
    methods: tuple[Callable[[Any], Any], ...] = (
        lambda each: each.input_embedding_name(),
        lambda each: each.output_embedding_name(),
        lambda each: each.final_norm_name(),
        lambda each: each.layer_block_name(3),
        lambda each: each.uses_autocast(),
        lambda each: each.attn_no_op_supported(),
        lambda each: each.mlp_no_op_supported(),
    )
    different = []
    for method in methods:
        own, other = method(ours), method(theirs)
        spelt = {own} | {on_disk + str(own).removeprefix(inner) for on_disk, inner in found.renamings.items()}
        if other not in spelt:
            different.append(f"{own} for {other}")
    return ", ".join(different) or "equal"


def groups_of(parent: Any, theirs: Any, ours: Any) -> str:
    """Whether the tensors of a saved checkpoint are in the same groups, and each pattern matches the same of them."""
    from safetensors import safe_open

    with TemporaryDirectory() as name:
        parent.save_pretrained(name)
        (path,) = Path(name).glob("*.safetensors")
        with safe_open(path, "pt") as file:
            saved = list(file.keys())
    spelt = (
        saved
        if "backbone" not in theirs.final_norm_name()
        else ["backbone." + n.split(".", 1)[1] if n.startswith(("model.", "backbone.")) else n for n in saved]
    )
    num_layers = len(parent.base_model.layers)
    expected = {group: sorted(names) for group, names in theirs.get_weight_groups(spelt, num_layers).items()}
    found = {group: sorted(names) for group, names in ours.get_weight_groups(spelt, num_layers).items()}
    return f"equal: {len(found)} of {len(spelt)} tensors" if found == expected else f"{found} for {expected}"


def mixins_of(theirs: Any, ours: Any) -> str:
    """Whether what it prunes by is called the same; of what it has no mixin itself, ours stand alone."""
    own = ours.pruning_mixins()
    said = []
    for name, mixin in theirs.pruning_mixins().items():
        if name == "expert_removal":  # an older name
            continue
        if name not in own:
            said.append(f"{name}: not described")
            continue
        expected, found = vars(mixin.layer_descriptor), vars(own[name].layer_descriptor)
        compared = {each for each in expected if expected[each] and each not in ("expert_weights", "expert_biases")}
        different = {each: found[each] for each in compared if not alike(found[each], expected[each])}
        said.append(f"{name}: {different or 'equal'}")
    return "; ".join(said) or f"(ours: {', '.join(own)})"


def alike(found: Any, expected: Any) -> bool:
    """The same, but for what remote code calls the model, and for the order of a list."""
    if isinstance(expected, list):
        return sorted(found) == sorted(expected)
    return str(found).removeprefix("model.") == str(expected).removeprefix("model.").removeprefix("backbone.")


def parameters_of(model: Any, config: Any, ours: Any, blocks: Sequence[dict[str, Any]]) -> str:
    """Whether Puzzletron, asking our descriptor, counts the parameters that are in each group of our model."""
    from modelopt.torch.puzzletron.block_config import BlockConfig
    from modelopt.torch.puzzletron.subblock_stats.calc_subblock_params_and_memory import calculate_subblock_params

    held = dict(model.named_parameters())
    groups = ours.get_weight_groups(held, len(blocks))
    counts = []
    for layer, block in enumerate(blocks):
        cast = BlockConfig(**deepcopy(block))
        for half, group in ((cast.attention, f"block_{layer}_attention"), (cast.ffn, f"block_{layer}_ffn")):
            if not half.no_op:
                one = deepcopy(config)
                ours.truncate_pattern_for_subblock(one, layer)
                expected = sum(held[name].numel() for name in groups[group])
                counts.append((calculate_subblock_params(one, half, ours), expected))
    wrong = [pair for pair in counts if pair[0] != pair[1]]
    return f"{len(counts) - len(wrong)} of {len(counts)} equal" + f" {wrong}" * bool(wrong)


def prepare() -> Path:
    """The interpreter of an environment with ModelOpt and the wheel for the oldest transformers of ours."""
    from .wheels import built, constraints, run, with_maintenance

    python = ENVIRONMENT / "bin/python"
    if not python.is_file():
        run(sys.executable, "-m", "venv", ENVIRONMENT)
        pins = constraints(ENVIRONMENT)
        install = ["-m", "pip", "install", "--quiet", "--constraint", str(pins)]
        run(python, *install, MODELOPT, f"transformers=={TRANSFORMERS}.*", *BESIDE)
    wheel = built(TRANSFORMERS)
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", wheel)
    return with_maintenance(python)


def main(words: Sequence[str]) -> int:
    """Print the table, of the cases that have one of the words in their names; of all without words."""
    if find_spec("modelopt") is None:
        command: list[str | Path] = [prepare(), "-m", f"{__package__}.puzzletron_proof", *words]
        return subprocess.run(command, cwd=ENVIRONMENT, check=False).returncode  # not where another release is built
    names = ("nvidia-modelopt", "transformers", "torch", "transformers-heterogeneous")
    print(", ".join(f"{name} {version(name)}" for name in names), end="\n\n")
    print("|", " | ".join(COLUMNS), "|\n|", "---|" * len(COLUMNS), flush=True, sep="")
    for case in CASES:
        if not words or any(word in f"{case.family} {case.descriptor}" for word in words):
            print("|", " | ".join(rows(case)), "|", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
