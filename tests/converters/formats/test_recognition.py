"""Which format a config is in: where several would read it, one of them says that it is asked first."""

import ast
import itertools
from pathlib import Path
from typing import Any

import pytest

import transformers_heterogeneous
from transformers import CONFIG_MAPPING, AutoConfig
from transformers_heterogeneous.converters import CheckpointError
from transformers_heterogeneous.converters.families import found_families
from transformers_heterogeneous.converters.formats import recognition

from ..checkpoints import CHECKPOINTS


FOUND = recognition.FORMATS
NAMES = [published.name for published in FOUND]
HALVES = [{"attention": {}, "ffn": {}}]
TYPED = [{"subblock_configs": []}]
# What configs are recognised by. That of pruned gpt-oss is written beside the model types that gpt-oss may have
MODEL_TYPES = (
    None,
    "llama",
    "qwen3",
    "qwen3_moe",
    "qwen3_next",
    "llama4_text",
    "openelm",
    "mistral",
    "deci",
    "nemotron-nas",
    "granitemoehybrid",
    "nemotron_h",
    "nemotron_h_puzzle",
)
GPT_OSS_TYPES = (None, "gpt_oss", "gpt_oss_puzzle", "heterogeneous_gpt_oss")
FIELDS: dict[str, tuple[Any, ...]] = {
    "block_configs": (None, [{"num_local_experts": 3}], HALVES, TYPED),
    "num_key_value_heads_per_layer": (None, [1, 2]),
    "drop_attn_list": (None, [1]),
    "num_experts_per_layer": (None, [1, 2]),
    "per_layer_config": (None, {"0": {}}),
}


def configs() -> list[dict[str, Any]]:
    types = [(name, arch) for name in MODEL_TYPES for arch in (None, ["DeciLMForCausalLM"], ["LlamaForCausalLM"])]
    types += [(name, arch) for name in GPT_OSS_TYPES for arch in (None, ["DeciGptOssForCausalLM"])]
    types += [(f"heterogeneous_{name}", None) for name in ("llama", "granite_moe_hybrid", "nemotron_h")]
    made = []
    for (model_type, architectures), *values in itertools.product(types, *FIELDS.values()):
        members = {"model_type": model_type, "architectures": architectures, **dict(zip(FIELDS, values, strict=True))}
        made.append({name: value for name, value in members.items() if value is not None})
    return made + [checkpoint.config for checkpoint in CHECKPOINTS.values()]


def later(name: str) -> set[str]:
    """The formats that are asked after this one, because it says so, or one of those does."""
    direct = {other for published in FOUND if published.name == name for other in published.before}
    return direct.union(*map(later, direct))


def test_no_two_formats_dispute_a_config():
    several = 0
    for config in configs():
        names = [published.name for published in FOUND if published.recognises(config)]
        assert all(second in later(first) for first, second in itertools.pairwise(names)), config
        several += len(names) > 1
        if names:
            assert recognition.recognise(config, "config.json").name == names[0]
        else:
            with pytest.raises(CheckpointError, match="of no known format"):
                recognition.recognise(config, "config.json")
    assert several > 50


def test_what_is_asked_later_is_known():
    for published in FOUND:
        assert set(published.before) <= set(NAMES) - {published.name}


def test_the_order_does_not_depend_on_that_of_the_files():
    assert recognition.in_order(reversed(FOUND)) == FOUND
    assert recognition.in_order(sorted(FOUND, key=lambda published: published.looks_like[::-1])) == FOUND


def test_every_format_is_there():
    families = [family.config_class for family in found_families()]
    without_blocks = 4  # Granite, Llama 4, Qwen3-MoE and Qwen3-Next
    several = {"anymodel": len(families) - without_blocks, "per_layer_config": len(families)}
    several["anymodel_v2"] = len(families) - 3  # Granite, Llama 4 and Qwen3-Next
    several |= {"llm_drop": 2, "pruned_experts": 2}
    others = ["deci", "openelm", "gpt_oss_puzzle", "nemotron-nas", "nemotron_h_puzzle"]
    others += [name for config in families for name in (config.model_type, *config.compatible_model_types)]
    assert sorted(NAMES) == sorted([*others, *(name for name, number in several.items() for _ in range(number))])


# --- what a family's config reads of published forms ------------------------------------------------------------------


def test_formats_of_one_family_read_a_field_alike():
    readers: dict[tuple[Any, str], set[Any]] = {}
    for published in FOUND:
        for name, read in published.readers.items():
            readers.setdefault((published.family.config_class, name), set()).add(read)
    assert {"block_configs", "hybrid_override_pattern", "num_key_value_heads_per_layer"} <= {
        name for _, name in readers
    }
    assert all(len(found) == 1 for found in readers.values())
    for (config_class, name), (read,) in readers.items():
        assert config_class.published_readers[name] is read


def test_config_classes_are_those_of_the_package():
    classes = {each.config_class.__name__: each.config_class for each in FOUND if each.config_class is not None}
    names = {"DeciConfig", "GptOssPuzzleConfig", "NemotronHPuzzleConfig", "NemotronNasConfig"}
    assert classes.keys() == names <= set(transformers_heterogeneous.__all__)
    package = ast.parse(Path(transformers_heterogeneous.__file__).read_text())
    imported = {each.name for node in package.body if isinstance(node, ast.ImportFrom) for each in node.names}
    assert names <= imported  # by name, for type checkers and editors
    for name, config_class in classes.items():
        assert getattr(transformers_heterogeneous, name) is config_class
        assert CONFIG_MAPPING[config_class.model_type] is config_class


@pytest.mark.parametrize("name", ["gpt-oss-puzzle", "Nemotron Puzzle", "AnyModel gpt-oss"])
def test_a_constructor_says_what_reads_blocks(name):
    config = CHECKPOINTS[name].config
    config_class = recognition.recognise(config, "config.json").family.config_class
    fields = {member: value for member, value in config.items() if member != "model_type"}
    with pytest.raises(ValueError, match=rf"block_configs is how .*: {config_class.__name__}.from_dict reads it"):
        config_class(**fields)
    assert config_class.from_dict(fields).num_hidden_layers == len(config["block_configs"])


def test_blocks_that_nothing_reads_are_refused():
    """Granite has no published form with blocks; and what travels with a checkpoint reads the family's own form."""
    with pytest.raises(ValueError, match=r"block_configs = .* may describe the layers, and nothing reads it"):
        transformers_heterogeneous.HeterogeneousGraniteMoeHybridConfig(block_configs=HALVES)


def test_a_published_config_is_read_with_fewer_layers():
    config = CHECKPOINTS["gpt-oss-puzzle"].config
    whole = AutoConfig.for_model("gpt_oss_puzzle").from_dict(config)
    shorter = AutoConfig.for_model("gpt_oss_puzzle").from_dict(config, num_hidden_layers=2)
    assert shorter.num_hidden_layers == 2
    assert shorter.layer_sizes("num_local_experts") == whole.layer_sizes("num_local_experts")[:2]
