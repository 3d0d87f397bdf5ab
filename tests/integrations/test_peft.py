"""PEFT with the modules that it takes by default, and what it cannot be put on, for models whose layers differ."""

import json
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
from peft.utils import constants

from transformers_heterogeneous.integrations import peft as own
from transformers_heterogeneous.integrations.peft import TABLE

from ..generated import small, small_gpt_oss
from ..generated.test_every_family import every_family


AT_IMPORT = Path(own.__file__).with_name("at_import.py")


TABLES = {name: table for name, table in vars(constants).items() if TABLE.fullmatch(name) and "llama" in table}
METHODS = ("LORA", "LOHA", "VERA", "BEFT", "IA3", "LN_TUNING")


def adapted(family, method: str):
    config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType[method]]
    return peft.get_peft_model(family.build(family.small.KINDS["mixed"]), config(task_type="CAUSAL_LM"))


def linear_modules(layer) -> list[str]:
    """Those of a layer that adapters go to: mamba's fused kernels read the weight of out_proj themselves, where experts have no
    latent space, its projections are no linear modules, and the router of a Llama 4 is one that gives two tensors."""
    found = {name for name, module in layer.named_modules() if type(module) is torch.nn.Linear}
    return sorted(name for name in found if not name.endswith(("mamba.out_proj", "mixer.out_proj", "latent_proj")))


@every_family
def test_default_targets_of_lora_are_all_linear_modules_of_all_layers(family) -> None:
    expected = {
        (layer_idx, name)
        for layer_idx, layer in enumerate(family.build(family.small.KINDS["mixed"]).base_model.layers)
        for name in linear_modules(layer)
    }
    reached = {
        (layer_idx, name)
        for layer_idx, layer in enumerate(adapted(family, "LORA").get_base_model().base_model.layers)
        for name, module in layer.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert reached == expected and expected


@pytest.mark.parametrize("method", METHODS)
@every_family
def test_every_method_trains_with_its_default_targets(family, method: str) -> None:
    model = adapted(family, method)
    tokens = torch.arange(8)[None]
    model(tokens, labels=tokens).loss.backward()
    assert any(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


@every_family
def test_every_table_that_knows_llama_knows_the_family(family) -> None:
    assert len(TABLES) > 30
    assert not [name for name, table in TABLES.items() if str(family) not in table]


@every_family
def test_an_adapter_without_a_task_type_is_loaded_with_its_model(family, tmp_path) -> None:
    base = family.build(family.small.KINDS["mixed"])
    base.save_pretrained(tmp_path / "base")
    base = type(base).from_pretrained(tmp_path / "base")
    trained = peft.get_peft_model(base, peft.LoraConfig(init_lora_weights=False)).eval()  # as TRL makes one of a path
    trained.save_pretrained(tmp_path / "adapter")
    saved = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert saved["task_type"] is None and saved["auto_mapping"]["parent_library"].startswith(
        "transformers_heterogeneous."
    )
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()
    tokens = torch.arange(8)[None]
    assert torch.equal(loaded(tokens).logits, trained(tokens).logits)
    with trained.disable_adapter():
        assert not torch.equal(loaded(tokens).logits, trained(tokens).logits)


@pytest.mark.parametrize(
    "start",
    [
        f"import runpy; runpy.run_path({str(AT_IMPORT)!r})['autoload'](); import peft",  # as `hetero run` does; PEFT's module itself imports transformers
        "import peft, transformers_heterogeneous",
        "import transformers_heterogeneous, peft",
    ],
)
def test_the_package_is_allowed_whoever_is_imported_first(start: str) -> None:
    code = f"{start}; print('transformers_heterogeneous' in peft.auto.get_default_import_allowlist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_adapters_of_other_packages_stay_refused() -> None:
    allowed = peft.auto.get_default_import_allowlist()
    assert peft.auto.check_import_allowlist(allowed, "transformers.models.llama")
    assert not peft.auto.check_import_allowlist(allowed, "transformers_heterogeneous_other.models")


@pytest.mark.parametrize("modules", ["transformers_heterogeneous, peft", "peft, transformers_heterogeneous"])
def test_targets_are_entered_whichever_is_imported_first(modules: str) -> None:
    code = (
        f"import {modules}; from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as table;"
        "print('linear_attn' in table['heterogeneous_llama'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_peft_is_not_imported() -> None:
    code = "import sys, transformers_heterogeneous; print('peft' in sys.modules, 'trl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


@pytest.mark.parametrize("method", ["PrefixTuningConfig", "CartridgeConfig"])
def test_prefixes_of_one_shape_are_refused_by_name(method: str) -> None:
    model = small.build(small.MIXED)
    expected = r"num_key_value_heads = \[None, 4, 2.*layers without attention, \[0, 3, 4\].*Take LoRA"
    with pytest.raises(ValueError, match=expected):
        peft.get_peft_model(model, getattr(peft, method)(task_type="CAUSAL_LM", num_virtual_tokens=4))


def test_prefixes_go_before_layers_of_one_shape() -> None:
    model = small_gpt_oss.build(small_gpt_oss.UNIFORM)
    adapted = peft.get_peft_model(model, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    tokens = torch.arange(8)[None]
    adapted(tokens, labels=tokens).loss.backward()
    assert all(parameter.grad is not None for parameter in adapted.prompt_encoder.parameters())
