"""Random parents and children to merge, and what can be seen of a class from outside."""

import inspect
import random
import re
import types
from collections.abc import Callable, Iterator


BASE = """
import functools


class Meta(type):
    def __call__(cls, *args, **kwargs):
        made = super().__call__(*args, **kwargs)
        made.made_by = "meta"
        return made


class Other(Meta):
    def __call__(cls, *args, **kwargs):
        made = super().__call__(*args, **kwargs)
        made.made_by = "other"
        return made


class Base:
    label = "base"

    def __init_subclass__(cls, flag=0, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.flag = flag

    def __init__(self, *args, **kwargs):
        self.base = len(args)

    def forward(self, x, *args):
        return ("base", x)

    def reset(self):
        self.base = -1


class Mixin:
    def describe(self):
        return "mixin"

    def helper(self, x):
        return ("mixin", x)


class Chained:
    def forward(self, x, *args, **kwargs):
        return ("chained", super().forward(x, *args, **kwargs))


class Apart:
    def apart(self):
        return "apart"


def twice(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return [function(*args, **kwargs)] * 2

    return wrapper


def mark(cls):
    cls.marked = cls.__name__[-5:]
    return cls
"""


class Merge:
    """One random parent and child."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.has: set[str] = set()
        self.parent_signature = self._signature(own=False)
        self.parent = self._parent()
        self.shard = self._shard()

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def some(self, pool: list[str], least: int, most: int) -> list[str]:
        """Some lines of a pool, in its order."""
        number = min(len(pool), self.random.randint(least, most))
        return [pool[index] for index in sorted(self.random.sample(range(len(pool)), number))]

    def any(self, *pool: str) -> str:
        return self.random.choice(pool)

    def _signature(self, own: bool) -> str:
        parts = ["self", self.any("x", "x", "a")] if not own else ["self", self.any("x", "x", "x", "value")]
        if self.chance(0.7):
            parts.append(self.any("y=1", "y=1", "y=2", "y=LIMIT"))
        if self.chance(0.15):
            parts.append("*args")
        if self.chance(0.25):
            parts.append("scale=3" if "*args" in parts else "*, scale=3")
        if self.chance(0.3):
            parts.append("**kwargs")
        if own and self.chance(0.15):
            return "self, **super_kwargs"
        return ", ".join(parts)

    def _parent(self) -> str:
        keyword = self.any(*[""] * 12, ", metaclass=Meta", ", metaclass=Meta", ", flag=1")
        lines = [
            '"""Random parents."""',
            "from toy.base import Apart, Base, Meta, Mixin, mark, twice",
            "",
            "LIMIT = 3",
            "REGISTRY = {}",
            "",
            "",
            "def leaf(x):",
            "    return x * LIMIT",
            "",
            "",
            "class ZzPart:",
            "    def __init__(self, size):",
            "        self.size = size",
            "",
            "    def run(self, x):",
            "        return x + self.size",
            "",
            "",
            *(["@mark"] if self.chance(0.03) else []),
            f"class ZzLayer(Base{keyword}):",
            *indented(self._parent_body()),
            *(["", "", "ZzLayer.after = 7"] if self.chance(0.1) else []),
        ]
        return "\n".join(lines) + "\n"

    def _parent_body(self) -> list[str]:
        lines = [self.any('"""Theirs."""', "'theirs'", "", "")]
        lines += self.some(
            ['kind = "zz"', "factor = 2", "double = factor * 2", "names: list = []", "size: int = 4", "limit = LIMIT"],
            1,
            5,
        )
        if "factor = 2" not in lines:
            lines = [line.replace("factor *", "LIMIT *") for line in lines]
        lines += ["", "def __init__(self, size, depth=2, *, name='zz', **kwargs):", *indented(self._parent_init())]
        left_out = self.random.choice([self._forward, self._helper, self._width, self._makers, self._odd])
        for method in self.random.sample([self._forward, self._helper, self._width, self._makers, self._odd], 5):
            if method != left_out or self.chance(0.3):
                self.has.add(method.__name__)
                lines += ["", *method()]
        return [line for line in lines if line is not None]

    def _parent_init(self) -> list[str]:
        pool = [
            "super().__init__(size)",
            "self.size = size",
            "self.depth = depth",
            "scale = depth + 1",
            "self.scale = scale",
            "self.twice = self.size * 2 if hasattr(self, 'size') else 0",
            "if size > 4:\n    return",
            "self.part = ZzPart(size)",
            "self.log = ['parent']",
            "size = size + 1",
            "self.total = leaf(size)",
            "self.limit_here = LIMIT",
            "for index in range(depth):\n    self.last = index",
            "self.log = getattr(self, 'log', []) + [name]",
            "self.later = lambda: size",
            "self.options = dict(kwargs)",
            "self.a = 1; self.b = 2",
        ]
        lines = self.some(pool, 2, 9)
        if "scale = depth + 1" not in lines:
            lines = [line.replace("= scale", "= depth") for line in lines]
        return lines

    def _forward(self) -> list[str]:
        first = self.parent_signature.split(", ")[1]
        y = "y" if "y=" in self.parent_signature else "1"
        pool = [
            f"h = {first} + LIMIT",
            f"if {y} == 2:\n    return -1",
            "h = 5",
            "h = leaf(h)",
            "self.calls = getattr(self, 'calls', 0) + 1",
            f"{first} = {first} * 2",
            "h += getattr(self, 'size', 1)",
            "if h > 100:\n    return 100",
        ]
        lines = ["h = 0", *self.some(pool, 1, 6)]
        if "kwargs" in self.parent_signature and self.chance(0.5):
            lines.append("h += len(kwargs)")
        if "scale" in self.parent_signature and self.chance(0.7):
            lines.append("h *= scale")
        if self.chance(0.8):
            lines.append(f"return {self.any('h', f'h, {y}', 'h')}")
        else:
            lines.append("self.result = h")
        decorators = ["@twice"] if self.chance(0.1) else []
        return [*decorators, f"def forward({self.parent_signature}):", *indented(lines)]

    def _helper(self) -> list[str]:
        kind = "async " if self.chance(0.1) else ""
        return [
            f"{kind}def helper(self, x):",
            *indented([self.any("return ('theirs', x)", "self.helped = x", "yield x")]),
        ]

    def _width(self) -> list[str]:
        lines = ["@property", "def width(self):", "    return getattr(self, 'size', 1) * 10"]
        if self.chance(0.5):
            lines += ["", "@width.setter", "def width(self, value):", "    self.size = value"]
        return lines

    def _makers(self) -> list[str]:
        return [
            "@classmethod",
            "def build(cls, size=3):",
            "    made = cls(size)",
            "    made.built = True",
            "    return made",
            "",
            "@staticmethod",
            "def constant(x=1):",
            "    return x + LIMIT",
        ]

    def _odd(self) -> list[str]:
        return self.random.choice(
            [
                ["def check(self, x=1):", "    raise ValueError('theirs')"],
                ["if LIMIT > 2:", "    def check(self, x=1):", "        return 'conditional'"],
                ["def check(self, x=1):", "    return x", "", "again = check"],
                ["class Inner:", "    value = 1", "", "inner = Inner()"],
                ["def describe(self):", "    return 'theirs', LIMIT"],
            ]
        )

    def _shard(self) -> str:
        bases = self.any(
            *["ZzLayer"] * 14,
            "ZzLayer, Mixin",
            "ZzLayer, Mixin",
            "Mixin, ZzLayer",
            "Chained, ZzLayer",
            "Apart, ZzLayer",
            "ZzLayer, Apart",
        )
        keyword = self.any(*[""] * 8, ", metaclass=Other", ", flag=2", ", flag=1")
        body = indented(self._child_body())
        limit = []
        if any(re.search(r"\bLIMIT\b(?! =)", line) for line in body):
            limit = ["LIMIT = 8", ""] if self.chance(0.1) else ["LIMIT = 3", ""]
            limit = ["LIMIT = 1", *limit] if self.chance(0.05) else limit
        lines = [
            "import math",
            "",
            "from toy.base import Apart, Chained, Mixin, Other, mark, twice",
            f"from toy.m{self.seed}.modeling_zz import ZzLayer, leaf",
            "",
            "",
            *limit,
            *(["@mark"] if self.chance(0.03) else []),
            f"class NewLayer({bases}{keyword}):",
            *body,
            "",
            "",
            *(["NewLayer.extra = 5", ""] if self.chance(0.1) else []),
            *(
                ["class NewHead(NewLayer):", "    def helper(self, x):", "        return ('head', x)", "", ""]
                if self.chance(0.2)
                else []
            ),
            '__all__ = ["NewLayer"]',
        ]
        return "\n".join(line for line in lines if line is not None) + "\n"

    def _child_body(self) -> list[str]:
        lines = [self.any('"""Mine."""', "'mine'", "", "")]
        lines += self.some(
            [
                'kind = "new"',
                "factor = 3",
                "triple = 3",
                "size = 6",
                "names: list",
                "limit = 1; other = 2",
                "LIMIT = 4",
            ],
            0,
            3,
        )
        methods = [
            self._child_init,
            self._child_forward,
            self._child_helper,
            self._child_width,
            self._child_odd,
            self._child_makers,
        ]
        for method in self.random.sample(methods, self.random.randint(1, 4)):
            known = method.__name__.replace("_child", "") in self.has or method == self._child_init
            if known or self.chance(0.05):
                lines += ["", *method()]
        return lines

    def _call(self, name: str, signature: str, own: str) -> str:
        """`super().name(...)` with some of the arguments that the parent's signature asks for."""
        if "**super_kwargs" in own:
            return f"super().{name}({self.any('**super_kwargs', '**super_kwargs', 'x=2')})"
        arguments = []
        mine = own.split(", ")[1].partition("=")[0]
        arguments.append(self.any(*[mine] * 5, f"{mine} + 1", "2", "self.size"))
        if "y=" in signature and self.chance(0.6):
            arguments.append(self.any("y", "y=1", "y=y", "2") if "y=" in own else self.any("y=1", "2"))
        if "scale" in signature and self.chance(0.5):
            arguments.append("scale=2" if "scale" not in own else "scale=scale")
        if "**kwargs" in own and self.chance(0.7):
            arguments.append("**kwargs")
        if "*args" in own and self.chance(0.5):
            arguments.insert(1, "*args")
        return f"super().{name}({', '.join(arguments)})"

    def _child_init(self) -> list[str]:
        signature = self.any(
            "self, size, depth=2, *, name='zz', **kwargs",
            "self, size, depth=3, *, name='zz', **kwargs",
            "self, size, depth=2, **kwargs",
            "self, size, extra=5",
            "self, size",
            "self, size, **super_kwargs",
            "self, size, scale=1",
        )
        arguments = ["size"]
        if "depth" in signature and self.chance(0.7):
            arguments.append(self.any("depth", "depth=depth", "4"))
        if "name" in signature and self.chance(0.7):
            arguments.append("name=name")
        if "**kwargs" in signature and self.chance(0.7):
            arguments.append("**kwargs")
        if "super_kwargs" in signature:
            arguments.append("**super_kwargs")
        if self.chance(0.1):
            arguments[0] = "size + 1"
        call = f"super().__init__({', '.join(arguments)})"
        before = self.some(
            ["size = size * 2", "self.early = 1", "scale = 9", "if size < 0:\n    return", "local = leaf(size)"], 0, 2
        )
        after = self.some(
            [
                "self.size = 9",
                "self.scale = getattr(self, 'scale', 1) * 2",
                "self.depth = 11",
                "self.part = ('wrapped', getattr(self, 'part', None))",
                "self.log = ['child']",
                "size = 4",
                "self.mine = size",
                "self.log = getattr(self, 'log', []) + ['child']",
                "if hasattr(self, 'part'):\n    self.renamed = self.part; del self.part",
                "del self.total",
                "del self.depth",
                "self.total = leaf(size)",
                "self.limit_here = LIMIT",
                "self.a = 5; self.b = 6",
                "scale = 7",
                "self.mine = scale if 'scale' in dir() else 0",
                "self.twice = self.twice + 1 if hasattr(self, 'twice') else 0",
                "self.index = [index for index in range(2)]",
                "self.log = getattr(self, 'log', []) + [size]",
            ],
            0,
            5,
        )
        if not {"scale = 9", "scale = 7"} & {*before, *after} and "scale" not in signature:
            after = [line for line in after if "self.mine = scale" not in line]
        call = self.any(*[call] * 8, f"made = {call}", f"p = super()\n{call}")
        if self.chance(0.08) and after:
            call = f"{call}; {after.pop(0)}" if "\n" not in after[0] else call
        return [f"def __init__({signature}):", *indented([*before, call, *after])]

    def _child_forward(self) -> list[str]:
        signature = self._signature(own=True)
        call = self._call("forward", self.parent_signature, signature)
        local = "kwargs" if "super_kwargs" in signature else signature.split(", ")[1].partition("=")[0]
        if "super_kwargs" in signature:
            local = "1"
        before = self.some(
            [
                f"{local} = {local} + 1" if local != "1" else "one = 1",
                "h = 40",
                "leaf = 3",
                "k = LIMIT",
                f"if {local} == 7:\n    return 70",
            ],
            0,
            2,
        )
        form = self.random.choice(
            [
                [f"return {call}"],
                [f"return {call}"],
                [f"return {call}"],
                [call],
                [call, "self.calls = getattr(self, 'calls', 0) + 1"],
                [call, "return 6"],
                [f"h = {call}", "return h, 'mine'"],
                [f"return {call}, 1"],
                ["f = super().forward", f"return f({call.partition('(')[2].partition('(')[2]}"],
                [f"if {local} == 1:", f"    return {call}", "return 0"],
                ["return 5"],
                [call, f"return {'h' if 'h = 40' in before else local}"],
                [f"return [{call} for _ in range(1)]" if self.chance(0.1) else f"return {call}"],
                [f"{call}", "h = 2", "return h"],
            ]
        )
        decorators = ["@twice"] if self.chance(0.1) else []
        return [*decorators, f"def forward({signature}):", *indented([*before, *form])]

    def _child_helper(self) -> list[str]:
        return self.random.choice(
            [
                ["def helper(self, x):", "    return super().helper(x)"],
                ["def helper(self, x):", "    return super().helper(x), 'mine'"],
                ["def more(self, x):", "    return super().helper(x)"],
                ["def helper(self, x):", "    raise ValueError('mine')"],
                ["def helper(self, x):", "    raise AttributeError('gone')"],
                ["async def helper(self, x):", "    return x"],
                ["async def helper(self, x):", "    return super().helper(x)"],
                ["def helper(self, x):", "    def inner():", "        return x", "    return inner()"],
                ["if LIMIT > 2:", "    def helper(self, x):", "        return 'conditional'"],
                ["if LIMIT > 5:", "    def helper(self, x):", "        return 'never'"],
                ["def reset(self):", "    super().reset()", "    self.was_reset = True"],
                ["def helper(self, x):", "    return Mixin.helper(self, x)"],
                ["def helper(self, x):", "    return super(NewLayer, self).helper(x)"],
            ]
        )

    def _child_width(self) -> list[str]:
        return self.random.choice(
            [
                ["@property", "def width(self):", "    return super().width + 1"],
                ["@property", "def width(self):", "    return 5"],
                ["def width(self):", "    return 5"],
                ["width = 5"],
                ["@ZzLayer.width.setter", "def width(self, value):", "    self.set_to = value"],
                ["def area(self):", "    return super().width * 2"],
            ]
        )

    def _child_makers(self) -> list[str]:
        return self.random.choice(
            [
                [
                    "@classmethod",
                    "def build(cls, size=3):",
                    "    made = super().build(size)",
                    "    made.mine = True",
                    "    return made",
                ],
                ["@classmethod", "def build(cls, size=4):", "    return super().build(size)"],
                ["@staticmethod", "def constant(x=2):", "    return x"],
                ["def constant(self, x=2):", "    return super().constant(x) + 1"],
                ["def build(self, size=3):", "    return 'no class method'"],
            ]
        )

    def _child_odd(self) -> list[str]:
        return self.random.choice(
            [
                ["def check(self, x=1):", "    return super().check(x)"],
                ["def check(self, x=1):", "    return 'mine'"],
                ["def describe(self):", "    return super().describe(), 'mine'"],
                ["def describe(self):", "    return 'mine', LIMIT"],
                ["def _(self):", "    return 1", "", "def _(self):", "    return 2", "", "two = _"],
                ["@twice", "def double_up(self):", "    return 1", "", "def double_up(self):", "    return 3"],
                ["class Inner:", "    value = 2"],
                ["kind = AttributeError()"] if "kind = " in self.parent else ["kinds = 1"],
                ["kind = factor = 7"],
                ["for step in range(2):", "    pass"],
            ]
        )


