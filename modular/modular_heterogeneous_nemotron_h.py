# Copyright 2024-2025 NVIDIA Corporation and The HuggingFace Inc. team. All rights reserved.
# Copyright 2026 The transformers-heterogeneous authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from transformers.cache_utils import Cache, DynamicCache
from transformers.core_model_loading import MergeModulelist, WeightConverter, WeightTransform
from transformers.integrations import use_experts_implementation
from transformers.modeling_outputs import MoeCausalLMOutputWithPast, MoeModelOutputWithPast
from transformers.models.nemotron_h.configuration_nemotron_h import NemotronHConfig
from transformers.models.nemotron_h.modeling_nemotron_h import (
    MIXER_TYPES,
    NemotronHAttention,
    NemotronHBlock,
    NemotronHExperts,
    NemotronHForCausalLM,
    NemotronHMamba2Mixer,
    NemotronHMLP,
    NemotronHModel,
    NemotronHMoE,
    NemotronHPreTrainedModel,
    NemotronHRMSNorm,
    NemotronHTopkRouter,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, logging

from .modular_heterogeneous import HeterogeneousPreTrainedConfig
from .modular_nemotron_h_layers import (
    BLOCK_TYPES,
    PATTERN_BLOCK_TYPES,
    agreed_layers,
    described_layers,
    read_block_types,
)
from .modular_pretrained_model import HeterogeneousGenerationMixin, HeterogeneousPreTrainedModel, LoadOnlyRenaming


logger = logging.get_logger(__name__)

# Names in older checkpoints -> the fields they became
OLDER_NAMES = {
    "mamba_n_groups": "n_groups",
    "mamba_d_conv": "conv_kernel",
    "mamba_expand": "expand",
    "mamba_dt_min": "time_step_min",
    "mamba_dt_max": "time_step_max",
    "mamba_dt_limit": "time_step_limit",
    "mamba_dt_init_floor": "time_step_floor",
    "mamba_conv_bias": "use_conv_bias",
    "mamba_chunk_size": "chunk_size",
}
# Fields that generations of checkpoints name differently, several of the names beside each other -> names, default
SYNONYMS = {
    "head_dim": (("head_dim", "attention_head_dim"), 128),
    "layer_norm_epsilon": (("layer_norm_epsilon", "norm_eps", "rms_norm_eps"), 1e-5),
}
# What else may say what the layers are made of; read into `mixer_types` and `mlp_types`
LAYER_DESCRIPTIONS = {"layers_block_type", "hybrid_override_pattern"}
LAYERS_BLOCK_TYPES = {layer: name for name, layer in BLOCK_TYPES.items()}  # the last name of each: transformers'
IN_PLACE_OF_A_NUMBER = ("layers_block_type", "layer_types", "hybrid_override_pattern")  # the parent's, which wins
GROUPS = ("n_group", "topk_group", "n_groups")
# Fields that ask for what these layers do not do -> the values that do not
INEXPRESSIBLE_FIELDS = {
    "sliding_window": (None,),
    "attention_bias": (None, False),
    "residual_in_fp32": (None, False),
}


@strict
class HeterogeneousNemotronHConfig(NemotronHConfig, HeterogeneousPreTrainedConfig):
    r"""
    Config of a Nemotron-H whose layers may differ. A layer has one sub-block: a mixer, an MLP, or neither. All fields of
    [`NemotronHConfig`] keep their meaning; those below may be lists with one entry a layer, `None` where the layer has no
    such sub-block. A scalar means every layer.

    Args:
        num_hidden_layers (`int`, *optional*):
            As many as the lists have entries by default.
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"mamba"`, `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"`, `"dense"` or `"none"`, always `"none"` in a layer with a mixer.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 8):
            Key and value heads; each entry divides the query heads.
        ssm_state_size (`int` or `list[int | None]`, defaults to 128):
            State of the mamba layers.
        intermediate_size (`int` or `list[int | None]`, defaults to 21504):
            Width of a dense MLP.
        n_routed_experts (`int` or `list[int | None]`, defaults to 8):
            Routed experts, at least two in each of the `n_group` groups.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 2):
            Experts that a token is routed to, at most as many as `topk_group` groups have.
        moe_intermediate_size (`int` or `list[int | None]`, defaults to 7688):
            Width of one routed expert.
        moe_latent_size (`int` or `list[int | None]`, *optional*):
            Width of what the routed experts read and write. `None` is `hidden_size`, without a projection.
        moe_shared_expert_intermediate_size (`int` or `list[int | None]`, defaults to 7688):
            Width of the shared expert.
        layers_block_type (`list[str]`, *optional*):
            The layers in one list: `"mamba"`, `"attention"`, `"moe"` and `"mlp"`, or `"linear_attention"` and
            `"full_attention"` for the first two. Read into `mixer_types` and `mlp_types`.
        hybrid_override_pattern (`str`, *optional*):
            The layers in one string: `M`, `*`, `E` and `-`. Read likewise and not kept.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed, every entry of
            `per_layer_config`, a list or a pattern that cannot be expressed, and what describes the layers
            differently.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousNemotronHConfig

    >>> config = HeterogeneousNemotronHConfig(
    ...     mixer_types=["mamba", "none", "attention", "none"],
    ...     mlp_types=["none", "moe", "none", "moe"],
    ...     n_routed_experts=[None, 8, None, 4],
    ... )
    >>> config.per_layer_config[3].n_routed_experts
    4
    ```"""

    model_type = "heterogeneous_nemotron_h"
    attribute_map = {"num_local_experts": "n_routed_experts"}
    per_layer_sizes = {
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "ssm_state_size": ("mixer_types", ("mamba",)),
        "intermediate_size": ("mlp_types", ("dense",)),
        "n_routed_experts": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
        "moe_intermediate_size": ("mlp_types", ("moe",)),
        "moe_latent_size": ("mlp_types", ("moe",)),
        "moe_shared_expert_intermediate_size": ("mlp_types", ("moe",)),
    }
    optional_per_layer_sizes = ("moe_latent_size",)
    supported_mixer_types = ("mamba", "attention", "none")
    supported_mlp_types = ("moe", "dense", "none")
    # In whatever list: a name that is not what the layer has is refused
    skippable = {
        "mixer": {"mixer_types": ("mamba", "attention"), "mlp_types": ("moe", "dense")},  # the module's name
        "attention": {"mixer_types": ("attention",), "mlp_types": ()},
        "mamba": {"mixer_types": ("mamba",), "mlp_types": ()},
        "mlp": {"mixer_types": (), "mlp_types": ("dense", "moe")},
        "moe": {"mixer_types": (), "mlp_types": ("moe",)},
    }
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("num_experts_per_tok", "is at most", "n_routed_experts"),
        ("n_group", "divides", "n_routed_experts"),
        ("topk_group", "is at most", "n_group"),
    )
    sharded_sizes = {"ep_size": ("n_routed_experts",)}  # widths are also split unevenly, heads not at all
    compatible_model_types = ("nemotron_h",)
    adapter_targets = {  # without what mamba's fused kernels read the weights of, out_proj and norm
        "linear": ["q_proj", "k_proj", "v_proj", "o_proj", "in_proj", "up_proj", "down_proj"],
        "rescaled": ["k_proj", "v_proj", "in_proj", "down_proj"],
        "feedforward": ["down_proj"],
        "values": ["v_proj"],
        "norms": r"(.*\.)?(layers\.\d+\.norm|norm_f)",
    }

    num_hidden_layers: int | None = None
    time_step_limit: list[int | float] | tuple[int | float, ...] = (0.0, float("inf"))
    num_key_value_heads: int | list[int | None] | None = 8
    head_dim: int | None = None
    layer_norm_epsilon: float | None = None
    intermediate_size: int | list[int | None] | None = 21504
    ssm_state_size: int | list[int | None] | None = 128
    n_routed_experts: int | list[int | None] | None = 8
    num_experts_per_tok: int | list[int | None] | None = 2
    moe_intermediate_size: int | list[int | None] | None = 7688
    moe_latent_size: int | list[int | None] | None = None
    moe_shared_expert_intermediate_size: int | list[int | None] | None = 7688

    def __post_init__(
        self,
        layer_types: list[str] | None = None,
        layers_block_type: list[str] | None = None,
        hybrid_override_pattern: str | None = None,
        mtp_hybrid_override_pattern: str | None = None,
        **kwargs,
    ):
        kwargs = self._read_older_names(kwargs)
        if self.mixer_types is None and self.mlp_types is None:
            for name in ("auto_map", "blockwise_members"):
                kwargs.pop(name, None)  # of the checkpoint's own remote code
        lists = {"layers_block_type": layers_block_type, "layer_types": layer_types}
        self._read_layers(lists, hybrid_override_pattern)
        self._read_mtp_layers(mtp_hybrid_override_pattern, kwargs.get("mtp_block_configs"))
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        limits = self.time_step_limit
        if len(limits) != 2 or not all(isinstance(limit, int | float) for limit in limits):
            self.refuse([f"time_step_limit is {limits!r}: two numbers are needed"])
        self.time_step_limit = [float(limit) for limit in limits]
        HeterogeneousPreTrainedConfig.__post_init__(self, **kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        config_dict, kwargs = cls._with_overridden_names(config_dict, kwargs)
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def _with_overridden_names(cls, config_dict: dict[str, Any], kwargs: dict[str, Any]) -> tuple[dict, dict]:
        """Move keywords under names that are read and not kept to the config, in the place of what they override there."""
        synonyms = {name: names for names, _ in SYNONYMS.values() for name in names}
        overridden = {name for keyword in kwargs for name in synonyms.get(keyword, ())}
        overridden |= {OLDER_NAMES[keyword] for keyword in OLDER_NAMES.keys() & kwargs.keys()}
        described = {*LAYER_DESCRIPTIONS, *cls.published_readers}
        if described & kwargs.keys():
            overridden |= {"mixer_types", "mlp_types", "num_hidden_layers", "layer_types", *described}
        moved = {*synonyms, *OLDER_NAMES, *described} & kwargs.keys()
        config_dict = {name: value for name, value in config_dict.items() if name not in overridden}
        config_dict |= {name: kwargs[name] for name in moved}
        return config_dict, {name: value for name, value in kwargs.items() if name not in moved}

    def _read_older_names(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keywords that are left when the names of older checkpoints are read."""
        for name in OLDER_NAMES.keys() & kwargs.keys():
            setattr(self, OLDER_NAMES[name], kwargs[name])
        errors = self._inexpressible_errors()
        for field, (names, default) in SYNONYMS.items():
            given = {name: kwargs.get(name) for name in names} | {field: getattr(self, field)}
            given = {name: value for name, value in given.items() if value is not None}
            if any(value != other for value in given.values() for other in given.values()):
                errors.append(f"{given}: these are names of one field, {field}, and contradict one another")
            setattr(self, field, next(iter(given.values()), default))
        self.refuse(errors)
        read = {*OLDER_NAMES, *(name for names, _ in SYNONYMS.values() for name in names)}
        return {name: value for name, value in kwargs.items() if name not in read}

    def _read_layers(self, lists: dict[str, list[str] | None], hybrid_override_pattern: str | None):
        """Set `mixer_types`, `mlp_types` and `num_hidden_layers`; what is given has to agree."""
        patterns = {"hybrid_override_pattern": hybrid_override_pattern}
        descriptions = described_layers(self.mixer_types, self.mlp_types, lists, patterns)
        if not descriptions:
            block_types = ["linear_attention", "moe", "full_attention", "mlp"]  # as Nemotron-H has it
            descriptions = described_layers(None, None, {"the default layers_block_type": block_types}, {})

        layers = agreed_layers(descriptions)
        name = next(iter(descriptions))
        if self.num_hidden_layers not in (None, len(layers)) and name in IN_PLACE_OF_A_NUMBER:
            stated = f"num_hidden_layers is {self.num_hidden_layers}, but there are {len(layers)} in {name}"
            logger.warning(f"{stated}: these are built, as Nemotron-H does.")
        elif self.num_hidden_layers not in (None, len(layers)):
            self.refuse([f"num_hidden_layers is {self.num_hidden_layers}, but there are {len(layers)} in {name}"])
        self.num_hidden_layers = len(layers)
        self.mixer_types, self.mlp_types = [mixer for mixer, _ in layers], [mlp for _, mlp in layers]

    def _read_mtp_layers(self, pattern: str | None, block_configs: list[dict[str, Any]] | None):
        """Set `mtp_layers_block_type`. The layers of multi-token prediction are not built, what is said of them is kept."""
        is_list = isinstance(block_configs, list | tuple)
        if block_configs is not None and not (is_list and all(isinstance(block, dict) for block in block_configs)):
            self.refuse([f"mtp_block_configs is a list of objects with a block_type each, not {block_configs!r}"])
        block_types = None if block_configs is None else [block.get("block_type") for block in block_configs]
        lists = {"mtp_layers_block_type": self.mtp_layers_block_type, "mtp_block_configs": block_types}
        descriptions = described_layers(None, None, lists, {"mtp_hybrid_override_pattern": pattern})
        layers = agreed_layers(descriptions) if descriptions else [("attention", "none"), ("none", "moe")]
        self.mtp_layers_block_type = [LAYERS_BLOCK_TYPES[layer] for layer in layers]

    @property
    def layers_block_type(self) -> list[str]:
        """The layers in one list, as configs of Nemotron-H have them; `"none"` is a layer without a sub-block."""
        return [LAYERS_BLOCK_TYPES[layer] for layer in zip(self.mixer_types, self.mlp_types)]

    @layers_block_type.setter
    def layers_block_type(self, block_types: list[str]):
        layers = read_block_types("layers_block_type", block_types)
        self.mixer_types, self.mlp_types = [mixer for mixer, _ in layers], [mlp for _, mlp in layers]

    def skipped_sub_blocks(self, layer_idx: int) -> list[str]:
        return ["mixer"] if self.mixer_types[layer_idx] == self.mlp_types[layer_idx] == "none" else []

    def _type_errors(self) -> list[str]:
        layers = enumerate(zip(self.mixer_types, self.mlp_types))
        return [
            *super()._type_errors(),
            *(f"{name} is {getattr(self, name)}, at least 1 is needed" for name in GROUPS if getattr(self, name) < 1),
            *self._inexpressible_errors(),
            *(
                f"layer {layer_idx} has a mixer, {mixer!r}, and an MLP, {mlp!r}: one sub-block a layer, so one is 'none'"
                for layer_idx, (mixer, mlp) in layers
                if "none" not in (mixer, mlp)
            ),
        ]

    def _inexpressible_errors(self) -> list[str]:
        return [
            f"{name} = {getattr(self, name)!r} is not what these layers do, only {list(allowed)}"
            for name, allowed in INEXPRESSIBLE_FIELDS.items()
            if getattr(self, name) not in allowed
        ]

    def _relation_errors(self) -> list[str]:
        errors = super()._relation_errors()
        wrong = {}
        layers = zip(self.layer_sizes("n_routed_experts"), self.layer_sizes("num_experts_per_tok"))
        for layer_idx, (num_experts, top_k) in enumerate(layers):
            num_in_group = (num_experts or 0) // max(self.n_group, 1)
            message = f"n_routed_experts = {num_experts} in n_group = {self.n_group} groups"
            if num_experts and num_in_group < 2:
                message += ": the router rates a group by its best two experts"
                wrong.setdefault(message, []).append(layer_idx)
            elif num_experts and top_k and num_experts >= top_k > self.topk_group * num_in_group:
                message += f": the topk_group = {self.topk_group} best have less than num_experts_per_tok = {top_k}"
                wrong.setdefault(message, []).append(layer_idx)
        return errors + [f"layers {layers}: {message}" for message, layers in wrong.items()]

    def normalise(self):
        if self.tie_word_embeddings:
            logger.warning(
                "tie_word_embeddings is True and taken for False: a Nemotron-H has a head of its own. A checkpoint without "
                "lm_head.weight was saved tied, by 0.1.0 of this package: put a copy of model.embeddings.weight there."
            )
            self.tie_word_embeddings = False  # what the models do, which have no such tie in transformers either
        super().normalise()

    def validate_layer_type(self):
        raise AttributeError("The layers are checked in HeterogeneousPreTrainedConfig")

    @staticmethod
    def _list_to_pattern(layers_list: list[str]) -> str:
        """The layers in one string, for code that reads it."""
        patterns = {BLOCK_TYPES[name]: character for character, name in PATTERN_BLOCK_TYPES.items()}
        empty = [idx for idx, name in enumerate(layers_list) if BLOCK_TYPES[name] not in patterns]
        if empty:
            raise AttributeError(f"a pattern has no character for layers with nothing in them, here {empty}")
        return "".join(patterns[BLOCK_TYPES[name]] for name in layers_list)


class ExpertsConverter(WeightConverter):
    """Stacks the experts of a layer. They are saved one by one, also when they were stacked in the file."""

    __slots__ = ()

    def was_used(self) -> bool:
        return True


class HeterogeneousNemotronHMamba2Mixer(NemotronHMamba2Mixer):
    def __init__(self, config: HeterogeneousNemotronHConfig, layer_idx: int, initialize_mixer_weights: bool = True):
        model_config, config = config, config.per_layer_config[layer_idx]  # sizes are those of the layer
        super().__init__(config, layer_idx, initialize_mixer_weights)
        self.config = model_config


class HeterogeneousNemotronHRMSNorm(NemotronHRMSNorm):
    pass


class HeterogeneousNemotronHMLP(NemotronHMLP):
    def __init__(self, config: HeterogeneousNemotronHConfig, layer_idx: int, intermediate_size: int | None = None):
        intermediate_size = intermediate_size or config.per_layer_config[layer_idx].intermediate_size
        super().__init__(config, intermediate_size)


@use_experts_implementation(has_gate=False)
class HeterogeneousNemotronHExperts(NemotronHExperts):
    pass


class HeterogeneousNemotronHTopkRouter(NemotronHTopkRouter):
    pass


class HeterogeneousNemotronHMoE(NemotronHMoE):
    def __init__(self, config: HeterogeneousNemotronHConfig, layer_idx: int):
        model_config, config = config, config.per_layer_config[layer_idx]  # sizes are those of the layer
        super().__init__(config, layer_idx)
        self.config = model_config
        self.shared_experts = HeterogeneousNemotronHMLP(
            model_config, layer_idx, intermediate_size=config.moe_shared_expert_intermediate_size
        )
        self.experts.config = model_config  # the one that `set_experts_implementation` changes


class HeterogeneousNemotronHAttention(NemotronHAttention):
    def __init__(self, config: HeterogeneousNemotronHConfig, layer_idx: int):
        model_config, config = config, config.per_layer_config[layer_idx]  # sizes are those of the layer
        super().__init__(config, layer_idx)
        self.config = model_config  # the one that `set_attn_implementation` changes


class HeterogeneousNemotronHBlock(NemotronHBlock):
    """
    A layer: a norm and one sub-block, which is mamba, attention, an MLP or experts, or nothing at all.
    """

    def __init__(self, config: HeterogeneousNemotronHConfig, layer_idx: int):
        nn.Module.__init__(self)
        self.config = config
        self.layer_idx = layer_idx
        self.block_type = config.layers_block_type[layer_idx]
        if self.block_type != "none":
            self.norm = HeterogeneousNemotronHRMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)
            self.mixer = MIXER_TYPES[self.block_type](config, layer_idx=layer_idx)

    def forward(
        self,
        hidden_states: torch.Tensor,
        cache: Cache | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        use_cache: bool | None = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        if self.block_type == "none":
            return hidden_states
        return super().forward(hidden_states, cache, attention_mask, position_ids, use_cache, **kwargs)


class HeterogeneousNemotronHPreTrainedModel(NemotronHPreTrainedModel, HeterogeneousPreTrainedModel):
    ignored_tensors = {"mtp.*": "layers of multi-token prediction, which this family does not build"}
    # diff with NemotronH, which rounds the parameters of the recurrence
    _keep_in_fp32_modules_strict = ["e_score_correction_bias", "gate.weight", "A_log", "D"]

    def renamings(self, config: HeterogeneousNemotronHConfig) -> list[WeightTransform]:
        prefix = LoadOnlyRenaming(r"^backbone\.", "model.")  # of older checkpoints
        experts = [
            ExpertsConverter(f"mixer.experts.*.{name}.weight", f"mixer.experts.{name}", [MergeModulelist(dim=0)])
            for name in ("up_proj", "down_proj")
        ]
        return [prefix, *experts, *super().renamings(config)]


class HeterogeneousNemotronHModel(NemotronHModel):
    def __init__(self, config: HeterogeneousNemotronHConfig):
        config.check_layers()
        super().__init__(config)
        self.plan_masks(config)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | MoeModelOutputWithPast:
        if (input_ids is None) ^ (inputs_embeds is not None):  # ^ is python for xor
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")

        if inputs_embeds is None:
            inputs_embeds = self.embeddings(input_ids)

        self.follow_changes(cache, use_cache)
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)

        self.fill_cache(cache)

        hidden_states = inputs_embeds

        # Nothing but attention asks for positions, and a cache of mamba layers alone does not know them
        if position_ids is None and "full_attention" in self.mask_kinds:
            past_seen_tokens = cache.get_seq_length() if cache is not None else 0
            position_ids = torch.arange(hidden_states.shape[1], device=hidden_states.device) + past_seen_tokens
            position_ids = position_ids.unsqueeze(0)

        # `generate` prepares the masks of a compiled forward
        if not isinstance(causal_masks := attention_mask, dict):
            causal_masks = self.create_masks_for_generate(
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                cache=cache,
                position_ids=position_ids,
            )

        for mixer_block in self.layers:
            mask_name = mixer_block.mask_name
            hidden_states = mixer_block(
                hidden_states,
                attention_mask=None if mask_name is None else causal_masks[mask_name],
                position_ids=position_ids,
                cache=cache,
                use_cache=use_cache,
                **kwargs,
            )

        hidden_states = self.norm_f(hidden_states)

        return MoeModelOutputWithPast(
            last_hidden_state=hidden_states,
            cache=cache if use_cache else None,
        )


class HeterogeneousNemotronHForCausalLM(NemotronHForCausalLM, HeterogeneousGenerationMixin):
    def forward(self, **super_kwargs) -> tuple | MoeCausalLMOutputWithPast:
        r"""
        Example:

        ```python
        >>> import transformers_heterogeneous
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer

        >>> path = "nvidia/NVIDIA-Nemotron-Labs-3-Puzzle-75B-A9B-BF16"
        >>> model = AutoModelForCausalLM.from_pretrained(path, device_map="auto")
        >>> tokenizer = AutoTokenizer.from_pretrained(path)

        >>> inputs = tokenizer("Layers that are narrower", return_tensors="pt").to(model.device)
        >>> tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0])
        ```"""
        return super().forward(**super_kwargs)

    def create_masks_for_generate(self):
        raise AttributeError("See HeterogeneousPreTrainedModel")


__all__ = [
    "HeterogeneousNemotronHConfig",
    "HeterogeneousNemotronHForCausalLM",
    "HeterogeneousNemotronHModel",
    "HeterogeneousNemotronHPreTrainedModel",
]
