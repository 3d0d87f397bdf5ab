"""Which identifiers with a model's name in them are the model's own, and which are what others call so.

`BertNormalizer` of another package, `torch.clip`, `OPENAI_CLIP_MEAN`: what no file of the model binds keeps its name.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence, Set

from .rename import Renaming
from .source import SourceFile


# An attribute of every config, which the name of one model happens to be a part of.
OF_EVERY_CONFIG = "is_encoder_decoder"


_MODEL_TYPE = re.compile(r"\bmodel_type\s*(?::\s*\w+\s*)?=\s*[\"']([\w-]+)[\"']\s*$", re.MULTILINE)


def kept_names(
    source: SourceFile, family: Iterable[str], renaming: Renaming, along: Set[str], model_types: Iterable[str]
) -> frozenset[str]:
    """The words of a file that must not be renamed: identifiers that neither it nor the other files of its `family` bind,
    all but one of those that would become the same name, and types of other models, some of which begin alike.
    `along` are the modules that are renamed with it."""
    texts = (source.text, *family)
    foreign = _foreign(texts, renaming, along)
    own_types = {found for text in texts for found in _MODEL_TYPE.findall(text)}
    types = (
        {each for each in model_types if renaming.touches(each)}
        - own_types
        - {renaming.old.lower if renaming.old else ""}
    )
    return foreign | types | _colliding(source.definitions.keys() - foreign, renaming)


def _foreign(texts: Sequence[str], renaming: Renaming, along: Set[str]) -> frozenset[str]:
    named = {each for each in re.findall(r"[^\W\d]\w*", texts[0]) if renaming.touches(each)}
    own = set(along)
    for text in texts:
        try:
            own.update(_bound(text, along) if named - own else ())
        except (SyntaxError, ValueError):  # newer than this Python: told where it matters
            return frozenset()
    return frozenset(named - own | named & {OF_EVERY_CONFIG})


def _bound(text: str, along: Set[str]) -> Iterator[str]:
    """The names, attributes and parameters that a file binds; and strings that may name some."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                yield name
            case ast.ImportFrom(level=1, module=str(module), names=names) if module in along:
                yield from (alias.name for alias in names)
            case ast.Constant(value=str(name)) if "_" in name and name.isidentifier():
                yield name


def _colliding(names: Iterable[str], renaming: Renaming) -> frozenset[str]:
    """Where a file spells its model in two ways, the name that is not as usual stays."""
    taken: dict[str, str] = {}
    for name in sorted(names, key=lambda each: (renaming.touches(each), not renaming.spells(each), each)):
        taken.setdefault(renaming.name(name), name)
    return frozenset(names) - frozenset(taken.values())
