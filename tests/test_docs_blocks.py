"""Every block of code and commands of the pages is run, from top to bottom of a page, and prints what stands beside it."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from .docs_pages import REASONS, ROOT, blocks_of, is_run, run_page


PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))}
RUN = {page for page, text in PAGES.items() if any(map(is_run, blocks_of(text)))}
MARKS = {
    "docs/any_decoder.md": (pytest.mark.release, pytest.mark.slow),
    "docs/nearest.md": (pytest.mark.release, pytest.mark.slow),
    "docs/seeing.md": pytest.mark.release,
}


@pytest.mark.parametrize("page", [pytest.param(page, marks=MARKS.get(page, ())) for page in sorted(RUN)])
def test_blocks_run_and_print_what_is_shown(page: str, tmp_path: Path) -> None:
    assert run_page(PAGES[page], tmp_path) == PAGES[page]


def test_every_block_is_seen_and_what_is_not_run_says_why() -> None:
    for page, text in PAGES.items():
        blocks = blocks_of(text)
        fences = sum(2 + 2 * (block["output"] is not None) for block in blocks)
        assert len(re.findall(r"^ *```", text, re.MULTILINE)) == fences, page
        notes = [block["note"].removeprefix("not run: ") for block in blocks if block["note"]]
        assert [note for note in notes if note not in REASONS and not re.fullmatch(r"[\w/.-]+\.\w+", note)] == [], page
    assert len(RUN) > 10


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("```\nhetero inspect nowhere\n```", id="command"),
        pytest.param("```console\n$ hetero inspect nowhere\n```", id="session"),
        pytest.param("```python\nimport no_such_module\n```", id="python"),
        pytest.param("```\ngit status\n```", id="program"),
    ],
)
def test_a_new_block_is_run(block: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, ImportError)):
        run_page(block, tmp_path)
    assert run_page(f"<!-- not run: minutes -->\n{block}", tmp_path)


def test_what_is_shown_is_compared(tmp_path: Path) -> None:
    page = "```python\nprint(1)\nprint(2)\nprint(3)\n```\n\n```text\n{}```\n"
    true = page.format("1\n2\n3\n")
    assert {run_page(page.format(shown), tmp_path) for shown in ("", "1\n2\n4\n", "1\n...\n4\n", "1\n3\n")} == {true}
    assert run_page(page.format("1\n...\n3\n"), tmp_path) == page.format("1\n...\n3\n")
    session = "```\n$ hetero --version\n{}\n\n```\n"
    assert version("transformers-heterogeneous") in run_page(session.format("0.0.0"), tmp_path)
