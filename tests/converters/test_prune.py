"""Checkpoints cut by the package and by plain indexing in torch: the same bytes."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors.torch import save_file
from typer.testing import CliRunner

import transformers_heterogeneous  # noqa: F401  (registers the families)
from transformers import AutoModelForCausalLM
from transformers_heterogeneous.converters import CheckpointError, PruningPlan, convert, infer, prune, verify
from transformers_heterogeneous.converters.engine import rendering
from transformers_heterogeneous.scripts.command.cli import app

from ..generated import small_nemotron_h
from . import published_families as p
from .checkpoints import CHECKPOINTS, logits
from .cutting import LLAMA, WHOLE, Whole, cut_gpt_oss_experts, in_blocks, take
from .published import assert_same_tensors, read_tensors, write_checkpoint
from .test_infer import cuts, is_model


SIZES = sorted({(name, cut[0]) for name, whole in WHOLE.items() for cuts in whole.cuts for cut in cuts})


def write(folder: Path, whole: Whole) -> Path:
    write_checkpoint(folder, whole.config, whole.tensors)
    return folder


def layer_with(whole: Whole, size: str) -> tuple[int, int]:
    """The last layer that has a size, and the size."""
    return next(
        (layer, count)
        for layer, cuts in reversed(list(enumerate(whole.cuts)))
        for name, _, count, _ in cuts
        if name == size
    )


def kept_of(size: str, count: int) -> list[int]:
    """Units with gaps, and as many as every implementation of experts takes."""
    if "experts" in size:
        return [0, 3]
    gone = (1, 5, 6, count - 2)
    return [1] if count == 2 else [unit for unit in range(count) if unit not in gone]


def in_own_names(whole: Whole, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("backbone.", "model."): t for name, t in tensors.items() if not name.endswith("inv_freq")}


@pytest.mark.parametrize(("name", "size"), SIZES)
class TestEachFamilyAndSize:
    def test_units_that_are_said_to_stay(self, name, size, tmp_path):
        whole = WHOLE[name]
        layer, count = layer_with(whole, size)
        kept = kept_of(size, count)
        report = prune(write(tmp_path / "whole", whole), tmp_path / "thin", {layer: {"keep": {size: kept}}})
        assert_same_tensors(read_tensors(tmp_path / "thin"), in_own_names(whole, whole.cut({layer: {size: kept}})))
        config = json.loads((tmp_path / "thin" / "config.json").read_text())
        sizes = config[size] if isinstance(config[size], list) else [config[size]] * config["num_hidden_layers"]
        assert sizes[layer] == len(kept)
        assert logits(tmp_path / "thin").isfinite().all()
        assert report.cut.after.num_bytes < report.cut.before.num_bytes
        if size in ("n_routed_experts", "num_local_experts"):
            assert config["num_experts_per_tok"] == 2

    def test_by_norm(self, name, size, tmp_path):
        """Squares of all that goes when a unit goes, by cutting each unit alone."""
        whole = WHOLE[name]
        layer, count = layer_with(whole, size)
        number = 1 if count == 2 else 3

        def squares(tensors):
            return sum(float(tensor.double().square().sum()) for tensor in tensors.values())

        total = squares(whole.tensors)
        norms = [
            total - squares(whole.cut({layer: {size: [other for other in range(count) if other != unit]}}))
            for unit in range(count)
        ]
        kept = sorted(sorted(range(count), key=lambda unit: -norms[unit])[:number])
        prune(write(tmp_path / "whole", whole), tmp_path / "thin", {layer: {size: number}}, by="norm")
        assert_same_tensors(read_tensors(tmp_path / "thin"), in_own_names(whole, whole.cut({layer: {size: kept}})))


def test_several_cuts_at_once_and_infer_finds_them_again(tmp_path):
    for name, whole in WHOLE.items():
        cuts = {
            layer: {size: kept_of(size, count) for size, _, count, _ in cuts_of_layer}
            for layer, cuts_of_layer in enumerate(whole.cuts)
            if layer != 2
        }
        plan = {layer: {"keep": sizes} for layer, sizes in cuts.items()}
        report = prune(write(tmp_path / name, whole), tmp_path / f"{name}-thin", plan)
        assert_same_tensors(read_tensors(tmp_path / f"{name}-thin"), in_own_names(whole, whole.cut(cuts)))
        write_checkpoint(tmp_path / f"{name}-cut", whole.config, whole.cut(cuts))
        infer(tmp_path / f"{name}-cut", tmp_path / f"{name}-found")
        assert verify(tmp_path / f"{name}-thin", tmp_path / f"{name}-found").same
        assert report.cut.after.num_parameters == sum(
            t.numel() for n, t in read_tensors(tmp_path / f"{name}-thin").items() if "correction" not in n
        )


@pytest.mark.parametrize("name", WHOLE)
def test_random_plans_are_plain_indexing(name, tmp_path):
    whole, counts = WHOLE[name], Counter()
    source = write(tmp_path / "whole", whole)

    @settings(max_examples=15, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(cuts(whole))
    def one(cut):
        kept, skips = cut
        tensors = whole.cut(kept, skips)
        names = {"mixer": ("mamba", "attention"), "attention": ("attention",), "mlp": ("mlp",)}
        plan = {}
        for layer in range(len(whole.cuts)):
            there = {cut[0] for cut in whole.cuts[layer]}
            skip = [sub_block for at, sub_block in skips if at == layer]
            if name == "granite" and "mixer" in skip:
                skip[skip.index("mixer")] = names["mixer"]["num_key_value_heads" in there]
            gone = {size for size in there if is_of(size) in ("mlp" if each == "mlp" else "mixer" for each in skip)}
            gone |= there if name.startswith("nemotron") and skip else set()
            sizes = {size: units for size, units in kept.get(layer, {}).items() if size not in gone}
            plan[layer] = {"skip": skip, "keep": sizes}
        if not is_model(whole, tensors):
            return
        counts["tried"] += 1
        prune(source, tmp_path / str(counts["tried"]), plan)
        assert_same_tensors(read_tensors(tmp_path / str(counts["tried"])), in_own_names(whole, tensors))

    one()
    assert counts["tried"] >= 5


def is_of(size: str) -> str:
    """The sub-block that a size is of."""
    return "mixer" if size in ("num_key_value_heads", "ssm_state_size") else "mlp"


class TestChunks:
    def test_tensors_larger_than_what_is_read_at_once(self, tmp_path, monkeypatch):
        monkeypatch.setattr(rendering, "CHUNK", 256)
        whole, plan = WHOLE["gpt_oss"], {1: {"intermediate_size": list(range(0, 32, 3)), "num_local_experts": [1, 3]}}
        source = write(tmp_path / "whole", whole)
        prune(source, tmp_path / "thin", {1: {"keep": plan[1]}})
        assert_same_tensors(read_tensors(tmp_path / "thin"), whole.cut(plan))
        prune(source, tmp_path / "normed", {1: {"intermediate_size": 5}}, by="norm")
        monkeypatch.undo()
        prune(source, tmp_path / "again", {1: {"intermediate_size": 5}}, by="norm")
        assert verify(tmp_path / "normed", tmp_path / "again").same


FOUR_HEADS = {**LLAMA, "num_attention_heads": 4, "num_key_value_heads": 4}


class TestAttention:
    @pytest.fixture
    def source(self, tmp_path):
        tensors = dict(WHOLE["llama"].tensors)
        for layer in range(4):
            for name in ("k_proj", "v_proj"):
                generator = torch.Generator().manual_seed(layer)
                weight = torch.randn(64, p.H, generator=generator).bfloat16()
                tensors[f"model.layers.{layer}.self_attn.{name}.weight"] = weight
        write_checkpoint(tmp_path / "whole", FOUR_HEADS, tensors)
        return tmp_path / "whole", tensors

    def test_heads_that_come_together_are_averaged(self, source, tmp_path):
        folder, tensors = source
        report = prune(folder, tmp_path / "thin", {1: {"num_key_value_heads": 2}}, kv_heads_by="mean")
        expected = dict(tensors)
        for name in ("k_proj", "v_proj"):
            weight = tensors[f"model.layers.1.self_attn.{name}.weight"].float().view(2, 2, 16, p.H)
            expected[f"model.layers.1.self_attn.{name}.weight"] = weight.mean(1).bfloat16().view(32, p.H)
        assert_same_tensors(read_tensors(tmp_path / "thin"), expected)
        assert report.operations["mean"] == 2

    def test_one_stays_of_those_that_come_together(self, source, tmp_path):
        folder, tensors = source
        prune(folder, tmp_path / "thin", {1: {"keep": {"num_key_value_heads": [1, 2]}}})
        expected = dict(tensors)
        for name in ("k_proj", "v_proj"):
            take(expected, f"model.layers.1.self_attn.{name}.weight", 0, in_blocks([1, 2], 16))
        assert_same_tensors(read_tensors(tmp_path / "thin"), expected)
        with pytest.raises(CheckpointError, match=re.escape("has [2, 0] of 0-1 and 2-3: 1 of each are needed")):
            prune(folder, tmp_path / "no", {1: {"keep": {"num_key_value_heads": [0, 1]}}})

    def test_whole_groups_go_together(self, source, tmp_path):
        folder, tensors = source
        plan = {1: {"num_key_value_heads": 3, "num_attention_heads": 3, "keep": {"num_key_value_heads": [0, 1, 3]}}}
        prune(folder, tmp_path / "thin", plan)
        expected = dict(tensors)
        for name, dim in (("q_proj", 0), ("k_proj", 0), ("v_proj", 0), ("o_proj", 1)):
            take(expected, f"model.layers.1.self_attn.{name}.weight", dim, in_blocks([0, 1, 3], 16))
        assert_same_tensors(read_tensors(tmp_path / "thin"), expected)

    def test_query_heads_of_each_group(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        prune(source, tmp_path / "thin", {1: {"keep": {"num_attention_heads": [1, 2]}}})
        expected = dict(WHOLE["llama"].tensors)
        take(expected, "model.layers.1.self_attn.q_proj.weight", 0, in_blocks([1, 2], 16))
        take(expected, "model.layers.1.self_attn.o_proj.weight", 1, in_blocks([1, 2], 16))
        assert_same_tensors(read_tensors(tmp_path / "thin"), expected)

    def test_heads_that_fit_no_groups(self, source, tmp_path):
        folder, _ = source
        with pytest.raises(CheckpointError, match="num_key_value_heads = 3 does not divide"):
            prune(folder, tmp_path / "thin", {1: {"num_key_value_heads": 3}})


class TestForms:
    def test_experts_in_mxfp4(self, tmp_path):
        source = CHECKPOINTS["gpt-oss, MXFP4"].write(tmp_path / "whole")
        prune(source, tmp_path / "thin", {1: {"keep": {"num_local_experts": [1, 3]}}})
        expected = dict(CHECKPOINTS["gpt-oss, MXFP4"].tensors)
        cut_gpt_oss_experts(expected, "model.layers.1.mlp", [1, 3])
        assert_same_tensors(read_tensors(tmp_path / "thin"), expected)

    def test_a_part_of_a_block_is_refused(self, tmp_path):
        source = CHECKPOINTS["gpt-oss, MXFP4"].write(tmp_path / "whole")
        with pytest.raises(CheckpointError, match="units of a whole block stay or go together"):
            prune(source, tmp_path / "thin", {1: {"intermediate_size": 16}})
        assert not (tmp_path / "thin").exists()

    def test_fp8_with_one_scale_is_cut_and_with_several_refused(self, tmp_path):
        name = "model.layers.1.mlp.up_proj.weight"
        config = {**LLAMA, "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}}
        for folder, scale in (("one", torch.ones(())), ("several", torch.ones(48, 1))):
            tensors = {**WHOLE["llama"].tensors, f"{name}_scale": scale}
            tensors[name] = tensors[name].to(torch.float8_e4m3fn)
            write_checkpoint(tmp_path / folder, config, tensors)
        plan = {1: {"keep": {"intermediate_size": [0, 3, 4]}}}
        prune(tmp_path / "one", tmp_path / "thin", plan)
        found = read_tensors(tmp_path / "thin")
        expected = WHOLE["llama"].tensors[name].to(torch.float8_e4m3fn).view(torch.uint8)[[0, 3, 4]]
        assert torch.equal(found[name].view(torch.uint8), expected) and found[f"{name}_scale"] == 1
        with pytest.raises(CheckpointError, match="has scales for parts of it"):
            prune(tmp_path / "several", tmp_path / "no", plan)

    def test_stacked_experts(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["nemotron_3"])
        plan = {1: {"keep": {"n_routed_experts": [0, 3], "moe_intermediate_size": [1, 2, 5]}}}
        convert(source, tmp_path / "stacked", experts="stacked")
        prune(tmp_path / "stacked", tmp_path / "a", plan)
        prune(source, tmp_path / "b", plan)
        assert verify(tmp_path / "a", tmp_path / "b").same

    def test_experts_one_by_one_that_a_family_joins(self, tmp_path):
        whole, single = WHOLE["granite"], dict(WHOLE["granite"].tensors)
        for layer in range(3):
            moe = f"model.layers.{layer}.block_sparse_moe"
            gates, downs = (single.pop(f"{moe}.{name}_linear.weight") for name in ("input", "output"))
            for expert, (gate_up, down) in enumerate(zip(gates, downs, strict=True)):
                halves = dict(zip(("gate_proj", "up_proj"), gate_up.chunk(2), strict=True)) | {"down_proj": down}
                single |= {f"{moe}.experts.{expert}.{name}.weight": each.contiguous() for name, each in halves.items()}
        write_checkpoint(tmp_path / "single", whole.config, single)
        plan = {0: {"intermediate_size": 12}, 1: {"num_local_experts": 3}}
        prune(tmp_path / "single", tmp_path / "a", plan, by="norm")
        prune(write(tmp_path / "joined", whole), tmp_path / "b", plan, by="norm")
        assert verify(tmp_path / "a", tmp_path / "b").same

    def test_scales_follow_their_experts(self, tmp_path):
        config = {**p.SUPER_3, "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}}
        tensors = dict(WHOLE["nemotron_3"].tensors)
        for expert in range(p.EXPERTS):
            name = f"backbone.layers.1.mixer.experts.{expert}.up_proj.weight"
            tensors |= {name: tensors[name].to(torch.float8_e4m3fn), f"{name}_scale": torch.tensor(float(expert))}
        write_checkpoint(tmp_path / "whole", config, tensors)
        prune(tmp_path / "whole", tmp_path / "thin", {1: {"keep": {"n_routed_experts": [1, 3]}}})
        found = read_tensors(tmp_path / "thin")
        scales = {
            name.split(".")[5]: float(each) for name, each in found.items() if name.endswith("up_proj.weight_scale")
        }
        assert scales == {"0": 1.0, "1": 3.0}
        for new, old in ((0, 1), (1, 3)):
            name = "layers.1.mixer.experts.{}.up_proj.weight"
            after, before = found[f"model.{name.format(new)}"], tensors[f"backbone.{name.format(old)}"]
            assert torch.equal(after.view(torch.uint8), before.view(torch.uint8))

    def test_another_format_is_written(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        plan = {layer: {"intermediate_size": 32} for layer in range(4)}
        prune(source, tmp_path / "thin", plan, to="llama")
        assert json.loads((tmp_path / "thin" / "config.json").read_text())["intermediate_size"] == 32
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "thin")
        assert type(model).__name__ == "LlamaForCausalLM"


class TestChoice:
    def test_random_is_the_same_for_a_seed(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            prune(source, tmp_path / name, {1: {"intermediate_size": 9}}, by="random", seed=seed)
        assert verify(tmp_path / "a", tmp_path / "b").same and not verify(tmp_path / "a", tmp_path / "c").same

    @pytest.mark.parametrize("kind", ["json", "safetensors"])
    def test_scores_of_a_file(self, kind, tmp_path):
        source, scores = write(tmp_path / "whole", WHOLE["llama"]), [float(unit % 7) for unit in range(48)]
        path = tmp_path / f"scores.{kind}"
        if kind == "json":
            path.write_text(json.dumps({"1": {"intermediate_size": scores}}))
        else:
            save_file({"1.intermediate_size": torch.tensor(scores)}, path)
        prune(source, tmp_path / "thin", {1: {"intermediate_size": 6}}, by=str(path))
        expected = WHOLE["llama"].cut({1: {"intermediate_size": [6, 13, 20, 27, 34, 41]}})
        assert_same_tensors(read_tensors(tmp_path / "thin"), expected)
        with pytest.raises(CheckpointError, match="layer 2 needs 48 scores for intermediate_size, found are none"):
            prune(source, tmp_path / "no", {2: {"intermediate_size": 6}}, by=str(path))

    def test_as_many_experts_of_each_group(self, tmp_path):
        """Also where all of one group have higher scores than any of the other."""
        small = small_nemotron_h
        fields = {**small.UNIFORM, "n_routed_experts": 8, "n_group": 2, "topk_group": 1}
        small.build(fields).save_pretrained(tmp_path / "whole")
        (tmp_path / "scores.json").write_text(json.dumps({"1": {"n_routed_experts": [9, 8, 7, 6, 1, 3, 4, 2]}}))
        plan = {1: {"n_routed_experts": 4}}
        prune(tmp_path / "whole", tmp_path / "thin", plan, by=str(tmp_path / "scores.json"))
        whole, thin = read_tensors(tmp_path / "whole"), read_tensors(tmp_path / "thin")
        mixer = "model.layers.1.mixer"
        for new, old in enumerate([0, 1, 5, 6]):
            for name in ("up_proj", "down_proj"):
                single = whole[f"{mixer}.experts.{old}.{name}.weight"]
                assert torch.equal(thin[f"{mixer}.experts.{new}.{name}.weight"], single)
        assert torch.equal(thin[f"{mixer}.gate.weight"], whole[f"{mixer}.gate.weight"][[0, 1, 5, 6]])
        with pytest.raises(
            CheckpointError, match=r"keep of n_routed_experts has .* of 0-3 and 4-7: 2 of each are needed"
        ):
            prune(tmp_path / "whole", tmp_path / "none", {1: {"keep": {"n_routed_experts": [0, 1, 2, 5]}}})


class TestLayers:
    def test_layers_that_stay_have_new_numbers(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        plan = PruningPlan(sizes={2: {"intermediate_size": 8}}, layers=[0, 2, 3])
        report = prune(source, tmp_path / "thin", plan)
        cut = WHOLE["llama"].cut({2: {"intermediate_size": list(range(8))}})
        cut = {name: tensor for name, tensor in cut.items() if ".layers.1." not in name}
        cut = {name.replace("layers.2", "layers.1").replace("layers.3", "layers.2"): t for name, t in cut.items()}
        assert_same_tensors(read_tensors(tmp_path / "thin"), cut)
        assert len(report.dropped) == 9

    def test_sub_blocks_are_skipped(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        prune(source, tmp_path / "thin", {1: {"skip": ["attention"], "intermediate_size": 4}})
        expected = WHOLE["llama"].cut({1: {"intermediate_size": [0, 1, 2, 3]}}, [(1, "attention")])
        assert_same_tensors(read_tensors(tmp_path / "thin"), expected)


class TestMemory:
    def test_the_origin_remembers_each_cut(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        prune(source, tmp_path / "one", {1: {"intermediate_size": 9}})
        prune(tmp_path / "one", tmp_path / "two", {1: {"keep": {"intermediate_size": [0, 2, 3]}}}, by="norm")
        convert(tmp_path / "two", tmp_path / "three", dtype="float32")
        for folder in ("two", "three"):
            origin = json.loads((tmp_path / folder / "hetero_origin.json").read_text())
            assert origin["format"] == "llama" and json.loads(origin["config"]) == LLAMA
            assert [record["kept"] for record in origin["pruned"]] == [
                {"1": {"intermediate_size": "0-8"}},
                {"1": {"intermediate_size": "0,2-3"}},
            ]

    def test_no_more_than_a_chunk_of_a_tensor_is_read_at_once(self, tmp_path, monkeypatch):
        sizes = []
        read = rendering.read_exactly
        monkeypatch.setattr(rendering, "read_exactly", lambda f, o, size: sizes.append(size) or read(f, o, size))
        monkeypatch.setattr(rendering, "CHUNK", 512)
        source = write(tmp_path / "whole", WHOLE["llama"])
        prune(source, tmp_path / "thin", {1: {"keep": {"intermediate_size": [0, 2, 4]}}})
        assert sizes and max(sizes) <= 512


class TestRefusals:
    WRONG = (
        ({9: {"intermediate_size": 4}}, "layer 9: layers are 0-3"),
        ({1: {"num_experts": 4}}, "layer 1 has no num_experts: its mixer is 'attention', its MLP 'dense'"),
        ({1: {"intermediate_size": 99}}, "intermediate_size = 99 is more than there is, 48"),
        ({1: {"intermediate_size": 0}}, "intermediate_size = 0: a positive integer is needed"),
        ({1: {"keep": {"intermediate_size": [3, 2]}}}, "each number once, in ascending order"),
        ({1: {"keep": {"intermediate_size": [3, 48]}}}, "has [1] of 0-47: 2 of each are needed"),
        ({1: {"intermediate_size": 3, "keep": {"intermediate_size": [3]}}}, "and 1 units of it are to stay"),
        ({"x": {}}, "'x': {}: the number of a layer"),
        ({1: {"skip": "mlp"}}, "skip = 'mlp': a list of names is needed"),
    )

    @pytest.mark.parametrize(("plan", "words"), WRONG, ids=str)
    def test_plans_that_cannot_be_carried_out(self, plan, words, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        with pytest.raises(CheckpointError, match=re.escape(words)):
            prune(source, tmp_path / "thin", plan)
        assert not (tmp_path / "thin").exists()

    def test_a_size_that_all_layers_share(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["gpt_oss"])
        with pytest.raises(CheckpointError, match="cannot vary by layer"):
            prune(source, tmp_path / "thin", {1: {"num_attention_heads": 2}})

    def test_other_conversions_are_another_step(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        with pytest.raises(CheckpointError, match="--dtype is another conversion"):
            prune(source, tmp_path / "thin", {1: {"intermediate_size": 4}}, dtype="float32")

    def test_scores_that_are_none(self, tmp_path):
        with pytest.raises(CheckpointError, match="first, norm, random or a file of scores"):
            PruningPlan(by="best")


class TestCommand:
    def test_options(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        words = ["--width", "0,2-3:8", "--kv-heads", "1:1", "--layers", "0-1,3", "--skip", "mlp:1", "--by", "norm"]
        done = CliRunner().invoke(app, ["prune", str(source), str(tmp_path / "thin"), *words])
        assert done.exit_code == 0, done.output
        config = json.loads((tmp_path / "thin" / "config.json").read_text())
        assert config["intermediate_size"] == 8 and config["mlp_types"] == ["dense", "none", "dense"]
        assert config["num_key_value_heads"] == [2, 1, 2]
        assert "parameters" in done.output and "KV cache" in done.output

    def test_a_plan_in_a_file_and_options_beside_it(self, tmp_path):
        source, path = write(tmp_path / "whole", WHOLE["granite"]), tmp_path / "plan.json"
        path.write_text(json.dumps({"per_layer_config": {"0": {"num_local_experts": 3}}}))
        arguments = ["prune", str(source), str(tmp_path / "thin"), str(path), "--shared-width", "1:5", "--json"]
        report = json.loads(CliRunner().invoke(app, arguments).stdout)
        assert report["cut"]["record"]["kept"] == {
            "0": {"num_local_experts": "0-2"},
            "1": {"shared_intermediate_size": "0-4"},
        }

    def test_wrong_words_are_named_all_at_once(self, tmp_path):
        source = write(tmp_path / "whole", WHOLE["llama"])
        words = ["--width", "3", "--kv-heads", "1:x"]
        done = CliRunner().invoke(app, ["prune", str(source), str(tmp_path / "thin"), *words])
        assert done.exit_code == 2 and not (tmp_path / "thin").exists()
        assert "'3'" in done.stderr and "'1:x'" in done.stderr
