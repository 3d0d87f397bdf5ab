"""The import statements of an output: candidates from the shard and its parents, kept where a name is used."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .diagnostics import Diagnostic, ShardError
from .layout import Output, from_outside
from .rename import Renaming
from .resolve import is_helper_import, is_parent_import
from .scan import identifiers
from .shard import Parent, Shard
from .source import Statement, lines_of


SOFT_TYPES = ("image_processing_pil", "feature_extraction")
SOFT_LIBRARIES = ("torch", "torchvision")
_WORD = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True)
class Candidate:
    """An import statement that an output may take names from."""

    lead: str
    text: str
    guard: bool = False


def render_imports(shard: Shard, output: Output) -> str:
    """The imports that `output` needs, plain ones first."""
    try:
        wanted = used_names("".join(output.body.values()) + output.ending) - output.body.keys()
    except SyntaxError as error:
        message = (
            f"the merged code of the {output.type} file is not valid Python: {error.msg}: {error.text or ''}".rstrip()
        )
        raise ShardError([Diagnostic(shard.path, 1, 1, message)]) from error
    candidates = _unique(_candidates(shard, output))
    wanted |= {name for candidate in candidates if candidate.guard for name in _tested(candidate.text)}
    taken = set(output.body)
    kept = [(candidate.guard, text) for candidate in candidates if (text := _keep(candidate, wanted, taken))]
    plain = [text for guard, text in kept if not guard]
    guarded = [text for guard, text in kept if guard]
    if output.type in SOFT_TYPES:
        plain, guarded = _soften(plain, guarded, "..." if shard.home.inside else "transformers.")
    return "".join([*plain, *guarded])


def _soften(plain: list[str], guarded: list[str], package: str) -> tuple[list[str], list[str]]:
    """Gather the imports of torch and torchvision into one guarded block each, after everything else."""
    for library in SOFT_LIBRARIES:
        test = f"is_{library}_available"
        moved = [text for text in plain if _imports(text, library)]
        plain = [text for text in plain if text not in moved]
        simple = [text for text in guarded if _is_guard_of(text, test)]
        guarded = [text for text in guarded if text not in simple]
        lines = dict.fromkeys(
            [*map(_statement_text, moved), *(line for text in simple for line in _guarded_lines(text))]
        )
        if lines and re.search(
            rf"\b{test}\b", next((text for text in plain if f"from {package}utils import" in text), "")
        ):
            plain = [text.lstrip("\n") for text in plain]
        elif lines:
            plain.append(f"from {package}utils import {test}\n")
        if lines:
            guarded.append(f"if {test}():\n" + "".join(f"    {line}\n" for line in lines))
    return plain, guarded


def _imports(text: str, library: str) -> bool:
    return re.search(rf"^(?:import|from) {library}(?:\.\S+)? ?", text, re.MULTILINE) is not None


def _is_guard_of(text: str, test: str) -> bool:
    node = ast.parse(text).body[0]
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) == f"{test}()"


def _statement_text(text: str) -> str:
    return ast.unparse(ast.parse(text).body[0])


def _guarded_lines(text: str) -> list[str]:
    node = ast.parse(text).body[0]
    return [ast.unparse(statement) for statement in node.body] if isinstance(node, ast.If) else []


def _tested(guard: str) -> set[str]:
    """The names in the conditions of a guarded block of imports."""
    tests = [node.test for node in ast.walk(ast.parse(guard)) if isinstance(node, ast.If)]
    return {name for test in tests for name in identifiers(ast.unparse(test))}


def used_names(text: str) -> set[str]:
    """Names that the code reads, and words of its short strings, which may be annotations."""
    found: set[str] = set(identifiers(text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200:
            found.update(_WORD.findall(node.value))
    return found


def _candidates(shard: Shard, output: Output) -> Iterator[Candidate]:
    for source in (shard.source, *shard.helpers):
        for statement in source.of_kind("import", "guard"):
            if source is shard.source and statement.line in shard.siblings_at:
                yield from _from_siblings(shard, statement.line)
            elif not _is_ours(statement.node):
                yield Candidate(statement.lead, statement.text, statement.kind == "guard")
    for parent in shard.parents:
        for statement in parent.source.of_kind("import", "guard"):
            yield from _from_parent(shard, parent, statement)
    for kind, names in output.siblings.items():
        yield Candidate("", f"from .{kind}_{shard.model} import {', '.join(names)}\n")


def _from_siblings(shard: Shard, line: int) -> Iterator[Candidate]:
    """What is imported from a sibling and neither inherited nor copied stays an import."""
    for node in shard.siblings_at[line]:
        yield Candidate("", ast.unparse(node) + "\n")


def _is_ours(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.ImportFrom) and (is_parent_import(node) or is_helper_import(node))


def _from_parent(shard: Shard, parent: Parent, statement: Statement) -> Iterator[Candidate]:
    if isinstance(statement.node, ast.ImportFrom) and statement.node.level == 0:
        text = statement.text
    else:
        text = parent.renaming.text(statement.text)
    text = from_outside(shard, parent, _sibling_module(text, parent.renaming, shard.model))
    yield Candidate(statement.lead, text, statement.kind == "guard")


def _sibling_module(text: str, renaming: Renaming, model: str) -> str:
    """With an alias as prefix, the sibling module keeps the model's own name."""
    if renaming.new is None or renaming.new.lower == model:
        return text
    return re.sub(rf"(from \.[a-z_]*?){re.escape(renaming.new.lower)}(?= import)", rf"\g<1>{model}", text)


def _unique(candidates: Iterable[Candidate]) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    for candidate in candidates:
        found.setdefault(candidate.text, candidate)
    return list(found.values())


def _keep(candidate: Candidate, wanted: set[str], taken: set[str]) -> str:
    keep = _keep_guarded if candidate.guard else keep_names
    text = keep(candidate.text, wanted, taken)
    return candidate.lead + text if text else ""


def keep_names(text: str, wanted: set[str], taken: set[str]) -> str:
    """The import statement with only the names that are wanted and that no earlier import binds."""
    node = ast.parse(text.strip()).body[0]
    assert isinstance(node, ast.Import | ast.ImportFrom)
    kept = [alias for alias in node.names if bound_name(alias) in wanted and _claims(alias, node, taken)]
    if len(kept) == len(node.names) and "#" in text:
        return text
    node.names = kept
    return ast.unparse(node) + "\n" if kept else ""


def bound_name(alias: ast.alias) -> str:
    """The name that an import binds."""
    return alias.asname or alias.name.partition(".")[0]


def _claims(alias: ast.alias, node: ast.Import | ast.ImportFrom, taken: set[str]) -> bool:
    """Whether this import is the first that binds its name."""
    key = alias.name if isinstance(node, ast.Import) and not alias.asname else bound_name(alias)
    if key in taken:
        return False
    taken.add(key)
    return True


def _keep_guarded(text: str, wanted: set[str], taken: set[str]) -> str:
    """A guarded block with only the imports that are wanted; an `else` stays as it is."""
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.If)
    lines = [_keep_in_guard(statement, wanted, taken) for statement in node.body]
    if not any(lines):
        return ""
    kept = f"if {ast.unparse(node.test)}:\n" + "".join("    " + line for line in lines if line)
    if node.orelse:
        kept += "".join(lines_of(text)[node.body[-1].end_lineno :])
    return kept


def _keep_in_guard(statement: ast.stmt, wanted: set[str], taken: set[str]) -> str:
    text = ast.unparse(statement) + "\n"
    return keep_names(text, wanted, taken) if isinstance(statement, ast.Import | ast.ImportFrom) else text
