# Generated from the shards in modular/ by `hetero generate`. Do not edit.
"""Model families for transformers whose layers differ. Importing the package registers them with the Auto classes."""

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import transformers

from .integrations.installing import how_to_install


__version__ = version("transformers-heterogeneous")
PARENTS_VERSION = "5.24.0"

minor_release = ".".join(transformers.__version__.split(".")[:2])
if minor_release != ".".join(PARENTS_VERSION.split(".")[:2]):
    raise ImportError(
        f"transformers_heterogeneous {__version__} was expanded from transformers {PARENTS_VERSION}, and installed is "
        f"transformers {transformers.__version__}, with which its models may compute something else. What fits this one is "
        f"{how_to_install(release=minor_release)}; without --config-settings, the newest with the transformers that it needs"
    )

from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .configuration_heterogeneous import HeterogeneousConfigError, HeterogeneousPreTrainedConfig, UnreadFieldsError
from .configuration_heterogeneous_gpt_oss import HeterogeneousGptOssConfig
from .configuration_heterogeneous_granite_moe_hybrid import HeterogeneousGraniteMoeHybridConfig
from .configuration_heterogeneous_llama import HeterogeneousLlamaConfig
from .configuration_heterogeneous_llama4_text import HeterogeneousLlama4TextConfig
from .configuration_heterogeneous_mistral import HeterogeneousMistralConfig
from .configuration_heterogeneous_nemotron_h import HeterogeneousNemotronHConfig
from .configuration_heterogeneous_qwen2 import HeterogeneousQwen2Config
from .configuration_heterogeneous_qwen3 import HeterogeneousQwen3Config
from .configuration_heterogeneous_qwen3_moe import HeterogeneousQwen3MoeConfig
from .configuration_heterogeneous_qwen3_next import HeterogeneousQwen3NextConfig
from .configuration_heterogeneous_qwen3_vl import HeterogeneousQwen3VLConfig, HeterogeneousQwen3VLTextConfig
from .configuration_heterogeneous_qwen3_vl_moe import HeterogeneousQwen3VLMoeConfig, HeterogeneousQwen3VLMoeTextConfig
from .converters.formats.deci import DeciConfig
from .converters.formats.gpt_oss_puzzle import GptOssPuzzleConfig
from .converters.formats.nemotron_h_puzzle import NemotronHPuzzleConfig
from .converters.formats.nemotron_nas import NemotronNasConfig
from .converters.formats.recognition import teach_configs
from .integrations import follow_imports
from .modeling_heterogeneous import (
    HeterogeneousPreTrainedModel,
    create_causal_mask,
    keep_layers,
    load_balancing_loss_func,
)
from .modeling_heterogeneous_gpt_oss import (
    HeterogeneousGptOssForCausalLM,
    HeterogeneousGptOssForSequenceClassification,
    HeterogeneousGptOssForTokenClassification,
    HeterogeneousGptOssModel,
    HeterogeneousGptOssPreTrainedModel,
)
from .modeling_heterogeneous_granite_moe_hybrid import (
    HeterogeneousGraniteMoeHybridForCausalLM,
    HeterogeneousGraniteMoeHybridModel,
    HeterogeneousGraniteMoeHybridPreTrainedModel,
)
from .modeling_heterogeneous_llama import (
    HeterogeneousLlamaForCausalLM,
    HeterogeneousLlamaForQuestionAnswering,
    HeterogeneousLlamaForSequenceClassification,
    HeterogeneousLlamaForTokenClassification,
    HeterogeneousLlamaModel,
    HeterogeneousLlamaPreTrainedModel,
)
from .modeling_heterogeneous_llama4_text import (
    HeterogeneousLlama4ForCausalLM,
    HeterogeneousLlama4PreTrainedModel,
    HeterogeneousLlama4TextModel,
)
from .modeling_heterogeneous_mistral import (
    HeterogeneousMistralForCausalLM,
    HeterogeneousMistralForQuestionAnswering,
    HeterogeneousMistralForSequenceClassification,
    HeterogeneousMistralForTokenClassification,
    HeterogeneousMistralModel,
    HeterogeneousMistralPreTrainedModel,
)
from .modeling_heterogeneous_nemotron_h import (
    HeterogeneousNemotronHForCausalLM,
    HeterogeneousNemotronHModel,
    HeterogeneousNemotronHPreTrainedModel,
)
from .modeling_heterogeneous_qwen2 import (
    HeterogeneousQwen2ForCausalLM,
    HeterogeneousQwen2ForQuestionAnswering,
    HeterogeneousQwen2ForSequenceClassification,
    HeterogeneousQwen2ForTokenClassification,
    HeterogeneousQwen2Model,
    HeterogeneousQwen2PreTrainedModel,
)
from .modeling_heterogeneous_qwen3 import (
    HeterogeneousQwen3ForCausalLM,
    HeterogeneousQwen3ForQuestionAnswering,
    HeterogeneousQwen3ForSequenceClassification,
    HeterogeneousQwen3ForTokenClassification,
    HeterogeneousQwen3Model,
    HeterogeneousQwen3PreTrainedModel,
)
from .modeling_heterogeneous_qwen3_moe import (
    HeterogeneousQwen3MoeForCausalLM,
    HeterogeneousQwen3MoeForQuestionAnswering,
    HeterogeneousQwen3MoeForSequenceClassification,
    HeterogeneousQwen3MoeForTokenClassification,
    HeterogeneousQwen3MoeModel,
    HeterogeneousQwen3MoePreTrainedModel,
)
from .modeling_heterogeneous_qwen3_next import (
    HeterogeneousQwen3NextForCausalLM,
    HeterogeneousQwen3NextForQuestionAnswering,
    HeterogeneousQwen3NextForSequenceClassification,
    HeterogeneousQwen3NextForTokenClassification,
    HeterogeneousQwen3NextModel,
    HeterogeneousQwen3NextPreTrainedModel,
)
from .modeling_heterogeneous_qwen3_vl import HeterogeneousQwen3VLPreTrainedModel, HeterogeneousQwen3VLTextModel
from .modeling_heterogeneous_qwen3_vl_moe import (
    HeterogeneousQwen3VLMoePreTrainedModel,
    HeterogeneousQwen3VLMoeTextModel,
)


