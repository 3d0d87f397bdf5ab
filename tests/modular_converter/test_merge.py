"""Merging a class with its parent: tables of (parent, child, merged)."""

import re
import textwrap
from pathlib import Path

import libcst as cst
import pytest

from transformers_heterogeneous.scripts.modular_converter.merging.classes import merge_class
from transformers_heterogeneous.scripts.modular_converter.merging.unroll import Scope
from transformers_heterogeneous.scripts.modular_converter.naming.model_names import ModelNames
from transformers_heterogeneous.scripts.modular_converter.sources.source import parse_source
from transformers_heterogeneous.scripts.modular_converter.syntax.tree import code

from .toybox import clean


PARENT = """
    # above the parent
    @decorated
    class NewLayer(nn.Module, metaclass=Meta):
        '''single'''
        size = 1
        other: int = 2

        # above forward
        def forward(self, x, *, scale=1, **kwargs) -> int:
            \"\"\"Theirs.\"\"\"
            h = x
            return h

        @property
        def width(self):
            return 1

        @width.setter
        def width(self, value):
            pass
"""
INIT = """
    class NewLayer(Base):
        def __init__(self, config, layer_idx=None):
            super().__init__(config)
            self.a = 1
            # about b
            self.b = 2
            self.post_init()
"""


def merge(parent: str, child: str, exact: bool = False) -> tuple[str, list[str]]:
    """The merged class and the problems, for a child whose header says `ZzLayer`."""
    problems: list[str] = []
    source = parse_source(Path("child.py"), clean(child))

    def report(node: cst.CSTNode, message: str, warning: bool = False) -> None:
        line, column = source.position(node)
        problems.append(f"{line}:{column}: {message}")

    scope = Scope(report, exact, remembered=[] if exact else None)
    original = cst.parse_module(f"first = 0\n{clean(parent)}").body[-1]
    return code(merge_class(source.statements[0].node, original, "ZzLayer", ModelNames({}), scope)), problems


@pytest.mark.parametrize(
    ("child", "present", "absent"),
    [
        pytest.param(
            "class NewLayer(ZzLayer):\n    pass",
            ["# above the parent\nclass NewLayer(nn.Module, metaclass=Meta):", "single"],
            ["pass\n\n"],
            id="R11 header",
        ),
        pytest.param('class NewLayer(ZzLayer):\n    """Mine."""', ['    """Mine."""\n'], [], id="R14 class docstring"),
        pytest.param(
            "class NewLayer(ZzLayer):\n    size = 3\n    new = 4",
            ["    size = 3\n    other: int = 2\n    new = 4\n"],
            ["size = 1"],
            id="R15 attributes in place",
        ),
        pytest.param(
            "class NewLayer(ZzLayer):\n    other = AttributeError()", ["size = 1"], ["other"], id="R15 deletion"
        ),
        pytest.param(
            "class NewLayer(ZzLayer):\n    width = 5", ["width = 5"], ["def width"], id="R15 attribute for a property"
        ),
        pytest.param(
            "class NewLayer(ZzLayer):\n    def forward(self, y):\n        return y",
            ["# above forward\n    def forward(self, y) -> int:\n", '"""Theirs."""\n        return y'],
            ["h = x"],
            id="R16 override",
        ),
        pytest.param(
            "class NewLayer(ZzLayer):\n    def more(self):\n        return 1", ["def more"], [], id="R16 new method"
        ),
        pytest.param(
            "class NewLayer(ZzLayer):\n    @width.setter\n    def width(self, value):\n        self.x = value",
            ["return 1", "self.x = value"],
            [],
            id="R16 setter only",
        ),
        pytest.param(
            'class NewLayer(ZzLayer):\n    x = 1\n\n    def forward(self):\n        raise AttributeError("gone")',
            [],
            ["forward"],
            id="R17 deleted method",
        ),
        pytest.param(
            'class NewLayer(ZzLayer):\n    def width(self):\n        raise AttributeError("gone")',
            [],
            ["width"],
            id="R17 both halves of a property",
        ),
        pytest.param(
            "class NewLayer(ZzLayer):\n    def forward(self, y=0, **super_kwargs):\n        return 1",
            ["def forward(self, x, *, scale=1, y=0, **kwargs)"],
            ["super_kwargs"],
            id="R20 parameters",
        ),
        pytest.param(
            "class NewLayer(ZzLayer):\n    class Inner:\n        pass",
            ["    class Inner:\n"],
            [],
            id="nested classes stay",
        ),
    ],
)
def test_members(child: str, present: list[str], absent: list[str]) -> None:
    merged, problems = merge(PARENT.replace("    @decorated\n", ""), child)
    assert problems == []
    assert [piece for piece in present if piece not in merged] == []
    assert [piece for piece in absent if piece in merged] == []


