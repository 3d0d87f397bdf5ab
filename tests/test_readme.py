"""The README's Python is run, and prints what the README says."""

import ast
import contextlib
import importlib
import io
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers_heterogeneous.scripts.command.cli import app


ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize(("code", "expected"), EXAMPLES)
def test_examples_print_what_is_shown(code, expected):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "README.md", "exec"), {})
    assert output.getvalue() == expected


def test_there_are_examples():
    assert EXAMPLES


def test_the_example_shard_expands_and_does_what_it_says(tmp_path, monkeypatch):
    name, shard = re.findall(r"<!-- (modular_\w+\.py) -->\n```python\n(.*?)```", README, flags=re.DOTALL)[0]
    package = tmp_path / "example"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / name).write_text(shard)
    assert CliRunner().invoke(app, ["generate", str(package / name)]).exit_code == 0
    monkeypatch.syspath_prepend(tmp_path)
    modeling = importlib.import_module("example.modeling_scaled_qwen3")
    small = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    small |= {"intermediate_size": 48, "vocab_size": 64}
    parent = Qwen3ForCausalLM(Qwen3Config(**small)).eval()
    tokens = torch.arange(9)[None]
    for scale, equal in ((1.0, True), (0.5, False)):
        ours = modeling.ScaledQwen3ForCausalLM(modeling.ScaledQwen3Config(**small, mlp_scale=scale)).eval()
        ours.load_state_dict(parent.state_dict(), strict=True)
        assert torch.equal(ours(tokens).logits, parent(tokens).logits) is equal


@pytest.mark.release
def test_messages_that_are_shown_name_the_places_of_overrides():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    shown = [
        (page.name, *match.groups())
        for page in pages
        for match in re.finditer(
            r"^(modular/\w+\.py):(\d+):(\d+): (\w+)\.(\w+) replaces ", page.read_text(), re.MULTILINE
        )
    ]
    assert shown
    for page, shard, line, column, class_name, method in shown:
        classes = {
            node.name: node for node in ast.parse((ROOT / shard).read_text()).body if isinstance(node, ast.ClassDef)
        }
        found = next(node for node in classes[class_name].body if getattr(node, "name", None) == method)
        first = min([found.lineno, *(node.lineno for node in found.decorator_list)])
        assert (int(line), int(column)) == (first, found.col_offset + 1), f"{page}: {class_name}.{method}"


@pytest.mark.release
def test_line_counts_are_those_of_the_files():
    rows = re.findall(r"^ *(\d+) ((?:modular|generated)/\w+\.py)$", README, flags=re.MULTILINE)
    files = sorted(
        path.relative_to(ROOT).as_posix() for name in ("modular", "generated") for path in (ROOT / name).glob("*.py")
    )
    assert sorted(path for _, path in rows) == files
    for count, path in rows:
        assert len((ROOT / path).read_text().splitlines()) == int(count), path
