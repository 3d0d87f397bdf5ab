"""Outside transformers a shard means what it means as a Python module, or it is an error at its place: case by case.

Each case is executed and expanded; `asked` must have the `value` in both.
"""

import pytest

from transformers_heterogeneous.scripts.command import oracle

from .toybox import Toy, clean


BASE = """
    class Meta(type):
        made = "by Meta"


    class Base:
        def __init_subclass__(cls, flag=0):
            cls.flag = flag

        def forward(self, x):
            return ("base", x)

        def more(self):
            return "base"


    class Chained:
        def forward(self, x):
            return ("chained", super().forward(x))


    class Apart:
        def apart(self):
            return "apart"


    class Module:
        def __init__(self):
            self.parts = {}


    class Linear:
        def __init__(self, size):
            self.size = size


    class Sequential:
        def __init__(self, *parts):
            self.parts = parts
"""
PARENT = """
    import warnings
    from functools import singledispatchmethod

    from toy.base import Base, Linear, Module

    LIMIT = 3
    STEPS = [1]
    STEPS = STEPS + [2]


    def leaf(x):
        return x * LIMIT


    class ZzLayer(Base):
        def __init__(self, size, depth=2):
            self.size = size
            self.depth = depth
            self.scaling = size * 0.5
            self.count = 1
            self.count += 1
            self.self_attn = Linear(size)
            self.down_proj = Linear(size * 2)

        def forward(self, x, y=1):
            if y > 5:
                return 0
            h = x + y
            return h

        def quiet(self, x):
            h = x + 1
            self.seen = h

        def reset(self):
            self.count = 0

        def limited(self, x):
            return leaf(x)

        def check(self):
            return "checked"

        @property
        def width(self):
            return self.size * 10

        def plain(self):
            return "plain"


    class ZzSteps:
        def steps(self):
            return STEPS


    class ZzSize:
        def __init__(self, size):
            self.size = size
            self.double = 2 * self.size
"""
HEAD = """\
from functools import singledispatchmethod

from toy.base import Apart, Chained, Linear, Meta, Sequential
from toy.modeling_zz import ZzLayer, ZzSize, ZzSteps"""
TAIL = '\n\n__all__ = ["New{}"]\n'


def method(*lines: str) -> str:
    return "\n".join(f"    {line}" for line in lines)


def init(*lines: str) -> str:
    return method("def __init__(self, size):", *(f"    {line}" for line in ("super().__init__(size)", *lines)))


