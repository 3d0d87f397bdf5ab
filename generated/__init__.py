# Generated from the shards in modular/ by `hetero generate`. Do not edit.
"""Model families for transformers whose layers differ. Importing the package registers them with the Auto classes."""

from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .configuration_heterogeneous_llama import DeciConfig, HeterogeneousLlamaConfig, NemotronNasConfig
from .modeling_heterogeneous_llama import (
    HeterogeneousLlamaForCausalLM,
    HeterogeneousLlamaForQuestionAnswering,
    HeterogeneousLlamaForSequenceClassification,
    HeterogeneousLlamaForTokenClassification,
    HeterogeneousLlamaModel,
    HeterogeneousLlamaPreTrainedModel,
)


def register() -> None:
    """Tell the Auto classes about every family; calling it again changes nothing."""
    for config in (DeciConfig, HeterogeneousLlamaConfig, NemotronNasConfig):
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


register()


__all__ = [
    "DeciConfig",
    "HeterogeneousLlamaConfig",
    "HeterogeneousLlamaForCausalLM",
    "HeterogeneousLlamaForQuestionAnswering",
    "HeterogeneousLlamaForSequenceClassification",
    "HeterogeneousLlamaForTokenClassification",
    "HeterogeneousLlamaModel",
    "HeterogeneousLlamaPreTrainedModel",
    "NemotronNasConfig",
    "register",
]
