"""What vLLM asks of a model before it is built, in the process that reads its config."""

from typing import Any

from vllm.model_executor.models.config import NemotronHForCausalLMConfig, VerifyAndUpdateConfig

from .limits import model_problems, parallel_problems, refuse


class HeterogeneousConfigVerification(VerifyAndUpdateConfig):
    """Refuses what would be served wrongly."""

    @classmethod
    def verify_and_update_model_config(cls, model_config: Any) -> None:
        refuse(model_config.hf_config, model_problems(model_config.hf_config, model_config.max_model_len))

    @classmethod
    def verify_and_update_config(cls, vllm_config: Any) -> None:
        config, num = vllm_config.model_config.hf_config, vllm_config.parallel_config.tensor_parallel_size
        refuse(config, parallel_problems(config, num))


class NemotronHVerification(HeterogeneousConfigVerification):
    """The same, and the dtype of mamba's states, as vLLM has it for Nemotron-H."""

    @classmethod
    def verify_and_update_config(cls, vllm_config: Any) -> None:
        super().verify_and_update_config(vllm_config)
        NemotronHForCausalLMConfig.verify_and_update_config(vllm_config)


VERIFICATIONS: dict[str, type[VerifyAndUpdateConfig]] = {
    "HeterogeneousGptOssForCausalLM": HeterogeneousConfigVerification,
    "HeterogeneousGraniteMoeHybridForCausalLM": HeterogeneousConfigVerification,
    "HeterogeneousNemotronHForCausalLM": NemotronHVerification,
    "HeterogeneousLlamaForCausalLM": HeterogeneousConfigVerification,
}
