"""Traces: the same of a model in memory and of its checkpoint layer by layer, and the module at which planted bugs are found."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM
from transformers_heterogeneous import convert, keep_layers, prune, trace
from transformers_heterogeneous.converters import CheckpointError, parting_of
from transformers_heterogeneous.converters.layers_from_disk import LayersFromDisk
from transformers_heterogeneous.converters.seeing.tracing import read_trace
from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.maintenance.tools import tokenizer

from ...generated import llama_shaped, small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h
from ..checkpoints import CHECKPOINTS


IDS = torch.randint(2, 90, (11,), generator=torch.Generator().manual_seed(5)).tolist()
QWEN3 = llama_shaped.small_models("Qwen3")
FAMILIES = {
    "llama": small,
    "gpt_oss": small_gpt_oss,
    "granite": small_granite_moe_hybrid,
    "nemotron_h": small_nemotron_h,
    "qwen3": QWEN3,
}


def model_of(name: str, kind: str, **more) -> torch.nn.Module:
    module = FAMILIES[name]
    torch.manual_seed(0)
    return module.CAUSAL(module.CONFIG(**{**module.KINDS[kind], **more})).eval()


def run(*words) -> SimpleNamespace:
    return CliRunner().invoke(app, list(map(str, words)))


class Noted:
    """What modules gave, by hooks of its own."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.gave: dict[str, torch.Tensor] = {}
        for name, module in model.named_modules():
            module.register_forward_hook(lambda _, args, output, name=name: self.note(name, output))
        with torch.no_grad():
            model(torch.tensor([IDS]), use_cache=False)

    def note(self, name, output):
        first = (
            output
            if isinstance(output, torch.Tensor)
            else next(iter(output.values() if hasattr(output, "values") else output))
        )
        self.gave[name] = first


