"""The lines that register a family: in models/auto, models/__init__ and the documentation's table of contents, each in the
order that these files are in."""

import re
from collections.abc import Callable, Sequence

from ..modular_converter.output.package import auto_class
from .tree_imports import CannotExport


# An entry of a mapping, on one line or on several: its model type and its value are groups 1 and 2, or 3 and 4
_ENTRY = re.compile(
    r'^        \((?:"([^"]+)", (.+)|\n            "([^"]+)",\n((?:            .*\n)+?)        )\),\n', re.MULTILINE
)
_STAR = re.compile(r"^    from \.(\w+) import \*\n", re.MULTILINE)
_CONTENT = re.compile(r"^( +)- local: model_doc/(\S+)\n +title: (.+)\n", re.MULTILINE)


def with_config(text: str, model_type: str, config: str, model: str) -> str:
    """auto_mappings.py, which says the config of a model type, and the folder where it is another word."""
    text = _with_entry(text, "CONFIG_MAPPING_NAMES", model_type, f'"{config}"')
    return (
        text
        if model == model_type
        else _with_entry(text, "SPECIAL_MODEL_TYPE_TO_MODULE_NAME", model_type, f'"{model}"')
    )


def with_models(text: str, model_type: str, names: Sequence[str]) -> str:
    """modeling_auto.py, which says of each Auto class what it makes of a model type; names that none makes are left out."""
    for name in names:
        mapping = re.search(
            rf"(?m)^class {auto_class(name) or ' '}\(.*\n(?:^(?!class ).*\n)*?    _model_mapping = (\w+)", text
        )
        if mapping is not None:
            text = _with_entry(text, f"{mapping[1]}_NAMES", model_type, f'"{name}"')
    return text


def with_tokenizer(text: str, model_type: str, parents: Sequence[str]) -> str:
    """tokenization_auto.py: the tokenizer of a parent, where the parent's has an entry."""
    entries = _entries(text, "TOKENIZER_MAPPING_NAMES")
    value = next((entries[name] for name in parents if name in entries), None)
    return text if value is None else _with_entry(text, "TOKENIZER_MAPPING_NAMES", model_type, value)


def with_import(text: str, model: str) -> str:
    """models/__init__.py, which type checkers read."""
    return _inserted(text, list(_STAR.finditer(text)), f"    from .{model} import *\n", model)


def with_content(text: str, model: str, title: str, parents: Sequence[str]) -> str:
    """_toctree.yml: the page among those of its parent's kind, by title."""
    every = list(_CONTENT.finditer(text))
    if any(each[2] == model for each in every):
        return text
    at = next((number for number, each in enumerate(every) if each[2] in parents), None)
    if at is None:
        raise CannotExport(f"_toctree.yml has no page of {' or '.join(parents)}, among which {model} would be")
    first = last = at
    while first and every[first - 1].end() == every[first].start():
        first -= 1
    while last + 1 < len(every) and every[last].end() == every[last + 1].start():
        last += 1
    indent = every[at][1]
    line = f"{indent}- local: model_doc/{model}\n{indent}  title: {title}\n"
    return _inserted(text, every[first : last + 1], line, title, lambda each: each[3])


def _with_entry(text: str, mapping: str, model_type: str, value: str) -> str:
    entries = _entries(text, mapping)
    if model_type in entries:
        said = entries[model_type]
        if said != value:
            raise CannotExport(f'{mapping} says of "{model_type}" already: {said.strip()}')
        return text
    several = value.endswith("\n")
    line = (
        f'        (\n            "{model_type}",\n{value}        ),\n'
        if several
        else f'        ("{model_type}", {value}),\n'
    )
    return _inserted(text, _matches(text, mapping), line, model_type, lambda each: each[1] or each[3])


def _entries(text: str, mapping: str) -> dict[str, str]:
    """Model type -> what a mapping says of it."""
    return {each[1] or each[3]: each[2] or each[4] for each in _matches(text, mapping)}


def _matches(text: str, mapping: str) -> list[re.Match[str]]:
    """The entries of a mapping, where they stand."""
    block = re.search(rf"(?m)^{mapping}\b[^=\n]*= OrderedDict\b.*\(\n    \[\n", text)
    end = re.compile(r"^    \]\n", re.MULTILINE).search(text, block.end()) if block else None
    if block is None or end is None:
        raise CannotExport(f"there is no {mapping} of the form that it has in the installed release")
    return list(_ENTRY.finditer(text, block.end(), end.start()))


def _inserted(
    text: str,
    entries: Sequence[re.Match[str]],
    line: str,
    key: str,
    key_of: Callable[[re.Match[str]], str] = lambda each: each[1],
) -> str:
    """The text with a line among others, before the first that comes behind it by its key."""
    if line in text:
        return text
    behind = next((each for each in entries if key_of(each).lower() > key.lower()), None)
    place = behind.start() if behind else entries[-1].end()
    return text[:place] + line + text[place:]
