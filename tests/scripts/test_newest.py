"""`make newest`: what it counts, and the verdict; the installing is its user's to watch."""

import json
import subprocess
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.command.versions import parents_version
from transformers_heterogeneous.scripts.maintenance import newest


REPORT = """<testsuites><testsuite>
<testcase classname="tests.generated.test_every_family" name="test_x[gpt_oss-mixed]"/>
<testcase classname="tests.generated.test_every_family" name="test_x[granite_moe_hybrid-mixed]"><failure/></testcase>
<testcase classname="tests.generated.test_nemotron_h" name="test_y"><error/></testcase>
<testcase classname="tests.generated.test_llama" name="test_y"/>
<testcase classname="tests.generated.test_config" name="test_z"><skipped/></testcase>
<testcase classname="tests.converters.test_convert" name="test_gpt_oss"/>
<testcase classname="tests.test_package" name="test_w"/>
</testsuite></testsuites>"""


class Tried:
    """An environment in which everything was tried already: what the commands there answer, without running any."""

    def __init__(self, tree: Path, version: str, differing: list[str], report: str, generated: int = 0) -> None:
        self.tree, self.newest, self.packages = tree, version, tree
        self.corpus = {"identical": 5 - len(differing), "files": 5, "shards": 3, "differing": differing}
        self.report, self.generated = report, generated

    def hetero(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        if arguments[0] == "check":
            return subprocess.CompletedProcess([], 0, json.dumps(self.corpus), "")
        return subprocess.CompletedProcess(
            [], self.generated, "", "modular_a.py:1:1: no such parent\n" * self.generated
        )

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        if self.report:
            (self.tree.parent / "tests.xml").write_text(self.report)
        return subprocess.CompletedProcess([], 0, "", "")


@pytest.fixture
def drift(monkeypatch):
    """What `hetero drift` says in the environment that is installed."""
    said = {"text": "\nmodular_a: the shard applies, 0 pieces change\n"}
    answer = lambda *_, **__: subprocess.CompletedProcess([], 0, said["text"], "")  # noqa: E731
    monkeypatch.setattr(newest.subprocess, "run", answer)
    return said


def test_tests_are_counted_by_family(tmp_path):
    (tmp_path / "tests.xml").write_text(REPORT)
    tests = newest.counted(tmp_path / "tests.xml")
    assert tests.passed == {"gpt_oss": 1, "llama": 1, "converters": 1, "package": 1}
    assert tests.failed == {"granite_moe_hybrid": 1, "nemotron_h": 1}
    assert tests.names[-1] == "tests.generated.test_nemotron_h::test_y"


def test_nothing_to_do(tmp_path, drift, capsys):
    passed = REPORT.replace("<failure/>", "").replace("<error/>", "")
    assert newest.page(Tried(tmp_path / "tree", parents_version(), [], passed)) == 0
    assert capsys.readouterr().out.endswith("nothing to do\n")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        pytest.param({"version": "99.0.0"}, "for the new minor", id="another minor"),
        pytest.param({"differing": ["models/a/modeling_a.py"]}, "1 files of transformers differ", id="language"),
        pytest.param({"report": REPORT}, "1 tests of granite_moe_hybrid; 1 tests of nemotron_h", id="tests"),
        pytest.param({"report": ""}, "the tests did not run", id="no tests"),
        pytest.param({"generated": 2}, "shards that no longer apply", id="shards"),
    ],
)
def test_what_is_to_be_followed_is_named(tmp_path, drift, capsys, changes, verdict):
    found = {"version": parents_version(), "differing": [], "report": REPORT.replace("<failure/>", "")}
    found["report"] = found["report"].replace("<error/>", "")
    assert newest.page(Tried(tmp_path / "tree", **found | changes)) == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("follow by hand: ") and last.endswith(verdict)


def test_pieces_that_change_are_to_be_read(tmp_path, drift, capsys):
    drift["text"] = "\nmodular_a: the shard applies, 10 pieces change\n\n  changed: A.forward\n    -x\n    +y\n"
    passed = REPORT.replace("<failure/>", "").replace("<error/>", "")
    assert newest.page(Tried(tmp_path / "tree", parents_version(), [], passed)) == 1
    page = capsys.readouterr().out
    assert "  changed: A.forward\n" in page and "+y" not in page and page.endswith("read the pieces that change\n")


def test_overrides_to_carry_along_are_named(tmp_path, drift, capsys):
    drift["text"] = "\nmodular_a: `hetero rebase` merges A.forward, 0 pieces change\n"
    passed = REPORT.replace("<failure/>", "").replace("<error/>", "")
    assert newest.page(Tried(tmp_path / "tree", parents_version(), [], passed)) == 1
    page = capsys.readouterr().out
    assert "modular_a: `hetero rebase` merges A.forward" in page
    assert page.endswith("follow by hand: `hetero rebase`, and read what it merged\n")
