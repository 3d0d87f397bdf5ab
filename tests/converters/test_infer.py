"""A config worked out from shapes: right, or asked for by name, and never wrong."""

import json
import re
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import transformers_heterogeneous  # noqa: F401  (registers the families)
from transformers_heterogeneous.converters import CheckpointError, convert, infer, verify
from transformers_heterogeneous.scripts.command.cli import app

from . import published_families as p
from .checkpoints import CHECKPOINTS, logits
from .cutting import LLAMA, WHOLE
from .published import assert_same_tensors, read_tensors, write_checkpoint


@st.composite
def cuts(draw, whole):
    """Units that stay of some sizes of some layers, sub-blocks that go, and whether layers have new numbers."""
    kept, skips = {}, []
    for layer, cuts_of_layer in enumerate(whole.cuts):
        for size, _, count, _ in cuts_of_layer:
            if draw(st.booleans()):
                least = 2 if "expert" in size and "intermediate" not in size else 1
                number = draw(st.integers(least, count))
                kept.setdefault(layer, {})[size] = sorted(draw(st.permutations(range(count)))[:number])
    for layer, blocks in enumerate(whole.blocks):
        skips += [(layer, name) for name in blocks if draw(st.integers(0, 3)) == 0]
    return kept, skips


def is_model(whole, tensors) -> bool:
    """Whether something mixes tokens still."""
    return any(name.endswith(("q_proj.weight", "in_proj.weight")) for name in tensors)


# Size -> what a tensor of a layer that has it is called
MARKS = {"num_key_value_heads": "k_proj", "shared_intermediate_size": "shared_mlp", "num_local_experts": "router"}


def expected_sizes(whole, kept, tensors):
    """(size, layer of the output) -> what the script left, of the layers that hold something."""
    layers = sorted(
        {int(name.split("layers.")[1].split(".")[0]) for name in tensors if f"{whole.prefix}layers." in name}
    )
    sizes = {}
    for new, old in enumerate(layers):
        place = f"{whole.prefix}layers.{old}."
        for size, _, count, _ in whole.cuts[old]:
            if any(name.startswith(place) and re.search(MARKS.get(size, "mlp|moe|mixer"), name) for name in tensors):
                sizes[size, new] = len(kept.get(old, {}).get(size, range(count)))
    return layers, sizes


@pytest.mark.parametrize("name", WHOLE)
def test_random_cuts_are_read_right_or_asked_about(name, tmp_path):
    whole, counts = WHOLE[name], Counter()

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(cuts(whole))
    def one(cut):
        kept, skips = cut
        tensors = whole.cut(kept, skips)
        if not is_model(whole, tensors):
            return
        counts["tried"] += 1
        folder = tmp_path / str(counts["tried"])
        write_checkpoint(folder, whole.config, tensors)
        layers, sizes = expected_sizes(whole, kept, tensors)
        try:
            found = infer(folder)
        except CheckpointError as error:
            assert "leave open" in str(error) and "--set" in str(error), error
            counts["asked"] += 1
            return
        assert found.layers == tuple(layers)
        read = {}
        for size in {size for size, _ in sizes}:
            value = found.config[size]
            read[size] = value if isinstance(value, list) else [value] * len(layers)
        assert {place: read[place[0]][place[1]] for place in sizes} == sizes
        counts["right"] += 1

    one()
    print(f"{name}: {dict(counts)}, wrong 0")
    assert counts["right"] + counts["asked"] == counts["tried"] and counts["right"] >= 0.4 * counts["tried"]
    assert counts["tried"] >= 25


CUT = {0: {"intermediate_size": [0, 5, 7]}, 1: {"num_key_value_heads": [1]}, 3: {"intermediate_size": list(range(31))}}


