"""Files cut into pieces: what the pieces hold is what LibCST makes of the whole file."""

from pathlib import Path

import libcst as cst
import pytest

from transformers_heterogeneous.scripts.modular_converter.sources.diagnostics import ShardError
from transformers_heterogeneous.scripts.modular_converter.sources.paths import installed_folder
from transformers_heterogeneous.scripts.modular_converter.sources.pieces import cut
from transformers_heterogeneous.scripts.modular_converter.sources.source import parse_source
from transformers_heterogeneous.scripts.modular_converter.syntax.tree import code


MODELS = sorted((installed_folder("transformers") / "models").glob("*/*.py"))
TEXTS = {
    "empty": ("", 1),
    "only comments": ("# a\n\n# b\n", 1),
    "header, imports, definitions": (
        "# c\n\nimport a\n\n# d\nclass A:\n    x = 1\n\n\ndef f():\n    pass\n\n\n# end\n",
        4,
    ),
    "definition first": ("# header\n\n# above\ndef f(): pass\nx = f()\n", 2),
    "decorators": ("import a\n@a\n# between\n@a(\n    1,\n)\n\nclass A: pass\n@a\nasync def g(): pass\n", 3),
    "closing brackets at the margin": ("def f(\n    a,\n):\n    return g(\n        1,\n)\nx = [\n    1\n]\n", 2),
    "a string at the margin": ('def f():\n    """\nx = 1\n"""\n    y = 2\n\n\ndef g(): pass\n', 1),
    "a definition in a string": ('A = """\nclass B:\n    pass\n"""\n\n\nclass C:\n    pass\n', 2),
    "arguments at the margin": ("x = dict(\nf=1,\ng=2,\n)\n\n\ndef f():\n    pass\n", 2),
    "a continued line": ("def f(): return \\\n5\nx = 1\n", 1),
    "a comment that ends a body": ("class A:\n    x = 1\n    # of A\n  # of nobody\n# of B\nclass B:\n    y = 2\n", 2),
    "a deep header": ("def f(\n        a, b):\n    x = 1\n    # of f\n\n# of g\ndef g(): pass\n", 2),
    "under a condition": ("if x:\n    class A: pass\nelse:\n    class A: pass\nclass B: pass\n", 2),
    "two on a line": ("class A: x = 1; y = 2\nclass B: pass; z = 3  # c\n", 2),
    "lambdas": ("f = lambda: 0\ng = [i for i in f]\ndef h(x=lambda: 1): return x\n", 2),
    "two spaces": ("class A:\n  def f(self):\n    return 1\n\ndef g():\n    return 2\n", 2),
}


@pytest.mark.parametrize("name", TEXTS)
def test_pieces_are_the_file(name: str) -> None:
    text, pieces = TEXTS[name]
    found = cut(Path("a.py"), text)
    assert "".join(piece.text for piece in found) == text
    assert len(found) == pieces
    _same_as_whole(Path("a.py"), text)


@pytest.mark.parametrize("path", MODELS[::25], ids=lambda path: path.stem)
def test_models_of_transformers(path: Path) -> None:
    _same_as_whole(path, path.read_text(encoding="utf-8"))


def _same_as_whole(path: Path, text: str) -> None:
    """Statements by their source with what stands above them, and every node by its place."""
    whole, source = cst.parse_module(text), parse_source(path, text)
    assert [code(statement.node) for statement in source.statements] == [code(each) for each in whole.body]
    for statement in source.statements:
        assert statement.text.endswith(statement.pieces[0].module.code_for_node(statement.node))
        line, column = source.position(statement.node)
        assert column == 1 and text.splitlines()[line - 1] == statement.code.splitlines()[0]


def test_names_come_from_the_definitions() -> None:
    source = parse_source(Path("a.py"), TEXTS["arguments at the margin"][0])
    assert [(each.kind, each.name) for each in source.statements] == [("constant", "x"), ("function", "f")]


def test_only_what_is_asked_for_is_parsed() -> None:
    source = parse_source(Path("a.py"), "import a\n\n\nclass A:\n    pass\n\n\nclass B(A):\n    pass\n")
    assert source.definitions["B"].bases == ("A",)
    assert [bool(piece.parsed) for piece in source.pieces] == [True, False, True]


def test_where_a_definition_cannot_be_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> cst.Module:
        if "class A" in text:
            raise cst.ParserSyntaxError("no", lines=text.splitlines(), raw_line=2, raw_column=4)
        return original(text)

    original = cst.parse_module
    monkeypatch.setattr(cst, "parse_module", refuse)
    source = parse_source(Path("a.py"), "import a\n\nclass A:\n    pass\n")
    with pytest.raises(ShardError, match=r"a\.py:3:5: libcst cannot parse this"):
        _ = source.definitions["A"].node
