"""What each output consists of, and in which order.

A class of the shard brings along what it mentions: functions, constants and, from its parent's file, classes. Names
already emitted are not repeated; a class that lives in another output of the same shard is imported from there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import libcst as cst

from ..merging.classes import is_indented_otherwise, merge_class, specialises
from ..merging.unroll import Scope
from ..shards.shard import Entry, Parent, Shard
from ..sources.ancestry import Offer, offer_of, own_offer
from ..sources.diagnostics import Diagnostic
from ..sources.pieces import Line
from ..syntax.import_statements import module_of, names_of, written_module
from ..syntax.scopes import names_of_class_body
from ..syntax.tree import bare, block, code, identifiers, small
from .absolute_imports import with_absolute_imports
from .attached import attached_to, decorators_of, defined_below, names_left, renamed_owner
from .dependencies import Dependencies
from .origin import origin_of


FIRST = ("logger", "_CHECKPOINT_FOR_DOC", "_CONFIG_FOR_DOC")


@dataclass
class Output:
    """One file to be: its statements by name, in order, and the sibling files it needs classes from."""

    type: str
    body: dict[str, tuple[Line, ...]] = field(default_factory=dict)
    siblings: dict[str, list[str]] = field(default_factory=dict)
    used: set[tuple[int, str]] = field(default_factory=set)
    ending: tuple[Line, ...] = ()

    def emit(self, name: str, nodes: tuple[Line, ...]) -> None:
        """Add a statement at the end; a name that is emitted again moves there."""
        self.body.pop(name, None)
        self.body[name] = nodes


def lay_out(shard: Shard) -> dict[str, Output]:
    """The outputs of a shard, by file type."""
    return Layout(shard).outputs


class Layout:
    """Places the classes of one shard, each after what it depends on."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.outputs: dict[str, Output] = {}
        self.dependencies = Dependencies(shard)
        for name in shard.classes:
            self._place(name, shard.types[name])
        for name in shard.exported or ():
            self._place_exported(name)
        if not shard.home.inside:
            self._complete_siblings()
        self._check_siblings()
        _share_image_processing(self.outputs)

    def _complete_siblings(self) -> None:
        """What a parent's code imports from another file of the parent comes along into the output of that kind."""
        for output in list(self.outputs.values()):
            mentioned = identifiers(*(node for nodes in output.body.values() for node in nodes))
            for parent in [self.shard.parents[index] for index in sorted({index for index, _ in output.used})]:
                for kind, name in _imported_along(parent):
                    target = self.outputs.get(kind)
                    if name in mentioned and target not in (None, output) and name not in target.body:
                        self._place_from_parent(target, name, parent)

    def _place_from_parent(self, target: Output, name: str, parent: Parent) -> None:
        for index, other in enumerate(self.shard.parents):
            if (other.type, other.model) == (target.type, parent.model) and name in self.dependencies.views[index]:
                self._place_dependencies(target, [name], index)

    def _check_siblings(self) -> None:
        """What an output imports from another one of the same shard must be there."""
        for output in self.outputs.values():
            for kind, names in output.siblings.items():
                missing = [name for name in names if kind in self.outputs and name not in self.outputs[kind].body]
                for name in missing:
                    parents = [(parent.source.path, parent.renaming.name) for parent in self.shard.parents]
                    origin = origin_of(name, self.shard.source.text, parents)
                    message = f"the {output.type} file needs {name}{origin.told}, which belongs into the {kind} file: define it here"
                    self.shard.problems.append(Diagnostic(self.shard.path, origin.line, origin.column, message))

    def _place_exported(self, name: str) -> None:
        """A function or constant that the shard exports is emitted even when no class uses it."""
        kind = self.shard.type_of(name)
        entry = self.shard.entries.get(name)
        output = self.outputs.get(kind)
        if entry and entry.kind != "class" and (output is None or name not in output.body):
            self._place(name, kind)

    def _place(self, name: str, kind: str) -> None:
        entry = self.shard.entries[name]
        output = self.outputs.setdefault(kind, Output(kind))
        index, base = self.shard.parent_of(name) or (None, "")
        if index is None:
            nodes = entry.nodes
        else:
            nodes = (self._merge(entry, index, base), *self._attached(entry, index, base))
            output.used.add((index, base))
        graph = self.dependencies.graph(index)
        self._place_dependencies(output, (identifiers(*nodes) & graph.keys()) - {name}, index)
        output.emit(name, nodes)

    def _attached(self, entry: Entry, index: int, base: str) -> list[Line]:
        """`Class.attribute = value` behind the parent and behind the class itself, outside transformers."""
        if self.shard.home.inside:
            return []
        theirs = self.dependencies.views[index][self.shard.parents[index].renaming.name(base)]
        assert isinstance(entry.statement.node, cst.ClassDef)
        mine = names_of_class_body(block(entry.statement.node.body).body).bound
        found = []
        for node in theirs.nodes[1:]:
            target = attached_to(node)
            if target is None or target.attr.value in mine:
                message = (
                    f"the parent's file completes {base} with `{code(bare(node)).strip()}`: write that into this class"
                )
                self._problem(entry.statement.node, message)
            else:
                found.append(renamed_owner(node, entry.name))
        return [*found, *entry.statement.nodes[1:]]

    def _problem(self, node: cst.CSTNode, message: str, warning: bool = False) -> None:
        place = self.shard.source.position(node)
        self.shard.problems.append(Diagnostic(self.shard.path, *place, message, warning))

    def _merge(self, entry: Entry, index: int, base: str) -> cst.ClassDef:
        shard = self.shard
        parent = self.dependencies.views[index][shard.parents[index].renaming.name(base)]
        child, original = entry.statement.node, with_absolute_imports(shard, shard.parents[index], parent.nodes[0])
        assert isinstance(child, cst.ClassDef) and isinstance(original, cst.ClassDef)
        pairs = ((child, entry.statement.indent), (original, parent.statement.indent))
        if any(is_indented_otherwise(node, indent) for node, indent in pairs):
            message = "must both be indented by four spaces a level, as they become one class"
            self._problem(child, f"{entry.name} and its parent {message}")
            return cst.ClassDef(child.name, cst.IndentedBlock([cst.SimpleStatementLine([cst.Pass()])]))
        merged = merge_class(child, original, base, shard.names, self._scope(entry))
        if not shard.home.inside:
            self._check_names(index, names_left(original, merged))
        return merged

    def _scope(self, entry: Entry) -> Scope:
        """What merging a class has to know of its surroundings."""
        shard = self.shard

        def offered(name: str) -> Offer:
            return own_offer([name], shard.source)

        def replaces(name: str, base: str) -> bool:
            offer = offered(name)
            return base in offer.classes or (not offer.complete and specialises(name, base))

        return Scope(
            self._problem,
            shard.home.inside,
            remembered=[] if shard.home.inside else None,
            inherited=lambda: offer_of(shard.bases[entry.name], shard.source),
            offered=offered,
            replaces=replaces,
            below=defined_below(shard, entry.name),
        )

    def _check_names(self, index: int, names: Iterable[str]) -> None:
        """What is taken from a parent has its own constants and imports, not the shard's of the same name."""
        names = set(names)
        for name in self.dependencies.shadowed(index).intersection(names):
            entry = self.shard.entries[name]
            sources = [
                each
                for each in (self.shard.source, *self.shard.helpers)
                if each.definitions.get(name) is entry.statement
            ]
            for source in sources:
                message = (
                    f"{name} is a constant of {self.shard.parents[index].source.path.name}, too, with another value, which what is "
                    "taken from there uses: one file has one value, give this one another name"
                )
                self.shard.problems.append(Diagnostic(source.path, *source.position(entry.statement.node), message))
        for name, source, node, origin in self.dependencies.rebound[index]:
            if name in names:
                message = (
                    f"what is taken from {self.shard.parents[index].source.path.name} uses {name}, which is {origin} there, and "
                    "would use this one: give this one another name"
                )
                self.shard.problems.append(Diagnostic(source.path, *source.position(node), message))

    def _check_rebound(self, entry: Entry) -> None:
        """A name that the parent's file makes in several steps is only half of it in its last one."""
        parent = self.shard.parents[entry.file]
        name = entry.statement.name
        steps = [each for each in parent.source.of_kind("class", "function", "constant") if each.name == name]
        if any(
            name in each.identifiers
            for each in steps[1:]
            if each.kind == "constant" or identifiers(*decorators_of(each.node)) & {name}
        ):
            message = f"{name} of {parent.source.path.name} is made of itself in several steps, which cannot be carried over: define it in the shard"
            nodes = [small(each.node) for each in self.shard.source.of_kind("import")]
            froms = [each for each in nodes if isinstance(each, cst.ImportFrom)]
            place = next((each for each in froms if written_module(each) == parent.module), froms[0])
            self._problem(place, message)

    def _place_dependencies(self, output: Output, mentioned: Iterable[str], parent: int | None) -> None:
        graph = self.dependencies.graph(parent)
        needed = self._needed(output, mentioned, parent)
        key = self.dependencies.order(parent, needed)
        ordered = sorted((graph[name] for name in needed), key=key)
        for missing in ordered:
            if missing.kind == "class":
                own = self.dependencies.objects_of(missing, parent)
                self._emit(output, (entry for entry in ordered if entry.name in own))
                self._place_class(output, missing, ordered)
        self._emit(output, ordered)

    def _place_class(self, output: Output, missing: Entry, ordered: Iterable[Entry]) -> None:
        """Emit a class after the classes that it needs."""
        if missing.name in output.body:
            return
        rest = [entry for entry in ordered if entry is not missing]
        for entry in rest:
            if entry.kind == "class" and entry.name in missing.identifiers:
                self._place_class(output, entry, rest)
        self._emit(output, [missing])

    def _needed(self, output: Output, mentioned: Iterable[str], parent: int | None) -> set[str]:
        """What is neither in the output yet nor placed by the shard itself, after noting imports from siblings."""
        graph = self.dependencies.graph(parent)
        found: set[str] = set()
        queue = sorted(mentioned, reverse=True)
        while queue:
            name = queue.pop()
            if name not in found and not self._is_elsewhere(output, graph[name]):
                found.add(name)
                queue += sorted(self.dependencies.mentioned(graph[name], parent) - found, reverse=True)
        return found - output.body.keys()

    def _is_elsewhere(self, output: Output, entry: Entry) -> bool:
        """Whether a class is placed by its own turn, or imported from another output."""
        if entry.kind != "class":
            return False
        own_type = self.shard.type_of(entry.name)
        if own_type == output.type:
            return entry.name in self.shard.entries and not self.shard.entries[entry.name].helper
        if self._stays(output, entry, own_type):
            return False
        imports = output.siblings.setdefault(own_type, [])
        if entry.name not in imports:
            imports.append(entry.name)
        return True

    def _stays(self, output: Output, entry: Entry, own_type: str) -> bool:
        """Whether a class stays in a file that it does not belong into by its name, as in the parent: where the shard has none of
        the kind that it would belong into."""
        if self.shard.home.inside or entry.file < 0 or self.shard.parents[entry.file].type != output.type:
            return False
        return own_type not in {self.shard.type_of(name) for name in self.shard.classes}

    def _emit(self, output: Output, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.name not in output.body:
                nodes = entry.nodes
                if entry.file >= 0:
                    output.used.add((entry.file, entry.statement.name))
                    if not self.shard.home.inside:
                        self._check_names(entry.file, entry.identifiers - {entry.name})
                        self._check_rebound(entry)
                    nodes = tuple(
                        with_absolute_imports(self.shard, self.shard.parents[entry.file], node) for node in nodes
                    )
                output.emit(entry.name, nodes)


def _imported_along(parent: Parent) -> Iterator[tuple[str, str]]:
    """The kinds of file and the renamed names that a parent imports from files which are renamed with it."""
    for statement in parent.source.of_kind("import"):
        node = small(statement.node)
        if (
            isinstance(node, cst.ImportFrom)
            and len(node.relative) == 1
            and module_of(node) in (parent.renaming.along or ())
        ):
            for name in names_of(node):
                yield module_of(node).removesuffix(f"_{parent.model}"), parent.renaming.name(name)


def _share_image_processing(outputs: dict[str, Output]) -> None:
    """The PIL file must load without torchvision: what it needs of the other image processing file is copied.

    Copies keep their place among the statements; at the same place, constants stay before them.
    """
    target, source = outputs.get("image_processing_pil"), outputs.get("image_processing")
    if target is None or source is None:
        return
    wanted = source.body.keys() & target.siblings.pop("image_processing", ())
    queue = sorted(wanted)
    while queue:
        mentioned = identifiers(*source.body[queue.pop()]) & source.body.keys() - target.body.keys() - wanted
        wanted |= mentioned
        queue += sorted(mentioned)
    places = [(index, 2 * _is_block(nodes), name, nodes) for index, (name, nodes) in enumerate(_placed(target))]
    places += [(index, 1, name, nodes) for index, (name, nodes) in enumerate(_placed(source)) if name in wanted]
    first = {name: target.body[name] for name in FIRST if name in target.body}
    target.body = first | {name: nodes for _, _, name, nodes in sorted(places, key=lambda place: place[:2])}


def _placed(output: Output) -> list[tuple[str, tuple[Line, ...]]]:
    return [(name, nodes) for name, nodes in output.body.items() if name not in FIRST]


def _is_block(nodes: tuple[Line, ...]) -> bool:
    """Whether a top-level statement is a class or a function."""
    return isinstance(nodes[0], cst.ClassDef | cst.FunctionDef)
