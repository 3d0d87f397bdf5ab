"""The second table of `make survey`: one model of each outcome, and what is remembered."""

import pytest

from transformers_heterogeneous.scripts.maintenance import survey_heterogeneous as module
from transformers_heterogeneous.scripts.maintenance.survey_heterogeneous import (
    OUT,
    REFUSED,
    WORKS,
    causal_models,
    in_a_process,
    page,
    survey_heterogeneous,
)


@pytest.fixture(autouse=True)
def no_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_each_model_is_judged_once(monkeypatch):
    found = survey_heterogeneous(["llama", "mpt", "bart"])
    assert [each.kind for each in found.values()] == [WORKS, REFUSED, OUT]
    assert found["llama"].equal == 13 and "num_key_value_heads" in found["llama"].varied
    assert "`self.h`" in found["mpt"].reasons[0] and "cross-attention" in found["bart"].reasons[0]

    monkeypatch.setattr(module, "in_a_process", lambda work: pytest.fail("judged again"))
    assert survey_heterogeneous(["llama", "mpt", "bart"]) == found

    lines = page(found).splitlines()
    assert "| works as written | 1 |" in lines and "| refused | 1 |" in lines and "| wrong | 0 |" in lines
    assert any(line.startswith("| llama |") for line in lines) and any(line.startswith("| mpt |") for line in lines)


def test_a_process_that_ends_takes_nothing_with_it():
    assert in_a_process(lambda: 1 / 0) == ""
    assert in_a_process(lambda: ["an answer"]) == '["an answer"]'


def test_the_models_are_those_with_a_causal_head():
    models = causal_models()
    assert {"llama", "qwen3", "gpt2", "mamba"} <= set(models) and "clip" not in models
