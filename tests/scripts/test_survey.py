"""`make survey` on models that tell: vision, audio, encoder-decoder, names in odd cases, guards, parts in other files."""

import importlib

import pytest

from transformers_heterogeneous.scripts.command.new import parents
from transformers_heterogeneous.scripts.maintenance.survey import (
    BROKEN,
    IMPORTS,
    PACKAGE,
    Outcome,
    in_a_fork,
    page,
    survey,
)
from transformers_heterogeneous.scripts.modular_converter.run import expand


TELLING = (
    "clip",
    "dinat",
    "encoder_decoder",
    "ernie4_5_vl_moe",
    "openai",
    "rt_detr",
    "sam2",
    "vit",
    "wav2vec2",
    "whisper",
    "x_clip",
    "xlstm",
)
PROCESSORS = """
from transformers.models.{0}.{1}_{0} import {2}{3}


class My{2}{3}({2}{3}):
    pass


__all__ = ["My{2}{3}"]
"""


@pytest.fixture(autouse=True)
def no_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_telling_models_import(tmp_path):
    outcomes = survey(TELLING, tmp_path)
    assert outcomes == dict.fromkeys(TELLING, Outcome(IMPORTS))


@pytest.mark.parametrize(
    ("model", "kind", "cased", "ending"),
    [
        ("bert", "tokenization", "Bert", "Tokenizer"),
        ("clip", "image_processing_pil", "CLIP", "ImageProcessorPil"),
        ("clip", "processing", "CLIP", "Processor"),
        ("qwen2_5_vl", "processing", "Qwen2_5_VL", "Processor"),
        ("roberta", "tokenization", "Roberta", "Tokenizer"),
        ("whisper", "feature_extraction", "Whisper", "FeatureExtractor"),
    ],
)
def test_tokenizers_and_processors_import(model, kind, cased, ending, tmp_path, monkeypatch):
    shard = tmp_path / f"modular_my_{model}.py"
    shard.write_text(PROCESSORS.format(model, kind, cased, ending))
    run = expand([shard], lambda path: path.parent)
    assert run.messages() == []
    ((path, text),) = run.files.items()
    path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert hasattr(importlib.import_module(path.stem), f"My{cased}{ending}") and f"class {cased}{ending}" not in text


def test_what_does_not_import_is_told_with_its_line(tmp_path, monkeypatch):
    package = tmp_path / PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "modular_my_vit.py").write_text("class MyViTConfig(ViTConfig):\n    pass\n")
    broken = package / "configuration_my_vit.py"
    monkeypatch.syspath_prepend(tmp_path)
    for text, reason in (
        ("\nfrom os import gone\n", "configuration_my_vit.py:2: ImportError: cannot import name 'gone' from 'os'"),
        ("__all__ = ['MyViTModel']\n", "configuration_my_vit.py has no MyViTModel"),
        ("import os\nos._exit(3)\n", "the import ended the process"),
    ):
        broken.write_text(text)
        outcome = in_a_fork(package, "vit")
        assert outcome.kind == BROKEN and outcome.reasons[0].startswith(reason), outcome
        assert f"| vit | {BROKEN} | {reason}" in page({"vit": outcome})


def test_every_model_is_asked():
    assert {"bert", "whisper", "xlstm"} <= set(parents()) and "auto" not in parents()
