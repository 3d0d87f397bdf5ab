"""What each output consists of, and in which order.

A class of the shard brings along what it mentions: functions, constants and, from its parent's file, classes. Names
already emitted are not repeated; a class that lives in another output of the same shard is imported from there.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .classes import Source, merge_class
from .diagnostics import Diagnostic
from .filetypes import file_type
from .methods import Scope
from .scan import identifiers
from .shard import Entry, Parent, Shard


Graph = dict[str, Entry]
Key = Callable[[Entry], tuple[int, ...]]
FIRST = ("logger", "_CHECKPOINT_FOR_DOC", "_CONFIG_FOR_DOC")
_SHARD_CONSTANT = re.compile(r"_CHECKPOINT|_EXPECTED|_FOR_DOC|_HIDDEN_STATES_START_POSITION")


@dataclass
class Output:
    """One file to be: its statements by name, in order, and the sibling files it needs classes from."""

    type: str
    body: dict[str, str] = field(default_factory=dict)
    siblings: dict[str, list[str]] = field(default_factory=dict)
    used: set[tuple[int, str]] = field(default_factory=set)
    ending: str = ""

    def emit(self, name: str, text: str) -> None:
        """Add a statement at the end; a name that is emitted again moves there."""
        self.body.pop(name, None)
        self.body[name] = text


def lay_out(shard: Shard) -> dict[str, Output]:
    """The outputs of a shard, by file type."""
    return Layout(shard).outputs


class Layout:
    """Places the classes of one shard, each after what it depends on."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.outputs: dict[str, Output] = {}
        self._views = [_parent_entries(shard, index) for index in range(len(shard.parents))]
        self._imported = _imported_entries(shard, self._views)
        self._graphs: dict[int, Graph] = {}
        self.types = self._class_types()
        for name in shard.classes:
            self._place(name)
        _share_image_processing(self.outputs)

    def _class_types(self) -> dict[str, str]:
        """The file type of each class; a helper class that a config needs lives in the configuration file."""
        shard = self.shard
        types = {name: file_type(name, shard.cased) for name, entry in shard.entries.items() if entry.kind == "class"}
        own = _closure_start(shard, [name for name, kind in types.items() if kind == "configuration"])
        for name in _closure(own, dict(shard.entries)):
            if shard.entries[name].helper and name in types:
                types[name] = "configuration"
        return types

    def _graph(self, parent: int | None) -> Graph:
        """What a class with this parent file (or none) may bring along."""
        key = -1 if parent is None else parent
        if key not in self._graphs:
            self._graphs[key] = self._merged_graph(parent)
        return self._graphs[key]

    def _merged_graph(self, parent: int | None) -> Graph:
        graph = {} if parent is None else dict(self._views[parent])
        for name, entry in self._imported.items():
            if entry.file != parent and (entry.kind == "function" or name not in graph):
                graph[name] = entry
        for name, entry in self.shard.entries.items():
            if entry.kind != "constant" or name not in graph or _shard_constant_wins(entry):
                graph[name] = entry
        return graph

    def _place(self, name: str) -> None:
        entry = self.shard.entries[name]
        output = self.outputs.setdefault(self.types[name], Output(self.types[name]))
        parent = self.shard.parent_of(name)
        if parent is None:
            text, lead = entry.text, entry.lead
            graph, index = self._graph(None), None
        else:
            index, base = parent
            graph = self._graph(index)
            lead, text = "", self._merge(entry, index, base)
            output.used.add((index, base))
        self._place_dependencies(output, name, identifiers(text), graph, index)
        output.emit(name, lead + text)

    def _merge(self, entry: Entry, index: int, base: str) -> str:
        shard = self.shard
        renamed = shard.parents[index].renaming.name(base)
        parent = self._views[index][renamed]

        def report(line: int, column: int, message: str) -> None:
            shard.problems.append(Diagnostic(shard.path, line, column, message))

        text = from_outside(shard, shard.parents[index], parent.text)
        scope = Scope(report, remembered=[] if shard.home.inside else None)
        child = Source("", entry.text, entry.statement.line)
        return merge_class(child, Source(parent.lead, text), base, shard.names, scope)

    def _place_dependencies(
        self, output: Output, name: str, mentioned: Iterable[str], graph: Graph, parent: int | None
    ) -> None:
        needed = self._needed(output, {n for n in mentioned if n in graph and n != name}, graph, parent)
        key = self._order(parent, needed, graph)
        for missing in sorted((graph[n] for n in needed if graph[n].kind == "class"), key=key):
            own = self._reach(missing.identifiers & graph.keys(), graph, parent)
            for entry in sorted((graph[n] for n in own & needed if graph[n].kind != "class"), key=key):
                self._emit(output, entry)
            self._place_class(output, missing, needed, graph, key)
        for entry in sorted((graph[n] for n in needed), key=key):
            self._emit(output, entry)

    def _place_class(self, output: Output, missing: Entry, needed: set[str], graph: Graph, key: Key) -> None:
        """Emit a class of the parent's file after the classes that it needs."""
        if missing.name not in needed or missing.name in output.body:
            return
        needed = needed - {missing.name}
        classes = [graph[n] for n in missing.identifiers if n in needed and graph[n].kind == "class"]
        for entry in sorted(classes, key=key):
            self._place_class(output, entry, needed, graph, key)
        self._emit(output, missing)

    def _order(self, parent: int | None, needed: set[str], graph: Graph) -> Key:
        """What the parent's file has comes first, in its order; then imported entries, from Z to A; then the shard's."""
        if parent is None:
            return _order_without_parent(needed, graph)
        view = self._views[parent]

        def key(entry: Entry) -> tuple[int, ...]:
            if entry.name in view and entry.file >= 0:
                return (0, view[entry.name].rank)
            if entry.file < 0:
                return (2, entry.rank)
            return (1, *(-ord(letter) for letter in entry.name), 0)

        return key

    def _follow(self, entry: Entry, graph: Graph, parent: int | None) -> set[str]:
        """The names that an entry brings along.

        In transformers' own shards a function does not bring what the shard imports from yet another parent.
        """
        names = entry.identifiers & graph.keys()
        if entry.file >= 0 or parent is None or not self.shard.home.inside:
            return set(names)
        return {name for name in names if graph[name].file < 0 or name in self._views[parent]}

    def _reach(self, start: Iterable[str], graph: Graph, parent: int | None) -> set[str]:
        """What a class reaches without passing through another class."""
        found: set[str] = set()
        queue = [name for name in start if name in graph]
        while queue:
            name = queue.pop()
            if name not in found:
                found.add(name)
                if graph[name].kind != "class":
                    queue += self._follow(graph[name], graph, parent)
        return found

    def _needed(self, output: Output, start: set[str], graph: Graph, parent: int | None) -> set[str]:
        """What is neither in the output yet nor placed by the shard itself, after noting imports from siblings."""
        found: set[str] = set()
        queue = sorted(start, reverse=True)
        while queue:
            name = queue.pop()
            if name in found or self._is_elsewhere(output, graph[name]):
                continue
            found.add(name)
            mentioned = self._follow(graph[name], graph, parent) - found
            queue += sorted(mentioned, reverse=True)
        return {name for name in found if name not in output.body}

    def _is_elsewhere(self, output: Output, entry: Entry) -> bool:
        """Whether a class is placed by its own turn, or imported from another output."""
        if entry.kind != "class":
            return False
        own_type = self.types.get(entry.name) or file_type(entry.name, self.shard.cased)
        if own_type != output.type:
            imports = output.siblings.setdefault(own_type, [])
            if entry.name not in imports:
                imports.append(entry.name)
            return True
        return entry.name in self.shard.entries and not self.shard.entries[entry.name].helper

    def _emit(self, output: Output, entry: Entry) -> None:
        if entry.name not in output.body:
            text = entry.lead + entry.text
            if entry.file >= 0:
                output.used.add((entry.file, entry.statement.name))
                text = from_outside(self.shard, self.shard.parents[entry.file], text)
            output.emit(entry.name, text)


