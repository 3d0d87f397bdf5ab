"""Names and shapes of tensors are those of the model, and each thing that says them is asked once."""

import importlib

import pytest
from safetensors.torch import load_file

import transformers_heterogeneous
from transformers import core_model_loading
from transformers_heterogeneous.converters.families import family_of
from transformers_heterogeneous.converters.families.meta_models import remembered

from ...generated import small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h


@pytest.mark.parametrize("made", [small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h])
def test_they_are_those_that_are_saved_and_their_stacks_those_that_a_model_has(made, tmp_path):
    """Of layers that all differ, also in the number of their experts."""
    config = made.CONFIG(**made.MIXED)
    model = made.CAUSAL(config)
    model.save_pretrained(tmp_path)
    saved = {name: tuple(tensor.shape) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    family = family_of(made.CONFIG)
    assert family.tensor_shapes(config) == saved
    held = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: (len(parts), *saved[parts[0]]) for name, parts in family.stacked(config).items()}
    others = {name: shape for name, shape in held.items() if name not in saved}
    assert found == {name: shape for name, shape in others.items() if name in found}
    assert (made is small_nemotron_h) == bool(found)
    assert family.num_parameters(config) == model.num_parameters()


def test_layers_that_are_alike_are_built_once(monkeypatch):
    """However many there are; and a model that was built is remembered, whatever its layers are called."""
    config_class = transformers_heterogeneous.HeterogeneousLlamaConfig
    layer_class = importlib.import_module(config_class.__module__.replace("configuration", "modeling"))
    built: list[int] = []
    layer_init = layer_class.HeterogeneousLlamaDecoderLayer.__init__

    def count(self, config, layer_idx):
        built.append(layer_idx)
        layer_init(self, config, layer_idx)

    monkeypatch.setattr(layer_class.HeterogeneousLlamaDecoderLayer, "__init__", count)
    remembered.clear()
    family, sizes = family_of(config_class), {"hidden_size": 32, "head_dim": 8, "vocab_size": 96}
    shapes = {}
    for num_layers in (20, 400):
        config = config_class(**sizes, num_hidden_layers=num_layers, intermediate_size=[16, 48] * (num_layers // 2))
        shapes[num_layers] = family.tensor_shapes(config)
    assert built == [0, 1]
    layer = {name.removeprefix("model.layers.399."): shape for name, shape in shapes[400].items() if "s.399." in name}
    assert len(shapes[400]) == 3 + 400 * len(layer) and layer["mlp.up_proj.weight"] == (48, 32)


def test_of_layers_that_all_differ_each_name_is_asked_about_once(monkeypatch):
    """What transformers calls a tensor on disk takes it a pattern for each one."""
    asked: list[str] = []
    revert = core_model_loading.revert_weight_conversion

    def count(model, tensors):
        asked.extend(tensors)
        return revert(model, tensors)

    monkeypatch.setattr(core_model_loading, "revert_weight_conversion", count)
    remembered.clear()
    config_class = transformers_heterogeneous.HeterogeneousLlamaConfig
    widths = list(range(16, 16 + 2 * 40, 2))
    config = config_class(
        hidden_size=32, head_dim=8, vocab_size=96, num_hidden_layers=len(widths), intermediate_size=widths
    )
    shapes = family_of(config_class).tensor_shapes(config)
    assert [shapes[f"model.layers.{idx}.mlp.down_proj.weight"] for idx in range(len(widths))] == [
        (32, width) for width in widths
    ]
    assert len(shapes) == 3 + 9 * len(widths) and len(asked) == len(set(asked)) == 3 + 9
