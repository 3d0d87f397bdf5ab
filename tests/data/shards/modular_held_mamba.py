from transformers.models.mamba.configuration_mamba import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaBlock, MambaForCausalLM, MambaRMSNorm


class HeldMambaConfig(MambaConfig):
    pass


class HeldMambaRMSNorm(MambaRMSNorm):
    def __init__(self, hidden_size, eps=1e-3):
        super().__init__(hidden_size)
        self.given = eps


class HeldMambaBlock(MambaBlock):
    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.residual_in_fp32 = False

    def extra_repr(self):
        return f"layer {self.layer_idx}"


class HeldMambaForCausalLM(MambaForCausalLM):
    pass


__all__ = ["HeldMambaConfig", "HeldMambaForCausalLM"]