def _share_image_processing(outputs: dict[str, Output]) -> None:
    """The PIL file must load without torchvision: what it needs of the other image processing file is copied.

    Copies keep their place among the statements; at the same place, constants stay before them.
    """
    target, source = outputs.get("image_processing_pil"), outputs.get("image_processing")
    if target is None or source is None:
        return
    wanted = set(target.siblings.pop("image_processing", ()))
    queue = sorted(wanted)
    while queue:
        mentioned = identifiers(source.body[queue.pop()]) & source.body.keys() - target.body.keys() - wanted
        wanted |= mentioned
        queue += sorted(mentioned)
    places = [(index, 2 * _is_block(text), name, text) for index, (name, text) in enumerate(_placed(target))]
    places += [(index, 1, name, text) for index, (name, text) in enumerate(_placed(source)) if name in wanted]
    first = {name: target.body[name] for name in FIRST if name in target.body}
    target.body = first | {name: text for _, _, name, text in sorted(places, key=lambda place: place[:2])}


def _placed(output: Output) -> list[tuple[str, str]]:
    return [(name, text) for name, text in output.body.items() if name not in FIRST]


def _is_block(text: str) -> bool:
    """Whether a top-level statement is a class or a function."""
    return re.search(r"^(?:class|def|async def) ", text, re.MULTILINE) is not None