def indented(lines: list[str]) -> list[str]:
    return [("    " + part if part else part) for line in lines for part in line.split("\n")] or ["    pass"]


CALLS = (((), {}), ((2,), {}), ((7, 2), {}), ((1,), {"y": 2}), ((3,), {"scale": 2, "q": 1}), ((), {"x": 1}))


def behaviour(cls: type, canonical: Callable[[str], str], skip: set[str], keywords: set[str]) -> dict[str, object]:
    """Everything that a user of a class sees: its attributes, and what its methods return, raise and leave behind.

    Methods in `keywords` are called by keyword only: `**super_kwargs` takes no positional arguments in Python, but in the
    expansion, which has the parent's parameters in its place.
    """
    return dict(_seen(cls, canonical, skip, keywords))


def _seen(
    cls: type, canonical: Callable[[str], str], skip: set[str], keywords: set[str]
) -> Iterator[tuple[str, object]]:
    names = sorted(name for name in dir(cls) if not name.startswith("_") and name not in skip)
    yield "names", names
    for name in names:
        value = inspect.getattr_static(cls, name)
        yield f"class {name}", _told(value, canonical)
    for arguments in ((2,), (3,)) if "__init__" in keywords else ((2,), (5, 3), (3,)):
        made = _attempt(canonical, cls, *arguments)
        yield f"made {arguments}", made
        if isinstance(made, _Told):
            for name in names:
                yield from _uses(made.value, name, canonical, arguments, name in keywords)