if TYPE_CHECKING:
    from .converters import convert as convert
    from .converters import describe as describe
    from .converters import infer as infer
    from .converters import inspect as inspect
    from .converters import prune as prune
    from .converters import score as score
    from .converters import trace as trace
    from .converters import verify as verify


def __getattr__(name: str) -> Any:
    """What is done with checkpoints, imported when it is asked for."""
    if name in ("convert", "describe", "infer", "inspect", "prune", "score", "trace", "verify"):
        from . import converters

        return getattr(converters, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def register() -> None:
    """Tell the Auto classes about every family, and let `transformers` have the classes by name; calling it again changes
    nothing."""
    teach_configs()
    configs = (
        HeterogeneousGptOssConfig,
        HeterogeneousGraniteMoeHybridConfig,
        HeterogeneousLlama4TextConfig,
        HeterogeneousLlamaConfig,
        HeterogeneousMistralConfig,
        HeterogeneousNemotronHConfig,
        HeterogeneousQwen2Config,
        HeterogeneousQwen3Config,
        HeterogeneousQwen3MoeConfig,
        HeterogeneousQwen3NextConfig,
        HeterogeneousQwen3VLConfig,
        HeterogeneousQwen3VLMoeConfig,
        HeterogeneousQwen3VLMoeTextConfig,
        HeterogeneousQwen3VLTextConfig,
        DeciConfig,
        GptOssPuzzleConfig,
        NemotronHPuzzleConfig,
        NemotronNasConfig,
    )
    for config in configs:
        AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModelForCausalLM.register(HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM, exist_ok=True)
    AutoModelForQuestionAnswering.register(
        HeterogeneousLlamaConfig, HeterogeneousLlamaForQuestionAnswering, exist_ok=True
    )
    AutoModelForSequenceClassification.register(
        HeterogeneousLlamaConfig, HeterogeneousLlamaForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        HeterogeneousLlamaConfig, HeterogeneousLlamaForTokenClassification, exist_ok=True
    )
    AutoModel.register(HeterogeneousLlamaConfig, HeterogeneousLlamaModel, exist_ok=True)
    AutoModelForCausalLM.register(HeterogeneousGptOssConfig, HeterogeneousGptOssForCausalLM, exist_ok=True)
    AutoModelForSequenceClassification.register(
        HeterogeneousGptOssConfig, HeterogeneousGptOssForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        HeterogeneousGptOssConfig, HeterogeneousGptOssForTokenClassification, exist_ok=True
    )
    AutoModel.register(HeterogeneousGptOssConfig, HeterogeneousGptOssModel, exist_ok=True)
    AutoModelForCausalLM.register(
        HeterogeneousGraniteMoeHybridConfig, HeterogeneousGraniteMoeHybridForCausalLM, exist_ok=True
    )
    AutoModel.register(HeterogeneousGraniteMoeHybridConfig, HeterogeneousGraniteMoeHybridModel, exist_ok=True)
    AutoModelForCausalLM.register(HeterogeneousLlama4TextConfig, HeterogeneousLlama4ForCausalLM, exist_ok=True)
    AutoModel.register(HeterogeneousLlama4TextConfig, HeterogeneousLlama4TextModel, exist_ok=True)
    AutoModelForCausalLM.register(HeterogeneousQwen2Config, HeterogeneousQwen2ForCausalLM, exist_ok=True)
    AutoModelForQuestionAnswering.register(
        HeterogeneousQwen2Config, HeterogeneousQwen2ForQuestionAnswering, exist_ok=True
    )
    AutoModelForSequenceClassification.register(
        HeterogeneousQwen2Config, HeterogeneousQwen2ForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        HeterogeneousQwen2Config, HeterogeneousQwen2ForTokenClassification, exist_ok=True
    )
    AutoModel.register(HeterogeneousQwen2Config, HeterogeneousQwen2Model, exist_ok=True)
    AutoModelForCausalLM.register(HeterogeneousMistralConfig, HeterogeneousMistralForCausalLM, exist_ok=True)
    AutoModelForQuestionAnswering.register(
        HeterogeneousMistralConfig, HeterogeneousMistralForQuestionAnswering, exist_ok=True
    )
    AutoModelForSequenceClassification.register(
        HeterogeneousMistralConfig, HeterogeneousMistralForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        HeterogeneousMistralConfig, HeterogeneousMistralForTokenClassification, exist_ok=True
    )
    AutoModel.register(HeterogeneousMistralConfig, HeterogeneousMistralModel, exist_ok=True)
    AutoModelForCausalLM.register(HeterogeneousNemotronHConfig, HeterogeneousNemotronHForCausalLM, exist_ok=True)
    AutoModel.register(HeterogeneousNemotronHConfig, HeterogeneousNemotronHModel, exist_ok=True)
    AutoModelForCausalLM.register(HeterogeneousQwen3Config, HeterogeneousQwen3ForCausalLM, exist_ok=True)
    AutoModelForQuestionAnswering.register(
        HeterogeneousQwen3Config, HeterogeneousQwen3ForQuestionAnswering, exist_ok=True
    )
    AutoModelForSequenceClassification.register(
        HeterogeneousQwen3Config, HeterogeneousQwen3ForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        HeterogeneousQwen3Config, HeterogeneousQwen3ForTokenClassification, exist_ok=True
    )
    AutoModel.register(HeterogeneousQwen3Config, HeterogeneousQwen3Model, exist_ok=True)
    AutoModelForCausalLM.register(HeterogeneousQwen3MoeConfig, HeterogeneousQwen3MoeForCausalLM, exist_ok=True)
    AutoModelForQuestionAnswering.register(
        HeterogeneousQwen3MoeConfig, HeterogeneousQwen3MoeForQuestionAnswering, exist_ok=True
    )
    AutoModelForSequenceClassification.register(
        HeterogeneousQwen3MoeConfig, HeterogeneousQwen3MoeForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        HeterogeneousQwen3MoeConfig, HeterogeneousQwen3MoeForTokenClassification, exist_ok=True
    )
    AutoModel.register(HeterogeneousQwen3MoeConfig, HeterogeneousQwen3MoeModel, exist_ok=True)
    AutoModelForCausalLM.register(HeterogeneousQwen3NextConfig, HeterogeneousQwen3NextForCausalLM, exist_ok=True)
    AutoModelForQuestionAnswering.register(
        HeterogeneousQwen3NextConfig, HeterogeneousQwen3NextForQuestionAnswering, exist_ok=True
    )
    AutoModelForSequenceClassification.register(
        HeterogeneousQwen3NextConfig, HeterogeneousQwen3NextForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        HeterogeneousQwen3NextConfig, HeterogeneousQwen3NextForTokenClassification, exist_ok=True
    )
    AutoModel.register(HeterogeneousQwen3NextConfig, HeterogeneousQwen3NextModel, exist_ok=True)
    AutoModel.register(HeterogeneousQwen3VLTextConfig, HeterogeneousQwen3VLTextModel, exist_ok=True)
    AutoModel.register(HeterogeneousQwen3VLMoeTextConfig, HeterogeneousQwen3VLMoeTextModel, exist_ok=True)
    classes = {name: globals()[name] for name in __all__ if name != "register"}
    for module in (transformers, sys.modules["transformers"]):  # importing its models exchanges one for the other
        vars(module).update(classes)
    follow_imports(configs)


__all__ = [
    "DeciConfig",
    "GptOssPuzzleConfig",
    "HeterogeneousConfigError",
    "HeterogeneousGptOssConfig",
    "HeterogeneousGptOssForCausalLM",
    "HeterogeneousGptOssForSequenceClassification",
    "HeterogeneousGptOssForTokenClassification",
    "HeterogeneousGptOssModel",
    "HeterogeneousGptOssPreTrainedModel",
    "HeterogeneousGraniteMoeHybridConfig",
    "HeterogeneousGraniteMoeHybridForCausalLM",
    "HeterogeneousGraniteMoeHybridModel",
    "HeterogeneousGraniteMoeHybridPreTrainedModel",
    "HeterogeneousLlama4ForCausalLM",
    "HeterogeneousLlama4PreTrainedModel",
    "HeterogeneousLlama4TextConfig",
    "HeterogeneousLlama4TextModel",
    "HeterogeneousLlamaConfig",
    "HeterogeneousLlamaForCausalLM",
    "HeterogeneousLlamaForQuestionAnswering",
    "HeterogeneousLlamaForSequenceClassification",
    "HeterogeneousLlamaForTokenClassification",
    "HeterogeneousLlamaModel",
    "HeterogeneousLlamaPreTrainedModel",
    "HeterogeneousMistralConfig",
    "HeterogeneousMistralForCausalLM",
    "HeterogeneousMistralForQuestionAnswering",
    "HeterogeneousMistralForSequenceClassification",
    "HeterogeneousMistralForTokenClassification",
    "HeterogeneousMistralModel",
    "HeterogeneousMistralPreTrainedModel",
    "HeterogeneousNemotronHConfig",
    "HeterogeneousNemotronHForCausalLM",
    "HeterogeneousNemotronHModel",
    "HeterogeneousNemotronHPreTrainedModel",
    "HeterogeneousPreTrainedConfig",
    "HeterogeneousPreTrainedModel",
    "HeterogeneousQwen2Config",
    "HeterogeneousQwen2ForCausalLM",
    "HeterogeneousQwen2ForQuestionAnswering",
    "HeterogeneousQwen2ForSequenceClassification",
    "HeterogeneousQwen2ForTokenClassification",
    "HeterogeneousQwen2Model",
    "HeterogeneousQwen2PreTrainedModel",
    "HeterogeneousQwen3Config",
    "HeterogeneousQwen3ForCausalLM",
    "HeterogeneousQwen3ForQuestionAnswering",
    "HeterogeneousQwen3ForSequenceClassification",
    "HeterogeneousQwen3ForTokenClassification",
    "HeterogeneousQwen3Model",
    "HeterogeneousQwen3MoeConfig",
    "HeterogeneousQwen3MoeForCausalLM",
    "HeterogeneousQwen3MoeForQuestionAnswering",
    "HeterogeneousQwen3MoeForSequenceClassification",
    "HeterogeneousQwen3MoeForTokenClassification",
    "HeterogeneousQwen3MoeModel",
    "HeterogeneousQwen3MoePreTrainedModel",
    "HeterogeneousQwen3NextConfig",
    "HeterogeneousQwen3NextForCausalLM",
    "HeterogeneousQwen3NextForQuestionAnswering",
    "HeterogeneousQwen3NextForSequenceClassification",
    "HeterogeneousQwen3NextForTokenClassification",
    "HeterogeneousQwen3NextModel",
    "HeterogeneousQwen3NextPreTrainedModel",
    "HeterogeneousQwen3PreTrainedModel",
    "HeterogeneousQwen3VLConfig",
    "HeterogeneousQwen3VLMoeConfig",
    "HeterogeneousQwen3VLMoePreTrainedModel",
    "HeterogeneousQwen3VLMoeTextConfig",
    "HeterogeneousQwen3VLMoeTextModel",
    "HeterogeneousQwen3VLPreTrainedModel",
    "HeterogeneousQwen3VLTextConfig",
    "HeterogeneousQwen3VLTextModel",
    "NemotronHPuzzleConfig",
    "NemotronNasConfig",
    "UnreadFieldsError",
    "create_causal_mask",
    "keep_layers",
    "load_balancing_loss_func",
    "register",
]

register()
