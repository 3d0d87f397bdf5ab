"""Plans that are chosen under a budget, against a greedy search that builds each candidate's model and counts its parameters."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from transformers import AutoModelForCausalLM
from transformers_heterogeneous import inspect, prune, score
from transformers_heterogeneous.converters import CheckpointError
from transformers_heterogeneous.scripts.command.cli import app

from .checkpoints import CHECKPOINTS
from .published import read_tensors
from .test_score import FAMILIES, SKIPS, save, write_data


MLPS = {
    "llama": ("intermediate_size",),
    "gpt_oss": ("num_local_experts", "intermediate_size"),
    "granite": ("num_local_experts", "intermediate_size", "shared_intermediate_size"),
    "nemotron_h": (
        "intermediate_size",
        "n_routed_experts",
        "moe_intermediate_size",
        "moe_shared_expert_intermediate_size",
    ),
}
STEP = 8
KINDS = {"llama": "mixed", "gpt_oss": "puzzle", "granite": "mixed", "nemotron_h": "mixed"}


class BruteForce:
    """Greedy, written down as plainly as it is said."""

    def __init__(self, name, folder, scores):
        self.name, self.scores, self.module = name, scores, FAMILIES[name]
        self.config = AutoModelForCausalLM.from_pretrained(folder).config

    def count(self, plan, cache=False):
        config = self.module.CONFIG.from_dict(deepcopy(self.config.to_dict()))
        config.per_layer_config = deepcopy(plan)
        if cache:
            return sum(heads or 0 for heads in config.layer_sizes("num_key_value_heads"))
        with torch.device("meta"):
            model = self.module.CAUSAL(config)
        return sum(parameter.numel() for parameter in model.parameters())

    def blocks(self):
        """(layer, word of skip, sizes that it has)"""
        for layer in range(self.config.num_hidden_layers):
            mixer, mlp = self.config.mixer_types[layer], self.config.mlp_types[layer]
            if mixer != "none":
                yield layer, SKIPS[mixer][0], ["num_key_value_heads"] if mixer == "attention" else []
            if mlp != "none":
                word = "mlp" if self.name == "gpt_oss" else SKIPS[mlp][1]
                yield layer, word, [size for size in MLPS[self.name] if f"{layer}.{size}" in self.scores]

    def kept(self, layer, size, number):
        scores = self.scores[f"{layer}.{size}"]
        if size == "num_key_value_heads":
            group = len(scores) // number
            return sum(max(scores[at : at + group]) for at in range(0, len(scores), group))
        groups = self.groups(size)
        parts = [scores[at : at + len(scores) // groups] for at in range(0, len(scores), len(scores) // groups)]
        return sum(sum(sorted(part)[len(part) - number // groups :]) for part in parts)

    def groups(self, size):
        return self.config.n_group if size == "n_routed_experts" else 1

    def worth(self, layer, word, sizes, plan):
        members = plan.get(layer, {})
        if word in members.get("skip", ()):
            return 0.0
        worth = self.scores[f"{layer}.skip.{word}"][0]
        for size in sizes:
            if size in members:
                worth *= self.kept(layer, size, members[size]) / sum(self.scores[f"{layer}.{size}"])
        return worth

    def smaller(self, layer, size, number):
        if size == "num_key_value_heads":
            whole = len(self.scores[f"{layer}.{size}"])
            return max((each for each in range(1, number) if whole % each == 0), default=None)
        if "experts" in size:
            fewer, groups = number - self.groups(size), self.groups(size)
            top_k = self.config.layer_sizes("num_experts_per_tok")[layer]
            chosen_from = self.config.topk_group * fewer // groups if groups > 1 else fewer
            return fewer if chosen_from >= top_k and (groups == 1 or fewer >= 2 * groups) else None
        return max(range(0, number, STEP)) or None

    def candidates(self, plan):
        mixing = [
            layer
            for layer, word, _ in self.blocks()
            if self.config.mixer_types[layer] in ("attention", "mamba")
            and word in ("attention", "mamba")
            and word not in plan.get(layer, {}).get("skip", ())
        ]
        for layer, word, sizes in self.blocks():
            members = plan.get(layer, {})
            if word in members.get("skip", ()):
                continue
            if mixing != [layer] or word not in ("attention", "mamba"):
                rest = {name: value for name, value in members.items() if name not in sizes}
                yield layer, word, sizes, {**plan, layer: {**rest, "skip": [*members.get("skip", ()), word]}}
            for size in sizes:
                number = members.get(size, self.config.layer_sizes(size)[layer])
                if (fewer := self.smaller(layer, size, number)) is not None:
                    yield layer, word, sizes, {**plan, layer: {**members, size: fewer}}

    def plan(self, target, cache=False):
        plan, whole = {}, self.count({}, cache)
        while (now := self.count(plan, cache)) > target * whole:
            found = []
            for layer, word, sizes, other in self.candidates(plan):
                if freed := now - self.count(other, cache):
                    cost = self.worth(layer, word, sizes, plan) - self.worth(layer, word, sizes, other)
                    found.append((cost / freed, other))
            plan = min(found, key=lambda each: each[0])[1]
        return {str(layer): members for layer, members in sorted(plan.items())}


def scored(name: str, tmp_path: Path) -> tuple[Path, Path, dict[str, list[float]]]:
    folder = save(name, KINDS[name], tmp_path / "model")
    scoring = score(folder, write_data(tmp_path), tmp_path / "scores.safetensors")
    flat = {f"{layer}.{key}": numbers for layer, members in scoring.scores.items() for key, numbers in members.items()}
    return folder, tmp_path / "scores.safetensors", flat


@pytest.mark.parametrize("name", FAMILIES)
class TestGreedy:
    def test_parameters(self, name, tmp_path):
        folder, path, scores = scored(name, tmp_path)
        reports = [
            prune(folder, tmp_path / each, by=str(path), target=0.7, width_step=STEP) for each in ("one", "two")
        ]
        plan = reports[0].cut.record["plan"]
        assert plan == reports[1].cut.record["plan"] == BruteForce(name, folder, scores).plan(0.7)
        before, after = (inspect(each).num_parameters for each in (folder, tmp_path / "one"))
        assert after <= 0.7 * before and after == reports[0].cut.after.num_parameters
        assert len(plan) > 1 and any("skip" not in members for members in plan.values())
        # The same plan said by hand
        prune(folder, tmp_path / "three", plan, by=str(path))
        one, three = read_tensors(tmp_path / "one"), read_tensors(tmp_path / "three")
        assert one.keys() == three.keys() and all(torch.equal(one[each], three[each]) for each in one)
        assert AutoModelForCausalLM.from_pretrained(tmp_path / "one").num_parameters() == after

    def test_cache(self, name, tmp_path):
        folder, path, scores = scored(name, tmp_path)
        report = prune(folder, tmp_path / "one", by=str(path), target_cache=0.6, width_step=STEP)
        assert report.cut.record["plan"] == BruteForce(name, folder, scores).plan(0.6, cache=True)
        before, after = (inspect(each).kv_cache_bytes_per_token for each in (folder, tmp_path / "one"))
        assert after <= 0.6 * before


def test_both_targets_are_met(tmp_path):
    folder, path, _ = scored("llama", tmp_path)
    report = prune(folder, tmp_path / "thin", by=str(path), target=0.8, target_cache=0.5, width_step=STEP)
    before, after = report.cut.before, report.cut.after
    assert after.num_parameters <= 0.8 * before.num_parameters
    assert after.kv_cache_bytes_per_token <= 0.5 * before.kv_cache_bytes_per_token


def test_packed_experts_go_whole(tmp_path):
    source = CHECKPOINTS["gpt-oss, MXFP4"].write(tmp_path / "packed")
    score(source, write_data(tmp_path), tmp_path / "scores.safetensors", dtype="float32")
    options = {"by": str(tmp_path / "scores.safetensors"), "target": 0.6, "width_step": 4}
    report = prune(source, tmp_path / "thin", **options)
    members = [name for each in report.cut.record["plan"].values() for name in each]
    assert members and "intermediate_size" not in members
    assert report.cut.after.num_parameters <= 0.6 * report.cut.before.num_parameters


class TestRefusals:
    def test_what_a_target_needs(self, tmp_path):
        folder, path, _ = scored("llama", tmp_path)
        for options, words in (
            ({"target": 1.5}, "a share between 0 and 1"),
            ({"target": 0.5}, "a target is met by a file of scores"),
            ({"target": 0.5, "by": str(path), "width_step": 0}, "a positive number"),
            ({"target": 0.001, "by": str(path)}, r"target = 0.001: [\d.]+% is the least that can be reached"),
            ({"target": 0.5, "by": str(path), "skips": ["mlp:1"]}, "nothing else of a plan can be said"),
        ):
            with pytest.raises(CheckpointError, match=words):
                prune(folder, tmp_path / "thin", **options)
            assert not (tmp_path / "thin").exists()

    def test_scores_that_are_of_another_model(self, tmp_path):
        folder, _, _ = scored("llama", tmp_path)
        (tmp_path / "some.json").write_text(json.dumps({"0": {"intermediate_size": [1.0, 2.0]}}))
        with pytest.raises(CheckpointError, match=r"(?s)layer 0: 2 scores for .* = 64.*layer 1 has no score for skip"):
            prune(folder, tmp_path / "thin", by=str(tmp_path / "some.json"), target=0.5)


class TestCommand:
    def test_the_plan_is_printed_and_written(self, tmp_path):
        folder, path, scores = scored("granite", tmp_path)
        words = ["prune", str(folder), str(tmp_path / "thin"), "--target", "0.7", "--width-step", str(STEP)]
        words += ["--by", str(path), "--plan-out", str(tmp_path / "plan.json")]
        done = CliRunner().invoke(app, [*words, "--dry-run"])
        assert done.exit_code == 0, done.output
        plan = json.loads((tmp_path / "plan.json").read_text())
        assert plan == BruteForce("granite", folder, scores).plan(0.7) and not (tmp_path / "thin").exists()
        assert "chosen, the cheapest cut after another" in done.output
        lines = [line for line in done.output.splitlines() if line.startswith("    layer ")]
        assert 0 < len(lines) <= len(plan)
        done = CliRunner().invoke(app, [*words[:3], str(tmp_path / "plan.json"), "--by", str(path)])
        assert done.exit_code == 0, done.output
        assert inspect(tmp_path / "thin").num_parameters <= 0.7 * inspect(folder).num_parameters