@pytest.mark.parametrize(
    ("child", "present", "absent"),
    [
        pytest.param(
            "class NewLayer(ZzLayer):\n    pass",
            ["# above the parent\n@decorated\nclass NewLayer(nn.Module, metaclass=Meta):"],
            ["pass\n\n"],
            id="R11 header",
        ),
        pytest.param(
            "@mine\nclass NewLayer(ZzLayer):\n    pass", ["@mine\nclass"], ["@decorated"], id="R13 decorators replaced"
        ),
        pytest.param(
            "@no_inherit_decorator\nclass NewLayer(ZzLayer):\n    pass",
            ["parent\nclass"],
            ["@decorated", "no_inherit"],
            id="R13 no decorators",
        ),
    ],
)
def test_headers_of_transformers_own(child: str, present: list[str], absent: list[str]) -> None:
    merged, problems = merge(PARENT, child, exact=True)
    assert problems == []
    assert [piece for piece in present if piece not in merged] == []
    assert [piece for piece in absent if piece in merged] == []


def body_of(merged: str) -> list[str]:
    return [line.strip() for line in merged.split("\n")[2:] if line.strip()]


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        pytest.param(
            "super().__init__(config)",
            "super().__init__(config)|self.a = 1|# about b|self.b = 2|self.post_init()",
            id="pasted",
        ),
        pytest.param(
            "super().__init__(config)\nself.b = 3",
            "super().__init__(config)|self.a = 1|self.b = 3|self.post_init()",
            id="in place",
        ),
        pytest.param(
            "super().__init__(config)\nself.c = 3",
            "super().__init__(config)|self.a = 1|# about b|self.b = 2|self.c = 3|self.post_init()",
            id="appended, post_init last",
        ),
        pytest.param(
            "super().__init__(config)\nself.a = 1  # again",
            "super().__init__(config)|self.a = 1  # again|# about b|self.b = 2|self.post_init()",
            id="the child's wording",
        ),
        pytest.param(
            "size = 1\nsuper().__init__(config)",
            "size = 1|super().__init__(config)|self.a = 1|# about b|self.b = 2|self.post_init()",
            id="statements before",
        ),
        pytest.param(
            "super().__init__(config)\ndel self.a",
            "super().__init__(config)|# about b|self.b = 2|self.post_init()",
            id="del",
        ),
        pytest.param(
            "Base.__init__(self, config)\nself.c = 3", "super().__init__(config)|self.c = 3", id="R19 base call"
        ),
        pytest.param(
            "super().__init__(config)\nBase.reset(self)",
            "super().__init__(config)|self.a = 1|# about b|self.b = 2|super().reset()|self.post_init()",
            id="R19 after the call",
        ),
    ],
)
def test_unrolled(statements: str, expected: str) -> None:
    lines = "\n".join("        " + line for line in statements.split("\n"))
    merged, problems = merge(INIT, f"class NewLayer(ZzLayer):\n    def __init__(self, config, layer_idx):\n{lines}\n")
    assert problems == []
    assert body_of(merged) == expected.split("|")


