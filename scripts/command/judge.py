"""`hetero check --run --heterogeneous`: is a family, with layers that differ, what the parent's own layers put together are?

Nothing is known here of how the family was written. A model of the family is compared, bit for bit in fp32 on the CPU, with the
parent's model into which layers were put by hand, each taken from a model of the parent with the config of that layer. Of a
sub-block that a layer lacks, the parent's layer gives zeros. Which parts of a layer these are is seen while the parent runs.
"""

import dataclasses
import importlib
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers_heterogeneous.integrations.whole_package import execute_package

from ..modular_converter.run import expand
from ..modular_converter.shards.reading import read_shard
from ..modular_converter.shards.shard import Shard
from ..modular_converter.sources.siblings import siblings_of
from .oracle import package_of
from .run_shard import read_changes
from .small import LAYERS, small_decoder
from .small_models import small_fields


LENGTH, PROMPT, SEED = 9, 5, 0
_NUMBERS = itertools.count()
# Layers that lack something: the first one too, since caches and masks look at it; of several, one that is not all that attends
NO_MIXER, NO_MLP = ((0,), (4, 5)), (2, 4)


@dataclass
class Verdict:
    """What was equal, what was not, and what could not be run."""

    equal: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    varied: list[str] = field(default_factory=list)

    def compare(self, what: str, ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> None:
        if not ours:
            raise ValueError(f"{what}: there is nothing to compare")
        wrong = [name for name in ours if not torch.equal(ours[name], theirs[name])]
        if wrong:
            far = max((ours[name] - theirs[name]).abs().max().item() for name in wrong)
            self.differences.append(f"{what}: {', '.join(wrong[:3])} differ by up to {far:.3g}")
        else:
            self.equal.append(what)


@dataclass(frozen=True)
class Family:
    """A family and its parent: configs and causal models."""

    config: type[PreTrainedConfig]
    model: type[PreTrainedModel]
    parent_config: type[PreTrainedConfig]
    parent_model: type[PreTrainedModel]


def judge_command(shards: Sequence[Path], config: str | None) -> int:
    """
    Judge the families of shards.

    Args:
        config: fields of the small config that models are built from, as JSON or a file of it.

    Returns:
        0 when all are equal, 1 when something differs, 2 when something could not be run.
    """
    changes = read_changes(config)
    if changes is None:
        return 2
    execute_package()
    codes = []
    for shard in shards:
        with redirect_stdout(sys.stderr):
            verdict = judged(Path(os.path.abspath(shard)), changes)
        for line in verdict.differences:
            print(f"{shard.name}: {line}")
        for line in verdict.failures:
            print(f"{shard.name}: {line}", file=sys.stderr)
        said = "differs" if verdict.differences else "not judged" if verdict.failures else "equal"
        print(
            f"{shard.name}: {said}; varied: {', '.join(verdict.varied)}; equal: {', '.join(verdict.equal) or 'nothing'}"
        )
        codes.append(1 if verdict.differences else 2 if verdict.failures else 0)
    return max(codes, default=0)


def judged(shard: Path, changes: Mapping[str, Any]) -> Verdict:
    """Expand a shard and judge what it expands to."""
    verdict = Verdict()
    with tempfile.TemporaryDirectory() as folder:
        run = expand([shard], lambda path: Path(folder))
        if run.failed:
            verdict.failures += run.messages()
            return verdict
        for path, text in run.files.items():
            path.write_text(text, encoding="utf-8")
        try:
            family = load_family(shard, Path(folder))
            judge(family, changes, verdict)
        except Exception as error:  # any code of a model may raise anything
            verdict.failures.append(told(error))
    return verdict


def told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def load_family(shard: Path, folder: Path) -> Family:
    """Import what a shard expands to, and its parent from transformers."""
    read = read_shard(shard, siblings_of(shard, lambda each: each.parent, {}))
    package = package_of(f"_hetero_judged_{next(_NUMBERS)}", [folder])
    modules = [importlib.import_module(f"{package}.{kind}_{read.model}") for kind in ("configuration", "modeling")]
    config, parent_config = _pair(read, modules[0], "Config")
    model, parent_model = _pair(read, modules[1], "ForCausalLM")
    return Family(config, model, parent_config, parent_model)


def _pair(shard: Shard, module: ModuleType, ending: str) -> tuple[type, type]:
    """The family's class with this ending, and the parent's."""
    for name in shard.exported or ():
        found = vars(module).get(name)
        if name.endswith(ending) and isinstance(found, type):
            parent = shard.parent_of(name)
            if parent is not None:
                return found, getattr(importlib.import_module(shard.parents[parent[0]].module), parent[1])
    raise LookupError(f"{shard.path.name} exports no ...{ending}")


def judge(family: Family, changes: Mapping[str, Any], verdict: Verdict) -> None:
    """A uniform model against the parent, then one with layers that differ against the parent's layers."""
    fields = fields_of(family, changes)
    try:
        parent = built(family.parent_model, family.parent_config(**fields))
        steps(parent, DynamicCache(config=parent.config))
    except Exception as error:
        verdict.failures.append(
            f"the parent does not run from the small config (give its fields with --config): {told(error)}"
        )
        return
    uniform = family.config(**fields)
    ours = built(family.model, uniform)
    ours.load_state_dict(parent.state_dict())
    compare_models("uniform", ours, parent, DynamicCache(config=parent.config), verdict)
    read_from_parent(family, parent, verdict)
    config, layers = mixed_configs(family, fields, uniform, verdict)
    reference = put_together(family, parent, fields, layers, uniform)
    for layer_idx, layer in enumerate(layers):
        silence(reference, layer_idx, layer)
    ours = built(family.model, config)
    take_weights(ours, reference.model, layers, reference.parts, verdict)
    with reference.masks():
        compare_models("mixed", ours, reference.model, reference.cache(), verdict)


def fields_of(family: Family, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the small config that both are built from."""
    declared = {each.name for each in dataclasses.fields(family.parent_config)}
    defaults = {name: value for name, value in vars(family.parent_config()).items() if name in declared}
    nested = small_fields(family.parent_config, {})  # of a decoder with other models in its config
    fields = small_decoder(defaults) | {name: value for name, value in nested.items() if isinstance(value, dict)}
    kinds = vars(family.parent_config(**{**fields, **changes})).get("layer_types")
    if "layer_types" in declared and kinds and set(kinds) == {"linear_attention"}:
        fields["layer_types"] = ["linear_attention", "full_attention"] * (LAYERS // 2)
    words = [*vars(family.config).get("mixers_by_layer_type", ())]  # kinds of layers of its own: all of them are there
    if "layer_types" in declared and set(words) - set(kinds or ()):
        fields["layer_types"] = (words * LAYERS)[:LAYERS]
    return {**fields, **changes}


def built(model: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """A model with weights that nothing hides behind: norms that are not one, biases that are not zero."""
    torch.manual_seed(SEED)
    made = model(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return made


@dataclass(frozen=True)
class LayerOfMix:
    """What one layer of the mixed model is: fields of its own, and what it lacks; `like` is the parent's layer it is."""

    fields: Mapping[str, Any]
    mixer: bool
    mlp: bool
    like: int


def mixed_configs(
    family: Family, fields: Mapping[str, Any], uniform: PreTrainedConfig, verdict: Verdict
) -> tuple[PreTrainedConfig, list[LayerOfMix]]:
    """The config of the mixed model, and its layers."""
    mixers, mlps = list(uniform.mixer_types), list(uniform.mlp_types)
    like = swapped(mlps)
    mlps = [mlps[each] for each in like]
    for several in NO_MIXER:
        left = [each for each in several if "attention" in mixers[:each] + mixers[each + 1 :]]
        mixers[left[0]] = "none"
    for layer_idx in NO_MLP:
        mlps[layer_idx] = "none"
    having = {"mixer_types": mixers, "mlp_types": mlps}
    lists: dict[str, list[Any]] = {}
    for number, (name, (types, kinds)) in enumerate(family.config.per_layer_sizes.items()):
        size = getattr(uniform, name)
        if name == "sliding_window":
            lists[name] = windows(uniform, mixers)
        elif isinstance(size, int) and size > 1:
            other = other_size(name, size, uniform)
            sizes = [size if (layer >> (number % 3)) & 1 else other for layer in range(LAYERS)]
            lists[name] = [each if kind in kinds else None for each, kind in zip(sizes, having[types], strict=True)]
    verdict.varied += lists
    given = {name: value for name, value in fields.items() if name not in lists}
    config = family.config(**given, **lists, mixer_types=mixers, mlp_types=mlps)
    layers = []
    for layer_idx in range(LAYERS):
        own = {
            name: each[layer_idx]
            for name, each in lists.items()
            if each[layer_idx] is not None or name == "sliding_window"
        }
        if "sliding_window" in lists and "layer_types" in vars(family.parent_config()):
            layers_ = zip(mixers, config.layer_types, uniform.layer_types, strict=True)
            kinds_ = [as_parent if mixer == "none" else kind for mixer, kind, as_parent in layers_]
            own |= {"layer_types": kinds_, "sliding_window": own["sliding_window"] or 4}
        layers.append(LayerOfMix(own, mixers[layer_idx] != "none", mlps[layer_idx] != "none", like[layer_idx]))
    return config, layers


def other_size(name: str, size: int, uniform: PreTrainedConfig) -> int:
    """Half of a size, or twice where the half is none that the family allows."""
    for one, relation, two in uniform.related_sizes:
        wrong = {"divides": lambda other: size // 2 % other, "is at most": lambda other: size // 2 < other}
        if two == name and wrong[relation](getattr(uniform, one)):
            return 2 * size
    return size // 2


def swapped(mlps: Sequence[str]) -> list[int]:
    """For each layer, the parent's layer whose MLP it gets: of two kinds, one of each is exchanged."""
    like = list(range(LAYERS))
    for layer_idx in (1, 6):
        other = next((each for each in range(LAYERS) if mlps[each] != mlps[layer_idx]), None)
        like[layer_idx] = layer_idx if other is None else other
    return like


def windows(uniform: PreTrainedConfig, mixers: Sequence[str]) -> list[int | None]:
    """Two windows among the layers that slide; where all layers slide, some do not."""
    slides = [kind == "sliding_attention" for kind in uniform.layer_types]
    found: list[int | None] = [
        (4 if layer_idx % 2 else 6) if slide and not (all(slides) and layer_idx == 3) else None
        for layer_idx, slide in enumerate(slides)
    ]
    return [window if mixer == "attention" else None for window, mixer in zip(found, mixers, strict=True)]


@dataclass
class Reference:
    """The parent's model with layers of other models of the parent in it."""

    model: PreTrainedModel
    configs: list[PreTrainedConfig]
    parts: list[tuple[list[str], list[str]]]  # of each layer: parts that mix tokens, parts that do not
    own_masks: bool

    def cache(self) -> DynamicCache:
        """The cache that each layer has in a model of its own."""
        cache = DynamicCache(config=self.model.config)
        cache.layers = [DynamicCache(config=config).layers[idx] for idx, config in enumerate(self.configs)]
        return cache

    @contextmanager
    def masks(self) -> Iterator[None]:
        """Give each layer the mask of its own window."""
        if not self.own_masks:
            yield
            return
        given: dict[str, Any] = {}

        def note(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            given["mask"] = kwargs.get("attention_mask")

        def mask_of(layer_idx: int) -> Any:
            def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
                config = self.configs[layer_idx]
                window = getattr(config, "sliding_window", None)
                kinds = getattr(config, "layer_types", None)
                if kinds and kinds[layer_idx] not in ("sliding_attention", "full_attention"):
                    return None
                slides = window is not None if not kinds else kinds[layer_idx] == "sliding_attention"
                make = create_sliding_window_causal_mask if slides else create_causal_mask
                hidden = args[0] if args else kwargs["hidden_states"]
                mask = make(
                    config, hidden, given["mask"], kwargs.get("cache"), kwargs.get("position_ids"), layer_idx=layer_idx
                )
                return args, {**kwargs, "attention_mask": mask}

            return hook

        layers = layers_of(self.model)
        hooks = [decoder_of(self.model)[0].register_forward_pre_hook(note, with_kwargs=True)]
        hooks += [layer.register_forward_pre_hook(mask_of(idx), with_kwargs=True) for idx, layer in enumerate(layers)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def put_together(
    family: Family,
    parent: PreTrainedModel,
    fields: Mapping[str, Any],
    layers: Sequence[LayerOfMix],
    uniform: PreTrainedConfig,
) -> Reference:
    """The parent's model with each layer taken from a model with the config of that layer."""
    configs, taken, parts = [], [], []
    for layer_idx, layer in enumerate(layers):
        config = family.parent_config(**{**fields, **layer.fields})
        torch.manual_seed(SEED + 1 + layer_idx)
        donor = family.parent_model(config).eval()
        parts.append(parts_of_layer(donor, layer.like))
        module = layers_of(donor)[layer_idx]
        like = layers_of(donor)[layer.like]
        for name, part in like.named_children():  # of two kinds of MLP, the layer's, and its norms where they differ
            others = type(part) is not type(getattr(module, name, part)) and name not in parts[-1][0]
            if others or name in parts[-1][1]:
                setattr(module, name, part)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        configs.append(config)
        taken.append(module)
    decoder, name = decoder_of(parent)
    setattr(decoder, name, nn.ModuleList(taken))
    return Reference(parent, configs, parts, "sliding_window" in family.config.per_layer_sizes)


def decoder_of(model: PreTrainedModel) -> tuple[nn.Module, str]:
    """The module that has the layers, and its name for them."""
    lists = (name for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part) == LAYERS)
    owner, _, name = next(lists).rpartition(".")
    return model.get_submodule(owner), name


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    decoder, name = decoder_of(model)
    layers = getattr(decoder, name)
    assert isinstance(layers, nn.ModuleList)
    return layers


def parts_of_layer(model: PreTrainedModel, layer_idx: int) -> tuple[list[str], list[str]]:
    """The parts of a layer that mix tokens, seen while the model runs, and those that do not and have matrices, norms left out."""
    layer = layers_of(model)[layer_idx]
    mixing: list[str] = []
    hooks = []
    for name, part in layer.named_children():

        def note(module: nn.Module, args: Any, kwargs: dict[str, Any], name: str = name) -> None:
            if {"cache", "attention_mask", "position_embeddings"} & kwargs.keys():
                mixing.append(name)

        hooks.append(part.register_forward_pre_hook(note, with_kwargs=True))
    with torch.no_grad():
        model(tokens())
    for hook in hooks:
        hook.remove()
    others = [
        name
        for name, part in layer.named_children()
        if name not in mixing and "norm" not in name and any(each.ndim > 1 for each in part.parameters())
    ]
    return mixing, others


def silence(reference: Reference, layer_idx: int, layer: LayerOfMix) -> None:
    """Let the parts that a layer is to lack give zeros."""
    mixing, others = reference.parts[layer_idx]
    for name in (mixing if not layer.mixer else []) + (others if not layer.mlp else []):
        part = layers_of(reference.model)[layer_idx].get_submodule(name)
        part.register_forward_hook(lambda module, args, output: zeros(output))


def zeros(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return torch.zeros_like(output)
    return tuple(map(zeros, output)) if isinstance(output, tuple) else output


def take_weights(
    ours: PreTrainedModel,
    theirs: PreTrainedModel,
    layers: Sequence[LayerOfMix],
    parts: Sequence[tuple[list[str], list[str]]],
    verdict: Verdict,
) -> None:
    """Give the family's model the weights of the reference, and see that it has nothing of what its layers lack."""
    state = {within(theirs, name): tensor for name, tensor in theirs.state_dict().items()}
    own = ours.state_dict()
    ours.load_state_dict({name: state[within(ours, name)] for name in own})
    prefix = next(name for name, part in ours.named_modules() if part is layers_of(ours))
    for layer_idx, (layer, (mixing, others)) in enumerate(zip(layers, parts, strict=True)):
        lacking = (mixing if not layer.mixer else []) + (others if not layer.mlp else [])
        built = [part for part in lacking if any(name.startswith(f"{prefix}.{layer_idx}.{part}.") for name in own)]
        verdict.differences += [f"layer {layer_idx} has {part}, which it is to lack" for part in built]


def compare_models(
    what: str, ours: PreTrainedModel, theirs: PreTrainedModel, cache: DynamicCache, verdict: Verdict
) -> None:
    """Forward with and without padding, cached steps, generation, gradients, saving and loading."""
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[0, :3] = 0
    with torch.no_grad():
        first, second = (model(tokens(), use_cache=False).logits for model in (ours, theirs))
        verdict.compare(f"{what} forward", {"logits": first}, {"logits": second})
        if not torch.isfinite(second).all():
            raise ValueError("the reference has outputs that are not finite")
        first, second = (model(tokens(), attention_mask=mask, use_cache=False).logits for model in (ours, theirs))
        verdict.compare(f"{what} padded", {"logits": first[mask.bool()]}, {"logits": second[mask.bool()]})
        expected, greedy = steps(theirs, cache)
        found, _ = steps(ours, None)
        verdict.compare(f"{what} cached steps", found, expected)
        made = ours.generate(
            tokens()[:, :PROMPT], max_new_tokens=greedy.shape[1], do_sample=False, eos_token_id=None, pad_token_id=0
        )
        verdict.compare(f"{what} generation", {"tokens": made[:, PROMPT:]}, {"tokens": greedy})
    gradients = []
    for model in (ours, theirs):
        model.zero_grad()
        model(tokens(), use_cache=False).logits.square().mean().backward()
        named = model.named_parameters()
        gradients.append({within(model, name): each.grad for name, each in named if each.grad is not None})
    left = sorted(name for name in gradients[1].keys() - gradients[0].keys() if gradients[1][name].abs().max())
    verdict.differences += [f"{what} gradients: only the parent's layers have one for {left[0]}"] if left else []
    missing = sorted(gradients[0].keys() - gradients[1].keys())
    verdict.differences += [f"{what} gradients: only the family has one for {missing[0]}"] if missing else []
    both = gradients[0].keys() & gradients[1].keys()
    verdict.compare(f"{what} gradients", {name: gradients[0][name] for name in both}, gradients[1])
    saved(what, ours, verdict)


def within(model: PreTrainedModel, name: str) -> str:
    """The name of a parameter without that of the decoder, which some models call by their own."""
    return name.removeprefix(f"{model.base_model_prefix}.")


def saved(what: str, ours: PreTrainedModel, verdict: Verdict) -> None:
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        ours.save_pretrained(folder)
        again = type(ours).from_pretrained(folder, dtype=torch.float32).eval()
        first, second = ours.state_dict(), again.state_dict()
        if first.keys() != second.keys():
            verdict.differences.append(
                f"{what} saved and loaded: other tensors, {sorted(first.keys() ^ second.keys())[:3]}"
            )
            return
        logits = {"logits": ours(tokens(), use_cache=False).logits}
        verdict.compare(
            f"{what} saved and loaded",
            {**first, **logits},
            {**second, "logits": again(tokens(), use_cache=False).logits},
        )


def read_from_parent(family: Family, parent: PreTrainedModel, verdict: Verdict) -> None:
    """A checkpoint of the parent, read by the family and saved again: the same tensors under the same names."""
    what = "uniform parent's checkpoint"
    with tempfile.TemporaryDirectory() as folder:
        parent.save_pretrained(f"{folder}/theirs")
        family.model.from_pretrained(f"{folder}/theirs", dtype=torch.float32).save_pretrained(f"{folder}/ours")
        ours, theirs = (load_file(f"{folder}/{name}/model.safetensors") for name in ("ours", "theirs"))
    if ours.keys() != theirs.keys():
        verdict.differences.append(f"{what}: other tensors, {sorted(ours.keys() ^ theirs.keys())[:3]}")
        return
    verdict.compare(what, ours, theirs)


def steps(model: PreTrainedModel, cache: DynamicCache | None) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The logits of a prompt and of tokens one by one behind it, and the tokens that are the likeliest."""
    found, likeliest = {}, []
    with torch.no_grad():
        given, positions = tokens()[:, :PROMPT], torch.arange(PROMPT)[None].expand(2, -1)
        for at in range(LENGTH - PROMPT + 2):
            out = model(given, cache=cache, use_cache=True, position_ids=positions)
            given, positions, cache = out.logits[:, -1:].argmax(-1), positions[:, -1:] + 1, out.cache
            found[f"step {at}"] = out.logits
            likeliest.append(given)
    return found, torch.cat(likeliest, 1)


def tokens() -> torch.Tensor:
    return torch.randint(3, 100, (2, LENGTH), generator=torch.Generator().manual_seed(SEED))
