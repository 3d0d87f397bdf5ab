"""There and back: config.json byte for byte, every tensor under its name, whatever the format was."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from transformers import AutoModelForCausalLM
from transformers_heterogeneous.converters import convert, verify
from transformers_heterogeneous.converters.engine.json_objects import parse_object
from transformers_heterogeneous.converters.formats import recognition
from transformers_heterogeneous.converters.provenance import ORIGIN

from .. import published, published_families
from ..checkpoints import CHECKPOINTS
from ..published import (
    DECI,
    DECI_LAYERS,
    DIALECTS,
    LAYERS,
    TRAP,
    assert_same_tensors,
    read_tensors,
    tensors_of,
)
from . import test_openelm


UNIFORM = {
    **published.LLAMA_GLOBALS,
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
}
SKIPS = {**UNIFORM, "per_layer_config": {"1": {"skip": ["attention"], "intermediate_size": 512}}}
LLAMAS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{f"nemotron-nas, {name}": (config, tensors_of(LAYERS)) for name, config in DIALECTS.items()},
    "deci": (DECI, tensors_of(DECI_LAYERS)),
    "deci, no model type": ({**DECI, "model_type": None}, tensors_of(DECI_LAYERS)),
    "deci, the trap": (TRAP, tensors_of(DECI_LAYERS)),
    "llama": (UNIFORM, tensors_of([published.LAYER_0] * 2)),
    "llama, per_layer_config": (SKIPS, tensors_of([LAYERS[0], LAYERS[1]])),
}
OPENELM = {"OpenELM": (test_openelm.CONFIG, test_openelm.TENSORS)}
SOURCES = (
    LLAMAS | OPENELM | {name: (checkpoint.config, checkpoint.tensors) for name, checkpoint in CHECKPOINTS.items()}
)
DATA = Path(__file__).parents[2] / "data"
CARD = "---\nlicense: mit\n---\r\n# Title\n\n| a | b |\n"


def write(folder: Path, name: str) -> str:
    """One of the checkpoints, its config.json laid out in a way that nobody would guess; its format."""
    config, tensors = SOURCES[name]
    published.write_checkpoint(folder, config, tensors)
    (folder / "config.json").write_text(json.dumps(config, indent=3, sort_keys=len(name) % 2 == 0) + "\r\n \n")
    (folder / "README.md").write_bytes(CARD.encode())
    return recognition.read_config(folder)[0].name


def assert_same_checkpoint(found: Path, source: Path) -> None:
    assert (found / "config.json").read_bytes() == (source / "config.json").read_bytes()
    assert_same_tensors(read_tensors(found), read_tensors(source))


@pytest.mark.parametrize("name", SOURCES)
def test_there_and_back_is_byte_identical(name, tmp_path):
    source = tmp_path / "source"
    to = write(source, name)
    there = convert(source, tmp_path / "ours")
    assert "hetero_origin.json" in there.written and not there.restored
    back = convert(tmp_path / "ours", tmp_path / "back", to=to)
    assert back.restored and not back.dropped_fields and "hetero_origin.json" not in back.written
    assert_same_checkpoint(tmp_path / "back", source)
    assert (tmp_path / "back/README.md").read_bytes() == (source / "README.md").read_bytes()
    assert verify(source, tmp_path / "ours").same


def copy_with(folder: Path, source: Path, **members: Any) -> Path:
    """A checkpoint with other members in its config.json."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **members}))
    return folder


