"""The text of what a model of transformers has beside its code: `__init__.py`, its tests, its page of the documentation."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .family_facts import Facts


LICENCE = """\
# Copyright {year} The HuggingFace Team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""
TESTS = '''\
{licence}"""Testing suite for the PyTorch {cased} model: layers that are alike, and layers that differ."""

import dataclasses
import unittest

from transformers import is_torch_available
from transformers.testing_utils import require_torch, torch_device

from ...causal_lm_tester import CausalLMModelTest, CausalLMModelTester
{imports}

if is_torch_available():
    import torch

    from transformers import {imported}
{torch_imports}

class {cased}ModelTester(CausalLMModelTester):
    if is_torch_available():
        base_model_class = {base}
{causal_class}
    fields = {uniform}

    def __init__(self, parent, **kwargs):
        super().__init__(parent, **(self.fields | kwargs))


class {cased}MixedModelTester({cased}ModelTester):
    # Mixers, MLPs or both are missing in some layers, and sizes are halved in others
    fields = {mixed}


@require_torch
class {cased}ModelTest(CausalLMModelTest, unittest.TestCase):
    model_tester_class = {cased}ModelTester
{methods}
    def test_attention_outputs(self):
        """There are attentions of the layers that attend."""
        config, inputs_dict = self.model_tester.prepare_config_and_inputs_for_common()
        layers = config.layers_made_of("attention")
        for model_class in self.all_model_classes:
            model = model_class._from_config(config, attn_implementation="eager").to(torch_device).eval()
            with torch.no_grad():
                outputs = model(**self._prepare_for_class(inputs_dict, model_class), output_attentions=True)
            self.assertEqual(len(outputs.attentions), len(layers))
            for attention in outputs.attentions:
                self.assertEqual(attention.shape[1], config.num_attention_heads)

    def _check_past_key_values_for_generate(self, batch_size, cache, seq_length, config):
        """Layers with nothing that keeps something keep nothing."""
        self.assertEqual(len(cache), config.num_hidden_layers)
        for mixer_type, layer_config, layer in zip(config.mixer_types, config.per_layer_config, cache.layers):
            if mixer_type == "attention":
                shapes = self._get_attention_shape(batch_size, seq_length, layer_config)
                self.assertEqual((layer.keys.shape, layer.values.shape), shapes)
{states}            else:
                self.assertIsNone(getattr(layer, "keys", None))

    def test_alike_layers_compute_what_the_parent_computes(self):
        if type(self.model_tester) is not {cased}ModelTester:
            self.skipTest("Layers differ")
        config, inputs_dict = self.model_tester.prepare_config_and_inputs_for_common()
        names = [field.name for field in dataclasses.fields({parent_config}) if hasattr(config, field.name)]
        parent = {parent_causal}({parent_config}(**{{name: getattr(config, name) for name in names}}))
        parent.to(torch_device).eval()
        model = {causal}(config).to(torch_device).eval()
        model.load_state_dict(parent.state_dict())
        with torch.no_grad():
            self.assertTrue(torch.equal(model(**inputs_dict).logits, parent(**inputs_dict).logits))


class {cased}MixedModelTest({cased}ModelTest):
    model_tester_class = {cased}MixedModelTester

    @unittest.skip("There is a layer of each kind")
    def test_num_layers_is_small(self):
        pass

    def test_a_sub_block_that_a_layer_lacks_is_not_built(self):
        config, _ = self.model_tester.prepare_config_and_inputs_for_common()
        layers = {base}(config).layers
        for mixer_type, mlp_type, layer in zip(config.mixer_types, config.mlp_types, layers):
            self.assertEqual(mixer_type == mlp_type == "none", not list(layer.parameters()))
'''
STATES = """\
            elif mixer_type == "mamba":
                shapes = [
                    self._get_conv_state_shape(batch_size, layer_config),
                    self._get_recurrent_state_shape(batch_size, layer_config),
                ]
                self.assertEqual([layer.conv_states[0].shape, layer.recurrent_states[0].shape], shapes)
"""


