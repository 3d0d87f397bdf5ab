"""Scores, measured layer by layer, against hooks on the whole model: the same numbers, bit for bit."""

import json
import subprocess
import sys
import weakref
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity, linear, silu
from typer.testing import CliRunner

from transformers import AutoModelForCausalLM
from transformers_heterogeneous import score
from transformers_heterogeneous.converters import CheckpointError, convert, prune
from transformers_heterogeneous.converters.scoring import LayerByLayer
from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.maintenance.tools import tokenizer

from ..generated import small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h
from .checkpoints import CHECKPOINTS
from .published import read_tensors


SEQUENCES = [torch.randint(0, 96, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (9, 12, 9, 5, 9)]
BATCH = 2
BATCHES = [torch.tensor(ids) for ids in ([SEQUENCES[3]], [SEQUENCES[0], SEQUENCES[2]], [SEQUENCES[4]], [SEQUENCES[1]])]
FAMILIES = {
    "llama": small,
    "gpt_oss": small_gpt_oss,
    "granite": small_granite_moe_hybrid,
    "nemotron_h": small_nemotron_h,
}
CASES = [(name, kind) for name, module in FAMILIES.items() for kind in module.KINDS]


def write_data(folder: Path, sequences=SEQUENCES) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps(sequences))
    return path


def save(name: str, kind: str, folder: Path) -> Path:
    module = FAMILIES[name]
    torch.manual_seed(0)
    module.CAUSAL(module.CONFIG(**module.KINDS[kind])).save_pretrained(folder)
    return folder


# What a neuron or head gives: size -> (module, whose input is looked at), written out by hand
HEADS = {"num_key_value_heads": "self_attn.o_proj"}
LINEARS = {
    "llama": {**HEADS, "num_attention_heads": "self_attn.o_proj", "intermediate_size": "mlp.down_proj"},
    "gpt_oss": HEADS,
    "granite": {**HEADS, "shared_intermediate_size": "shared_mlp.output_linear"},
    "nemotron_h": {
        "num_key_value_heads": "mixer.o_proj",
        "intermediate_size": "mixer.down_proj",
        "moe_latent_size": "mixer.fc2_latent_proj",
        "moe_shared_expert_intermediate_size": "mixer.shared_experts.down_proj",
    },
}


def gpt_oss_neurons(experts, expert, states):
    both = states @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert]
    gate, up = both[:, ::2].clamp(max=experts.limit), both[:, 1::2].clamp(-experts.limit, experts.limit)
    return (up + 1) * (gate * torch.sigmoid(gate * experts.alpha))


def granite_neurons(experts, expert, states):
    gate, up = linear(states, experts.gate_up_proj[expert]).chunk(2, dim=-1)
    return silu(gate) * up


def nemotron_neurons(experts, expert, states):
    return linear(states, experts.up_proj[expert]).relu().square()


# module, size of experts, size of their neurons, what these give
EXPERTS = {
    "llama": ("none", "", "", None),
    "gpt_oss": ("mlp.experts", "num_local_experts", "intermediate_size", gpt_oss_neurons),
    "granite": ("block_sparse_moe.experts", "num_local_experts", "intermediate_size", granite_neurons),
    "nemotron_h": ("mixer.experts", "n_routed_experts", "moe_intermediate_size", nemotron_neurons),
}
# What a layer's entry is called by `skip`, as a mixer and as an MLP
SKIPS = {
    "none": (),
    "attention": ("attention",),
    "mamba": ("mamba",),
    "linear": ("attention", "mlp"),
    "dense": ("", "mlp"),
    "moe": ("", "moe"),
}


