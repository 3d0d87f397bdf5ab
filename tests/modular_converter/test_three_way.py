"""Three versions of a piece become one: a table of (parent before, override, parent now, merged)."""

import libcst as cst
import pytest

from transformers_heterogeneous.scripts.modular_converter.releases.three_way import merge
from transformers_heterogeneous.scripts.modular_converter.syntax.tree import code

from .toybox import clean


def merged(base: str, ours: str, theirs: str) -> tuple[str, list[tuple[str, str, str]]]:
    done = merge(*(cst.parse_module(clean(text)).body[0] for text in (base, ours, theirs)))
    return code(done.node), [(each.base, each.ours, each.theirs) for each in done.conflicts]


CASES = {
    "parameter, keyword and variable renamed, also in the override's own lines": (
        """
        def forward(self, x, past=None):
            y = self.attn(x, past=past)
            return Out(y, past=past)
        """,
        """
        def forward(self, x, past=None):
            if self.attn is None:
                return Out(x, past=past)
            y = self.attn(x, past=past)
            return Out(y, past=past)
        """,
        """
        def forward(self, x, cache=None):
            y = self.attn(x, cache=cache)
            return Out(y, cache=cache)
        """,
        """
        def forward(self, x, cache=None):
            if self.attn is None:
                return Out(x, cache=cache)
            y = self.attn(x, cache=cache)
            return Out(y, cache=cache)
        """,
    ),
    "a statement that the override adds behind lines that the parent wrote anew": (
        "def f(self, x, n):\n    part = slice(n)\n    y = self.head(x[part])\n    return y\n",
        "def f(self, x, n):\n    part = slice(n)\n    y = self.head(x[part])\n    y = y * self.scale\n    return y\n",
        "def f(self, x, n):\n    x = kept(x, n)\n    y = self.head(x)\n    return y\n",
        "def f(self, x, n):\n    x = kept(x, n)\n    y = self.head(x)\n    y = y * self.scale\n    return y\n",
    ),
    "a method that calls super() in a class that replaces its parent's whole": (
        "class A(B):\n    def f(self, x):\n        super().f(x)\n        g(1)\n        h(1)\n        k(1)\n",
        "class A(B):\n    def f(self, x):\n        super().f(x)\n        g(2)\n        h(1)\n        k(1)\n",
        "class A(B):\n    def f(self, x):\n        super().f(x)\n        g(1)\n        h(1)\n        k(3)\n",
        "class A(B):\n    def f(self, x):\n        super().f(x)\n        g(2)\n        h(1)\n        k(3)\n",
    ),
    "and one that it adds before them": (
        "def f(self, x, n):\n    x = cut(x)\n    y = self.head(x)\n",
        "def f(self, x, n):\n    n = n + 1\n    x = cut(x)\n    y = self.head(x)\n",
        "def f(self, x, n):\n    y = self.head(kept(x, n))\n",
        "def f(self, x, n):\n    n = n + 1\n    y = self.head(kept(x, n))\n",
    ),
    "a renamed key of a dictionary": (
        'def f(self, past):\n    return {"past": past, "other": 1}\n',
        'def f(self, past):\n    return {"past": past, "other": 2}\n',
        'def f(self, cache):\n    return {"cache": cache, "other": 1}\n',
        'def f(self, cache):\n    return {"cache": cache, "other": 2}\n',
    ),
    "a keyword of the parent's that the override has as a key, and says in words": (
        """
        @marks("past_tokens")
        def f(self, past_tokens):
            return g(past_tokens=past_tokens)
        """,
        """
        @marks("past_tokens")
        def f(self, past_tokens):
            \"\"\"Takes past_tokens.\"\"\"
            kwargs = {"past_tokens": past_tokens}
            return g(**kwargs)
        """,
        """
        @marks("past_tokens")
        def f(self, cache):
            return g(cache=cache)
        """,
        """
        @marks("past_tokens")
        def f(self, cache):
            \"\"\"Takes cache.\"\"\"
            kwargs = {"cache": cache}
            return g(**kwargs)
        """,
    ),
    "a method of a class that replaces its parent's whole takes no decorator by inheritance": (
        "class A:\n    def f(self, past):\n        return past\n",
        "class A:\n    def f(self, past):\n        return 2 * past\n",
        "class A:\n    @renamed('past')\n    def f(self, cache):\n        return cache\n",
        "class A:\n    @renamed('past')\n    def f(self, cache):\n        return 2 * cache\n",
    ),
    "a type that gives way to another": (
        "def f(self, a: torch.Tensor, b: torch.FloatTensor = 1):\n    pass\n",
        "def f(self, a: torch.Tensor, b: torch.FloatTensor = 2, c: torch.FloatTensor | None = None):\n    pass\n",
        "def f(self, a: torch.Tensor, b: torch.Tensor = 1):\n    pass\n",
        "def f(self, a: torch.Tensor, b: torch.Tensor = 2, c: torch.Tensor | None = None):\n    pass\n",
    ),
    "annotations of both": (
        "def f(self, config):\n    pass\n",
        "def f(self, config: Mine):\n    return 1\n",
        "def f(self, config: Theirs, more=1):\n    pass\n",
        "def f(self, config: Mine, more=1):\n    return 1\n",
    ),
    "lines taken out on both sides": (
        "def f(self):\n    a()\n    b()\n    c()\n    d()\n",
        "def f(self):\n    a()\n    b()\n    d()\n",
        "def f(self):\n    a()\n    c()\n    d()\n",
        "def f(self):\n    a()\n    d()\n",
    ),
    "a renamed key whose old name stays in a decorator": (
        'def f(self, past):\n    return {"past": past, "other": 1}\n',
        'def f(self, past):\n    return {"past": past, "other": 2}\n',
        '@deprecated("past")\ndef f(self, cache):\n    return {"cache": cache, "other": 1}\n',
        'def f(self, cache):\n    return {"cache": cache, "other": 2}\n',
    ),
    "a parameter that the parent drops": (
        "def f(self, a):\n    pass\n",
        "def f(self, a, b=1):\n    pass\n",
        "def f(self):\n    pass\n",
        "def f(self, b=1):\n    pass\n",
    ),
    "lines added on both sides": (
        "def f(self):\n    a()\n    b()\n",
        "def f(self):\n    mine()\n    a()\n    b()\n",
        "def f(self):\n    a()\n    b()\n    theirs()\n",
        "def f(self):\n    mine()\n    a()\n    b()\n    theirs()\n",
    ),
    "a line that goes": (
        "def f(self):\n    a()\n    b()\n    c()\n",
        "def f(self):\n    a()\n    b()\n    c(1)\n",
        "def f(self):\n    b()\n    c()\n",
        "def f(self):\n    b()\n    c(1)\n",
    ),
    "two changes in one call": (
        "def f(self):\n    return g(a, key=1, other=2)\n",
        "def f(self):\n    return g(a, key=3, other=2)\n",
        "def f(self):\n    return g(b, key=1, other=2)\n",
        "def f(self):\n    return g(b, key=3, other=2)\n",
    ),
    "inside a block": (
        "def f(self):\n    for each in self.layers:\n        x = each(x)\n        y = x\n",
        "def f(self):\n    for each in self.layers:\n        if each:\n            pass\n        x = each(x)\n        y = x\n",
        "def f(self):\n    for each in self.layers[:2]:\n        x = each(x)\n        y = -x\n",
        "def f(self):\n    for each in self.layers[:2]:\n        if each:\n            pass\n        x = each(x)\n        y = -x\n",
    ),
    "parameters on both sides": (
        "def f(self, a, b=1):\n    pass\n",
        "def f(self, a, mine=None, b=1):\n    pass\n",
        "def f(self, a, b=2, *, new=3):\n    pass\n",
        "def f(self, a, mine=None, b=2, *, new = 3):\n    pass\n",
    ),
    "decorators come along where the override has some": (
        "@a\ndef f(self):\n    pass\n",
        "@a\n@mine\ndef f(self):\n    return 1\n",
        "@new\n@a\ndef f(self):\n    pass\n",
        "@new\n@a\n@mine\ndef f(self):\n    return 1\n",
    ),
    "decorators, annotation and docstring that the override inherits stay inherited": (
        '@a\ndef f(self) -> int:\n    """Says."""\n    return 1\n',
        "def f(self):\n    return 1 + self.x\n",
        '@b\ndef f(self) -> float:\n    """Says more."""\n    return 1\n',
        "def f(self):\n    return 1 + self.x\n",
    ),
    "comments of both": (
        "def f(self):\n    # old\n    a()\n    b()\n",
        "def f(self):\n    # mine\n    a()\n    b(1)\n",
        "def f(self):\n    # old\n    a()\n    # new\n    b()\n    c()\n",
        None,
    ),
    "an attribute": ("size: int = 1\n", "size: int = 4\n", "size: float = 1\n", "size: float = 4\n"),
    "a method that is taken away": (
        "def f(self):\n    return 1\n",
        'def f(self):\n    raise AttributeError("no")\n',
        "def f(self):\n    return 2\n",
        'def f(self):\n    raise AttributeError("no")\n',
    ),
    "a call on super with a line replaced": (
        "def __init__(self, config, i):\n    self.a = A(config)\n",
        "def __init__(self, config, i):\n    super().__init__(config, i)\n    self.a = A(config, i)\n    self.b = 1\n",
        "def __init__(self, config, i, more=None):\n    self.a = B(config)\n",
        "def __init__(self, config, i, more=None):\n    super().__init__(config, i)\n"
        "    self.a = B(config, i)\n    self.b = 1\n",
    ),
}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3] is not None])
def test_merged(name: str) -> None:
    *three, expected = CASES[name]
    found, conflicts = merged(*three)  # type: ignore[arg-type]
    assert not conflicts
    assert found.replace("new = 3", "new=3") == clean(expected).replace("new = 3", "new=3")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        ("def f(self):\n    return 1\n", "def f(self):\n    return 2\n", "def f(self):\n    return 3\n"),
        ("x = 1\n", "x = 2\n", "x = 3\n"),
        ("def f(self, a=1):\n    pass\n", "def f(self, a=2):\n    pass\n", "def f(self, a=3):\n    pass\n"),
        (
            "def f(self):\n    a()\n    b()\n",
            "def f(self):\n    c()\n",
            "def f(self):\n    a()\n    b(1)\n",
        ),
        (  # what is added reads what the parent no longer sets
            "def f(x):\n    part = x[0]\n    y = g(part)\n",
            "def f(x):\n    part = x[0]\n    y = g(part)\n    h(part)\n",
            "def f(x):\n    y = g(x)\n",
        ),
        (  # two additions in one place
            "def f(x):\n    a(x)\n",
            "def f(x):\n    a(x)\n    b(x)\n",
            "def f(x):\n    a(x)\n    c(x)\n",
        ),
        (
            "def f(self):\n    self.a = 1\n",
            "def f(self):\n    super().f()\n    self.a = 2\n",
            "def f(self):\n    ...\n",
        ),
    ],
)
def test_conflict(base: str, ours: str, theirs: str) -> None:
    found, conflicts = merged(base, ours, theirs)
    assert len(conflicts) == 1
    assert "__conflict_0__" in found