@pytest.mark.parametrize(
    ("child", "problem"),
    [
        pytest.param("    gone = AttributeError()", "2:5: `gone = AttributeError()` deletes nothing", id="attribute"),
        pytest.param(
            "    def gone(self):\n        raise AttributeError()",
            "2:5: `raise AttributeError` deletes nothing",
            id="method",
        ),
        pytest.param(
            "    def __init__(self, config):\n        super().__init__(config)\n        del self.x",
            "4:13: `del self.x` deletes nothing",
            id="del",
        ),
    ],
)
def test_losses_are_told(child: str, problem: str) -> None:
    _, problems = merge(INIT, f"class NewLayer(ZzLayer):\n{child}\n")
    assert problems and problems[0].startswith(problem)


def test_transformers_own_shards_remember_assignments() -> None:
    parent = INIT + "\n        def reset(self):\n            self.a = 1\n"
    child = """
        class NewLayer(ZzLayer):
            def __init__(self, config, layer_idx):
                super().__init__(config)
                self.a = 42

            def reset(self):
                super().reset()
    """
    assert merge(parent, child, exact=True)[0].count("self.a = 42") == 2
    assert merge(parent, child, exact=False)[0].count("self.a = 42") == 1


def test_words_are_renamed_again_for_another_name() -> None:
    parent = 'class NewLayer(Base):\n    """A NewLayer of new."""\n    kind = NewThing\n'
    merged, _ = merge(parent, "class NewTextLayer(ZzLayer):\n    pass\n")
    assert '"""A NewTextLayer of new_text."""' in merged and "kind = NewThing" in merged


@pytest.mark.parametrize(
    ("child", "merged"),
    [
        pytest.param(
            '@deprecate_kwarg("a", new_name="x")',
            ["@can_return_tuple", "# why", "@auto_docstring", "@deprecated(a)"],
            id="beside",
        ),
        pytest.param(
            '@deprecate_kwarg("a", new_name="x")\n@deprecate_kwarg("b", new_name="x")',
            ["@can_return_tuple", "# why", "@auto_docstring", "@deprecated(a)", "@deprecated(b)"],
            id="several",
        ),
        pytest.param(
            '@three\n@deprecate_kwarg("a", new_name="x")', ["@three", "@deprecated(a)"], id="replaced with another"
        ),
        pytest.param("", ["@deprecated(b)", "@can_return_tuple", "# why", "@auto_docstring"], id="inherited"),
        pytest.param("@no_inherit_decorator", [], id="none"),
    ],
)
def test_deprecated_keywords_stand_beside_the_parents_decorators(child: str, merged: list[str]) -> None:
    """R13 as of 5.24, where the parent deprecates a keyword too: the child says which are deprecated in its signature."""
    parent = """
        class NewLayer(Base):
            @deprecate_kwarg("b", new_name="x")
            @can_return_tuple
            # why
            @auto_docstring
            def forward(self, x):
                return x
    """
    method = f"{child}\ndef forward(self, x):\n    return -x".lstrip()
    text, _ = merge(parent, "class NewLayer(ZzLayer):\n" + textwrap.indent(method, "    "))
    above = [line.strip() for line in text.split("def forward")[0].splitlines()[1:]]
    assert [re.sub(r'deprecate_kwarg\("(\w)".*', r"deprecated(\1)", line) for line in above if line] == merged


def test_type_parameters_are_kept() -> None:
    parent = "class NewLayer[T: int](Base[T]):\n    def first[S](self, x: S) -> S:\n        return x\n"
    child = "class NewLayer(ZzLayer):\n    def first[R](self, x: R) -> R:\n        return x\n"
    text, problems = merge(parent, child)
    assert problems == []
    assert text == "class NewLayer[T: int](Base[T]):\n    def first[R](self, x: R) -> R:\n        return x\n"
