"""The documentation site builds without a network and without a warning."""

import socket
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.release
@pytest.mark.slow
def test_the_site_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    def refuse(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    build(config)
    pages = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("index.html")}
    families = {path.stem.removeprefix("configuration_") for path in (ROOT / "generated").glob("configuration_*_*.py")}
    assert {f"families/{family}/index.html" for family in families} <= pages
    start = (tmp_path / "index.html").read_text()
    assert "pip install" in start and 'href="config/"' in start and 'href="docs/' not in start
    command = (tmp_path / "cli/index.html").read_text()
    assert (
        all(f"hetero {name}" in command for name in ("generate", "convert", "init"))
        and "--drop-empty-layers" in command
    )
    reference = (tmp_path / "reference/index.html").read_text()
    assert "keep_layers" in reference and "indices of layers" in reference
