"""What README and docs say: commands, targets and links are there, numbers are counted. test_docs_blocks.py runs their blocks."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers_heterogeneous.scripts.command.cli import app


ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md")))
}
FORMS = {path.name: path.read_text() for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")}


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


def shown_commands(text: str, program: str) -> list[list[str]]:
    """The words of each line in a code block that calls a program, without comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    inline = re.findall(rf"`({program} [\w-]+(?: [^`]+)?)`", text)
    lines = [line for block in blocks for line in block.splitlines() if re.match(rf"{program} [\w-]+( |$)", line)]
    return [shlex.split(re.split(r"\s{3,}|\s#", line)[0]) for line in (*lines, *inline)]


def test_shown_commands_are_there_with_their_options():
    """Parsed as the command does, and not run."""
    group = typer.main.get_command(app)
    shown = [(page, words) for page, text in (PAGES | FORMS).items() for words in shown_commands(text, "hetero")]
    assert len(shown) > 40 and len(FORMS) > 1
    for page, (_, *words) in shown:
        if words[0].startswith("-"):
            assert words[0] in {"-h", "--help", *(option for each in group.params for option in each.opts)}, page
            continue
        command = group.commands[words[0]]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h", "--"}
        of_others = command.name == "run"  # what follows belongs to the program that it starts
        unknown = [word for word in words[1:] if word.startswith("-") and word.partition("=")[0] not in known]
        assert of_others or not unknown, f"{page}: {words}"


def test_shown_targets_of_make_are_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {(page, words[1]) for page, text in PAGES.items() for words in shown_commands(text, "make")}
    assert len(shown) > 10
    assert not [each for each in shown if each[1] not in targets]


def anchors(text: str) -> set[str]:
    """What the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    links = [
        (page, target)
        for page, text in PAGES.items()
        for target in re.findall(r"\]\(([^)\s]+)\)|^\[\w+\]: (\S+)$", text, re.MULTILINE)
        for target in target
        if target and "://" not in target
    ]
    assert len(links) > 40
    for page, target in links:
        path, _, anchor = target.partition("#")
        file = ROOT / Path(page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(file.read_text()), f"{page}: {target}"


@pytest.mark.release
def test_messages_that_are_shown_name_the_places_of_overrides():
    shown = [
        (page, *match.groups())
        for page, text in PAGES.items()
        for match in re.finditer(r"^(modular/\w+\.py):(\d+):(\d+): (\w+)\.(\w+) replaces ", text, re.MULTILINE)
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
    rows = [
        row for text in PAGES.values() for row in re.findall(r"^ *(\d+) ((?:modular|generated)/\w+\.py)$", text, re.M)
    ]
    files = sorted(
        path.relative_to(ROOT).as_posix() for name in ("modular", "generated") for path in (ROOT / name).glob("*.py")
    )
    assert sorted(path for _, path in rows) == files
    for count, path in rows:
        assert len((ROOT / path).read_text().splitlines()) == int(count), path
    totals = [total for text in PAGES.values() for total in re.findall(r"^ *(\d+) total$", text, re.M)]
    assert [int(total) for total in totals] == [sum(int(count) for count, _ in rows)]


@pytest.mark.release
def test_lines_for_older_releases_are_those_of_their_shards():
    rows = re.findall(r"^\| (5\.\d+) \| (\d+) \| [^|]*\|$", PAGES["docs/releases.md"], re.MULTILINE)
    counted = {release: 0 for release, _ in rows}
    for path in (ROOT / "modular/releases").rglob("*.py"):
        lines = [line.strip() for line in path.read_text().splitlines()]
        docstring = ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""
        counted[path.parent.name] += sum(bool(line) and not line.startswith("#") for line in lines)
        counted[path.parent.name] -= len(docstring.splitlines())
    assert len(rows) > 4 and counted == {release: int(count) for release, count in rows}
