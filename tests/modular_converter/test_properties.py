"""Whatever an author does to a shard: outputs that compile, or errors with a place, never a traceback."""

import itertools
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transformers_heterogeneous.scripts.modular_converter.sources.source import read_source

from .toybox import Toy, clean


PARENT = """
    import torch
    from torch import nn

    LIMIT = 3


    def leaf(x, *, scale=1):
        return x * scale + LIMIT


    class ZzPart(nn.Module):
        \"\"\"A part.\"\"\"

        def __init__(self, config, layer_idx=None, **kwargs):
            super().__init__()
            self.size = config.size
            self.idx = layer_idx

        @property
        def width(self):
            return self.size

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = leaf(x)
            return h


    class ZzModel(nn.Module):
        base_model_prefix = "zz"

        def __init__(self, config):
            super().__init__()
            self.part = ZzPart(config)
            self.post_init()
"""
SHARD = """
    # Licence
    import math
    from collections.abc import Callable

    import torch
    from torch import nn

    from toy.modeling_zz import ZzModel, ZzPart, leaf


    FACTOR = math.pi
    HOOKS: dict[str, Callable] = {"leaf": leaf}


    def helper(x):
        # comment
        return leaf(x) * FACTOR


    class NewPart(ZzPart):
        \"\"\"Mine.\"\"\"

        extra: int = 1

        def __init__(self, config, layer_idx=None, **super_kwargs):
            self.early = helper(HOOKS)
            super().__init__(config, layer_idx)
            self.size = 3  # diff
            del self.idx

        @property
        def width(self):
            raise AttributeError("none")

        def forward(self, x, y=(1, 2)):
            nn.Module.forward(self, x)
            return super().forward(x)


    class NewHead(nn.Module):
        @torch.compile(mode="default", fullgraph=False)
        async def forward(self, x):
            match x:
                case {"size": int() as size, **rest} if (total := size + len(rest)):
                    return total
                case [nn.Module(), *_] | None:
                    return await x
            return f"{x!r:>{10}} zz"


    class NewModel(ZzModel):
        base_model_prefix = AttributeError()


    __all__ = ["NewPart", "NewHead", "NewModel"]
"""
STATEMENTS = (
    "pass",
    "x = 1",
    "x: int",
    "del self.size",
    "super().__init__()",
    "return super().forward(**super_kwargs)",
    "raise AttributeError()",
    "@decorated",
    "class Inner(ZzPart): pass",
    "async def run(self, /, a, *b, c=1, **d): return a",
    "def forward(self, x): return x",
    "if True:",
    "try:",
    "else: pass",
    "import torch as t",
    "from .modular_other import X",
    "from .modeling_other import ZzPart",
    "from toy.modeling_zz import *",
    "from . import thing",
    "a, (b, *c) = d[0].e = 1, (2, 3)",
    "lambda: (yield)",
    '"""text',
    "'''text'''",
    'f"{x!r:{y}}"',
    "(",
    "]",
    "\\\\",
    "#",
    "\t",
    "\f",
    "\0",
    "é = 1; ö = 2",
    "match x:",
    "case [1, *rest] if rest: pass",
    "if (n := len(x)) > 1: return n",
    "async with x as y: pass",
    "await x",
    "@decorated(1, *x, key=[2])",
    "except* ValueError: pass",
    "class Generic[T: int](ZzPart): pass",
    "def generic[T, *Ts, **P](x: T) -> T: return x",
    'f"{x["key"]} {f"{y}"}"',
    "x = *y, z",
    "lambda *, a: a",
    '__all__ += ["NewPart"]',
    "NewPart.size = 3",
    "type X = int",
)
TOKEN = re.compile(r"\w+|[^\w\s]|\n *| +")
Edit = Callable[[str], str]
places = st.integers(0, 10_000)


def cut(pieces: list[str], start: int, length: int) -> list[str]:
    start %= len(pieces) or 1
    return [*pieces[:start], *pieces[start + length :]]


def double(pieces: list[str], start: int, length: int) -> list[str]:
    start %= len(pieces) or 1
    return [*pieces[: start + length], *pieces[start:]]


def swap(pieces: list[str], first: int, second: int) -> list[str]:
    if not pieces:
        return pieces
    swapped = list(pieces)
    first, second = first % len(pieces), second % len(pieces)
    swapped[first], swapped[second] = pieces[second], pieces[first]
    return swapped


def edit_of(split: Callable[[str], list[str]]) -> st.SearchStrategy[Edit]:
    """Deleting, repeating or exchanging pieces of a text."""
    near = st.one_of(
        st.tuples(st.sampled_from([cut, double]), places, st.integers(1, 4)), st.tuples(st.just(swap), places, places)
    )
    return near.map(lambda drawn: lambda text: "".join(drawn[0](split(text), *drawn[1:])))


def insertion(drawn: tuple[str, int, int]) -> Edit:
    """A statement more, at some indentation."""
    statement, place, depth = drawn

    def edit(text: str) -> str:
        lines = text.splitlines(keepends=True)
        lines.insert(place % (len(lines) + 1), f"{'    ' * depth}{statement}\n")
        return "".join(lines)

    return edit


edits = st.lists(
    st.one_of(
        edit_of(lambda text: text.splitlines(keepends=True)),
        edit_of(TOKEN.findall),
        st.tuples(st.sampled_from(STATEMENTS), places, st.integers(0, 3)).map(insertion),
    ),
    min_size=1,
    max_size=4,
)
numbers = itertools.count()


@pytest.mark.parametrize("inside", [False, True])
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(edits=edits)
def test_an_edited_shard_compiles_or_says_where(toy: Toy, inside: bool, edits: list[Edit]) -> None:
    toy.parent("modeling_zz", PARENT)
    text = clean(SHARD)
    for edit in edits:
        text = edit(text)
    shard = toy.root / str(next(numbers)) / "modular_new.py"
    if inside:
        toy.inside_parent("zz", PARENT)
        shard = toy.inside / str(next(numbers)) / "modular_new.py"
        text = text.replace("toy.modeling_zz", "..zz.modeling_zz")
    shard.parent.mkdir(parents=True)
    shard.write_text(text, encoding="utf-8")
    read_source.cache_clear()
    run = toy.run(shard)
    assert run.crashes == [], f"{run.crashes[0]}\n{text}"
    if run.failed:
        assert all(1 <= each.line <= text.count("\n") + 1 and each.column >= 1 for each in run.problems), (
            run.messages()
        )
    else:
        for path, output in run.files.items():
            compile(output, path, "exec")
