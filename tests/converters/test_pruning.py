"""Sub-blocks that are left out on the way, and layers that hold nothing: taken out, and put back on the way back."""

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import transformers_heterogeneous  # noqa: F401  (registers the families)
from transformers import AutoModelForCausalLM
from transformers_heterogeneous.converters import CheckpointError, convert, verify
from transformers_heterogeneous.converters.formats import recognition
from transformers_heterogeneous.scripts.command.cli import app

from . import published
from . import published_families as families
from .checkpoints import CHECKPOINTS, logits
from .published import DIALECTS, LAYERS, assert_same_tensors, read_tensors, tensors_of, write_checkpoint


UNIFORM = {
    **published.LLAMA_GLOBALS,
    "model_type": "llama",
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
}
UNIFORM_TENSORS = tensors_of([published.LAYER_0] * 4)


def config_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def gone(*modules: str):
    """The tensors of a uniform Llama without those of some modules of layers."""
    beginnings = tuple(f"model.layers.{module}." for module in modules)
    return {name: tensor for name, tensor in UNIFORM_TENSORS.items() if not name.startswith(beginnings)}


class TestSkip:
    @pytest.fixture
    def source(self, tmp_path) -> Path:
        write_checkpoint(tmp_path / "llama", UNIFORM, UNIFORM_TENSORS)
        return tmp_path / "llama"

    def test_norms_go_too_and_the_reason_names_the_option(self, source, tmp_path):
        report = convert(source, tmp_path / "thin", skip=["attention:1-2", "mlp:0,2"])
        assert config_of(tmp_path / "thin")["mixer_types"] == ["attention", "none", "none", "attention"]
        assert config_of(tmp_path / "thin")["mlp_types"] == ["none", "dense", "none", "dense"]
        attention = [f"{layer}.{module}" for layer in (1, 2) for module in ("self_attn", "input_layernorm")]
        mlp = [f"{layer}.{module}" for layer in (0, 2) for module in ("mlp", "post_attention_layernorm")]
        assert_same_tensors(read_tensors(tmp_path / "thin"), gone(*attention, *mlp))
        reasons = {tensor.name: tensor.reason for tensor in report.dropped}
        assert reasons.keys() == UNIFORM_TENSORS.keys() - gone(*attention, *mlp).keys()
        assert reasons["model.layers.1.input_layernorm.weight"] == "left out by --skip attention:1"
        assert reasons["model.layers.2.mlp.up_proj.weight"] == "left out by --skip attention:2, mlp:2"
        assert "hetero_origin.json" not in report.written

    def test_it_is_the_model_with_layers_skipped(self, source, tmp_path):
        convert(source, tmp_path / "thin", skip=["attention:1,2", "mlp:3"])
        overrides = {1: {"skip": ["attention"]}, 2: {"skip": ["attention"]}, 3: {"skip": ["mlp"]}}
        convert(source, tmp_path / "ours")
        model = AutoModelForCausalLM.from_pretrained(
            tmp_path / "ours", per_layer_config=overrides, attn_implementation="eager"
        )
        tokens = torch.randint(0, families.V, (2, 11), generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            assert torch.equal(logits(tmp_path / "thin"), model.eval()(tokens).logits)

    @pytest.mark.parametrize("to", ["nemotron-nas", "anymodel", "per_layer_config"])
    def test_on_the_way_to_a_published_format(self, source, to, tmp_path):
        convert(source, tmp_path / "thin", skip="attention:1")
        convert(source, tmp_path / "published", skip=["attention:1"], to=to)
        assert verify(tmp_path / "thin", tmp_path / "published").same
        assert recognition.read_config(tmp_path / "published")[0].name == to

    def test_format_that_has_no_such_layers(self, source, tmp_path):
        with pytest.raises(CheckpointError, match=re.escape("mixer_types[1] is 'none'")):
            convert(source, tmp_path / "thin", skip=["attention:1"], to="llama")

    @pytest.mark.parametrize(
        ("name", "skip", "left"),
        [
            ("gpt-oss", "mlp:1", {"input_layernorm", "self_attn"}),
            ("gpt-oss, MXFP4", "mlp:1", {"input_layernorm", "self_attn"}),
            ("gpt-oss-puzzle", "attention:1", {"post_attention_layernorm", "mlp"}),
            ("Granite 4", "moe:1", {"input_layernorm", "self_attn"}),
            ("Granite 4", "mamba:0", {"post_attention_layernorm", "shared_mlp", "block_sparse_moe"}),
            ("Granite 4, dense", "mlp:1", {"input_layernorm", "self_attn"}),
            ("Nemotron 3 Nano", "moe:1", set()),
            ("Nemotron 3 Super", "mixer:1", set()),
            ("Nemotron Puzzle", "mlp:1", set()),
        ],
    )
    def test_other_families(self, name, skip, left, tmp_path):
        source = CHECKPOINTS[name].write(tmp_path / "source")
        report = convert(source, tmp_path / "thin", skip=[skip])
        place = f"model.layers.{skip[-1]}."
        found = {
            tensor.removeprefix(place).split(".")[0] for tensor in read_tensors(tmp_path / "thin") if place in tensor
        }
        assert found == left and report.dropped
        assert logits(tmp_path / "thin").isfinite().all()

    WRONG = (
        (["attention:4"], "'4': layers are 0-3"),
        (["attention:2-1"], "'2-1': layers are 0-3, the first of a range comes first"),
        (["attention:x,1"], "'x' is no layer"),
        (["attention"], "'' is no layer"),
        (["attention:-1"], "'-1' is no layer"),
        (["attention:1²"], "is no layer"),
        (["attention:99999999999999999999"], "is no layer"),
        (["mamba:1"], "there is no 'mamba', known are attention, mlp"),
        ([":1"], "there is no ''"),
        (["attention:0-3"], "nothing that mixes tokens"),
    )

    @pytest.mark.parametrize(("skip", "words"), WRONG, ids=str)
    def test_what_is_wrong_is_named(self, source, skip, words, tmp_path):
        with pytest.raises(CheckpointError, match=re.escape(words)):
            convert(source, tmp_path / "thin", skip=skip)
        assert not (tmp_path / "thin").exists()

    def test_all_at_once(self, source, tmp_path):
        with pytest.raises(CheckpointError) as error:
            convert(source, tmp_path / "thin", skip=["attention:9,x", "ffn:1", "mlp:7-5"])
        assert len(str(error.value).splitlines()) == 6

    @pytest.mark.parametrize(
        ("name", "skip", "words"),
        [
            ("Granite 4", "attention:0", "layer 0 has no attention, its mixer is 'mamba', its MLP 'moe'"),
            ("Granite 4, dense", "moe:0", "layer 0 has no moe"),
            ("Nemotron 3 Nano", "moe:0", "layer 0 has no moe, its mixer is 'mamba', its MLP 'none'"),
            ("AnyModel Nemotron-H", "mixer:2", "layer 2 has no mixer"),
            ("AnyModel gpt-oss", "attention:1", "layer 1 has no attention, its mixer is 'none'"),
        ],
    )
    def test_layer_that_has_none(self, name, skip, words, tmp_path):
        source = CHECKPOINTS[name].write(tmp_path / "source")
        with pytest.raises(CheckpointError, match=re.escape(words)):
            convert(source, tmp_path / "thin", skip=[skip])

    def test_skipped_by_the_source_itself(self, tmp_path):
        """`per_layer_config` says to skip what the files hold still: as good as the option."""
        config = {**UNIFORM, "per_layer_config": {"1": {"skip": ["attention"]}, "3": {"skip": ["mlp", "attention"]}}}
        write_checkpoint(tmp_path / "source", config, UNIFORM_TENSORS)
        report = convert(tmp_path / "source", tmp_path / "thin")
        modules = ("1.self_attn", "1.input_layernorm", "3")
        assert_same_tensors(read_tensors(tmp_path / "thin"), gone(*modules))
        assert {tensor.reason for tensor in report.dropped} == {"skipped by per_layer_config in config.json"}
        write_checkpoint(tmp_path / "pruned", config, gone(*modules))
        assert verify(tmp_path / "source", tmp_path / "pruned").same
        assert not convert(tmp_path / "pruned", tmp_path / "other").dropped

    def test_other_tensors_too_many_are_still_refused(self, tmp_path):
        config = {**UNIFORM, "per_layer_config": {"1": {"skip": ["attention"]}}}
        more = {"model.layers.2.self_attn.extra.weight": torch.ones(2)}
        write_checkpoint(tmp_path / "source", config, UNIFORM_TENSORS | more)
        with pytest.raises(CheckpointError, match="unexpected"):
            convert(tmp_path / "source", tmp_path / "thin")


class TestEmptyLayers:
    @pytest.fixture
    def source(self, tmp_path) -> Path:
        """Layers 1 and 4 of six hold nothing."""
        blocks = [DIALECTS["A"]["block_configs"][at] for at in (0, 4, 1, 2, 4, 3)]
        config = {**DIALECTS["A"], "num_hidden_layers": 6, "block_configs": blocks}
        write_checkpoint(tmp_path / "source", config, tensors_of([LAYERS[at] for at in (0, 4, 1, 2, 4, 3)]))
        return tmp_path / "source"

    def test_the_others_are_renumbered(self, source, tmp_path):
        report = convert(source, tmp_path / "short", drop_empty_layers=True)
        assert report.dropped_layers == (1, 4) and not report.dropped
        found = config_of(tmp_path / "short")
        assert found["num_hidden_layers"] == 4
        assert found["mixer_types"] == ["attention", "none", "linear", "attention"]
        assert found["num_key_value_heads"] == [2, None, None, 1]
        assert_same_tensors(read_tensors(tmp_path / "short"), tensors_of(LAYERS[:4]))
        convert(source, tmp_path / "long")
        assert verify(source, tmp_path / "short").same and verify(tmp_path / "short", tmp_path / "long").same
        assert torch.equal(logits(tmp_path / "short"), logits(tmp_path / "long"))

    def test_without_the_option_they_stay(self, source, tmp_path):
        assert convert(source, tmp_path / "long").dropped_layers == ()
        assert config_of(tmp_path / "long")["num_hidden_layers"] == 6

    def test_there_and_back(self, source, tmp_path):
        convert(source, tmp_path / "short", drop_empty_layers=True)
        convert(tmp_path / "short", tmp_path / "again", max_shard_size="50KB")
        back = convert(tmp_path / "again", tmp_path / "back", to="nemotron-nas")
        assert back.restored and back.operations["rename"]
        assert (tmp_path / "back/config.json").read_bytes() == (source / "config.json").read_bytes()
        assert_same_tensors(read_tensors(tmp_path / "back"), read_tensors(source))

    def test_a_layer_less_is_another_model(self, source, tmp_path):
        convert(source, tmp_path / "short", skip=["mlp:2"], drop_empty_layers=True)
        differences = {difference.name for difference in verify(source, tmp_path / "short").differences}
        assert {"config.num_hidden_layers", "model.layers.3.input_layernorm.weight"} <= differences

    def test_published_format_without_them(self, source, tmp_path):
        report = convert(source, tmp_path / "short", drop_empty_layers=True, to="nemotron-nas")
        assert not report.restored and len(config_of(tmp_path / "short")["block_configs"]) == 4
        convert(source, tmp_path / "ours", drop_empty_layers=True)
        assert verify(tmp_path / "short", tmp_path / "ours").same

    def test_together_with_skip(self, source, tmp_path):
        report = convert(source, tmp_path / "short", skip=["mlp:2"], drop_empty_layers=True)
        assert report.dropped_layers == (1, 2, 4)
        assert config_of(tmp_path / "short")["mixer_types"] == ["attention", "linear", "attention"]
        assert len(report.dropped) == len(LAYERS[1])

    def test_model_without_such_layers_stays_as_it_is(self, tmp_path):
        write_checkpoint(tmp_path / "source", UNIFORM, UNIFORM_TENSORS)
        report = convert(tmp_path / "source", tmp_path / "ours", drop_empty_layers=True)
        assert report.dropped_layers == () and report.operations.keys() == {"keep"}

    def test_scales_beside_layers_that_hold_nothing(self, tmp_path):
        config, tensors = CHECKPOINTS["AnyModel gpt-oss"].config, CHECKPOINTS["AnyModel gpt-oss"].tensors
        blocks = [*config["block_configs"][:2], {"attention": {"no_op": True}, "ffn": {"no_op": True}}]
        config = {**config, "block_configs": blocks}
        tensors = {name: tensor for name, tensor in tensors.items() if "layers.2" not in name}
        stray = "model.layers.2.self_attn.k_scale"
        write_checkpoint(tmp_path / "source", config, tensors | {stray: torch.ones(1)})
        report = convert(tmp_path / "source", tmp_path / "short", drop_empty_layers=True)
        assert [tensor.name for tensor in report.dropped] == [stray] and not report.unused
        assert_same_tensors(read_tensors(tmp_path / "short"), tensors)

    def quantised(self, folder: Path, *names: str) -> Path:
        config, tensors = CHECKPOINTS["AnyModel Nemotron-H"].config, CHECKPOINTS["AnyModel Nemotron-H"].tensors
        quantisation = {"quant_method": "modelopt", "ignore": list(names)}
        write_checkpoint(folder, {**config, "quantization_config": quantisation}, tensors)
        return folder

    def test_modules_of_a_quantisation_config_follow(self, tmp_path):
        """The third of five layers holds nothing."""
        names = [
            "lm_head",
            "backbone.layers.1.mixer.up_proj",
            "backbone.layers.2.mixer",
            "backbone.layers.4",
            "mtp.layers.3",
        ]
        source = self.quantised(tmp_path / "source", *names)
        convert(source, tmp_path / "short", drop_empty_layers=True)
        found = config_of(tmp_path / "short")["quantization_config"]["ignore"]
        assert found == ["lm_head", "model.layers.1.mixer.up_proj", "model.layers.3", "mtp.layers.3"]
        assert convert(tmp_path / "short", tmp_path / "back", to="anymodel").restored
        assert (tmp_path / "back/config.json").read_bytes() == (source / "config.json").read_bytes()
        assert_same_tensors(read_tensors(tmp_path / "back"), read_tensors(source))

    @pytest.mark.parametrize("name", ["backbone.layers.3*", r"re:.*layers\.3\..*", "model.layers.[3]"])
    def test_patterns_of_numbers_are_written_out(self, name, tmp_path):
        source = self.quantised(tmp_path / "source", name)
        convert(source, tmp_path / "short", drop_empty_layers=True)
        found = config_of(tmp_path / "short")["quantization_config"]["ignore"]
        projections = [f"mixer.{name}_proj" for name in "koqv"]
        assert sorted(found) == [f"model.layers.2.{name}" for name in [*projections, "norm"]]
        assert verify(source, tmp_path / "short").same
        assert convert(tmp_path / "short", tmp_path / "back", to="anymodel").restored


class TestCommand:
    def run(self, *arguments: object):
        return CliRunner().invoke(app, ["convert", *map(str, arguments)])

    def test_says_what_is_left_out(self, tmp_path):
        write_checkpoint(tmp_path / "source")
        result = self.run(
            tmp_path / "source", tmp_path / "short", "--skip", "mlp:0", "--skip", "mlp:1", "--drop-empty-layers"
        )
        assert result.exit_code == 0, result.stderr
        for words in (
            "dropped: layers without sub-blocks, the others are renumbered: 1, 4",
            "dropped: model.layers.0.mlp.up_proj.weight in ",
            "left out by --skip mlp:0",
        ):
            assert words in result.stdout

    def test_says_that_it_is_the_original_again(self, tmp_path):
        write_checkpoint(tmp_path / "source")
        convert(tmp_path / "source", tmp_path / "ours")
        result = self.run(tmp_path / "ours", tmp_path / "back", "--to", "nemotron-nas")
        assert "restored: config.json as it was published, byte for byte" in result.stdout

    def test_refusal(self, tmp_path):
        write_checkpoint(tmp_path / "source")
        result = self.run(tmp_path / "source", tmp_path / "short", "--skip", "mixer:0")
        assert result.exit_code == 2 and "there is no 'mixer', known are attention, mlp" in result.stderr
