"""Renaming a parent: every spelling of its model name becomes the same spelling of the new one."""

import re
from dataclasses import dataclass, field
from functools import cached_property

from .names import ModelNames, Spelling
from .scan import OPAQUE, map_code


# Names of other projects' kernels, which contain a model's name without meaning the model.
KEPT = frozenset(
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
_ABSOLUTE_IMPORT = re.compile(
    rf"{OPAQUE}|(?P<absolute>^[ \t]*from[ \t]+[^\W\d][\w.]*[ \t]+import\b[ \t]*(?:\([^)]*\)|[^\n]*))",
    re.DOTALL | re.MULTILINE,
)
_FRAGILE = re.compile(r"[fF][rR]?[\"']|(?m:^[ \t]*from[ \t]+\w)|# Copied from|mamba")


@dataclass(eq=False)
class Renaming:
    """From the name of a parent to the prefix of the new family; `None` for both means nothing changes."""

    old: Spelling | None = None
    new: Spelling | None = None
    _names: dict[str, str] = field(default_factory=dict)

    def name(self, name: str) -> str:
        """The new spelling of one identifier."""
        if self._pattern is None:
            return name
        if name not in self._names:
            self._names[name] = name if name in KEPT else self._plain(name)
        return self._names[name]

    def text(self, text: str) -> str:
        """The new text of a piece of source: identifiers, strings and comments, but not the words of f-strings."""
        if self._pattern is None or not (self._pattern.search(text) or "# Copied from" in text):
            return text
        if not _FRAGILE.search(text):
            return self._plain(text)
        pieces, cursor = [], 0
        for match in _ABSOLUTE_IMPORT.finditer(text):
            if not match["absolute"]:
                continue
            pieces += [map_code(text[cursor : match.start()], self._token), match[0]]
            cursor = match.end()
        return "".join([*pieces, map_code(text[cursor:], self._token)])

    def words(self, text: str) -> str:
        """Rename in strings and comments only."""
        if self._pattern is None or not self._pattern.search(text):
            return text
        return map_code(text, lambda kind, token: token if kind == "name" else self._token(kind, token))

    def _token(self, kind: str, token: str) -> str:
        if token.strip("\"'") in KEPT:
            return token
        if "# Copied from" in token:
            return ""
        return self._plain(token)

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
        if self.old.cased == self.old.upper and found == self.old.upper:
            following = match.string[match.end() : match.end() + 1]
            return self.new.cased if following.isalpha() else self.new.upper
        forms = {self.old.lower: self.new.lower, self.old.upper: self.new.upper, self.old.cased: self.new.cased}
        return forms.get(found, self.new.cased)


def model_renaming(names: ModelNames, old_lower: str, new_cased: str) -> Renaming:
    """Rename the model `old_lower` to the family or alias `new_cased`."""
    return Renaming(Spelling(old_lower.replace("-", "_"), names.cased(old_lower)), names.spelling(new_cased))
