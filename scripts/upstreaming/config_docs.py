"""What is said of a config's fields, as transformers says it: `@auto_docstring` writes the frame and what is the same everywhere,
the docstring has the other fields alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from pathlib import Path
from textwrap import indent

import libcst as cst

from ..modular_converter.sources.source import read_source
from ..modular_converter.syntax.tree import code


DECORATOR = "auto_docstring"
_CHECKPOINT = re.compile(rf'\A@?{DECORATOR}\(.*\bcheckpoint="([^"]+)"', re.DOTALL)
_FIELD = re.compile(r"^(\w+) \(.*?(?=^\w+ \(|^(?:Example|Returns?|Raises)\b|^```|\Z)", re.DOTALL | re.MULTILINE)
_EXAMPLE = re.compile(r"^```python\n.*?^```$", re.DOTALL | re.MULTILINE)
# Of all families; those in which norm and MLP are one module say more of it
_FUSED = "fused_blocks (`list[str | None]`, *optional*):\n    What each layer fuses into one module, `None` where nothing is.\n"


def with_documented_configs(tree: cst.Module, parents: Mapping[str, Path]) -> cst.Module:
    """
    A shard inside transformers whose configs have the decorator that their parents have, of the same checkpoint: one that the
    family loads.

    Args:
        parents: what the shard imports of other models, and the files that it is from.
    """
    found = {
        id(each): new for each in tree.body if isinstance(each, cst.ClassDef) and (new := _documented(each, parents))
    }
    if not found:
        return tree
    imported = cst.parse_statement(f"from ...utils import {DECORATOR}\n")
    at = next(at for at, each in enumerate(tree.body) if isinstance(each, cst.ClassDef))
    body = [found.get(id(each), each) for each in tree.body]
    last = max(number for number, each in enumerate(body[:at]) if _is_import(each))
    return tree.with_changes(body=[*body[: last + 1], imported, *body[last + 1 :]])


def _is_import(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleStatementLine) and isinstance(node.body[0], cst.Import | cst.ImportFrom)


def _documented(node: cst.ClassDef, parents: Mapping[str, Path]) -> cst.ClassDef | None:
    said = node.get_docstring() or ""
    intro, args, fields = said.partition("\nArgs:\n")
    found = next(_described(node, parents), None)
    if found is None or not args:
        return None
    checkpoint, theirs = found
    known: dict[str, str] = {}
    for text in (cleandoc(re.split(r"(?m)^(?=\S)", fields, maxsplit=1)[0]), theirs, _FUSED):
        for each in _FIELD.finditer(text):
            known.setdefault(each[1], each[0].strip())
    parts = [*known.values(), *(f"\n{each}" for each in _EXAMPLE.findall(said))]
    docstring = indent("\n".join(parts), "    ")
    decorator = f'@{DECORATOR}(\n    custom_intro="""\n{indent(intro.strip(), "    ")}\n    """,\n    checkpoint="{checkpoint}",\n)'
    written = cst.parse_statement(f'{decorator}\nclass _:\n    r"""\n{docstring}\n    """\n')
    assert isinstance(written, cst.ClassDef)
    body = [written.body.body[0], *node.body.body[1:]]
    return node.with_changes(
        decorators=[*written.decorators, *node.decorators], body=node.body.with_changes(body=body)
    )


def _described(node: cst.ClassDef, parents: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """The checkpoint that a parent of a config names, and what it says of its fields."""
    for base in (code(arg.value) for arg in node.bases):
        parent = read_source(parents[base]).definitions[base].node if base in parents else None
        if isinstance(parent, cst.ClassDef):
            yield from ((each, parent.get_docstring() or "") for each in _checkpoints(parent.decorators))


def _checkpoints(decorators: Sequence[cst.Decorator]) -> Iterator[str]:
    for each in decorators:
        if match := _CHECKPOINT.match(code(each.decorator)):
            yield match[1]