class Hooked:
    """The scores by hooks on a whole model."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.model = AutoModelForCausalLM.from_pretrained(folder, experts_implementation="eager").eval()
        self.config = self.model.config
        self.totals: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
        self.squares: set[str] = set()
        self.between: dict[int, torch.Tensor] = {}
        for layer, module in enumerate(self.model.model.layers):
            self.hook(layer, module, dict(module.named_modules()))

    def hook(self, layer, module, parts):
        for size, part in LINEARS[self.name].items():
            units = self.config.layer_sizes(size)[layer] if size in self.config.per_layer_sizes else None
            if part in parts and units is not None:
                parts[part].register_forward_pre_hook(partial(self.add_squares, f"{layer}.{size}", units))
        if (experts := parts.get(EXPERTS[self.name][0])) is not None:
            experts.register_forward_pre_hook(partial(self.add_experts, layer))
        if "none" not in (self.config.mixer_types[layer], self.config.mlp_types[layer]):
            norm = parts["post_attention_layernorm"]
            norm.register_forward_pre_hook(lambda _, args: self.between.update({layer: args[0]}))
        module.register_forward_hook(partial(self.leave, layer))

    def add(self, key, numbers):
        self.totals[key] = self.totals[key] + numbers.double()

    def add_squares(self, key, units, module, args):
        self.squares.add(key)
        self.add(key, args[0].square().reshape(-1, units, args[0].shape[-1] // units).sum((0, 2)))

    def add_experts(self, layer, module, args):
        states, chosen, weights = args
        _, experts, width, neurons = EXPERTS[self.name]
        number, units = (self.config.layer_sizes(size)[layer] for size in (experts, width))
        for expert in range(number):
            if (chosen == expert).any():
                tokens = torch.where((chosen == expert).T)[1]  # in the order in which it sees them
                self.add_squares(f"{layer}.{width}", units, module, [neurons(module, expert, states[tokens])])
        self.add(f"{layer}.{experts}", torch.stack([(chosen == expert).sum() for expert in range(number)]))
        shares = torch.zeros(number).index_add(0, chosen.flatten(), weights.flatten().float())
        self.add(f"{layer}.{experts}.weights", shares)

    def leave(self, layer, module, args, output):
        between = self.between.pop(layer, None)
        self.add_influence(f"{layer}.block_influence", args[0], output)
        mixer, mlp = SKIPS[self.config.mixer_types[layer]], SKIPS[self.config.mlp_types[layer]]
        if mixer:
            self.add_influence(f"{layer}.skip.{mixer[0]}", args[0], output if between is None else between)
        if mlp:
            word = "mlp" if self.name == "gpt_oss" else mlp[1]
            self.add_influence(f"{layer}.skip.{word}", args[0] if between is None else between, output)

    def add_influence(self, key, before, after):
        self.add(key, (1 - cosine_similarity(before, after, dim=-1)).sum().view(1))

    def scores(self) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            for batch in BATCHES:
                self.model(batch, use_cache=False)
        means = {key: total / sum(map(len, SEQUENCES)) for key, total in self.totals.items()}
        return {key: mean.sqrt() if key in self.squares else mean for key, mean in means.items()}


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_layer_by_layer_is_the_whole_model_with_hooks(name, kind, tmp_path):
    folder = save(name, kind, tmp_path / "model")
    scoring = score(folder, write_data(tmp_path), tmp_path / "scores.safetensors", batch_size=BATCH)
    found, expected = load_file(tmp_path / "scores.safetensors"), Hooked(name, folder).scores()
    assert found.keys() == expected.keys()
    assert [key for key in expected if not torch.equal(found[key], expected[key])] == []
    assert (scoring.num_sequences, scoring.num_tokens, scoring.resumed) == (5, 44, 0)
    assert [path.name for path in tmp_path.glob(".*")] == []
    told = {
        f"{layer}.{name}": numbers for layer, members in scoring.scores.items() for name, numbers in members.items()
    }
    assert told == {key: numbers.tolist() for key, numbers in expected.items()}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_published_layouts_are_what_they_are_converted_to(name, tmp_path):
    source = CHECKPOINTS[name].write(tmp_path / "published")
    quantised = "quantization_config" in CHECKPOINTS[name].config
    convert(source, tmp_path / "own", dtype="float32", dequantise=quantised)
    data = write_data(tmp_path)
    score(source, data, tmp_path / "one.safetensors", dtype="float32")
    score(tmp_path / "own", data, tmp_path / "other.safetensors")
    one, other = (load_file(tmp_path / f"{each}.safetensors") for each in ("one", "other"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert any(float(numbers.max()) > 0 for numbers in one.values())


def test_fused_blocks_are_what_they_are_without(tmp_path):
    folder, data = save("llama", "mixed", tmp_path / "plain"), write_data(tmp_path)
    convert(folder, tmp_path / "fused", fuse="norm_mlp:1,2")
    assert "model.layers.1.mlp.norm.weight" in read_tensors(tmp_path / "fused")
    for name in ("plain", "fused"):
        score(tmp_path / name, data, tmp_path / f"{name}.safetensors")
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("plain", "fused"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_what_lies_before_an_mlp_is_not_guessed(tmp_path, monkeypatch):
    """Of a family whose norms may lie elsewhere, sub-blocks have no influence where a layer has two."""
    folder, data = save("llama", "mixed", tmp_path / "model"), write_data(tmp_path)
    whole = score(folder, data, tmp_path / "whole.safetensors").scores
    monkeypatch.setattr(small.CONFIG, "fusable", {})
    found = score(folder, data, tmp_path / "scores.safetensors").scores
    both = [layer for layer, members in whole.items() if {"skip.attention", "skip.mlp"} <= members.keys()]
    assert len(both) == 5
    for layer in both:
        del whole[layer]["skip.attention"], whole[layer]["skip.mlp"]
    assert found == whole


def test_one_layer_is_in_memory_at_a_time(tmp_path, monkeypatch):
    folder = save("llama", "uniform", tmp_path / "model")
    read, models = [], []
    reading, building = LayerByLayer.read, LayerByLayer.model_of

    def model_of(self, layer):
        assert not any(model() is not None for model in models)
        read.append([])
        model = building(self, layer)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(
        LayerByLayer, "read", lambda self, tensor: read[-1].append(tensor.name) or reading(self, tensor)
    )
    monkeypatch.setattr(LayerByLayer, "model_of", model_of)
    score(folder, write_data(tmp_path), tmp_path / "scores.safetensors")
    assert len(read) == 4 and "model.embed_tokens.weight" in read[0]
    outside = [[name for name in names if not name.startswith(f"model.layers.{at}.")] for at, names in enumerate(read)]
    assert outside == [["model.embed_tokens.weight", "model.norm.weight"], *[["model.norm.weight"]] * 3]
    assert sum(map(len, read)) == 4 * 9 + 5


class TestResuming:
    def stop_behind(self, layer, monkeypatch):
        passing = LayerByLayer.pass_through

        def stopped(self, at, *others):
            if at > layer:
                raise KeyboardInterrupt
            passing(self, at, *others)

        monkeypatch.setattr(LayerByLayer, "pass_through", stopped)

    def run(self, folder, data, out, **options):
        return score(folder, data, out, batch_size=BATCH, **options)

    def test_a_second_run_goes_on(self, tmp_path, monkeypatch):
        folder, data = save("granite", "mixed", tmp_path / "model"), write_data(tmp_path)
        self.run(folder, data, tmp_path / "whole.safetensors")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            self.stop_behind(2, patch)
            self.run(folder, data, tmp_path / "scores.safetensors")
        kept = tmp_path / ".scores.safetensors.partial"
        assert sorted(path.name for path in kept.iterdir()) == ["layer-2.safetensors", "lock"]
        layers = []
        passing = LayerByLayer.pass_through
        monkeypatch.setattr(LayerByLayer, "pass_through", lambda s, at, *o: layers.append(at) or passing(s, at, *o))
        assert self.run(folder, data, tmp_path / "scores.safetensors").resumed == 3
        assert layers == list(range(3, 8)) and not kept.exists()
        assert (tmp_path / "scores.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()

    @pytest.mark.parametrize("change", ["data", "dtype", "weights"])
    def test_what_another_run_left_is_not_gone_on_with(self, change, tmp_path, monkeypatch):
        folder, data = save("llama", "uniform", tmp_path / "model"), write_data(tmp_path)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            self.stop_behind(1, patch)
            self.run(folder, data, tmp_path / "scores.safetensors")
        options = {"dtype": "bfloat16"} if change == "dtype" else {}
        if change == "data":
            write_data(tmp_path, SEQUENCES[::-1][:3])
        if change == "weights":
            tensors = read_tensors(folder)
            tensors["model.layers.0.mlp.up_proj.weight"] *= 2
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        assert self.run(folder, data, tmp_path / "scores.safetensors", **options).resumed == 0
        self.run(folder, data, tmp_path / "again.safetensors", **options)
        assert (tmp_path / "scores.safetensors").read_bytes() == (tmp_path / "again.safetensors").read_bytes()


class TestData:
    def scores(self, tmp_path, data, **options):
        folder = tmp_path / "model"
        if not folder.exists():
            save("llama", "uniform", folder)
        out = tmp_path / f"{data.name}.scores.safetensors"
        scoring = score(folder, data, out, **options)
        return scoring, load_file(out)

    def test_token_ids_are_the_same_in_every_form(self, tmp_path):
        rows = [SEQUENCES[0], SEQUENCES[2]]
        forms = {"list.json": json.dumps(rows), "member.json": json.dumps({"input_ids": rows})}
        forms["lines.jsonl"] = "\n".join(json.dumps({"input_ids": row}) for row in rows)
        for name, text in forms.items():
            (tmp_path / name).write_text(text)
        save_file({"input_ids": torch.tensor(rows)}, tmp_path / "rows.safetensors")
        found = [self.scores(tmp_path, tmp_path / name)[1] for name in (*forms, "rows.safetensors")]
        assert all(torch.equal(each[key], found[0][key]) for each in found for key in found[0])

    def test_texts_and_how_much_of_them_is_taken(self, tmp_path):
        ids = tokenizer()
        text = "".join(chr(33 + number % 60) for number in range(50))
        folder = tmp_path / "model"
        save("llama", "uniform", folder)
        (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps({"text": text[at:]}) for at in range(4)))
        (tmp_path / "plain.txt").write_text(text)
        with pytest.raises(CheckpointError, match="texts need a tokenizer"):
            self.scores(tmp_path, tmp_path / "plain.txt")
        ids.save_pretrained(folder)
        wanted = [ids(text[at:])["input_ids"][:20] for at in range(3)]
        wanted = [[token % 128 for token in row] for row in wanted]
        (tmp_path / "ids.json").write_text(json.dumps(wanted))
        by_ids = self.scores(tmp_path, tmp_path / "ids.json")[1]
        scoring, by_text = self.scores(tmp_path, tmp_path / "lines.jsonl", max_samples=3, sequence_length=20)
        assert (scoring.num_sequences, scoring.num_tokens) == (3, 60)
        assert all(torch.equal(by_text[key], by_ids[key]) for key in by_ids)
        scoring, _ = self.scores(tmp_path, tmp_path / "plain.txt", sequence_length=20)
        assert (scoring.num_sequences, scoring.num_tokens) == (3, 50)

    WRONG = (
        ("a.json", "[[1, 2], [3, 400]]", r"sequence 1: \[3, 400\]: token ids from 0 to 127 are needed"),
        ("a.json", '[["a"]]', "sequence 0: .* token ids"),
        ("a.json", "[]", "holds no sequences"),
        ("a.json", "[[]]", "holds no sequences"),
        ("a.json", "{", "cannot be read"),
        ("a.jsonl", '{"words": "a"}', r"cannot be read \(KeyError: 'text'\)"),
        ("a.safetensors", "", "cannot be read"),
    )

    @pytest.mark.parametrize(("name", "text", "words"), WRONG)
    def test_data_that_is_none(self, name, text, words, tmp_path):
        (tmp_path / name).write_text(text)
        with pytest.raises(CheckpointError, match=words):
            self.scores(tmp_path, tmp_path / name)
        assert {path.name for path in tmp_path.iterdir()} == {"model", name}

    def test_nothing_is_overwritten(self, tmp_path):
        folder, data = save("llama", "uniform", tmp_path / "model"), write_data(tmp_path)
        (tmp_path / "scores.safetensors").touch()
        with pytest.raises(CheckpointError, match="exists; nothing is overwritten"):
            score(folder, data, tmp_path / "scores.safetensors")
        with pytest.raises(CheckpointError, match=r"written to a \.safetensors file"):
            score(folder, data, tmp_path / "scores.json")


def test_prune_chooses_by_the_file(tmp_path):
    folder = save("nemotron_h", "uniform", tmp_path / "model")
    scoring = score(folder, write_data(tmp_path), tmp_path / "scores.safetensors")
    sizes = {1: {"n_routed_experts": 2, "moe_intermediate_size": 8}, 2: {"num_key_value_heads": 1}}
    report = prune(folder, tmp_path / "thin", sizes, by=str(tmp_path / "scores.safetensors"))
    for layer, members in sizes.items():
        for name, number in members.items():
            numbers = scoring.scores[layer][name]
            best = sorted(sorted(range(len(numbers)), key=lambda unit: -numbers[unit])[:number])
            kept = report.cut.record["kept"][str(layer)][name]
            ranges = [list(map(int, part.split("-"))) for part in kept.split(",")]
            assert [unit for ends in ranges for unit in range(ends[0], ends[-1] + 1)] == best


class TestCommand:
    def test_the_table_and_json(self, tmp_path):
        folder, data = save("granite", "mixed", tmp_path / "model"), write_data(tmp_path)
        words = ["score", str(folder), "--data", str(data), "--out"]
        done = CliRunner().invoke(app, [*words, str(tmp_path / "one.safetensors"), "--max-samples", "2"])
        assert done.exit_code == 0, done.output
        assert "2 sequences, 21 tokens, float32" in done.output and "moe" in done.output
        done = CliRunner().invoke(app, [*words, str(tmp_path / "two.safetensors"), "--max-samples", "2", "--json"])
        told = json.loads(done.stdout)
        assert (
            told["scores"]["0"]["block_influence"]
            == load_file(tmp_path / "one.safetensors")["0.block_influence"].tolist()
        )

    def test_a_process_of_its_own(self, tmp_path):
        """The command puts the package in place and does not register the families."""
        folder = save("llama", "uniform", tmp_path / "model")
        tokenizer().save_pretrained(folder)
        (tmp_path / "plain.txt").write_text("0123456789")
        words = ["score", str(folder), "--data", str(tmp_path / "plain.txt"), "--out", str(tmp_path / "s.safetensors")]
        done = subprocess.run([sys.executable, "-m", "hetero", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "1 sequences, 10 tokens" in done.stdout, done.stderr
        score(folder, tmp_path / "plain.txt", tmp_path / "t.safetensors")
        assert (tmp_path / "s.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()

    def test_reasons_are_told(self, tmp_path):
        folder = save("llama", "uniform", tmp_path / "model")
        done = CliRunner().invoke(
            app, ["score", str(folder), "--data", "nowhere.json", "--out", str(tmp_path / "s.safetensors")]
        )
        assert done.exit_code == 2 and "nowhere.json: cannot be read" in done.stderr


def test_what_it_was_measured_on_is_in_the_file(tmp_path):
    folder = save("llama", "uniform", tmp_path / "model")
    score(folder, write_data(tmp_path), tmp_path / "scores.safetensors")
    with safe_open(tmp_path / "scores.safetensors", framework="pt") as file:
        told = json.loads(file.metadata()["measured_on"])
    assert told.pop("fingerprint") and told == {"sequences": 5, "tokens": 44, "dtype": "float32"}
