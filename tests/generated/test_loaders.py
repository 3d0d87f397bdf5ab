"""Loaders that go around `from_pretrained`: what is on disk arrives in the modules, or is refused. Never a part of it."""

import copy
import json
import re

import pytest
import torch
from safetensors.torch import load_file, load_model, save_file

from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from transformers.trainer_utils import load_sharded_checkpoint

from .test_every_family import FAMILIES, every_family, every_kind


# Those whose modules have other names than their files
EXPERTS = {"granite_moe_hybrid": "experts.gate_up_proj", "nemotron_h": "experts.up_proj"}
every_renamed_family = pytest.mark.parametrize("family", [FAMILIES[name] for name in EXPERTS], ids=EXPERTS.keys())


def other(model):
    """The same model with other weights, out of its config."""
    torch.manual_seed(7)
    made = type(model)(copy.deepcopy(model.config)).eval()
    with torch.no_grad():
        for tensor in made.parameters():
            tensor.add_(0.1 * torch.rand(tensor.shape))
    return made


def on_disk(model, folder):
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def same(model, expected):
    state_dict, own = model.state_dict(), expected.state_dict()
    assert state_dict.keys() == own.keys()
    return all(torch.equal(tensor, own[name]) for name, tensor in state_dict.items())


def in_two(state_dict):
    """Shards that split what is stacked."""
    names = sorted(state_dict, key=lambda name: (name[::-1], name))
    halves = names[::2], names[1::2]
    return [{name: state_dict[name] for name in half} for half in halves]


@every_kind
def test_a_state_dict_under_the_names_on_disk(family, fields, tokens, tmp_path):
    model = family.build(fields)
    state_dict = on_disk(model, tmp_path)
    before = dict(state_dict)
    loaded, by_parts = other(model), other(model)
    parameters = {name: id(parameter) for name, parameter in loaded.named_parameters()}
    assert not same(loaded, model)
    report = loaded.load_state_dict(state_dict)
    assert not report.missing_keys and not report.unexpected_keys and same(loaded, model)
    assert state_dict.keys() == before.keys() and all(state_dict[name] is before[name] for name in before)
    assert {name: id(parameter) for name, parameter in loaded.named_parameters()} == parameters  # an optimiser's, too
    for shard in in_two(state_dict):
        by_parts.load_state_dict(shard, strict=False)
    assert same(by_parts, model)
    assert torch.equal(by_parts(tokens).logits, model(tokens).logits)
    loaded.save_pretrained(tmp_path / "again")
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert again.keys() == before.keys() and all(torch.equal(again[name], before[name]) for name in before)


@every_kind
def test_a_state_dict_under_the_names_of_the_modules(family, fields, tmp_path):
    model = family.build(fields)
    loaded = other(model)
    report = loaded.load_state_dict(model.state_dict())
    assert not report.missing_keys and not report.unexpected_keys and same(loaded, model)
    with torch.device("meta"):
        empty = type(model)(model.config)
    for state_dict in (model.state_dict(), on_disk(model, tmp_path)):
        assigned = copy.deepcopy(empty)
        assigned.load_state_dict(state_dict, assign=True)
        assert same(assigned, model)


@every_family
def test_a_model_that_was_loaded_takes_both_names(family, tmp_path):
    model = family.build(family.small.KINDS["mixed"])
    state_dict = on_disk(model, tmp_path)
    for each in (state_dict, model.state_dict(), state_dict):
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
        with torch.no_grad():
            for parameter in loaded.parameters():
                parameter.zero_()
        loaded.load_state_dict(each)
        assert same(loaded, model)


@pytest.mark.parametrize("fused_block", ["norm_mlp", "add_norm"])
@pytest.mark.parametrize("name", ["llama", "gpt_oss", "granite_moe_hybrid"])
def test_fused_blocks_take_the_names_of_plain_ones(name, fused_block, tmp_path):
    family = FAMILIES[name]
    plain = family.build(family.small.KINDS["mixed"])
    state_dict = on_disk(plain, tmp_path)
    fused = other(family.build({**family.small.KINDS["mixed"], "fused_blocks": fused_block}))
    fused.load_state_dict(state_dict)
    back = other(plain)
    back.load_state_dict(fused.state_dict(), strict=True)  # the fused names, which `from_pretrained` reads too
    assert same(back, plain)


@every_family
def test_wrapped_models_take_the_names_on_disk(family, tmp_path):
    model = family.build(family.small.KINDS["mixed"])
    state_dict = on_disk(model, tmp_path)
    loaded = other(model)
    holder = torch.nn.ModuleDict({"wrapped": loaded})
    holder.load_state_dict({f"wrapped.{name}": tensor for name, tensor in state_dict.items()})
    assert same(loaded, model)


# --- what cannot be followed ----------------------------------------------------------------------------------------------


