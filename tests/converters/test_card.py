"""The note in the model card: after the metadata, which stays as it is."""

import json

import pytest

from transformers_heterogeneous.converters import convert
from transformers_heterogeneous.converters.card import BEGIN, END, NEW_CARD, with_note, without_note

from . import published


MARKED = f"{BEGIN}\n> note\n{END}\n\n"
CARDS = {
    "metadata and text": ("---\nlicense: mit\n---\n# Title\n", f"---\nlicense: mit\n---\n\n{MARKED}# Title\n"),
    "blank lines after the metadata": ("---\na: 1\n---\n\n\n# T\n", f"---\na: 1\n---\n\n{MARKED}\n\n# T\n"),
    "metadata alone": ("---\na: 1\n---", f"---\na: 1\n---\n{MARKED}"),
    "other line ends": ("---\r\na: 1\r\n---\r\ntext", f"---\r\na: 1\r\n---\r\n\n{MARKED}text"),
    "no metadata": ("# Title\n", f"{MARKED}# Title\n"),
    "a rule further down": ("# Title\n---\ntext\n---\n", f"{MARKED}# Title\n---\ntext\n---\n"),
    "metadata that does not end": ("---\na: 1\n", f"{MARKED}---\na: 1\n"),
    "a rule in the text": ("---\na: 1\n---\nx\n---\ny\n", f"---\na: 1\n---\n\n{MARKED}x\n---\ny\n"),
    "empty": ("", MARKED),
}


@pytest.mark.parametrize(("card", "expected"), CARDS.values(), ids=CARDS.keys())
def test_note_is_the_first_paragraph_and_can_be_taken_out(card, expected):
    assert with_note(card, "> note") == expected
    assert without_note(expected) == card == without_note(card)


def test_card_says_where_the_checkpoint_came_from(tmp_path):
    source = tmp_path / "Super-49B"
    published.write_checkpoint(source)
    text = "---\nlanguage: 中文\n---\r\nGrüße\r\n".encode()
    (source / "README.md").write_bytes(text)
    report = convert(source, tmp_path / "converted")
    card = (tmp_path / "converted/README.md").read_bytes().decode()
    assert card.startswith(f"---\nlanguage: 中文\n---\r\n\n{BEGIN}\n> Converted by `hetero convert`")
    assert "from `Super-49B`, format `nemotron-nas`, to format `heterogeneous_llama`" in card
    assert card.endswith(f"\n{END}\n\nGrüße\r\n") and str(tmp_path) not in card
    assert "README.md" in report.carried
    for line in (
        "| layers | mixer | heads | KV heads | MLP | width | parameters per layer |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: |",
        "| 0 | attention | 4 | 2 | dense | 256 | 61,568 |",
        "| 1 | - | - | - | dense | 512 | 98,368 |",
        "| 4 | - | - | - | - | - | 0 |",
    ):
        assert f"\n{line}\n" in card
    convert(tmp_path / "converted", tmp_path / "again")
    again = (tmp_path / "again/README.md").read_bytes().decode()
    assert again.count(BEGIN) == 1 and again.count("> Converted by") == 2
    convert(tmp_path / "again", tmp_path / "back", to="nemotron-nas")
    assert (tmp_path / "back/README.md").read_bytes() == text


def test_card_that_is_no_text_is_copied(tmp_path):
    published.write_checkpoint(tmp_path / "published")
    (tmp_path / "published/README.md").write_bytes(b"\xff\xfe\x00")
    convert(tmp_path / "published", tmp_path / "converted")
    assert (tmp_path / "converted/README.md").read_bytes() == b"\xff\xfe\x00"
    assert json.loads((tmp_path / "converted/config.json").read_text())["model_type"] == "heterogeneous_llama"


def test_where_there_is_no_card_one_is_written_and_taken_back(tmp_path):
    published.write_checkpoint(tmp_path / "published")
    convert(tmp_path / "published", tmp_path / "mine")
    card = (tmp_path / "mine/README.md").read_text()
    assert card.startswith(f"{NEW_CARD}\n{BEGIN}\n> Converted by `hetero convert`")
    assert (
        "AutoModelForCausalLM.from_pretrained(" in card
        and "\nRead by vLLM 0.32.0.\n" in card
        and "| layers | mixer |" in card
    )
    report = convert(tmp_path / "mine", tmp_path / "back", to="nemotron-nas")
    assert not (tmp_path / "back/README.md").exists()
    assert [left.reason for left in report.not_carried if left.name == "README.md"] == [
        "written by hetero convert, there was none"
    ]


def test_a_written_card_is_kept_by_the_next_conversion(tmp_path):
    published.write_checkpoint(tmp_path / "published")
    convert(tmp_path / "published", tmp_path / "mine")
    convert(tmp_path / "mine", tmp_path / "again")
    card = (tmp_path / "again/README.md").read_text()
    assert card.startswith(NEW_CARD) and card.count(BEGIN) == 1 and card.count("> Converted by") == 2
