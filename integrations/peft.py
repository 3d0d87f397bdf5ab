"""PEFT: which modules an adapter goes to where its config names none, what cannot be put on layers that differ, and whose
models are loaded for an adapter."""

import functools
import re
import sys
from collections.abc import Iterable
from copy import copy
from typing import Any


CONSTANTS, MODELS, AUTO = "peft.utils.constants", "peft.peft_model", "peft.auto"
PACKAGE = "transformers_heterogeneous"
TABLE = re.compile(r"TRANSFORMERS_MODELS_TO_(\w+)_MODULES_MAPPING")
KINDS = {
    "IA3_TARGET": "rescaled",
    "IA3_FEEDFORWARD": "feedforward",
    "LNTUNING_TARGET": "norms",
    "BEFT_TARGET": "values",
}
ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
# Kind of table -> names of modules, or a regular expression, of a family with Llama's names. Experts are no modules:
# `target_parameters` reaches them
NAMED_LIKE_LLAMA: dict[str, list[str] | str] = {
    "linear": [*ATTENTION, *MLP],
    "rescaled": ["k_proj", "v_proj", "down_proj"],
    "feedforward": ["down_proj"],
    "values": ["v_proj"],
    "norms": ["input_layernorm", "post_attention_layernorm", "norm"],
}
# Model type -> the same, where the family has more or other modules, or none in its MLP. What mamba's fused kernels read the
# weights of, out_proj and norm, is left out
TARGETS: dict[str, dict[str, list[str] | str]] = {
    "heterogeneous_llama": {
        **NAMED_LIKE_LLAMA,
        "linear": [*ATTENTION, "linear_attn", *MLP, "linear_mlp"],
        "rescaled": ["k_proj", "v_proj", "linear_attn", "down_proj", "linear_mlp"],
        "feedforward": ["down_proj", "linear_mlp"],
    },
    "heterogeneous_gpt_oss": {
        **NAMED_LIKE_LLAMA,
        "linear": ATTENTION,
        "rescaled": ["k_proj", "v_proj"],
        "feedforward": [],
    },
    "heterogeneous_granite_moe_hybrid": {
        "linear": [*ATTENTION, "in_proj", "input_linear", "output_linear"],
        "rescaled": ["k_proj", "v_proj", "in_proj", "output_linear"],
        "feedforward": ["output_linear"],
        "values": ["v_proj"],
        "norms": r"(.*\.)?(input_layernorm|post_attention_layernorm)|(model\.)?norm",
    },
    "heterogeneous_nemotron_h": {
        "linear": [*ATTENTION, "in_proj", "up_proj", "down_proj"],
        "rescaled": ["k_proj", "v_proj", "in_proj", "down_proj"],
        "feedforward": ["down_proj"],
        "values": ["v_proj"],
        "norms": r"(.*\.)?(layers\.\d+\.norm|norm_f)",
    },
    "heterogeneous_qwen3_next": {
        "linear": [*ATTENTION, "in_proj_qkvz", "in_proj_ba", "out_proj", *MLP, "shared_expert_gate"],
        "rescaled": ["k_proj", "v_proj", "in_proj_qkvz", "down_proj"],
        "feedforward": ["down_proj"],
        "values": ["v_proj"],
        "norms": r"(.*\.)?(input_layernorm|post_attention_layernorm)|(model\.)?norm",
    },
}
PREFIXES = ("PREFIX_TUNING", "CARTRIDGE")
CACHE_SIZES = ("num_attention_heads", "num_key_value_heads", "head_dim")


def enter_targets(configs: Iterable[Any]) -> None:
    """Give each family a line in the tables of default targets, one table a method, where Llama has one too."""
    for name, table in vars(sys.modules[CONSTANTS]).items():
        if (method := TABLE.fullmatch(name)) and "llama" in table:
            kind = KINDS.get(method[1], "linear")
            for config in configs:
                known = [TARGETS[each] for each in _model_types(config) if each in TARGETS]
                table.setdefault(config.model_type, copy([*known, NAMED_LIKE_LLAMA][0][kind]))


def _model_types(config: Any) -> list[str]:
    """A config's own, and those of the configs that it inherits from: published ones from their family's."""
    return [getattr(each, "model_type", "") for each in config.__mro__]


def refuse_prefixes() -> None:
    """Let PEFT's preparation of a prompt be preceded by the refusal of prefixes whose size would depend on the layer."""
    module: Any = sys.modules[MODELS]
    prepare = module._prepare_prompt_learning_config

    @functools.wraps(prepare)
    def prepared(peft_config: Any, model_config: Any) -> Any:
        check_prefix(str(getattr(peft_config.peft_type, "value", peft_config.peft_type)), model_config)
        return prepare(peft_config, model_config)

    module._prepare_prompt_learning_config = prepared


def allow_import() -> None:
    """Let adapters without a task type, as TRL saves them, be loaded by AutoPeftModel: they name the module of their model, and
    PEFT imports those of a list alone, which older releases of it do not have."""
    module: Any = sys.modules[AUTO]
    if (default := getattr(module, "get_default_import_allowlist", None)) is None:
        return

    @functools.wraps(default)
    def allowed() -> list[str]:
        return [*default(), PACKAGE]

    module.get_default_import_allowlist = allowed


def check_prefix(method: str, config: Any) -> None:
    """Refuse keys and values of one shape in the cache of a model whose layers have several, or none.

    Raises:
        ValueError: naming the fields and the layers.
    """
    if method not in PREFIXES or not hasattr(config, "mixer_types"):
        return
    errors = [f"{name} = {value}" for name in CACHE_SIZES if isinstance(value := getattr(config, name, None), list)]
    if absent := [layer_idx for layer_idx, mixer in enumerate(config.mixer_types) if mixer != "attention"]:
        errors.append(f"layers without attention, {absent}")
    if errors:
        raise ValueError(
            f"{method} puts keys and values of one shape before every layer's, and this model has {'; '.join(errors)}. "
            "Take LoRA, or prompt tuning, which begins at the embedding"
        )