def test_experts_that_cannot_be_stacked_are_refused(tmp_path):
    family = FAMILIES["nemotron_h"]
    model = family.build(family.small.KINDS["mixed"])
    state_dict = on_disk(model, tmp_path)
    name = next(name for name in state_dict if name.endswith("experts.1.up_proj.weight"))
    target = name.replace("1.up_proj.weight", "up_proj")
    own = model.state_dict()[target]
    last = f"experts.{len(own) - 1}."
    wrong = {
        "cannot be stacked into": state_dict | {name: state_dict[name][:, :-1]},
        "size mismatch for": state_dict | {name.replace("experts.1.", f"experts.{len(own)}."): state_dict[name]},
        "is there too": state_dict | {target: own},
        "under two names": state_dict | {name.replace("model.", "backbone.", 1): state_dict[name]},
    }
    for said, each in wrong.items():
        for strict in (True, False):
            with pytest.raises(RuntimeError, match=said) as error:
                other(model).load_state_dict(each, strict=strict)
            assert target in str(error.value) or name in str(error.value)
    lacking = {key: tensor for key, tensor in state_dict.items() if key != name.replace("experts.1.", last)}
    with pytest.raises(RuntimeError, match=r"Missing key\(s\)" + f".*{re.escape(name.replace('experts.1.', last))}"):
        other(model).load_state_dict(lacking)
    unchanged = other(model)
    held = unchanged.state_dict()[target].clone()
    report = unchanged.load_state_dict(lacking, strict=False)
    assert report.missing_keys == [name.replace("experts.1.", last)] and not report.unexpected_keys
    assert torch.equal(unchanged.state_dict()[target][-1], held[-1])
    assert torch.equal(unchanged.state_dict()[target][:-1], own[:-1])


@every_renamed_family
def test_names_that_nothing_reads_are_told_of(family, tmp_path):
    model = family.build(family.small.KINDS["mixed"])
    state_dict = on_disk(model, tmp_path) | {"model.layers.0.mine": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\).*model.layers.0.mine"):
        other(model).load_state_dict(state_dict)
    assert other(model).load_state_dict(state_dict, strict=False).unexpected_keys == ["model.layers.0.mine"]


# --- loaders ---------------------------------------------------------------------------------------------------------------


@every_family
def test_files_that_are_read_without_the_model(family, tmp_path):
    model = family.build(family.small.KINDS["mixed"])
    state_dict = on_disk(model, tmp_path)
    loaded = other(model)
    assert load_model(loaded, tmp_path / "model.safetensors") == (set(), []) and same(loaded, model)
    torch.save(state_dict, tmp_path / "pytorch_model.bin")
    loaded = other(model)
    loaded.load_state_dict(torch.load(tmp_path / "pytorch_model.bin", weights_only=True))
    assert same(loaded, model)
    torch.save(model.state_dict(), tmp_path / "own.bin")
    loaded = other(model)
    loaded.load_state_dict(torch.load(tmp_path / "own.bin", weights_only=True))
    assert same(loaded, model)


@every_family
def test_sharded_checkpoints(family, tmp_path):
    model = family.build(family.small.KINDS["mixed"])
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    loaded = other(model)
    load_sharded_checkpoint(loaded, tmp_path, strict=False)
    assert same(loaded, model)
    untouched = other(model)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    if index["weight_map"].keys() >= model.state_dict().keys():
        load_sharded_checkpoint(untouched, tmp_path)
        assert same(untouched, model)
        return
    with pytest.raises(RuntimeError, match=r"Missing key\(s\).*experts"):  # it compares names with the index itself
        load_sharded_checkpoint(untouched, tmp_path)
    assert same(untouched, other(model))


class Rows(torch.utils.data.Dataset):
    def __init__(self, tokens):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, idx):
        return {"input_ids": self.tokens[idx], "labels": self.tokens[idx]}


def trainer_of(model, tokens, folder, **arguments):
    asked = {
        "save_strategy": "steps",
        "save_steps": 1,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
    }
    arguments = TrainingArguments(folder, use_cpu=True, report_to=[], disable_tqdm=True, seed=3, **asked | arguments)
    return Trainer(model=model, args=arguments, train_dataset=Rows(tokens), eval_dataset=Rows(tokens))


@every_family
def test_a_trainer_resumes(family, tokens, tmp_path):
    fields = family.small.KINDS["mixed"]
    whole = trainer_of(family.build(fields), tokens, tmp_path / "whole")
    whole.train()
    first = AutoModelForCausalLM.from_pretrained(tmp_path / "whole" / "checkpoint-1")
    resumed = trainer_of(other(first), tokens, tmp_path / "resumed")
    resumed._load_from_checkpoint(str(tmp_path / "whole" / "checkpoint-1"))
    assert same(resumed.model, first)
    resumed = trainer_of(other(first), tokens, tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    assert resumed.state.global_step == 2 and same(resumed.model, whole.model)


@every_family
def test_a_trainer_ends_with_its_best_model(family, tokens, tmp_path):
    best = {"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True, "max_steps": 3}
    # So large a step that the loss grows: the first checkpoint is the best
    trainer = trainer_of(family.build(family.small.KINDS["mixed"]), tokens, tmp_path, learning_rate=3.0, **best)
    trainer.train()
    chosen = AutoModelForCausalLM.from_pretrained(trainer.state.best_model_checkpoint)
    assert not trainer.state.best_model_checkpoint.endswith("-3") and same(trainer.model, chosen)


@every_family
def test_accelerate_saves_and_loads(family, tokens, tmp_path):
    from accelerate import Accelerator, load_checkpoint_in_model

    model = family.build(family.small.KINDS["mixed"])
    expected = copy.deepcopy(model)
    accelerator = Accelerator(cpu=True)
    prepared = accelerator.prepare(model)
    accelerator.save_state(str(tmp_path / "state"))
    with torch.no_grad():
        for parameter in prepared.parameters():
            parameter.zero_()
    accelerator.load_state(str(tmp_path / "state"))
    assert same(accelerator.unwrap_model(prepared), expected)
    state_dict = on_disk(expected, tmp_path / "saved")
    loaded = other(expected)
    load_checkpoint_in_model(loaded, str(tmp_path / "saved"), strict=True)
    assert same(loaded, expected)
    save_file(state_dict, tmp_path / "state" / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        for parameter in prepared.parameters():
            parameter.zero_()
    accelerator.load_state(str(tmp_path / "state"))
    assert same(accelerator.unwrap_model(prepared), expected)
