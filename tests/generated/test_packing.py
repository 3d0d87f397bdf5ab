"""Rows of several sequences, whose positions begin again: each sequence is computed alone, or the row is refused."""

import copy
import re

import pytest
import torch

from transformers import DataCollatorWithFlattening

from .release import needs
from .test_every_family import FAMILIES, every_kind


LENGTHS = (5, 2, 7)
every_family_with_mamba = pytest.mark.parametrize(
    "family", [family for family in FAMILIES.values() if not family.assisted], ids=str
)

every_family_that_packs = pytest.mark.parametrize(
    "family", [family for family in FAMILIES.values() if not family.counts_rows], ids=str
)


def flattened(tokens, **kwargs):
    """The sequences of a row as transformers' collator packs them: no mask, positions that begin again."""
    sequences = [{"input_ids": part} for part in tokens[0].split(LENGTHS)]
    return DataCollatorWithFlattening(return_tensors="pt", **kwargs)(sequences)


def attending(family):
    """Fields of a mixed model without mamba layers."""
    kinds = family.small.KINDS
    return kinds["mixed"] if family.assisted else kinds.get("attention") or kinds["attending"]


def with_mamba(model) -> bool:
    return bool(model.config.layers_made_of("mamba"))


@every_kind
def test_packed_sequences_do_not_see_each_other(family, fields, tokens):
    for implementation in {"eager", family.fastest}:
        model, batch = family.build(fields, implementation), flattened(tokens)
        parts = tokens[:1].split(LENGTHS, dim=1)
        if with_mamba(model):
            with pytest.raises(ValueError, match=r"3 sequences in a row, and the mamba layers .* `seq_idx`"):
                model(**batch, use_cache=False)
            continue
        if family.counts_rows:
            with pytest.raises(ValueError, match=r"3 sequences in a row, and Llama 4 counts chunks"):
                model(**batch, use_cache=False)
            continue
        with torch.no_grad():
            packed = model(**batch, use_cache=False)
            alone = [model(part, labels=part, use_cache=False) for part in parts]
        torch.testing.assert_close(packed.logits, torch.cat([one.logits for one in alone], 1), atol=3e-6, rtol=1e-5)
        counts = [length - 1 for length in LENGTHS]
        loss = sum(one.loss * count for one, count in zip(alone, counts, strict=True)) / sum(counts)
        torch.testing.assert_close(packed.loss, loss, atol=2e-6, rtol=1e-6)


@every_family_that_packs
def test_gradients_of_packed_sequences_are_those_of_each(family, tokens):
    fields = attending(family)
    together, alone = family.build(fields).train(), family.build(fields).train()
    together(**flattened(tokens), use_cache=False).loss.backward()
    for part in tokens[:1].split(LENGTHS, dim=1):
        weight = (part.shape[1] - 1) / sum(length - 1 for length in LENGTHS)
        (alone(part, labels=part, use_cache=False).loss * weight).backward()
    for (name, ours), other in zip(together.named_parameters(), alone.parameters(), strict=True):
        if ours.grad is not None or other.grad is not None:
            torch.testing.assert_close(ours.grad, other.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_positions_hold_where_nothing_but_masks_asks_for_them(tokens):
    granite = FAMILIES["granite_moe_hybrid"]
    model = granite.build({**attending(granite), "position_embedding_type": None})
    assert model.model.rotary_emb is None
    with torch.no_grad():
        packed = model(**flattened(tokens), use_cache=False).logits
        alone = [model(part, use_cache=False).logits for part in tokens[:1].split(LENGTHS, dim=1)]
    torch.testing.assert_close(packed, torch.cat(alone, 1), atol=3e-6, rtol=1e-5)


@every_family_with_mamba
def test_mamba_layers_refuse_what_they_cannot_keep_apart_in_every_mode(family, tokens):
    model, batch = family.build(family.small.KINDS["mixed"]), flattened(tokens)
    layers = re.escape(str(model.config.layers_made_of("mamba")))
    for training in (False, True):
        for use_cache in (False, True):
            with pytest.raises(ValueError, match=f"the mamba layers {layers} would carry the state"):
                model.train(training)(**batch, use_cache=use_cache)


@needs("mamba_reads_seq_idx")
@every_family_with_mamba
def test_mamba_layers_that_are_told_of_sequences_ask_for_their_kernels(family, tokens):
    model = family.build(family.small.KINDS["mixed"])
    with pytest.raises(ValueError, match="can't keep packed sequences apart without"):
        model(**flattened(tokens, return_seq_idx=True, return_flash_attn_kwargs=True), use_cache=False)


def test_delta_nets_are_told_of_sequences_twice(tokens):
    """Their convolution and their state read two fields: with one of them the state would be carried on."""
    model = FAMILIES["qwen3_next"].build(FAMILIES["qwen3_next"].small.KINDS["mixed"])
    with pytest.raises(ValueError, match="seq_idx without cu_seq_lens_q"):
        model(**flattened(tokens, return_seq_idx=True), use_cache=False)


@every_family_with_mamba
def test_mamba_layers_take_positions_of_one_sequence(family, tokens):
    model = family.build(family.small.KINDS["mixed"])
    positions = torch.arange(tokens.shape[1])[None]
    with torch.no_grad():
        expected = model(tokens, use_cache=False).logits
        assert torch.equal(model(tokens, position_ids=positions, use_cache=False).logits, expected)
        mask = torch.ones_like(tokens)
        mask[0, :5] = 0
        padded = model(tokens, attention_mask=mask, use_cache=False).logits
        begins_after_padding = (mask.cumsum(-1) - 1).clamp(min=0)
        again = model(tokens, attention_mask=mask, position_ids=begins_after_padding, use_cache=False).logits
    assert torch.isfinite(again).all() and torch.equal(again[1], padded[1])


@every_family_that_packs
def test_a_compiled_model_keeps_sequences_apart_too(family, tokens):
    model, batch = family.build(attending(family)), flattened(tokens)
    if family.experts is not None:
        model.set_experts_implementation(family.experts)
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="eager")
    with torch.no_grad():
        expected = torch.cat([model(part, use_cache=False).logits for part in tokens[:1].split(LENGTHS, dim=1)], 1)
        torch.testing.assert_close(compiled(**batch, use_cache=False).logits, expected, atol=3e-6, rtol=1e-5)
