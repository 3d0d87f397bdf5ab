"""Newer syntax passes through every step as it is written: a table of (parent, child, output)."""

import sys

import pytest

from .toybox import Toy, clean


HEAD = """
    from toy.modeling_zz import ZzModel
"""
CASES = [
    pytest.param(
        """
        class ZzModel:
            def name(self, zz):
                return f"zz {zz["zz"]} {f"{zz!r:>{zz.width}}"}"
        """,
        "    pass",
        """
        class NewModel:
            def name(self, new):
                return f"zz {new['new']} {f'{new!r:>{new.width}}'}"
        """,
        id="PEP 701 nested quotes",
    ),
    pytest.param(
        """
        class ZzModel[T: int]:
            def first[S](self, zz: list[S]) -> S:
                return zz[0]
        """,
        "    def last[S](self, zz: list[S]) -> S:\n        return zz[-1]",
        """
        class NewModel[T: int]:
            def first[S](self, new: list[S]) -> S:
                return new[0]

            def last[S](self, zz: list[S]) -> S:
                return zz[-1]
        """,
        marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python refuses the output"),
        id="PEP 695 type parameters",
    ),
    pytest.param(
        """
        type ZzSizes[T] = list[T]


        class ZzModel:
            def first(self, sizes: ZzSizes[int]) -> int:
                return sizes[0]
        """,
        "    pass",
        """
        type NewSizes[T] = list[T]


        class NewModel:
            def first(self, sizes: NewSizes[int]) -> int:
                return sizes[0]
        """,
        marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python refuses the output"),
        id="PEP 695 type alias",
    ),
    pytest.param(
        """
        class ZzModel:
            def kind(self, zz):
                match zz:
                    case {"zz": ZzModel(size=1) as zz_small, **rest} if rest:
                        return zz_small
                    case [ZzModel(), *_] | None:
                        return "zz"
                    case _:
                        return zz
        """,
        "    pass",
        """
        class NewModel:
            def kind(self, new):
                match new:
                    case {"new": NewModel(size=1) as new_small, **rest} if rest:
                        return new_small
                    case [NewModel(), *_] | None:
                        return "new"
                    case _:
                        return new
        """,
        id="match",
    ),
    pytest.param(
        """
        class ZzModel:
            def go(self, zz):
                if (zz_size := len(zz)) > 1:
                    self.size = zz_size
        """,
        "    def go(self, new):\n        super().go(new)\n        self.more = (size := 1) + size",
        """
        class NewModel:
            def go(self, new):
                if (new_size := len(new)) > 1:
                    self.size = new_size
                self.more = (size := 1) + size
        """,
        id="walrus",
    ),
    pytest.param(
        """
        class ZzModel:
            async def go(self, zz):
                async with zz.lock as lock:
                    return [each async for each in zz if await each]
        """,
        "    async def more(self):\n        return await self.go(1)",
        """
        class NewModel:
            async def go(self, new):
                async with new.lock as lock:
                    return [each async for each in new if await each]

            async def more(self):
                return await self.go(1)
        """,
        id="async",
    ),
    pytest.param(
        """
        import functools


        @functools.total_ordering
        class ZzModel:
            @functools.lru_cache(maxsize=2, typed=True)
            def zz(self, /, a, *, b=1):
                return a
        """,
        "    pass",
        """
        import functools


        @functools.total_ordering
        class NewModel:
            @functools.lru_cache(maxsize=2, typed=True)
            def new(self, /, a, *, b=1):
                return a
        """,
        id="decorators with arguments, markers",
    ),
    pytest.param(
        """
        class ZzModel:
            def go(self, zz):
                try:
                    return zz
                except* ValueError as error:
                    self.zz = error
        """,
        "    pass",
        """
        class NewModel:
            def go(self, new):
                try:
                    return new
                except* ValueError as error:
                    self.new = error
        """,
        id="except star",
    ),
]


@pytest.mark.parametrize(("parent", "body", "expected"), CASES)
def test_newer_syntax(toy: Toy, parent: str, body: str, expected: str) -> None:
    toy.parent("modeling_zz", clean(parent))
    shard = toy.shard("new", f'{clean(HEAD)}\n\nclass NewModel(ZzModel):\n{body}\n\n\n__all__ = ["NewModel"]\n')
    text = toy.run(shard).files[toy.shards / "modeling_new.py"]
    _, _, found = text.partition("#\n")
    assert found.strip() == f'{clean(expected).strip()}\n\n\n__all__ = ["NewModel"]'


def test_what_libcst_cannot_parse_is_an_error_with_its_place(toy: Toy) -> None:
    toy.parent("modeling_zz", "class ZzModel:\n    pass\n\n\nx = = 1\n")
    shard = toy.shard("new", f'{clean(HEAD)}\n\nclass NewModel(ZzModel):\n    pass\n\n\n__all__ = ["NewModel"]\n')
    (problem,) = toy.problems(shard)
    assert problem.startswith("modeling_zz.py:5:5: invalid syntax"), problem