class Override(NamedTuple):
    """A test in the place of a common one, and what it imports, of which some needs torch."""

    method: str
    imports: str = ""
    torch_imports: str = ""


SEVERAL = Override("""
    @unittest.skip("A layer has one sub-block, and there is one of each kind")
    def test_num_layers_is_small(self):
        pass
""")
OLDER_NAMES = Override("""
    @unittest.skip("Names of older checkpoints are read and not written")
    def test_reverse_loading_mapping(self):
        pass
""")
OTHER_FIELDS = Override(
    """
    def test_reverse_loading_mapping(self):
        # The common test sets fields of several models. One describes layers and is none of this config's, which refuses it
        config_class, to_dict = self.model_tester.config_class, self.model_tester.config_class.to_dict

        def without(config):
            return {name: value for name, value in to_dict(config).items() if name != "mlp_only_layers"}

        with patch.object(config_class, "to_dict", without):
            super().test_reverse_loading_mapping()
""",
    "from unittest.mock import patch\n",
)
COMPLEX_ROPE = Override("""
    @unittest.skip("The rotary embedding gives one complex tensor, as the parent's does")
    def test_model_rope_scaling_frequencies(self):
        pass
""")
NOT_PACKED = Override("""
    @unittest.skip("Several sequences in a row are refused: chunks are counted from its beginning")
    def test_eager_padding_matches_padding_free_with_position_ids(self):
        pass

    @unittest.skip("Several sequences in a row are refused: chunks are counted from its beginning")
    def test_sdpa_padding_matches_padding_free_with_position_ids(self):
        pass
""")
EXPERT_PLAN = Override(
    """
    def test_moe_parallel_plans_shard_experts(self):
        \"\"\"As in the parent, experts are sharded by the plan of expert parallelism alone.\"\"\"
        config, _ = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            model = model_class(config)
            names = _get_expert_weight_names(model)
            self.assertTrue(names)
            for name in names:
                self.assertIsNotNone(_get_parameter_plan(name, model._ep_plan, is_weight=True), name)
""",
    "from ...test_tensor_parallel_mixin import _get_expert_weight_names\n",
    "    from transformers.distributed.parallel_utils import _get_parameter_plan\n",
)
NO_WINDOW = Override(
    """
    @parameterized.expand(TEST_EAGER_MATCHES_SDPA_INFERENCE_PARAMETERIZATION)
    @unittest.skip("It sets a sliding window, which these layers do not have and the config refuses")
    def test_eager_matches_sdpa_inference(self, *args):
        pass
""",
    """\
from parameterized import parameterized
from ...test_modeling_common import TEST_EAGER_MATCHES_SDPA_INFERENCE_PARAMETERIZATION
""",
)
PAGE = """\
<!--Copyright {year} The HuggingFace Team. All rights reserved.

Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
the License. You may obtain a copy of the License at

http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the
specific language governing permissions and limitations under the License.

⚠️ Note that this file is in Markdown but contains specific syntax for our doc-builder (similar to MDX) that may not be
rendered properly in your Markdown viewer.

-->

# {cased}

{cased} is [{parent}]({link}) with layers that may differ from one another, as pruning, distillation and architecture search
leave them. The config has one list entry a layer; a sub-block that a layer lacks is not built, and costs no parameters, cache
or time. With all layers alike it computes what its parent computes.

| | a layer may have |
|---|---|
| `mixer_types` | {mixers} |
| `mlp_types` | {mlps} |

These sizes are one number for all layers, or a list with one entry a layer, `None` where the layer has no such sub-block:
{sizes}. `config.per_layer_config[i]` is the config of layer `i`, with plain numbers.

```python
from transformers import {imported}


config = {config}(
{example})
model = {causal}(config)
print(config.per_layer_config[1].skip)
```

## {config}

[[autodoc]] {config}
"""