EQUAL = {
    "a hook for subclasses that only warns": (("NewShim(ZzShim)", ""), "NewShim().forward()", 1),
    "a statement equal in text to one of the parent's": (init("self.count += 1"), "NewLayer(1).count", 3),
    "an early return inside an if": (
        method("def forward(self, x, y=1):", "    super().forward(x, y)", "    return 'mine'"),
        "NewLayer(1).forward(1, 9)",
        "mine",
    ),
    "an early return, before a statement": (
        method("def forward(self, x, y=1):", "    super().forward(x, y)", "    self.seen = y", "    return self.seen"),
        "NewLayer(1).forward(1, 9)",
        9,
    ),
    "a value that is not returned": (
        method("def forward(self, x, y=1):", "    super().forward(x, y)"),
        "NewLayer(1).forward(1)",
        None,
    ),
    "a changed default, and an omitted argument": (
        method("def forward(self, x, y=4):", "    return super().forward(x)"),
        "NewLayer(1).forward(1)",
        2,
    ),
    "an argument left out": (
        method("def __init__(self, size, depth=9):", "    super().__init__(size)"),
        "NewLayer(1, 5).depth",
        2,
    ),
    "another argument": (
        method("def forward(self, x, y=1):", "    return super().forward(x + 1, y)"),
        "NewLayer(1).forward(1)",
        3,
    ),
    "arguments exchanged": (
        method("def forward(self, x, y=1):", "    return super().forward(y, x), x"),
        "NewLayer(1).forward(8, 1)",
        (0, 8),
    ),
    "a local with the name of a parent's": (
        method("def quiet(self, x):", "    h = 40", "    super().quiet(x)", "    return h, self.seen"),
        "NewLayer(1).quiet(1)",
        (40, 2),
    ),
    "a local after the call": (
        method("def quiet(self, x):", "    super().quiet(x)", "    h = 40", "    return h, self.seen"),
        "NewLayer(1).quiet(1)",
        (40, 2),
    ),
    "a local with the name of a function of the parent's": (
        method("def limited(self, x):", "    leaf = 1", "    return super().limited(x)"),
        "NewLayer(1).limited(2)",
        6,
    ),
    "a method under if": (
        method("if LIMIT > 5:", "    def plain(self):", "        return 'never'"),
        "NewLayer(1).plain()",
        "plain",
    ),
    "a method under if that holds": (
        method("if LIMIT > 2:", "    def plain(self):", "        return 'mine'"),
        "NewLayer(1).plain()",
        "mine",
    ),
    "a mixin before the parent": (
        ("NewLayer(Apart, ZzLayer)", ""),
        "NewLayer(1).apart(), NewLayer.__mro__[1].__name__",
        ("apart", "Apart"),
    ),
    "a metaclass": (("NewLayer(ZzLayer, metaclass=Meta)", ""), "NewLayer.made", "by Meta"),
    "a class keyword": (("NewLayer(ZzLayer, flag=7)", ""), "NewLayer.flag", 7),
    "several methods called _": (
        method(
            "@singledispatchmethod",
            "def plain(self, x):",
            "    return 'any'",
            "",
            "@plain.register",
            "def _(self, x: int):",
            "    return 'int'",
            "",
            "@plain.register",
            "def _(self, x: str):",
            "    return 'str'",
        ),
        "[NewLayer(1).plain(x) for x in (1, 'a', 1.0)]",
        ["int", "str", "any"],
    ),
    "async over def": (
        method("async def plain(self):", "    return super().plain()"),
        "__import__('asyncio').run(NewLayer(1).plain())",
        "plain",
    ),
    "super() in what a comprehension goes over": (
        method("def plain(self):", "    return [each for each in super().plain()]"),
        "NewLayer(1).plain()",
        ["p", "l", "a", "i", "n"],
    ),
    "a method that is bound anew to what is made of it": (
        method(
            "def forward(self, x):", "    return x", "forward = (lambda f: lambda self, x: 2 * f(self, x))(forward)"
        ),
        "NewLayer(1).forward(4)",
        8,
    ),
    "a method that raises another error": (
        method("def check(self):", "    raise ValueError('no')"),
        "NewLayer(1).check",
        ValueError,
    ),
    "a docstring in single quotes": (method("'Mine.'"), "NewLayer.__doc__", "Mine."),
    "a method's docstring in single quotes": (
        method("def quiet(self, x):", "    'Mine.'", "    super().quiet(x)"),
        "NewLayer.quiet.__doc__",
        "Mine.",
    ),
    "what it replaces is read": (init("self.scaling = self.scaling * 2"), "NewLayer(3).scaling", 3.0),
    "wrapping": (
        init("self.down_proj = Sequential(self.down_proj, Linear(1))"),
        "[each.size for each in NewLayer(3).down_proj.parts]",
        [6, 1],
    ),
    "a renamed attribute": (
        init("self.attn = self.self_attn", "del self.self_attn"),
        "NewLayer(3).attn.size, hasattr(NewLayer(3), 'self_attn')",
        (3, False),
    ),
    "f = super().forward": (
        method("def forward(self, x, y=1):", "    f = super().forward", "    return f(x, y) + 1"),
        "NewLayer(1).forward(1)",
        3,
    ),
    "a property through super()": (
        method("@property", "def width(self):", "    return super().width + 1"),
        "NewLayer(2).width",
        21,
    ),
    "another method through super()": (
        method("def plain(self):", "    return super().check(), super().plain()"),
        "NewLayer(1).plain()",
        ("checked", "plain"),
    ),
    "a method above the parent": (
        method("def more(self):", "    return super().more(), 'mine'"),
        "NewLayer(1).more()",
        ("base", "mine"),
    ),
    "two statements on one line": (
        method("def __init__(self, size):", "    super().__init__(size); self.more = 1"),
        "NewLayer(2).size, NewLayer(2).more",
        (2, 1),
    ),
    "two attributes on one line": (method("one = 1; two = 2"), "NewLayer.one, NewLayer.two", (1, 2)),
    "Class.attribute at the top level": (("NewLayer(ZzLayer)", "\n\nNewLayer.after = 5"), "NewLayer.after", 5),
    "a constant of the same value": (
        method("def mine(self):", "    return LIMIT"),
        "NewLayer(1).mine(), NewLayer(1).limited(2)",
        (3, 6),
    ),
}
ERRORS = {
    "p = super()": (
        method("def plain(self):", "    p = super()", "    return p.plain()"),
        "9:13: `super()` is flattened away",
    ),
    "a mixin whose method calls super()": (
        ("NewLayer(Chained, ZzLayer)", ""),
        "7:16: Chained stands before the parent, and defines or calls `forward`",
    ),
    "a top-level name bound twice": (
        ("NewLayer(ZzLayer)", "\n    def mine(self):\n        return SIZE\n\n\nSIZE = 1\nSIZE = 2"),
        "13:1: SIZE is bound in line 12, too, which would be left out: keep one",
    ),
    "two statements on one line at the top level": (
        ("NewLayer(ZzLayer)", "\n    def mine(self):\n        return ONE\n\n\nONE = 1; TWO = 2"),
        "12:10: write one statement a line at the top level",
    ),
    "a constant that shadows one of the parent's": (
        ("NewLayer(ZzLayer)", "\n    def mine(self):\n        return LIMIT\n\n\nLIMIT = 8"),
        "12:1: LIMIT is a constant of modeling_zz.py, too, with another value",
    ),
    "a constant of the parent's that is made in two steps": (
        ("NewSteps(ZzSteps)", ""),
        "4:1: STEPS of modeling_zz.py is made of itself in several steps",
    ),
    "a condition around super()": (
        method("if LIMIT > 2:", "    def plain(self):", "        return super().plain()"),
        "10:5: `super()` in a method that is not defined on its own",
    ),
    "super() in an inner function": (
        method("def plain(self):", "    return [super().plain() for _ in range(1)]"),
        "9:17: `super().plain` in an inner or static function or a comprehension",
    ),
    "a decorated parent, undecorated": (
        ("NewMarked(ZzMarked)", ""),
        "7:7: the parent is decorated with `@mark`, which is not inherited in Python",
    ),
    "a hook for subclasses": (("NewHook(ZzHook)", ""), "7:7: the parent defines `__init_subclass__`"),
    "a hook that does more than warn": (("NewDeed(ZzDeed)", ""), "7:7: the parent defines `__init_subclass__`"),
    "an attribute that the parent's class body reads": (
        ("NewAlias(ZzAlias)", "\n" + method("def forward(self):", "    return 2")),
        "8:5: the parent's class body uses `forward` itself",
    ),
}
MORE = """

    def mark(cls):
        return cls


    @mark
    class ZzMarked:
        pass


    class ZzHook:
        def __init_subclass__(cls):
            cls.seen = True


    class ZzDeed:
        def __init_subclass__(cls):
            warnings.warn("given up")
            cls.seen = True


    class ZzShim:
        def __init_subclass__(cls):
            warnings.warn("given up", FutureWarning)

        def forward(self):
            return 1


    class ZzAlias:
        def forward(self):
            return 1

        run = forward
"""


