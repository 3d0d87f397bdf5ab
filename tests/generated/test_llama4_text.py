"""What is particular to heterogeneous_llama4_text: chunks and positions by layer, the parent's lists, a vision model beside it."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from transformers_heterogeneous import HeterogeneousConfigError, keep_layers
from transformers_heterogeneous.converters import CheckpointError, infer, prune

from .small_llama4_text import CAUSAL, CONFIG, MIXED, THINNED, UNIFORM, build


def test_what_the_parent_says_of_layers_is_read():
    config = CONFIG(**UNIFORM)
    assert config.layer_types == ["chunked_attention", "full_attention"] * 2
    assert config.mlp_types == ["dense", "moe", "moe", "dense"] and config.moe_layers == [1, 2]
    fields = {name: value for name, value in UNIFORM.items() if name not in ("moe_layers", "no_rope_layers")}
    config = CONFIG(**fields, interleave_moe_layer_step=2)
    assert config.moe_layers == [1, 3] and config.no_rope_layers == [1, 1, 1, 0]
    assert CONFIG(**fields, no_rope_layers=[0, 1, 1, 1, 0, 0]).no_rope_layers == [0, 1, 1, 1]


def test_its_lists_follow_the_layers(tokens):
    model = build(MIXED)
    layers = [1, 2, 4, 4, 6]
    expected = [MIXED["no_rope_layers"][layer] for layer in layers]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    keep_layers(model, layers)
    assert model.config.no_rope_layers == expected and model.config.moe_layers == [1, 4]
    assert [layer.self_attn.use_rope for layer in model.model.layers] == expected
    made = CAUSAL(copy.deepcopy(model.config)).eval()
    for name, tensor in made.state_dict().items():
        _, found, tail = name.partition("model.layers.")
        number, _, rest = tail.partition(".")
        tensor.copy_(state[f"model.layers.{layers[int(number)]}.{rest}" if found else name])
    assert torch.equal(made(tokens).logits, model(tokens).logits)
    config = CONFIG(**MIXED)
    config.mlp_types = ["dense" if mlp == "moe" else mlp for mlp in config.mlp_types]
    config.intermediate_size_mlp = 32
    config.check()
    assert config.moe_layers == []


BAD = {
    "interval": ({"no_rope_layers": None, "no_rope_layer_interval": 0}, "no_rope_layer_interval is 0"),
    "step": ({"moe_layers": None, "interleave_moe_layer_step": 0}, "interleave_moe_layer_step is 0"),
    "positions": ({"no_rope_layers": [1, 0]}, "no_rope_layers has 2 entries, num_hidden_layers is 4"),
    "chunks": ({"layer_types": ["sliding_attention"] * 4}, "layer_types[0] is 'sliding_attention', allowed are"),
    "top-k": ({"num_local_experts": [None, 1, 4, None]}, "num_experts_per_tok = 2 is more than num_local_experts = 1"),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD.keys())
def test_bad_configs(changes, said):
    with pytest.raises(HeterogeneousConfigError) as error:
        CONFIG(**{**UNIFORM, **changes})
    assert said in str(error.value)


def test_the_text_model_of_a_checkpoint_with_a_vision_model(tmp_path, tokens):
    model = build(UNIFORM)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    inside = {f"language_model.{name}": tensor for name, tensor in tensors.items()}
    save_file(inside, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, report = CAUSAL.from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert not any(report.values()) and torch.equal(loaded.eval()(tokens).logits, model(tokens).logits)


def test_pruned_and_read_off_its_shapes(tmp_path):
    """The lists that no shape tells stay those of the layers; where these may be others, they are asked for."""
    build(THINNED).save_pretrained(tmp_path / "whole")
    prune(tmp_path / "whole", tmp_path / "thinner", {2: {"num_local_experts": 4}, 3: {"intermediate_size_mlp": 32}})
    pruned = CAUSAL.from_pretrained(tmp_path / "thinner").config
    assert (pruned.num_local_experts[2], pruned.intermediate_size_mlp[3]) == (4, 32)
    (tmp_path / "thinner/config.json").write_bytes((tmp_path / "whole/config.json").read_bytes())
    infer(tmp_path / "thinner", tmp_path / "found")
    found = CAUSAL.from_pretrained(tmp_path / "found").config
    assert found.to_dict() == {**pruned.to_dict(), "_name_or_path": found.name_or_path}
    assert found.no_rope_layers == THINNED["no_rope_layers"] and "chunked_attention" in found.layer_types
    tensors = load_file(tmp_path / "thinner/model.safetensors")
    fewer = {name: tensor for name, tensor in tensors.items() if "layers.4." not in name}
    save_file(fewer, tmp_path / "thinner/model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"no_rope_layers = .*, and there are 4 layers, the last number 3"):
        infer(tmp_path / "thinner", tmp_path / "again")
