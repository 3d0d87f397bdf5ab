"""The curve of lines, of a history made for it."""

import subprocess
from pathlib import Path

from transformers_heterogeneous.scripts.maintenance.curve import history, point_of, table


def commit(folder: Path, day: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    date = {"GIT_AUTHOR_DATE": f"{day}T12:00:00", "GIT_COMMITTER_DATE": f"{day}T12:00:00"}
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", folder, "add", "-A"], check=True)
    subprocess.run(["git", "-C", folder, *who, "commit", "-qm", day], check=True, env=date)


def test_lines_overrides_and_families_are_counted(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    commit(tmp_path, "2026-01-01", {"modular/modular_heterogeneous_a.py": "1\n2\n", "README.md": "x\n"})
    commit(tmp_path, "2026-01-02", {"generated/modeling_heterogeneous_a.py": "1\n" * 7, "tests/t.py": "1\n" * 3})
    lock = '["a"."b"]\nx = 1\n["a"."c"]\ny = "["\n'
    shards = {"modular/modular_heterogeneous.py": "1\n", "modular/modular_heterogeneous_values.py": "1\n"}
    commit(tmp_path, "2026-01-02", {**shards, "modular/overrides.lock": lock})
    found = [point_of(tmp_path, *each) for each in history(tmp_path, 10)]
    assert [point.date for point in found] == ["2026-01-01", "2026-01-02", "2026-01-02"]
    assert [point.lines["shards"] for point in found] == [2, 2, 4]
    assert [point.lines["generated"] for point in found] == [0, 7, 7]
    assert [(point.overrides, point.families) for point in found] == [(0, 1), (0, 1), (2, 1)]
    assert list(table(found))[2:] == [
        "| 2026-01-01 | 2 | 0 | 0 | 0 | 0 | 0 | 1 | 0.00 |",
        "| 2026-01-02 | 4 | 7 | 0 | 0 | 3 | 2 | 1 | 1.75 |",
    ]
    assert len(history(tmp_path, 2)) == 2 and history(tmp_path, 2)[-1] == history(tmp_path, 10)[-1]