def from_outside(shard: Shard, parent: Parent, text: str) -> str:
    """Relative imports of a parent's code, as a file outside its package writes them; renamed files stay siblings."""
    if shard.home.inside:
        return text
    package = parent.module.split(".")[:-1]

    def replace(match: re.Match[str]) -> str:
        level, module = len(match[1]), match[2]
        if level == 1 and module.endswith(f"_{shard.model}"):
            return match[0]
        base = package[: len(package) - level + 1]
        return f"from {'.'.join([*base, module] if module else base)} import"

    return re.sub(r"\bfrom (\.+)([\w.]*) import", replace, text)


def _order_without_parent(needed: set[str], graph: Graph) -> Key:
    """Imported entries first, file by file as their names come in the alphabet, then the shard's own."""
    files = list(dict.fromkeys(graph[name].file for name in sorted(needed)))

    def key(entry: Entry) -> tuple[int, ...]:
        return (entry.file < 0, files.index(entry.file), entry.rank)

    return key


def _parent_entries(shard: Shard, index: int) -> Graph:
    parent = shard.parents[index]
    rename = parent.renaming.name
    return {
        rename(name): Entry(rename(name), statement, parent.renaming, index, rank)
        for rank, (name, statement) in enumerate(parent.source.definitions.items())
    }


def _imported_entries(shard: Shard, views: list[Graph]) -> Graph:
    """Functions and constants imported from parents, with what they need of their own file."""
    found: Graph = {}
    for parent, view in zip(shard.parents, views, strict=True):
        names = {parent.renaming.name(name) for name in parent.imported}
        direct = {name: view[name] for name in names if name in view and view[name].kind != "class"}
        found |= direct
        for name in sorted(_closure(direct.keys(), view)):
            found.setdefault(name, view[name])
    return found


def _shard_constant_wins(entry: Entry) -> bool:
    if entry.name.endswith("_DOCSTRING") or "_DOCSTRING" in entry.name:
        return not entry.text.rstrip().endswith("= None")
    return entry.helper or _SHARD_CONSTANT.search(entry.name) is not None


def _closure_start(shard: Shard, names: Iterable[str]) -> set[str]:
    return {other for name in names for other in shard.entries[name].identifiers if other in shard.entries}


def _closure(start: Iterable[str], graph: Mapping[str, Entry]) -> set[str]:
    """Everything that `start` reaches."""
    found: set[str] = set()
    queue = [name for name in start if name in graph]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += graph[name].identifiers & graph.keys()
    return found