def shard_of(what: str | tuple[str, str]) -> str:
    """A shard with one class: its body, or its header and what follows it."""
    header, body = what if isinstance(what, tuple) else ("NewLayer(ZzLayer)", f"\n{what}")
    name = header.partition("(")[0].removeprefix("New")
    parent = "" if name in HEAD else f", Zz{name}"
    limit = "\n\nLIMIT = 3" if "LIMIT" in body and "LIMIT =" not in body else ""
    after = "" if body.startswith("\n    ") else "\n    pass"
    return f"{HEAD}{parent}{limit}\n\n\nclass {header}:{after}{body}{TAIL.format(name)}"


def asked_of(made: type, asked: str) -> object:
    value = eval(asked, {made.__name__: made})
    if callable(value):
        try:
            return value()
        except Exception as error:
            return type(error)
    return value


@pytest.fixture
def zz(toy: Toy) -> Toy:
    toy.parent("base", BASE)
    toy.parent("modeling_zz", clean(PARENT) + clean(MORE))
    return toy


@pytest.mark.parametrize(("what", "asked", "value"), EQUAL.values(), ids=EQUAL.keys())
def test_it_means_what_it_says(zz: Toy, what: str | tuple[str, str], asked: str, value: object) -> None:
    path = zz.shard("new", shard_of(what))
    run = zz.run(path)
    assert run.messages() == []
    for file, text in run.files.items():
        file.write_text(text, encoding="utf-8")
    pair = oracle.load(path, path.parent)
    ((_, executed, expanded),) = pair.classes()
    assert asked_of(executed, asked) == value, "the case is wrong: this is not what Python makes of it"
    assert asked_of(expanded, asked) == value, run.files[path.parent / "modeling_new.py"]


@pytest.mark.parametrize(("what", "problem"), ERRORS.values(), ids=ERRORS.keys())
def test_it_is_an_error_at_its_place(zz: Toy, what: str | tuple[str, str], problem: str) -> None:
    found = zz.problems(zz.shard("new", shard_of(what)))
    assert any(line.startswith(f"modular_new.py:{problem}") for line in found), found