class TestLlama:
    @pytest.fixture
    def source(self, tmp_path):
        write_checkpoint(tmp_path / "cut", LLAMA, WHOLE["llama"].cut(CUT, [(2, "attention")]))
        return tmp_path / "cut"

    def test_what_is_written_is_the_checkpoint_with_a_config_that_fits(self, source, tmp_path):
        found = infer(source, tmp_path / "out")
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert config["model_type"] == "heterogeneous_llama"
        assert config["intermediate_size"] == [3, 48, 48, 31]
        assert config["num_key_value_heads"] == [2, 1, None, 2]
        assert config["mixer_types"] == ["attention", "attention", "none", "attention"]
        assert_same_tensors(read_tensors(tmp_path / "out"), read_tensors(source))
        assert {file.how for file in found.report.files} <= {"reflink", "copy"}
        assert logits(tmp_path / "out").isfinite().all()
        assert found.sources["intermediate_size"] == "shape of mlp.gate_proj.weight and 2 more"
        assert found.sources["head_dim"] == "config.json"

    def test_looking_writes_nothing(self, source, tmp_path):
        infer(source)
        assert [path.name for path in tmp_path.iterdir()] == ["cut"]

    def test_layers_have_new_numbers_where_some_are_gone(self, tmp_path):
        tensors = {name: each for name, each in WHOLE["llama"].tensors.items() if ".layers.1." not in name}
        write_checkpoint(tmp_path / "cut", LLAMA, tensors)
        assert infer(tmp_path / "cut", tmp_path / "out").layers == (0, 2, 3)
        expected = {
            name.replace("layers.2", "layers.1").replace("layers.3", "layers.2"): t for name, t in tensors.items()
        }
        assert_same_tensors(read_tensors(tmp_path / "out"), expected)

    def test_norms_that_were_left_are_dropped(self, tmp_path):
        tensors = WHOLE["llama"].tensors
        tensors = {name: each for name, each in tensors.items() if not name.startswith("model.layers.1.self_attn")}
        write_checkpoint(tmp_path / "cut", LLAMA, tensors)
        found = infer(tmp_path / "cut", tmp_path / "out")
        assert found.dropped == ("model.layers.1.input_layernorm.weight",)
        assert found.config["mixer_types"][1] == "none"

    def test_biases(self, tmp_path):
        biases = {
            f"model.layers.{layer}.self_attn.{name}_proj.bias": torch.zeros(rows)
            for layer in range(4)
            for name, rows in (("q", 64), ("k", 32), ("v", 32), ("o", 64))
        }
        write_checkpoint(tmp_path / "cut", LLAMA, {**WHOLE["llama"].tensors, **biases})
        found = infer(tmp_path / "cut")
        assert found.config["attention_bias"] is True and found.sources["attention_bias"] == "names of the tensors"

    def test_vocabulary_and_hidden_size_are_those_of_the_embedding(self, tmp_path):
        tensors = dict(WHOLE["llama"].tensors)
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = torch.zeros(101, p.H)
        write_checkpoint(tmp_path / "cut", LLAMA, tensors)
        assert infer(tmp_path / "cut").config["vocab_size"] == 101

    def test_a_width_of_heads_that_nothing_says_is_asked_for(self, tmp_path):
        """Query rows that are not those of the config: two heads of 16, or four of 8."""
        config = {name: value for name, value in LLAMA.items() if name != "head_dim"}
        tensors = dict(WHOLE["llama"].tensors)
        for name in list(tensors):
            if name.startswith("model.layers.1.self_attn"):
                dim, rows = (1, 32) if "o_proj" in name else (0, 32)
                tensors[name] = tensors[name].narrow(dim, 0, rows).contiguous()
        write_checkpoint(tmp_path / "cut", config, tensors)
        with pytest.raises(
            CheckpointError, match=re.escape("head_dim: a q_proj of 32 rows may be 4 heads of 8 or 2 heads of 16")
        ):
            infer(tmp_path / "cut", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert infer(tmp_path / "cut", given={"head_dim": 16}).config["num_attention_heads"] == [4, 2, 4, 4]
        eight = infer(tmp_path / "cut", given={"head_dim": 8}).config
        assert eight["num_attention_heads"] == [8, 4, 8, 8] and eight["num_key_value_heads"] == 4

    WRONG = (
        ({"lm_head.weight": torch.zeros(90, p.H)}, "a head for another vocabulary than the embedding's"),
        (
            {"model.layers.1.mlp.up_proj.weight": torch.zeros(40, p.H)},
            "intermediate_size is 48 after mlp.gate_proj.weight",
        ),
        ({"model.layers.1.self_attn.k_proj.weight": torch.zeros(20, p.H)}, "no whole number (20 / 16)"),
        ({"model.layers.1.self_attn.q_norm.bias": torch.zeros(16)}, "'self_attn.q_norm.bias' [16] is unexpected"),
        ({"model.layers.2.input_layernorm.weight": torch.zeros(60)}, "is one size for all layers of this family"),
    )

    @pytest.mark.parametrize(("changed", "words"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
    def test_what_contradicts_itself_is_named(self, changed, words, tmp_path):
        write_checkpoint(tmp_path / "cut", LLAMA, {**WHOLE["llama"].tensors, **changed})
        with pytest.raises(CheckpointError, match=re.escape(words)):
            infer(tmp_path / "cut", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_heads_that_have_lost_their_groups(self, tmp_path):
        tensors = dict(WHOLE["llama"].tensors)
        tensors["model.layers.1.self_attn.q_proj.weight"] = torch.zeros(48, p.H)
        tensors["model.layers.1.self_attn.o_proj.weight"] = torch.zeros(p.H, 48)
        write_checkpoint(tmp_path / "cut", LLAMA, tensors)
        with pytest.raises(
            CheckpointError, match="num_key_value_heads = 2 does not divide num_attention_heads = 3"
        ) as error:
            infer(tmp_path / "cut")
        assert "have lost their groups" in str(error.value)

    def test_a_head_that_is_missing_is_asked_for(self, tmp_path):
        tensors = {name: each for name, each in WHOLE["llama"].tensors.items() if name != "lm_head.weight"}
        write_checkpoint(tmp_path / "cut", LLAMA, tensors)
        with pytest.raises(CheckpointError, match=r"tie_word_embeddings: 'lm_head\.weight' is missing"):
            infer(tmp_path / "cut")
        assert infer(tmp_path / "cut", given={"tie_word_embeddings": True}).config["tie_word_embeddings"] is True

    def test_pickles_are_refused_with_the_way_out(self, tmp_path):
        (tmp_path / "config.json").write_text(json.dumps(LLAMA))
        (tmp_path / "pytorch_model.bin").write_bytes(b"")
        with pytest.raises(CheckpointError, match="Convert them to safetensors first"):
            infer(tmp_path)

    def test_fields_that_are_set_are_checked(self, source):
        with pytest.raises(CheckpointError, match="heads is no field of heterogeneous_llama"):
            infer(source, given={"heads": 3})
        with pytest.raises(CheckpointError, match="intermediate_size is set to 7, and the shapes say"):
            infer(source, given={"intermediate_size": 7})


@pytest.mark.parametrize(
    ("name", "layer", "size"), [("llama", 1, "intermediate_size"), ("granite", 0, "intermediate_size")]
)
def test_neurons_that_are_zero_everywhere(name, layer, size, tmp_path):
    """As masks leave them; where one number is left, or another tensor's, a neuron stays."""
    whole = WHOLE[name]
    (_, _, count, _) = next(cut for cut in whole.cuts[layer] if cut[0] == size)
    kept = [unit for unit in range(count) if unit not in (2, 5, count - 1)]
    masked = {name: each.clone() for name, each in whole.tensors.items()}
    if name == "llama":
        for tensor, dim in (("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)):
            masked[f"model.layers.1.mlp.{tensor}.weight"].index_fill_(dim, torch.tensor([2, 5, 9, count - 1]), 0)
        masked["model.layers.1.mlp.up_proj.weight"][9, 3] = 1e-4
    else:
        module, gone = "model.layers.0.block_sparse_moe", torch.tensor([2, 5, count - 1])
        masked[f"{module}.input_linear.weight"].index_fill_(1, torch.cat([gone, gone + count]), 0)
        masked[f"{module}.output_linear.weight"].index_fill_(2, gone, 0)
    write_checkpoint(tmp_path / "masked", whole.config, masked)
    assert infer(tmp_path / "masked", zeros=True).zeros == {layer: {size: 3}}
    infer(tmp_path / "masked", tmp_path / "thin", zeros=True)
    cut = type(whole)(whole.config, masked, whole.cuts, whole.blocks).cut({layer: {size: kept}})
    assert_same_tensors(read_tensors(tmp_path / "thin"), cut)
    whole_logits = infer(tmp_path / "masked", tmp_path / "whole") and logits(tmp_path / "whole")
    if name == "llama":
        assert torch.allclose(logits(tmp_path / "thin").float(), whole_logits.float(), atol=0.05)


class TestOtherFamilies:
    @pytest.mark.parametrize("name", sorted(CHECKPOINTS))
    def test_a_config_that_is_right_is_found_again(self, name, tmp_path):
        source = CHECKPOINTS[name].write(tmp_path / "source")
        infer(source, tmp_path / "found")
        convert(source, tmp_path / "converted", drop_empty_layers=True)
        assert verify(tmp_path / "found", tmp_path / "converted").same

    def test_experts_one_by_one(self, tmp_path):
        convert(CHECKPOINTS["Nemotron 3 Super"].write(tmp_path / "source"), tmp_path / "stacked", experts="stacked")
        config = json.loads((tmp_path / "source" / "config.json").read_text())
        tensors = read_tensors(tmp_path / "stacked")
        for name in list(tensors):
            if ".layers.4.mixer." in name and name.split("mixer.")[1].startswith(("experts.", "gate.")):
                tensors[name] = tensors[name][:3].contiguous()
        write_checkpoint(tmp_path / "cut", config, tensors)
        assert infer(tmp_path / "cut").config["n_routed_experts"] == [None, 4, None, None, 3]

    def test_experts_one_by_one_that_a_family_joins(self, tmp_path):
        """As tools that quantise write Granite's: gate, up and down of each expert."""
        cut = WHOLE["granite"].cut({0: {"num_local_experts": [0, 2, 3]}, 2: {"intermediate_size": list(range(20))}})
        write_checkpoint(tmp_path / "joined", p.GRANITE, cut)
        single = dict(cut)
        for layer in range(3):
            moe = f"model.layers.{layer}.block_sparse_moe"
            gates, downs = (single.pop(f"{moe}.{name}_linear.weight") for name in ("input", "output"))
            for expert, (gate_up, down) in enumerate(zip(gates, downs, strict=True)):
                halves = dict(zip(("gate_proj", "up_proj"), gate_up.chunk(2), strict=True)) | {"down_proj": down}
                single |= {f"{moe}.experts.{expert}.{name}.weight": each.contiguous() for name, each in halves.items()}
        write_checkpoint(tmp_path / "single", p.GRANITE, single)
        found = infer(tmp_path / "single", tmp_path / "a")
        assert found.config["num_local_experts"] == [3, 4, 4] and found.config["intermediate_size"] == [32, 32, 20]
        infer(tmp_path / "joined", tmp_path / "b")
        assert verify(tmp_path / "a", tmp_path / "b").same
        single = {name: each for name, each in single.items() if "experts.1.gate_proj" not in name}
        write_checkpoint(tmp_path / "lost", p.GRANITE, single)
        with pytest.raises(CheckpointError, match=r"experts \[1\] have not all of 2 matrices"):
            infer(tmp_path / "lost")

    def test_heads_of_all_layers_are_told_by_their_sinks(self, tmp_path):
        tensors = dict(WHOLE["gpt_oss"].tensors)
        for name in list(tensors):
            if name.endswith(("q_proj.weight", "q_proj.bias", "o_proj.weight")):
                tensors[name] = tensors[name].narrow(int("o_proj" in name), 0, 32).contiguous()
            elif name.endswith("sinks"):
                tensors[name] = tensors[name][:2].contiguous()
        write_checkpoint(tmp_path / "cut", p.GPT_OSS, tensors)
        assert infer(tmp_path / "cut").config["num_attention_heads"] == 2

    def test_windows_of_layers_that_have_other_numbers_are_asked_for(self, tmp_path):
        tensors = {name: each for name, each in WHOLE["gpt_oss"].tensors.items() if ".layers.2." not in name}
        write_checkpoint(tmp_path / "cut", p.GPT_OSS, tensors)
        with pytest.raises(
            CheckpointError, match=r"sliding_window: config\.json has it by layer, for 3 layers, and there are 2"
        ):
            infer(tmp_path / "cut")
        found = infer(tmp_path / "cut", given={"sliding_window": [None, 8]})
        assert found.config["layer_types"] == ["full_attention", "sliding_attention"]
        assert found.sources["sliding_window"] == "--set"

    def test_fewer_experts_than_a_token_goes_to(self, tmp_path):
        write_checkpoint(tmp_path / "cut", p.GPT_OSS, WHOLE["gpt_oss"].cut({1: {"num_local_experts": [2]}}))
        with pytest.raises(CheckpointError, match="layer 1 has num_local_experts = 1"):
            infer(tmp_path / "cut")
        assert infer(tmp_path / "cut", given={"num_experts_per_tok": [2, 1, 2]}).config["num_experts_per_tok"] == [
            2,
            1,
            2,
        ]

    def test_states_or_groups(self, tmp_path):
        kept = {layer: {"ssm_state_size": list(range(8))} for layer in (0, 2)}
        write_checkpoint(tmp_path / "cut", p.NEMOTRON_H, WHOLE["nemotron_h"].cut(kept))
        with pytest.raises(CheckpointError, match="16 rows of state may be n_groups = 2 of 8, or 1 of 16"):
            infer(tmp_path / "cut")
        assert infer(tmp_path / "cut", given={"n_groups": 2}).config["ssm_state_size"] == 8
        assert infer(tmp_path / "cut", given={"n_groups": 1}).config["ssm_state_size"] == 16


class TestCommand:
    def test_table_and_sources(self, tmp_path):
        write_checkpoint(tmp_path / "cut", LLAMA, WHOLE["llama"].cut(CUT))
        done = CliRunner().invoke(app, ["infer", str(tmp_path / "cut")])
        assert done.exit_code == 0 and "shape of self_attn.k_proj.weight and 1 more" in done.output
        done = CliRunner().invoke(app, ["infer", str(tmp_path / "cut"), str(tmp_path / "out"), "--json"])
        assert json.loads(done.stdout)["report"]["to"] == "heterogeneous_llama" and (tmp_path / "out").is_dir()

    def test_wrong_words(self, tmp_path):
        write_checkpoint(tmp_path / "cut", LLAMA, WHOLE["llama"].cut(CUT))
        done = CliRunner().invoke(app, ["infer", str(tmp_path / "cut"), "--set", "head_dim"])
        assert done.exit_code == 2 and "is no value in JSON" in done.stderr

    @pytest.mark.parametrize("command", ["convert", "inspect"])
    def test_others_name_it(self, command, tmp_path):
        write_checkpoint(tmp_path / "cut", LLAMA, WHOLE["llama"].cut(CUT))
        arguments = [str(tmp_path / "cut"), *([str(tmp_path / "out")] if command == "convert" else [])]
        done = CliRunner().invoke(app, [command, *arguments])
        assert "hetero infer" in done.output + done.stderr
