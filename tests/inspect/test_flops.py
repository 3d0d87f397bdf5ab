"""FLOPs of a token beside what torch counts while a model of the same config runs, token after token."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from transformers import DynamicCache
from transformers_heterogeneous.converters import summarise

from ..generated import llama_shaped, small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h
from ..generated.release import CACHE


FAMILIES = {
    "llama": small,
    "gpt_oss": small_gpt_oss,
    "qwen3": llama_shaped.small_models("Qwen3"),
    "qwen3_moe": llama_shaped.small_models("Qwen3Moe", llama_shaped.OF_EXPERTS, num_attention_heads=4),
    "granite": small_granite_moe_hybrid,
    "nemotron_h": small_nemotron_h,
}
LENGTH = 12  # more than every window


def counted(model, tokens) -> list[int]:
    """What torch counts for each token, the others in the cache; of mamba layers what their matrices are multiplied with."""
    cache, found = DynamicCache(config=model.config), []
    mambas = [part for part in model.modules() if hasattr(part, "conv1d")]
    for at in range(tokens.shape[1]):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(tokens[:, at : at + 1], **{CACHE: cache})
        products = counter.get_total_flops()
        by_module = counter.get_flop_counts()
        for name, part in model.named_modules():
            if part in mambas:  # a recurrence that is written as products is none of matrices of the model
                own = sum(by_module[f"{type(model).__name__}.{name}"].values())
                products += 2 * (part.in_proj.weight.numel() + part.out_proj.weight.numel()) - own
        found.append(products)
    return found


@pytest.mark.parametrize("kind", ["uniform", "mixed"])
@pytest.mark.parametrize("name", FAMILIES)
def test_as_torch_counts_them(name, kind, tmp_path):
    module = FAMILIES[name]
    torch.manual_seed(0)
    config = module.CONFIG(**module.KINDS[kind])
    config._attn_implementation, config._experts_implementation = "eager", "eager"
    model = module.CAUSAL(config).eval()
    config.save_pretrained(tmp_path)
    found = counted(model, torch.randint(2, 90, (1, LENGTH)))
    summary = summarise(tmp_path)
    for tokens in range(1, LENGTH + 1):
        flops = summary.flops_per_token(tokens)
        assert flops.decode == found[tokens - 1], tokens
        assert flops.prefill == sum(found[:tokens]) // tokens
    assert len(set(found)) > 3  # more keys, more operations