def test_a_name_that_the_parents_file_gave_up_is_followed_or_a_conflict() -> None:
    """Here the parent's piece does not say what stands in its place; another of its pieces does, or none."""
    base = "def f(self, x):\n    a()\n    return g(x, params=x)\n"
    ours = "def f(self, x):\n    x = h(params=x)\n    a()\n    return g(x, params=x)\n"
    theirs = "def f(self, x):\n    a()\n    return g(x)\n"
    three = [cst.parse_module(text).body[0] for text in (base, ours, theirs)]
    followed = merge(*three, moved={"params": "cache"}, gone=frozenset({"params"}))
    assert code(followed.node) == "def f(self, x):\n    x = h(cache=x)\n    a()\n    return g(x)\n"
    left = merge(*three, gone=frozenset({"params"}))
    assert [each.ours for each in left.conflicts] == [ours]


def test_what_only_one_side_changed_is_taken_as_it_is() -> None:
    """Whatever the change is: the merge is the changed side, to the byte."""
    for *three, _ in CASES.values():
        base, ours, theirs = (clean(each) for each in three)  # type: ignore[arg-type]
        if "super()" in ours or "raise" in ours or ("@" in base + theirs and "@" not in ours):
            continue
        assert merged(base, base, theirs) == (theirs, [])
        assert merged(base, ours, base) == (ours, [])
        assert merged(base, ours, ours) == (ours, [])
