"""What is particular to heterogeneous_qwen3_next: delta nets, experts that were pruned, configs in the parent's words."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from transformers.distributed import DistributedConfig
from transformers_heterogeneous import HeterogeneousConfigError, HeterogeneousQwen3NextConfig

from .small_qwen3_next import CAUSAL, CONFIG, MIXED, PRUNED_EXPERTS, UNIFORM, build


def test_layers_follow_the_interval_of_the_parent():
    fields = {name: value for name, value in UNIFORM.items() if name != "layer_types"}
    config = CONFIG(**fields, full_attention_interval=2)
    assert config.mixer_types == ["mamba", "attention"] * 2 and config.layer_types == UNIFORM["layer_types"]
    assert config.mlp_types == ["moe", "dense", "moe", "moe"]
    assert CONFIG(**fields).mixer_types == ["mamba", "mamba", "mamba", "attention"]


def test_mixers_alone_say_the_types():
    config = CONFIG(**MIXED)
    kinds = {"mamba": "linear_attention", "attention": "full_attention"}
    layers = zip(config.mixer_types, config.layer_types, strict=True)
    assert [kind for mixer, kind in layers if mixer != "none"] == [
        kinds[mixer] for mixer in config.mixer_types if mixer != "none"
    ]
    assert config.kv_sharing_modes == ["reuse" if mixer == "none" else None for mixer in config.mixer_types]


BAD = {
    "value heads": (
        {"linear_num_value_heads": [3, None, 4, None]},
        "layers [0]: linear_num_key_heads = 2 does not divide",
    ),
    "top-k": ({"num_experts": [1, None, 4, 4]}, "layers [0]: num_experts_per_tok = 2 is more than num_experts = 1"),
    "windows": (
        {"layer_types": ["linear_attention", "sliding_attention"] * 2},
        "layer_types[1] is 'sliding_attention'",
    ),
    "step": ({"decoder_sparse_step": 0}, "decoder_sparse_step is 0: a positive integer is needed"),
    "kernel": ({"linear_conv_kernel_dim": 0}, "linear_conv_kernel_dim is 0: a positive integer is needed"),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD.keys())
def test_bad_configs(changes, said):
    with pytest.raises(HeterogeneousConfigError) as error:
        CONFIG(**{**UNIFORM, **changes})
    assert said in str(error.value)


def test_experts_that_ranks_cannot_share_are_refused_when_built():
    config = CONFIG(**PRUNED_EXPERTS)
    config.distributed_config = DistributedConfig(tp_size=2, ep_size=2)
    with pytest.raises(ValueError, match=r"ep_size = 2 does not divide num_experts of these layers: \{0: 3, 2: 5\}"):
        CAUSAL(copy.deepcopy(config))
    config.num_experts = [4, 8, 6, 2]
    CAUSAL(config)


def test_routers_of_new_models_tell_experts_apart():
    """Where all are zero, each token goes to the first experts."""
    deviation = {float(layer.mlp.gate.weight.detach().std()) for layer in build(PRUNED_EXPERTS).model.layers}
    assert all(0.01 < each < 0.03 for each in deviation)


def test_layers_that_predict_further_tokens_are_told_of(tmp_path, caplog):
    model = build(UNIFORM)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "mtp.fc.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, report = CAUSAL.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()) and "`mtp.*` of the checkpoint are not loaded" in caplog.text
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_the_config_of_a_layer_has_its_own_sizes():
    config = HeterogeneousQwen3NextConfig(**PRUNED_EXPERTS)
    assert [config.per_layer_config[layer].num_experts for layer in range(4)] == [3, 8, 5, 2]
    assert config.per_layer_config[1].num_local_experts == 8 and config.per_layer_attributes == {"num_experts"}
