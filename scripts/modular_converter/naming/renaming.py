"""Renaming a parent: every spelling of its model name becomes the same spelling of the new one."""

import re
from dataclasses import dataclass, field
from functools import cached_property

import libcst as cst

from ..syntax.import_statements import module_of
from ..syntax.tree import Edits, Node, descend, rewrite
from .model_names import ModelNames, Spelling


# Names of other projects' kernels, which contain a model's name without meaning the model.
NEVER_RENAMED = frozenset(
    {
        "mamba_ssm",
        "mamba-ssm",
        "use_mambapy",
        "mamba_inner_fn",
        "mamba_selective_state_update",
        "mamba_selective_scan",
        "is_mambapy_available",
        "mamba2_split_conv1d_scan_combined",
        "mamba2_selective_state_update",
        "mamba2_chunk_scan",
    }
)
COPIED = "# Copied from"  # a comment with these words is about the parent, and goes


@dataclass(eq=False)
class Renaming:
    """From the name of a parent to the prefix of the new family; `None` for both means nothing changes.

    `foreign` are identifiers that stay as they are, and `along` the modules beside the parent that are renamed with it:
    all of them in transformers' own shards, where this is None.
    """

    old: Spelling | None = None
    new: Spelling | None = None
    foreign: frozenset[str] = frozenset()
    along: frozenset[str] | None = None
    _names: dict[str, str] = field(init=False, default_factory=dict)

    def touches(self, name: str) -> bool:
        """Whether an identifier holds the name of the parent."""
        return self._pattern is not None and name not in NEVER_RENAMED and self._pattern.search(name) is not None

    def spells(self, name: str) -> bool:
        """Whether an identifier holds the name of the parent as classes usually do."""
        return self.old is not None and self.old.cased in name

    def name(self, name: str) -> str:
        """The new spelling of one identifier."""
        if self._pattern is None:
            return name
        if name not in self._names:
            self._names[name] = name if name in NEVER_RENAMED or name in self.foreign else self._plain(name)
        return self._names[name]

    def node(self, node: Node) -> Node:
        """The renamed tree: identifiers, strings and comments, but not the words of f-strings."""
        return node if self._pattern is None else rewrite(node, self._edits)

    def words(self, node: Node) -> Node:
        """Rename in strings and comments only."""
        return node if self._pattern is None else rewrite(node, self._word_edits)

    @cached_property
    def _word_edits(self) -> Edits:
        return {cst.SimpleString: self._string, cst.Comment: self._comment}

    @cached_property
    def _edits(self) -> Edits:
        return {**self._word_edits, cst.Name: self._identifier, cst.ImportFrom: self._import}

    def _identifier(self, node: cst.Name) -> cst.Name:
        node = descend(node, self._edits) if node.lpar else node
        new = self.name(node.value)
        return node if new == node.value else node.with_changes(value=new)

    def _string(self, node: cst.SimpleString) -> cst.SimpleString:
        node = descend(node, self._edits) if node.lpar else node
        if (word := node.value.strip("\"'")) in NEVER_RENAMED or (word in self.foreign and not self._is_bare(word)):
            return node
        new = '""' if COPIED in node.value else self._plain(node.value)
        return node if new == node.value else node.with_changes(value=new)

    def _is_bare(self, word: str) -> bool:
        """Whether a string is the name of the model and nothing else; an identifier may be one by chance, as `clip`."""
        return self._pattern is not None and self._pattern.fullmatch(word) is not None

    def _comment(self, node: cst.Comment) -> cst.Comment | None:
        if COPIED in node.value:
            return None
        new = self._plain(node.value)
        return node if new == node.value else node.with_changes(value=new)

    def _import(self, node: cst.ImportFrom) -> cst.ImportFrom:
        """An absolute `from x import y` names what other packages call so."""
        return descend(node, self._edits) if node.relative and self._goes_along(node) else node

    def _goes_along(self, node: cst.ImportFrom) -> bool:
        return self.along is None or (len(node.relative) == 1 and module_of(node) in self.along)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        if self.old is None or self.new is None:
            return None
        spellings = sorted({re.escape(self.old.lower), re.escape(self.old.cased)}, key=len, reverse=True)
        return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(spellings)})", re.IGNORECASE)

    def _plain(self, text: str) -> str:
        assert self._pattern is not None
        return self._pattern.sub(self._replacement, text)

    def _replacement(self, match: re.Match[str]) -> str:
        assert self.old is not None and self.new is not None
        found = match[0]
        if self.foreign and _word_around(match) in self.foreign:
            return found
        if self.along is not None and _is_of_repository(match):
            return found
        if self.old.cased == self.old.upper and found == self.old.upper:
            following = match.string[match.end() : match.end() + 1]
            return self.new.cased if following.isalpha() else self.new.upper
        forms = {self.old.lower: self.new.lower, self.old.upper: self.new.upper, self.old.cased: self.new.cased}
        if (
            self.along is not None
        ):  # `xclip` of XCLIP in x_clip: outside transformers, the case counts before the dashes
            forms = {self.old.cased.lower(): self.new.lower, self.old.cased.upper(): self.new.upper} | forms
        return forms.get(found, self.new.cased)


def _word_around(match: re.Match[str]) -> str:
    """The identifier that a match is a part of; nothing where that is the match alone, which text means the model by."""
    start, end, text = match.start(), match.end(), match.string
    while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return text[start:end] if (start, end) != match.span() else ""


def _is_of_repository(match: re.Match[str]) -> bool:
    """Whether a match is part of a quoted `"organisation/name"`: a checkpoint or kernel, which is there under that name only."""
    before = re.search(r"[\"'][\w./-]*$", match.string[: match.start()])
    after = re.match(r"[\w./-]*[\"']", match.string[match.end() :])
    if before is None or after is None:
        return False
    return re.fullmatch(r"[\w.-]+/[\w.-]+", (before[0] + match[0] + after[0])[1:-1]) is not None


def model_renaming(names: ModelNames, old_lower: str, new_cased: str) -> Renaming:
    """Rename the model `old_lower` to the family or alias `new_cased`."""
    return Renaming(Spelling(old_lower.replace("-", "_"), names.cased(old_lower)), names.spelling(new_cased))
