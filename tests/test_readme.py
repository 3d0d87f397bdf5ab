"""The README's Python is run, and prints what the README says."""

import contextlib
import io
import re
from pathlib import Path

import pytest


README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize(("code", "expected"), EXAMPLES)
def test_examples_print_what_is_shown(code, expected):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "README.md", "exec"), {})
    assert output.getvalue() == expected


def test_there_are_examples():
    assert EXAMPLES