@pytest.mark.parametrize("name", FAMILIES)
def test_numbers_are_those_of_what_modules_gave(name):
    model = model_of(name, "mixed")
    found = {each.module: each for each in trace(model, IDS).activations}
    gave = Noted(model).gave
    assert {module for module in found if "[" not in module} == gave.keys()
    for module, tensor in gave.items():
        numbers = found[module].gave
        assert torch.equal(found[module].values, tensor)
        assert (numbers.shape, numbers.dtype) == (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        told = [numbers.mean, numbers.std, numbers.least, numbers.most]
        wide = tensor.double()
        assert told == [float(each) for each in (wide.mean(), wide.std(correction=0), wide.min(), wide.max())]


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in FAMILIES for kind in ("mixed", "uniform")])
def test_a_checkpoint_layer_by_layer_gives_what_the_model_in_memory_gives(name, kind, tmp_path):
    model_of(name, kind).save_pretrained(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    whole, one_by_one = trace(model, IDS), trace(tmp_path / "model", IDS)
    assert one_by_one.one_by_one and not whole.one_by_one
    inside = [each for each in whole.activations if each.module not in ("", "model")]
    assert [each.module for each in inside] == [each.module for each in one_by_one.activations]
    assert all(a.gave == b.gave for a, b in zip(inside, one_by_one.activations, strict=True))
    assert whole.layers == one_by_one.layers
    parting = parting_of(whole, one_by_one)
    assert parting.module is None and parting.num_equal == parting.num_compared == len(inside)


def test_what_else_a_model_takes_reaches_every_layer(tmp_path):
    model = model_of("llama", "mixed")
    model.save_pretrained(tmp_path / "model")
    inputs = {"input_ids": torch.tensor([IDS, IDS]), "attention_mask": torch.tensor([[0] * 3 + [1] * 8, [1] * 11])}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert parting_of(trace(model, inputs), trace(tmp_path / "model", inputs)).module is None
    without = trace(tmp_path / "model", inputs["input_ids"])
    assert "attention_mask" in parting_of(trace(model, inputs), without).arguments


def test_one_layer_is_loaded_at_a_time(tmp_path, monkeypatch):
    model_of("llama", "uniform").save_pretrained(tmp_path / "model")
    read, reading, building = [], LayersFromDisk.read, LayersFromDisk.model_of
    monkeypatch.setattr(LayersFromDisk, "read", lambda self, t: read[-1].append(t.name) or reading(self, t))
    monkeypatch.setattr(LayersFromDisk, "model_of", lambda self, *a, **k: read.append([]) or building(self, *a, **k))
    trace(tmp_path / "model", IDS)
    assert [{name.split(".")[2] for name in names if ".layers." in name} for names in read] == [
        {"0"},
        {"1"},
        {"2"},
        {"3"},
    ]
    assert ["lm_head.weight" in names for names in read] == [False, False, False, True]


def parent_and_port(name: str, tmp_path: Path, **more) -> tuple[torch.nn.Module, Path]:
    """A stock model of transformers, and a folder with the same weights for the family to be changed in."""
    module = FAMILIES[name]
    torch.manual_seed(3)
    stock = module.PARENT(module.PARENT_CONFIG(**{**module.UNIFORM, **more})).eval()
    stock.save_pretrained(tmp_path / "stock")
    convert(tmp_path / "stock", tmp_path / "port")
    return AutoModelForCausalLM.from_pretrained(tmp_path / "port").eval(), tmp_path / "stock"


class TestPlantedBugs:
    """Of a port that computes what its parent does, but for one thing."""

    @pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_oss", "granite"])
    def test_without_one_they_do_not_part(self, name, tmp_path):
        port, stock = parent_and_port(name, tmp_path)
        parting = parting_of(trace(port, IDS), trace(stock, IDS))
        assert parting.module is None and parting.num_equal == parting.num_compared > 40
        assert parting_of(trace(tmp_path / "port", IDS), trace(stock, IDS)).alone == ((), ())
        assert trace(stock, IDS).computed_by == FAMILIES[name].PARENT.__name__

    @pytest.mark.parametrize("projection", ["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"])
    def test_a_transposed_projection(self, projection, tmp_path):
        port, stock = parent_and_port("llama", tmp_path, intermediate_size=64)
        with torch.no_grad():
            weight = port.model.layers[2].get_submodule(projection).weight
            weight.copy_(weight.T.clone())
        parting = parting_of(trace(port, IDS), trace(stock, IDS))
        assert parting.module == parting.seen_in == f"model.layers.2.{projection}"
        assert parting.class_name == "Linear" and parting.apart.relative > 0.1 and parting.arguments == ()
        assert list(parting.layers.values())[:2] == [0.0, 0.0] and min(list(parting.layers.values())[2:]) > 0

    def test_a_forgotten_scale_in_attention(self, tmp_path):
        port, stock = parent_and_port("llama", tmp_path)
        port.model.layers[1].self_attn.scaling = 1.0
        parting = parting_of(trace(port, IDS), trace(stock, IDS))
        assert (parting.module, parting.seen_in) == ("model.layers.1.self_attn", "model.layers.1.self_attn.o_proj")

    def test_a_forgotten_multiplier_of_a_layer(self, tmp_path):
        port, stock = parent_and_port("granite", tmp_path, residual_multiplier=0.5)
        port.model.layers[1].residual_multiplier = 1.0
        parting = parting_of(trace(port, IDS), trace(stock, IDS))
        assert parting.module == "model.layers.1" and parting.seen_in.startswith("model.layers.1.")

    def test_a_forgotten_multiplier_of_the_model(self, tmp_path):
        port, stock = parent_and_port("granite", tmp_path, embedding_multiplier=3.0)
        port.model.embedding_multiplier = 1.0
        parting = parting_of(trace(port, IDS), trace(stock, IDS))
        assert parting.module == "model"
        one_by_one = trace(stock, IDS, by_family=True)
        assert one_by_one.computed_by.startswith("Heterogeneous") and one_by_one.one_by_one
        assert parting_of(trace(port, IDS), one_by_one).module == "model"

    def test_a_wrong_theta(self, tmp_path):
        port, stock = parent_and_port("llama", tmp_path)
        port.model.rotary_emb.inv_freq = port.model.rotary_emb.inv_freq * 0.5
        assert parting_of(trace(port, IDS), trace(stock, IDS)).module == "model.rotary_emb"

    def test_a_wrong_window(self, tmp_path):
        _, stock = parent_and_port("gpt_oss", tmp_path)
        config = json.loads((tmp_path / "port" / "config.json").read_text())
        windows = [6 if each == "sliding_attention" else None for each in config["layer_types"]]
        assert windows[2] == 6
        config["sliding_window"] = [*windows[:2], 3, *windows[3:]]
        (tmp_path / "port" / "config.json").write_text(json.dumps(config))
        parting = parting_of(trace(tmp_path / "port", IDS), trace(stock, IDS))
        assert (parting.module, parting.arguments) == ("model.layers.2.self_attn", ("attention_mask",))
        assert parting.seen_in.startswith("model.layers.2.self_attn")

    def test_a_saved_trace_is_enough_to_find_it(self, tmp_path):
        port, stock = parent_and_port("llama", tmp_path)
        port.model.layers[1].self_attn.scaling = 1.0
        port.save_pretrained(tmp_path / "changed")
        (tmp_path / "stock.json").write_text(json.dumps(trace(stock, IDS).to_dict()))
        saved = read_trace(tmp_path / "stock.json")
        parting = parting_of(trace(port, IDS, keep_values=False), saved)
        assert parting.module == "model.layers.1.self_attn" and parting.apart.relative > 0
        assert parting.apart.largest is None


def test_rounding_can_be_left_out(tmp_path):
    """In bfloat16 everything differs a little, and the bug is found all the same."""
    port, stock = parent_and_port("llama", tmp_path)
    port = port.bfloat16()
    assert parting_of(trace(port, IDS), trace(stock, IDS)).module == "model.embed_tokens"
    assert parting_of(trace(port, IDS), trace(stock, IDS), tolerance=0.1).module is None
    with torch.no_grad():
        weight = port.model.layers[2].self_attn.o_proj.weight
        weight.copy_(weight.T.clone())
    assert parting_of(trace(port, IDS), trace(stock, IDS), tolerance=0.1).module == "model.layers.2.self_attn.o_proj"


class TestLayersThatAreNotThere:
    def test_as_the_file_beside_the_checkpoint_says(self, tmp_path):
        """Layers all alike, of which nothing but the file says which went."""
        model_of("llama", "uniform").save_pretrained(tmp_path / "whole")
        prune(tmp_path / "whole", tmp_path / "thin", layers=[0, 1, 3])
        whole, thin = trace(tmp_path / "whole", IDS), trace(tmp_path / "thin", IDS)
        assert dict(thin.numbers) == {0: 0, 1: 1, 2: 3}
        parting = parting_of(thin, whole)
        assert dict(parting.numbers) == {2: 3}
        assert parting.module == "model" and parting.seen_in == "model.layers.2.input_layernorm"
        assert list(parting.layers.values())[:2] == [0.0, 0.0] and parting.layers["model.layers.2"] > 0
        assert parting.alone == ((), ("model.layers.2",))
        assert parting_of(whole, thin).seen_in == "model.layers.3.input_layernorm"

    def test_twice_cut(self, tmp_path):
        model_of("llama", "uniform").save_pretrained(tmp_path / "whole")
        prune(tmp_path / "whole", tmp_path / "thin", layers=[0, 1, 3])
        prune(tmp_path / "thin", tmp_path / "thinner", layers=[0, 2])
        assert dict(trace(tmp_path / "thinner", IDS).numbers) == {0: 0, 1: 3}

    def test_by_what_layers_are_built_of(self):
        model = model_of("llama", "mixed")
        whole = trace(model, IDS)
        keep_layers(model, [0, 1, 2, 5, 6, 7])
        parting = parting_of(trace(model, IDS), whole)
        assert dict(parting.numbers) == {3: 5, 4: 6, 5: 7}
        assert [value == 0.0 for value in parting.layers.values()] == [True] * 3 + [False] * 3

    def test_what_may_be_several_is_asked_for(self):
        model = model_of("llama", "uniform")
        whole = trace(model, IDS)
        keep_layers(model, [0, 2, 3])
        thin = trace(model, IDS)
        with pytest.raises(CheckpointError, match=r"may be several ones of the other\n.*--layers"):
            parting_of(thin, whole)
        parting = parting_of(thin, whole, layers=[0, 2, 3])
        assert dict(parting.numbers) == {1: 2, 2: 3} and parting.layers["model.layers.0"] == 0.0
        with pytest.raises(CheckpointError, match="3 numbers from 0 to 3 are needed"):
            parting_of(thin, whole, layers=[0, 2])

    def test_sub_blocks_are_named(self):
        layers = trace(model_of("llama", "mixed"), IDS).layers
        assert layers["model.layers.0"].absent == ("self_attn", "input_layernorm")
        assert set(layers["model.layers.4"].absent) == {
            "self_attn",
            "mlp",
            "input_layernorm",
            "post_attention_layernorm",
        }
        assert layers["model.layers.7"].absent == ()


class TestWhatCanBeTraced:
    def test_a_model_that_no_family_is_made_of(self, tmp_path):
        torch.manual_seed(0)
        config = Gemma2Config(
            vocab_size=99,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=4,
            pad_token_id=0,
        )
        model = Gemma2ForCausalLM(config).eval()
        model.save_pretrained(tmp_path / "gemma")
        found = trace(tmp_path / "gemma", IDS)
        assert found.computed_by == "Gemma2ForCausalLM"
        assert parting_of(found, trace(model, IDS)).module is None
        assert [each.kind for each in found.layers.values()] == [0, 1, 0]  # windows alternate

    @pytest.mark.parametrize("name", CHECKPOINTS)
    def test_published_layouts(self, name, tmp_path):
        source = CHECKPOINTS[name].write(tmp_path / "published")
        quantised = "quantization_config" in CHECKPOINTS[name].config
        convert(source, tmp_path / "own", dtype="float32", dequantise=quantised)
        parting = parting_of(trace(source, IDS[:4], dtype="float32"), trace(tmp_path / "own", IDS[:4]))
        assert parting.module is None and parting.num_compared > 10

    def test_training_mode_and_hooks_are_left_as_they_were(self):
        model = model_of("llama", "mixed").train()
        trace(model, IDS)
        assert model.training
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

    def test_wrong_inputs(self, tmp_path):
        model_of("llama", "uniform").save_pretrained(tmp_path / "model")
        with pytest.raises(CheckpointError, match=r"tokens \[128\]: ids from 0 to 127"):
            trace(tmp_path / "model", [1, 128])
        with pytest.raises(CheckpointError, match="texts need a tokenizer"):
            trace(tmp_path / "model", "some text")
        with pytest.raises(CheckpointError, match="other tokens were traced"):
            parting_of(trace(tmp_path / "model", [1, 2]), trace(tmp_path / "model", [1, 3]))
        with pytest.raises(TypeError, match="has no tokenizer"):
            trace(model_of("llama", "uniform"), "some text")


class TestCommand:
    def test_one_layer_of_each_kind(self, tmp_path):
        model_of("llama", "half_windowed").save_pretrained(tmp_path / "model")
        words = ["trace", tmp_path / "model", "--ids", ",".join(map(str, IDS))]
        done = run(*words)
        assert done.exit_code == 0, done.output
        assert "HeterogeneousLlamaForCausalLM, one layer in memory at a time, 11 tokens" in done.stdout
        assert "model.layers.1, 3" not in done.stdout and "model.layers: 1, 3 are built alike" in done.stdout
        assert "absent: self_attn, input_layernorm" in done.stdout
        assert "model.layers.3.mlp" not in done.stdout and "model.layers.3.mlp" in run(*words, "--all").stdout

    def test_a_text_and_a_saved_trace(self, tmp_path):
        model_of("llama", "uniform").save_pretrained(tmp_path / "model")
        tokenizer().save_pretrained(tmp_path / "model")
        done = run("trace", tmp_path / "model", "--prompt", "0123", "--json")
        (tmp_path / "saved.json").write_text(done.stdout)
        assert json.loads(done.stdout)["tokens"] == [tokenizer()("0123")["input_ids"]]
        done = run("trace", tmp_path / "model", "--against", tmp_path / "saved.json")
        assert done.exit_code == 0 and "They do not part." in done.stdout, done.output
        assert run("trace", tmp_path / "saved.json").exit_code == 0

    def test_two_that_part(self, tmp_path):
        port, stock = parent_and_port("llama", tmp_path)
        with torch.no_grad():
            port.model.layers[2].self_attn.o_proj.weight.mul_(2)
        port.save_pretrained(tmp_path / "changed")
        words = ["trace", tmp_path / "changed", "--ids", "3,4,5,6", "--against", stock]
        done = run(*words, "--plot", tmp_path / "apart.png")
        assert done.exit_code == 1
        assert (
            "They part in model.layers.2.self_attn.o_proj (Linear): it takes the same, and gives something else"
            in done.stdout
        )
        assert "relative 1, " in done.stdout
        assert (tmp_path / "apart.png").stat().st_size > 10_000
        told = json.loads(run(*words, "--json").stdout)
        assert told["module"] == "model.layers.2.self_attn.o_proj" and told["layers"]["model.layers.1"] == 0

    def test_mistakes(self, tmp_path):
        model_of("llama", "uniform").save_pretrained(tmp_path / "model")
        (tmp_path / "no.json").write_text("{}")
        for words, said in (
            ((), "nothing to run it on"),
            (("--ids", "1,x"), "token ids are needed"),
            (("--ids", "1", "--plot", "a.png"), "--plot draws the difference of two"),
            (("--ids", "1", "--layers", "0-1"), "--layers says which are the other's: name the other by --against"),
            (("--ids", "1", "--prompt", "one"), "--prompt and --ids: one of them is needed"),
            (("--ids", "1", "--device", "nonsense"), "device nonsense: "),
            (("--ids", "1", "--device", "meta"), "device meta: nothing is computed there"),
            (("--ids", "1", "--against", tmp_path / "model", "--plot", "a.gif"), "cannot draw '.gif'"),
            (("--ids", "1", "--against", tmp_path / "no.json"), "holds no trace"),
        ):
            done = run("trace", tmp_path / "model", *words)
            assert done.exit_code == 2 and said in done.stderr, done.output
