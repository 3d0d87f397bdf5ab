"""Which prefix a shard gives to the classes of each parent file.

Usually the model's cased name; a shard whose classes are called `Emu3TextModel(LlamaModel)` asks for `Emu3Text` instead.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from .endings import common_suffix


def infer_prefix(
    pairs: Sequence[tuple[str, str]],
    default: str,
    parent_cased: str,
    parent_classes: Iterable[str],
    inside: bool = True,
) -> str:
    """The prefix for one parent file, from the (child, parent) class names that the shard pairs.

    Outside transformers the parent's own name is taken away first: `TinyViTModel(ViTModel)` asks for `TinyViT`.
    """
    votes = prefix_votes(pairs, default, parent_cased, inside)
    if not votes:
        return default
    winner = _most_frequent(votes, default)
    if winner != default and _collides(winner.replace(default, parent_cased), parent_classes):
        return default
    return winner


def prefix_votes(pairs: Iterable[tuple[str, str]], default: str, parent_cased: str, inside: bool = True) -> list[str]:
    """The prefix that each (child, parent) pair of class names asks for."""
    return [
        (not inside and front(child, parent, parent_cased)) or _vote(child, parent, default, parent_cased)
        for child, parent in pairs
    ]


def front(child: str, parent: str, parent_cased: str) -> str:
    """What a child has in the place of the parent's name, where the rest is the same."""
    rest = parent.removeprefix(parent_cased)
    return child.removesuffix(rest) if rest not in ("", parent) and child.endswith(rest) else ""


def _vote(child: str, parent: str, default: str, parent_cased: str) -> str:
    suffix = common_suffix(child, parent)
    if suffix:
        prefix = child.replace(suffix, "")
        return default if len(prefix) < len(default) and default in child else prefix
    return default + parent_cased if child.replace(default, "", 1) == parent else default


def _most_frequent(votes: Sequence[str], default: str) -> str:
    counts = Counter(votes)
    best = max(counts.values())
    tied = [vote for vote in votes if counts[vote] == best]
    return default if default in tied else tied[-1]


def _collides(start: str, parent_classes: Iterable[str]) -> bool:
    return any(name.startswith(start) for name in parent_classes)
