"""Pipelines over every family, uniform and mixed: what they return is what the model computes of each text by itself."""

from itertools import product

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from .test_every_family import FAMILIES, every_kind


# Of different lengths: a batch of them is padded
TEXTS = ["w12 w7 w88 w3 w101 w55 w9 w64 w31", "w90 w41 w5 w17"]
SPECIAL = {0: "<pad>", 1: "<s>", 127: "</s>"}
BATCH_SIZES = (1, 2)
LABELS = ["first", "second", "third"]
every_kind_with_heads = pytest.mark.parametrize(
    ("family", "fields"),
    [
        pytest.param(FAMILIES[name], fields, id=f"{name}-{kind}")
        for name in ("llama", "gpt_oss")
        for kind, fields in FAMILIES[name].small.KINDS.items()
    ],
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, whose number it is."""
    words = {SPECIAL.get(number, f"w{number}"): number for number in range(128)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<s>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **special)


def ids_of(text: str) -> torch.Tensor:
    return torch.tensor([[int(word.removeprefix("w")) for word in text.split()]])


def pipe(task: str, model, tokenizer, folder, **options):
    """A pipeline as users make one: of a folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return pipeline(task, model=str(folder), **options)


@torch.no_grad()
def continued(model, text: str, num_tokens: int) -> list[int]:
    """Token by token, the whole text each time, without a cache."""
    tokens = ids_of(text)
    for _ in range(num_tokens):
        word = model(tokens, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, word], dim=1)
    return tokens[0].tolist()


def words_of(tokens: list[int]) -> list[str]:
    return [f"w{token}" for token in tokens if token not in SPECIAL]


@every_kind
def test_text_generation(family, fields, tokenizer, tmp_path):
    model = family.build({**fields, "eos_token_id": None}, "eager")
    generate = pipe("text-generation", model, tokenizer, tmp_path)
    assert type(generate.model) is type(model)
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    expected = [continued(model, text, 5) for text in TEXTS]
    for batch_size in BATCH_SIZES:
        found = generate(TEXTS, return_tensors=True, batch_size=batch_size, **options)
        padded = [sequence["generated_token_ids"] for (sequence,) in found]
        assert [ids[-len(own) :] for ids, own in zip(padded, expected, strict=True)] == expected
    words = [text["generated_text"].split() for (text,) in generate(TEXTS, return_full_text=False, **options)]
    assert words == [words_of(tokens[-5:]) for tokens in expected]
    several = generate(TEXTS[1], max_new_tokens=5, num_beams=3, num_return_sequences=2, do_sample=False)
    assert len({found["generated_text"] for found in several}) == 2


@every_kind
def test_feature_extraction(family, fields, tokenizer, tmp_path):
    model = AutoModel.from_config(family.build(fields, "eager").config).eval()
    extract = pipe("feature-extraction", model, tokenizer, tmp_path, return_tensors=True)
    for batch_size in (1,) if family.counts_rows else BATCH_SIZES:
        for text, found in zip(TEXTS, extract(TEXTS, batch_size=batch_size), strict=True):
            with torch.no_grad():
                expected = model(ids_of(text)).last_hidden_state
            found = found.reshape(1, -1, expected.shape[-1])[:, -expected.shape[1] :]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found = torch.tensor(extract(TEXTS[1], return_tensors=False))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def with_labels(auto_class, family, fields, labels: list[str]):
    config = family.build(fields, "eager").config
    config.id2label, config.label2id = dict(enumerate(labels)), {label: idx for idx, label in enumerate(labels)}
    torch.manual_seed(3)
    return auto_class.from_config(config).eval()


@pytest.mark.parametrize("labels", [LABELS, ["alone"]], ids=len)
@every_kind_with_heads
def test_text_classification(family, fields, labels, tokenizer, tmp_path):
    model = with_labels(AutoModelForSequenceClassification, family, fields, labels)
    classify = pipe("text-classification", model, tokenizer, tmp_path)
    for text, batch_size in product(TEXTS, BATCH_SIZES):
        found = classify(TEXTS, top_k=None, batch_size=batch_size)[TEXTS.index(text)]
        with torch.no_grad():
            (logits,) = model(ids_of(text)).logits
        scores = logits.softmax(-1) if len(labels) > 1 else logits.sigmoid()
        expected = dict(zip(labels, scores.tolist(), strict=True))
        assert {each["label"]: each["score"] for each in found} == pytest.approx(expected, rel=1e-5)
    best = max(found, key=lambda each: each["score"])
    assert classify(TEXTS[1]) == [pytest.approx(best)]


@every_kind_with_heads
def test_token_classification(family, fields, tokenizer, tmp_path):
    model = with_labels(AutoModelForTokenClassification, family, fields, LABELS)
    tag = pipe("token-classification", model, tokenizer, tmp_path)
    for text, batch_size in product(TEXTS, BATCH_SIZES):
        found = tag(TEXTS, batch_size=batch_size)[TEXTS.index(text)]
        with torch.no_grad():
            scores, labels = model(ids_of(text)).logits[0].softmax(-1).max(-1)
        assert [each["word"] for each in found] == text.split()
        assert [each["entity"] for each in found] == [LABELS[label] for label in labels]
        assert [each["score"] for each in found] == pytest.approx(scores.tolist(), rel=1e-5)
    grouped = tag(TEXTS[0], aggregation_strategy="simple")
    assert " ".join(each["word"] for each in grouped) == TEXTS[0]
