"""What each thing in a shard and its parents mentions, and in which order what is missing comes."""

import re
from collections.abc import Callable, Iterable

from libcst import matchers as m

from ..shards.shard import Entry, Shard, closure
from ..syntax.import_statements import aliases, bound_name
from ..syntax.tree import same_code, small
from .rebound import rebound


Graph = dict[str, Entry]
Key = Callable[[Entry], tuple[int, ...]]
_NONE = m.Assign(value=m.Name("None")) | m.AnnAssign(value=m.Name("None"))
_SHARD_CONSTANT = re.compile(r"_CHECKPOINT|_EXPECTED|_FOR_DOC|_HIDDEN_STATES_START_POSITION")


class Dependencies:
    """The names that a class may bring along: those of its parent's file, of the shard, and what the shard imports."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.views = [_parent_entries(shard, index) for index in range(len(shard.parents))]
        self._imported = _imported_entries(shard, self.views)
        self._from_siblings = {
            bound_name(each) for nodes in shard.siblings_at.values() for node in nodes for each in aliases(node)
        }
        self._graphs: dict[int | None, Graph] = {}
        self.rebound = [[] if shard.home.inside else list(rebound(shard, parent)) for parent in shard.parents]

    def graph(self, parent: int | None) -> Graph:
        """What a class with this parent file (or none) may bring along, by name."""
        if parent not in self._graphs:
            self._graphs[parent] = self._merged_graph(parent)
        return self._graphs[parent]

    def _merged_graph(self, parent: int | None) -> Graph:
        view = {} if parent is None else self.views[parent]
        graph = {name: entry for name, entry in view.items() if name not in self._from_siblings}
        for name, entry in self._imported.items():
            if entry.file != parent and (entry.kind == "function" or name not in graph):
                graph[name] = entry
        for name, entry in self.shard.entries.items():
            if entry.kind != "constant" or name not in graph or self._constant_wins(entry):
                graph[name] = entry
        return graph

    def _constant_wins(self, entry: Entry) -> bool:
        """Whether a constant of the shard replaces the parent's; in transformers' own shards only some do."""
        if "_DOCSTRING" in entry.name:
            return not m.matches(small(entry.statement.node), _NONE)
        return not self.shard.home.inside or _SHARD_CONSTANT.search(entry.name) is not None

    def shadowed(self, parent: int) -> frozenset[str]:
        """The constants of the shard that a parent's file has with another value."""
        view = self.views[parent]
        mine = (
            (name, entry) for name, entry in self.shard.entries.items() if entry.kind == "constant" and name in view
        )
        return frozenset(
            name
            for name, entry in mine
            if not (
                _SHARD_CONSTANT.search(name) or "_DOCSTRING" in name or same_code(entry.nodes[0], view[name].nodes[0])
            )
        )

    def order(self, parent: int | None, needed: Iterable[str]) -> Key:
        """What the parent's file has comes first, in its order; then imported entries, from Z to A; then the shard's."""
        if parent is None:
            return _order_without_parent(needed, self.graph(None))
        view = self.views[parent]

        def key(entry: Entry) -> tuple[int, ...]:
            if entry.name in view and entry.file >= 0:
                return (0, view[entry.name].rank)
            if entry.file < 0:
                return (2, entry.rank)
            return (1, *(-ord(letter) for letter in entry.name), 0)

        return key

    def mentioned(self, entry: Entry, parent: int | None) -> set[str]:
        """The names that an entry brings along.

        In transformers' own shards a function does not bring what the shard imports from yet another parent.
        """
        graph = self.graph(parent)
        names = entry.identifiers & graph.keys()
        if entry.file >= 0 or parent is None or not self.shard.home.inside:
            return set(names)
        return {name for name in names if graph[name].file < 0 or name in self.views[parent]}

    def objects_of(self, entry: Entry, parent: int | None) -> set[str]:
        """The functions and constants that a class reaches without passing through another class."""
        graph = self.graph(parent)
        found: set[str] = set()
        queue = [name for name in entry.identifiers if name in graph]
        while queue:
            name = queue.pop()
            if name not in found and graph[name].kind != "class":
                found.add(name)
                queue += self.mentioned(graph[name], parent)
        return found


def _order_without_parent(needed: Iterable[str], graph: Graph) -> Key:
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
    direct: Graph = {}
    indirect: Graph = {}
    for parent, view in zip(shard.parents, views, strict=True):
        names = {parent.renaming.name(name) for name in parent.imported}
        mine = {name: view[name] for name in names if name in view and view[name].kind != "class"}
        direct |= mine
        indirect |= {name: view[name] for name in closure(mine, view)}
    return indirect | direct
