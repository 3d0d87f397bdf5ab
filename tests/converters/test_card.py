"""The note in the model card: after the metadata, which stays as it is."""

import json

import published
import pytest

from transformers_heterogeneous.converters import convert
from transformers_heterogeneous.converters.card import with_note


CARDS = {
    "metadata and text": ("---\nlicense: mit\n---\n# Title\n", "---\nlicense: mit\n---\n\n> note\n\n# Title\n"),
    "blank lines after the metadata": ("---\na: 1\n---\n\n\n# T\n", "---\na: 1\n---\n\n> note\n\n# T\n"),
    "metadata alone": ("---\na: 1\n---", "---\na: 1\n---\n\n> note\n\n"),
    "no metadata": ("# Title\n", "> note\n\n# Title\n"),
    "a rule further down": ("# Title\n---\ntext\n---\n", "> note\n\n# Title\n---\ntext\n---\n"),
    "metadata that does not end": ("---\na: 1\n", "> note\n\n---\na: 1\n"),
    "a rule in the text": ("---\na: 1\n---\nx\n---\ny\n", "---\na: 1\n---\n\n> note\n\nx\n---\ny\n"),
    "empty": ("", "> note\n\n"),
}


@pytest.mark.parametrize(("card", "expected"), CARDS.values(), ids=CARDS.keys())
def test_note_is_the_first_paragraph(card, expected):
    assert with_note(card, "note") == expected


def test_card_says_where_the_checkpoint_came_from(tmp_path):
    source = tmp_path / "Super-49B"
    published.write_checkpoint(source)
    (source / "README.md").write_bytes("---\nlanguage: 中文\n---\r\nGrüße\r\n".encode())
    report = convert(source, tmp_path / "converted")
    card = (tmp_path / "converted/README.md").read_bytes().decode()
    assert card.startswith("---\nlanguage: 中文\n---\n\n> Converted by `hetero convert`")
    assert "from `Super-49B`, format `nemotron-nas`, to format `heterogeneous_llama`" in card
    assert card.endswith("\n\nGrüße\r\n") and str(tmp_path) not in card
    assert "README.md" in report.carried


def test_card_that_is_no_text_is_copied(tmp_path):
    published.write_checkpoint(tmp_path / "published")
    (tmp_path / "published/README.md").write_bytes(b"\xff\xfe\x00")
    convert(tmp_path / "published", tmp_path / "converted")
    assert (tmp_path / "converted/README.md").read_bytes() == b"\xff\xfe\x00"
    assert json.loads((tmp_path / "converted/config.json").read_text())["model_type"] == "heterogeneous_llama"
