"""`hetero init`: a stranger's repository, from nothing to what its workflow runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from transformers_heterogeneous.scripts.command.cli import app


def hetero(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "our-models"
    assert hetero("init", folder)[0] == 0
    monkeypatch.chdir(folder)
    return folder


def test_from_nothing_to_what_the_workflow_runs(repository: Path) -> None:
    workflow = yaml.safe_load((repository / ".github/workflows/hetero.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["check"]["steps"] if "run" in step]
    commands = [step.split() for step in steps if not step.startswith("pip ")]
    assert [command[0] for command in commands] == ["hetero", "pytest"]
    for round_ in ("without a family", "with one"):
        for program, *arguments in commands:
            if program == "hetero":
                assert hetero(*arguments)[0] == 0, round_
            else:
                done = subprocess.run(
                    [sys.executable, "-m", program, "-q", "-p", "no:cacheprovider", *arguments],
                    capture_output=True,
                    text=True,
                    env={**os.environ, "PYTHONPATH": str(repository)},
                )
                assert done.returncode == 0, done.stdout + done.stderr
        if round_ == "without a family":
            code, out, _ = hetero("new", "my_qwen3", "--parent", "qwen3")
            assert code == 0 and out.endswith("then: hetero generate\n")
            assert hetero("check")[0] == 1 and hetero("generate")[0] == 0
    generated = repository / "our_models/generated"
    assert sorted(path.name for path in generated.glob("*.py")) == [
        "__init__.py",
        "configuration_my_qwen3.py",
        "modeling_my_qwen3.py",
    ]
    assert not [*(repository / "our_models/modular").glob("modeling_*")]
    modeling = generated / "modeling_my_qwen3.py"
    modeling.write_text(modeling.read_text().replace("residual + hidden_states", "hidden_states", 1))
    code, out, _ = hetero("check")
    assert code == 1 and "+        hidden_states = residual + hidden_states" in out
    shard = "our_models/modular/modular_my_qwen3.py"
    assert (
        hetero("generate", shard)[0] == 0 and hetero("check")[0] == 0
    )  # also by its name it goes where the project says


def test_the_readme_names_commands_that_there_are(repository: Path) -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    shown = re.findall(r"^    hetero (\w+)", (repository / "README.md").read_text(), re.MULTILINE)
    assert len(shown) == 6 and set(shown) <= known
    hooks = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == ["hetero check"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("full",), "exists and is no empty folder; nothing is overwritten", id="a folder with files"),
        pytest.param(("3-models",), "'3_models' is no name for a package", id="a name"),
        pytest.param(("new", "--package", "A b"), "'A b' is no name for a package", id="a name that is given"),
    ],
)
def test_what_is_refused_leaves_nothing(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    code, _, err = hetero("init", *arguments)
    assert code == 2 and message in err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "notes.txt"]


@pytest.mark.parametrize(
    "command", [["generate"], ["check"], ["drift"], ["rebase"], ["explain", "A.b"], ["new", "a", "--parent", "qwen3"]]
)
def test_a_table_that_is_wrong_is_told_by_every_command(repository: Path, command: list[str]) -> None:
    table = '[tool.hetero]\nmodular = "elsewhere"\nfamilies = 3\n'
    (repository / "pyproject.toml").write_text(table)
    code, _, err = hetero(*command)
    assert code == 2
    for part in ("pyproject.toml:1:1", "families is no field", "generated is needed", "modular: there is no folder"):
        assert part in err