class TestOrigin:
    @pytest.fixture
    def source(self, tmp_path) -> Path:
        write(tmp_path / "source", "nemotron-nas, A")
        return tmp_path / "source"

    @pytest.fixture
    def ours(self, source, tmp_path) -> Path:
        convert(source, tmp_path / "ours")
        return tmp_path / "ours"

    def test_what_it_says(self, source, ours):
        assert json.loads((ours / ORIGIN).read_text()) == {
            "format": "nemotron-nas",
            "config": (source / "config.json").read_bytes().decode(),
            "names": {},
            "experts": "keep",
            "hf_quant_config": None,
        }

    def test_it_travels_while_the_model_stays_the_same(self, source, ours, tmp_path):
        convert(ours, tmp_path / "sharded", max_shard_size="50KB")
        convert(tmp_path / "sharded", tmp_path / "again")
        assert (tmp_path / "again" / ORIGIN).read_bytes() == (ours / ORIGIN).read_bytes()
        assert convert(tmp_path / "again", tmp_path / "back", to="nemotron-nas").restored
        assert_same_checkpoint(tmp_path / "back", source)

    def test_through_another_published_format(self, tmp_path):
        write(tmp_path / "source", "Nemotron 3 Nano")
        convert(tmp_path / "source", tmp_path / "there", to="anymodel")
        assert recognition.read_config(tmp_path / "there")[0].name == "anymodel"
        assert convert(tmp_path / "there", tmp_path / "back", to="nemotron_h").restored
        assert_same_checkpoint(tmp_path / "back", tmp_path / "source")

    def test_to_its_own_format(self, tmp_path):
        """`model.` stays where another prefix is usual, and remote code is named that config.json asks for."""
        write(tmp_path / "source", "Nemotron 3 Nano, model.")
        report = convert(tmp_path / "source", tmp_path / "copy", to="nemotron_h")
        assert report.restored and not (tmp_path / "copy" / ORIGIN).exists()
        assert {"configuration_nemotron_h.py", "modeling_nemotron_h.py"} <= {left.name for left in report.not_carried}
        assert_same_checkpoint(tmp_path / "copy", tmp_path / "source")

    def test_two_prefixes_in_one_checkpoint(self, tmp_path):
        config, tensors = SOURCES["Nemotron 3 Nano"]
        mixed = {name.replace("backbone.layers.1.", "model.layers.1."): tensor for name, tensor in tensors.items()}
        published.write_checkpoint(tmp_path / "source", config, mixed)
        convert(tmp_path / "source", tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "back", to="nemotron_h")
        assert_same_checkpoint(tmp_path / "back", tmp_path / "source")

    @staticmethod
    def with_two_prefixes(folder: Path, moved: tuple[str, ...], layers: int = 26) -> Path:
        """A Nano of many layers, some of them under `model.`."""
        config = {
            **published_families.NANO_3,
            "num_hidden_layers": layers,
            "hybrid_override_pattern": "ME" * (layers // 2),
        }
        both = published_families.NANO_3_LAYERS[:2]
        shapes = published_families.nemotron_like(both * (layers // 2))
        shapes = {f"model.{name[9:]}" if name.startswith(moved) else name: shape for name, shape in shapes.items()}
        published.write_checkpoint(folder, config, published_families.random_tensors(shapes))
        return folder

    def test_many_layers_under_another_prefix(self, tmp_path):
        moved = tuple(f"backbone.layers.{layer}." for layer in range(7, 26))
        source = self.with_two_prefixes(
            tmp_path / "source", (*moved, "backbone.layers.3.mixer.gate", "backbone.norm_f")
        )
        said = {"quantization": {"exclude_modules": ["model.layers.21*", "backbone.layers.1.*"]}}
        (source / "hf_quant_config.json").write_text(json.dumps(said))
        convert(source, tmp_path / "ours")
        names = json.loads((tmp_path / "ours" / ORIGIN).read_text())["names"]
        assert names["model.layers.21."] == "model.layers.21." and names["backbone."] == "model." and len(names) == 23
        assert convert(tmp_path / "ours", tmp_path / "back", to="nemotron_h").restored
        assert_same_checkpoint(tmp_path / "back", source)
        (tmp_path / "ours/hf_quant_config.json").write_text(json.dumps({**said, "more": ["model.layers.1.*"]}))
        convert(tmp_path / "ours", tmp_path / "edited", to="nemotron_h")
        found = json.loads((tmp_path / "edited/hf_quant_config.json").read_text())
        assert found["quantization"]["exclude_modules"][0] == "model.layers.21*"
        assert found["more"] == ["backbone.layers.1.*"]

    def test_too_many_names_are_not_said_to_come_back(self, tmp_path):
        moved = tuple(f"backbone.layers.{layer}.mixer.experts" for layer in range(26))
        source = self.with_two_prefixes(tmp_path / "source", moved)
        assert ORIGIN not in convert(source, tmp_path / "ours").written
        report = convert(tmp_path / "ours", tmp_path / "back", to="nemotron_h")
        assert not report.restored and verify(source, tmp_path / "back").same

    @pytest.mark.parametrize("nothing", [None, {}])
    def test_config_that_says_it_is_not_quantised(self, nothing, tmp_path):
        write(tmp_path / "plain", "llama")
        source = copy_with(tmp_path / "source", tmp_path / "plain", quantization_config=nothing)
        assert "quantization_config" not in convert(source, tmp_path / "ours").dropped_fields
        assert verify(source, tmp_path / "ours").same and verify(source, tmp_path / "plain").same
        assert convert(tmp_path / "ours", tmp_path / "back", to="llama").restored
        assert_same_checkpoint(tmp_path / "back", source)

    @pytest.mark.parametrize("name", ["Nemotron 3 Super", "Nemotron Puzzle"])
    def test_experts_lie_as_they_did(self, name, tmp_path):
        to = write(tmp_path / "source", name)
        convert(tmp_path / "source", tmp_path / "ours", experts="stacked")
        convert(tmp_path / "ours", tmp_path / "back", to=to)
        assert_same_checkpoint(tmp_path / "back", tmp_path / "source")
        stacked = convert(tmp_path / "ours", tmp_path / "stacked", to=to, experts="stacked")
        assert stacked.restored and stacked.num_tensors < len(SOURCES[name][1])

    @pytest.mark.parametrize(
        "members", [{"rms_norm_eps": 1e-3}, {"dtype": "float32"}, {"hidden_act": "gelu"}], ids=str
    )
    def test_model_that_has_changed(self, members, ours, tmp_path):
        changed = copy_with(tmp_path / "changed", ours, **members)
        report = convert(changed, tmp_path / "back", to="nemotron-nas")
        found = json.loads((tmp_path / "back/config.json").read_text())
        assert not report.restored and found.items() >= members.items()
        report = convert(changed, tmp_path / "again")
        assert "hetero_origin.json" not in report.written
        assert ("hetero_origin.json", "describes another model than this") in {
            (left.name, left.reason) for left in report.not_carried
        }

    def test_dtype(self, ours, tmp_path):
        report = convert(ours, tmp_path / "back", to="nemotron-nas", dtype="float32")
        assert not report.restored
        assert json.loads((tmp_path / "back/config.json").read_text())["dtype"] == "float32"

    UNREADABLE = ("", "[]", "{", "{}", '{"format": 1}', "\udcff")
    LIES = (
        {"format": "deci"},
        {"format": "heterogeneous_llama"},
        {"config": "{}"},
        {"config": 7},
        {"config": '{"model_type": "gpt_oss"}'},
        {"names": ["model."]},
        {"names": {"": "model."}},
        {"names": {"lm_head.weight": "model."}},
        {"names": {"x": 1}},
        {"experts": "some"},
        {"names": {f"x{number}": "model." for number in range(101)}},
        {"hf_quant_config": 7},
        {"more": 1},
    )

    @pytest.mark.parametrize("lie", [*UNREADABLE, *LIES], ids=lambda lie: str(lie)[:60])
    def test_file_that_does_not_hold(self, lie, ours, tmp_path):
        """It is no error, and changes nothing: the config is computed, tensors have the usual names."""
        origin = json.loads((ours / ORIGIN).read_text())
        text = lie if isinstance(lie, str) else json.dumps({**origin, **lie})
        (ours / ORIGIN).write_bytes(text.encode("utf-8", "surrogateescape"))
        report = convert(ours, tmp_path / "back", to="nemotron-nas")
        assert not report.restored
        assert_same_tensors(read_tensors(tmp_path / "back"), read_tensors(ours))
        assert verify(ours, tmp_path / "back").same
        (ours / ORIGIN).unlink()
        convert(ours, tmp_path / "without", to="nemotron-nas")
        assert (tmp_path / "without/config.json").read_bytes() == (tmp_path / "back/config.json").read_bytes()

    def test_buffers_do_not_come_back(self, tmp_path):
        tensors = {**tensors_of(LAYERS), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
        published.write_checkpoint(tmp_path / "source", DIALECTS["A"], tensors)
        report = convert(tmp_path / "source", tmp_path / "ours")
        assert [tensor.name for tensor in report.dropped] == ["model.layers.0.self_attn.rotary_emb.inv_freq"]
        assert convert(tmp_path / "ours", tmp_path / "back", to="nemotron-nas").restored
        assert_same_tensors(read_tensors(tmp_path / "back"), tensors_of(LAYERS))


def test_modules_of_a_quantisation_config(tmp_path):
    """NVFP4 names modules by the published prefix; in the family's config they follow, and on the way back they return."""
    config, tensors = SOURCES["Nemotron 3 Nano"]
    ignore = ["lm_head", "backbone.layers.0.mixer.in_proj", "backbone.layers.3*", "mtp*"]
    quantisation = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ignore}
    published.write_checkpoint(tmp_path / "source", {**config, "quantization_config": quantisation}, tensors)
    convert(tmp_path / "source", tmp_path / "ours")
    found = json.loads((tmp_path / "ours/config.json").read_text())["quantization_config"]["ignore"]
    assert found == ["lm_head", "model.layers.0.mixer.in_proj", "model.layers.3*", "mtp*"]
    assert convert(tmp_path / "ours", tmp_path / "back", to="nemotron_h").restored
    assert_same_checkpoint(tmp_path / "back", tmp_path / "source")


def test_file_of_modelopt(tmp_path):
    """Comes back with the bytes that it had, unless somebody has changed it."""
    config, tensors = SOURCES["Nemotron 3 Nano"]
    published.write_checkpoint(tmp_path / "source", config, tensors)
    said = {"producer": {"name": "modelopt"}, "quantization": {"exclude_modules": ["lm_head", "backbone.layers.3*"]}}
    text = json.dumps(said, indent=4)
    (tmp_path / "source/hf_quant_config.json").write_text(text)
    convert(tmp_path / "source", tmp_path / "ours")
    ours = json.loads((tmp_path / "ours/hf_quant_config.json").read_text())
    assert ours["quantization"]["exclude_modules"] == ["lm_head", "model.layers.3*"]
    convert(tmp_path / "ours", tmp_path / "back", to="nemotron_h")
    assert (tmp_path / "back/hf_quant_config.json").read_text() == text
    ours["quantization"]["exclude_modules"].append("model.layers.1.mixer")
    (tmp_path / "ours/hf_quant_config.json").write_text(json.dumps(ours))
    convert(tmp_path / "ours", tmp_path / "other", to="nemotron_h")
    found = json.loads((tmp_path / "other/hf_quant_config.json").read_text())
    assert found["quantization"]["exclude_modules"][-1] == "backbone.layers.1.mixer"


def test_file_of_modelopt_that_names_layers_which_are_taken_out(tmp_path):
    write(tmp_path / "source", "AnyModel Nemotron-H")
    names = ["lm_head", "backbone.layers.2.mixer", "backbone.layers.3.mixer.q_proj"]
    text = json.dumps({"quantization": {"exclude_modules": names}}, indent=5)
    (tmp_path / "source/hf_quant_config.json").write_text(text)
    convert(tmp_path / "source", tmp_path / "short", drop_empty_layers=True)
    ours = json.loads((tmp_path / "short/hf_quant_config.json").read_text())
    assert ours["quantization"]["exclude_modules"] == ["lm_head", "model.layers.2.mixer.q_proj"]
    assert verify(tmp_path / "source", tmp_path / "short").same
    assert convert(tmp_path / "short", tmp_path / "back", to="anymodel").restored
    assert (tmp_path / "back/hf_quant_config.json").read_text() == text
    ours["quantization"]["exclude_modules"].append("model.layers.3.mixer")
    (tmp_path / "short/hf_quant_config.json").write_text(json.dumps(ours))
    convert(tmp_path / "short", tmp_path / "other", to="anymodel")
    found = json.loads((tmp_path / "other/hf_quant_config.json").read_text())["quantization"]["exclude_modules"]
    assert found == ["lm_head", "backbone.layers.3.mixer.q_proj", "backbone.layers.4.mixer"]


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.stem)
def test_real_configs_hold(path):
    """The config of a published model, written as ours and read again, says the same: so the way back is the verbatim one."""
    found, config_dict = recognition.read_config(path)
    config = recognition.family_config(found, config_dict, path.name)
    own = parse_object(config.to_json_string().encode(), path.name)
    again = recognition.family_config(recognition.recognise(own, path.name), own, path.name)
    assert recognition.model_fields(again) == recognition.model_fields(config)


def test_windows_that_a_llama_does_not_read(tmp_path):
    """Of a Mistral that was made over to Llama: what it computes is what Llama's own class computes."""
    config, tensors = SOURCES["llama"]
    made_over = {**config, "sliding_window": 4, "use_sliding_window": False, "layer_types": ["sliding_attention"] * 2}
    published.write_checkpoint(tmp_path / "published", made_over, tensors)
    report = convert(tmp_path / "published", tmp_path / "ours")
    assert {"layer_types", "sliding_window", "use_sliding_window"} <= set(report.dropped_fields)
    tokens = torch.arange(2, 13)[None]
    folders = tmp_path / "published", tmp_path / "ours"
    logits = [AutoModelForCausalLM.from_pretrained(folder)(tokens).logits for folder in folders]
    assert torch.equal(*logits)
    assert convert(tmp_path / "ours", tmp_path / "back", to="llama").restored
    assert_same_checkpoint(tmp_path / "back", tmp_path / "published")