class _Told(tuple):
    """What an object looks like, with the object."""

    value: object


def _uses(
    made: object, name: str, canonical: Callable[[str], str], arguments: tuple, keyword: bool
) -> Iterator[tuple[str, object]]:
    value = _attempt(canonical, getattr, made, name)
    yield f"{arguments}.{name}", value
    if isinstance(inspect.getattr_static(type(made), name), property):
        yield f"{arguments}.{name} = 8", _attempt(canonical, setattr, made, name, 8)
    found = getattr(made, name, None) if not isinstance(value, tuple) or value[:1] != ("raised",) else None
    for given, named in CALLS if not keyword else CALLS[-1:]:
        if callable(found):
            yield f"{arguments}.{name}{given}{named}", _attempt(canonical, found, *given, **named)
            yield f"{arguments}.{name}{given}{named} leaves", _told(made, canonical)


def _attempt(canonical: Callable[[str], str], function: Callable, *args: object, **kwargs: object) -> object:
    try:
        value = function(*args, **kwargs)
        if inspect.iscoroutine(value):
            value = _awaited(value)
        if isinstance(value, types.GeneratorType):
            value = list(value)
    except Exception as error:
        return "raised", type(error).__name__, _message(error, canonical)
    told = _told(value, canonical)
    if hasattr(value, "__dict__") and not callable(value):
        told = _Told((told,))
        told.value = value
    return told


def _message(error: Exception, canonical: Callable[[str], str]) -> str:
    """What an exception says; whose arguments were wrong is told with the name of a method, which may be a kept one."""
    return (
        "" if isinstance(error, TypeError | UnboundLocalError | NameError | AttributeError) else canonical(str(error))
    )


def _awaited(coroutine: types.CoroutineType) -> object:
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return _awaited(stopped.value) if inspect.iscoroutine(stopped.value) else stopped.value
    return "waits"


def _told(value: object, canonical: Callable[[str], str]) -> object:
    if isinstance(value, staticmethod | classmethod | property):
        return type(value).__name__
    if isinstance(value, types.FunctionType):
        return "function"
    if isinstance(value, type):
        return "class", canonical(value.__name__)
    if isinstance(value, list | tuple):
        return [_told(each, canonical) for each in value]
    if isinstance(value, dict):
        return {str(key): _told(each, canonical) for key, each in value.items()}
    if isinstance(value, types.MethodType):
        return "method"
    if hasattr(value, "__dict__"):
        return canonical(type(value).__name__), _told(vars(value), canonical)
    return canonical(repr(value)) if isinstance(value, int | float | str | None) else type(value).__name__