def init_text(facts: Facts, parent_init: str) -> str:
    """`__init__.py`, as that of the parent: what it exports is found in the modules themselves."""
    parent = next(iter(facts.parents))
    text = re.sub(rf"(models/){parent}\b", rf"\g<1>{facts.model}", parent_init)
    text = re.sub(r"(?m)^# Copyright \d{4} ", f"# Copyright {facts.year} ", text)
    stars = [f"    from .{kind}_{facts.model} import *\n" for kind in ("configuration", "modeling")]
    return re.sub(r"(?m)(?:^    from \.\w+ import \*\n)+", "".join(stars), text, count=1)


def tests_text(
    facts: Facts, parent: Facts, fields: tuple[Mapping[str, Any], Mapping[str, Any]], parent_tests: Path
) -> str:
    """`test_modeling_<family>.py`; `fields` are those of the two small models."""
    causal, parent_causal = facts.causal, parent.causal
    overrides = list(_overrides(facts))
    return TESTS.format(
        licence=LICENCE.format(year=facts.year),
        cased=facts.cased,
        base=facts.base,
        causal=causal,
        # Found by the name of the base class where that begins as it does
        causal_class=""
        if causal == f"{facts.base.removesuffix('Model')}ForCausalLM"
        else f"        causal_lm_class = {causal}\n",
        parent_config=parent.config,
        parent_causal=parent_causal,
        imported=", ".join(sorted({facts.base, causal, parent.config, parent_causal})),
        states=STATES if "mamba" in facts.mixers else "",
        uniform=repr(dict(fields[0])),
        mixed=repr(dict(fields[1])),
        imports="".join(each.imports for each in overrides),
        torch_imports="".join(each.torch_imports for each in overrides),
        methods=_state_shapes(parent_tests) + "".join(each.method for each in overrides),
    )


def _overrides(facts: Facts) -> Iterator[Override]:
    """What the common tests ask otherwise than the family can answer."""
    if facts.has_one_block:
        yield SEVERAL
    if "sliding_window" in facts.fields and "sliding_window" not in facts.said["per_layer_sizes"]:
        yield NO_WINDOW
    if "LoadOnlyRenaming(" in facts.modeling:
        yield OLDER_NAMES
    elif '    renamed_like = "' in facts.modeling and "mlp_only_layers" not in facts.fields:
        yield OTHER_FIELDS
    if "torch.polar(" in facts.modeling:
        yield COMPLEX_ROPE
    if "find_packed_sequence_indices(" in facts.modeling:
        yield NOT_PACKED
    if facts.plans_experts_alone:
        yield EXPERT_PLAN


def _state_shapes(parent_tests: Path) -> str:
    """What the parent's tests say of the cache of its mixers, where it has such that keep a state."""
    if not parent_tests.is_file():
        return ""
    text = parent_tests.read_text(encoding="utf-8")
    methods = [
        ast.get_source_segment(text, each, padded=True)
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.FunctionDef) and each.name in ("_get_conv_state_shape", "_get_recurrent_state_shape")
    ]
    return "".join(f"\n{method}\n" for method in methods)


def page_text(facts: Facts, parent: Facts, mixed: Mapping[str, Any]) -> str:
    """The page of the documentation."""
    example = "".join(f"    {name}={value!r},\n" for name, value in mixed.items())
    sections = "".join(f"\n## {name}\n\n[[autodoc]] {name}\n    - forward\n" for name in facts.models)
    page = PAGE.format(
        year=facts.year,
        cased=facts.cased,
        parent=parent.cased,
        link=parent.model,
        mixers=_named(facts.said["supported_mixer_types"]),
        mlps=_named(facts.said["supported_mlp_types"]),
        sizes=", ".join(f"`{name}`" for name in facts.said["per_layer_sizes"]),
        config=facts.config,
        causal=facts.causal,
        imported=", ".join(sorted((facts.causal, facts.config))),
        example=example.replace("'", '"'),
    )
    return page + sections


def _named(kinds: tuple[str, ...]) -> str:
    return ", ".join(f'`"{kind}"`' for kind in kinds)
