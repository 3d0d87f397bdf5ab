"""The halves of an expanded file fit, or the place of the override that does not is told."""

import libcst as cst
import pytest

from transformers_heterogeneous.scripts.modular_converter.checks.call_checks import mismatches

from .toybox import Toy, clean


FIELDS = {"Out": frozenset({"hidden", "cache"})}
FITS = {
    "keywords, positions and defaults": """
        def f(a, b=1, *, c=2): pass
        def g(): f(1, c=3)
    """,
    "whatever is taken": """
        def f(a, **kwargs): pass
        def g(): f(a=1, d=3)
        def h(*args): f(*args)
    """,
    "a parameter of that name": """
        def f(a): pass
        def g(f): f(b=1)
    """,
    "a decorator that may change what is taken": """
        @other
        def f(a): pass
        def g(): f(b=1)
    """,
    "an old name that is passed on": """
        class A:
            @deprecate_kwarg("past", new_name="cache")
            def forward(self, cache=None): self.forward(past=1)
    """,
    "an attribute of two kinds": """
        class A:
            def forward(self, x): pass
        class B:
            def __init__(self, config):
                self.a = A() if config else None
                self.b = A()
                self.b = Other()
            def forward(self): self.a(y=1); self.b(y=1)
    """,
    "a variable of two loops": """
        class A:
            def forward(self, x): pass
        class B:
            def forward(self, x, y): pass
        class C:
            def __init__(self):
                self.a = nn.ModuleList([A()])
                self.b = nn.ModuleList([B()])
            def forward(self, x):
                for layer in self.a: layer(x)
                for layer in self.b: layer(x, x)
    """,
    "fields": "def f(x):\n    out: Out = x()\n    return Out(hidden=out.cache)\n",
}
MISFITS = {
    "an unknown keyword": (
        "def f(a): pass\ndef g(): f(1, b=2)\n",
        ("f", "g"),
        "`f` is called with b, which it does not take (it takes a)",
    ),
    "a missing argument": (
        "def f(a, b): pass\ndef g(): f(1)\n",
        ("f", "g"),
        "`f` is called without b, which it needs",
    ),
    "a method": (
        "class A:\n    def f(self, a): pass\n    def g(self): self.f(b=1)\n",
        ("A.f", "A.g"),
        "`self.f` is called with b, which it does not take (it takes a)",
    ),
    "an inherited method": (
        "class B:\n    def g(self): self.f()\nclass A(B):\n    def f(self, a): pass\n",
        ("A.f", "B.g"),
        "`self.f` is called without a, which it needs",
    ),
    "a class": (
        "class A:\n    def __init__(self, a): pass\ndef g(): A(1, 2, b=1)\n",
        ("A.__init__", "g"),
        "`A` is called with b, which it does not take (it takes a)",
    ),
    "a sub-module": (
        "class A:\n    def forward(self, x): pass\n"
        "class B:\n    def __init__(self): self.a = A()\n    def forward(self, x): self.a(x, cache=1)\n",
        ("A.forward", "B.forward"),
        "`self.a` is called with cache, which it does not take (it takes x)",
    ),
    "a list of sub-modules": (
        "class A:\n    def forward(self, x): pass\n"
        "class B:\n    def __init__(self): self.layers = nn.ModuleList([A() for _ in range(2)])\n"
        "    def forward(self, x):\n        for i, layer in enumerate(self.layers[:2]): layer(x, cache=1)\n",
        ("A.forward", "B.forward"),
        "`layer` is called with cache, which it does not take (it takes x)",
    ),
    "a decorator": (
        'class A:\n    @deprecate_kwarg("past", new_name="cache")\n    def f(self, past=None, **kwargs): pass\n',
        ("A.f",),
        "the decorator passes cache on, which f does not take",
    ),
    "a field that is built": ("def f(): return Out(past=1)\n", ("f",), "Out has no field past"),
    "a field that is read": ("def f(x):\n    out: Out = x()\n    return out.past\n", ("f",), "Out has no field past"),
}


@pytest.mark.parametrize("name", FITS)
def test_fits(name: str) -> None:
    assert [each.message for each in mismatches(cst.parse_module(clean(FITS[name])).body, FIELDS.get)] == []


@pytest.mark.parametrize("name", MISFITS)
def test_misfit(name: str) -> None:
    text, names, message = MISFITS[name]
    found = list(mismatches(cst.parse_module(text).body, FIELDS.get))
    assert [(each.names, each.message) for each in found] == [(names, message)]
    assert found[0].doubtful == ("read" in name)


PARENT = """
    from toy.outputs import BaseOutput, deprecate_kwarg


    class ZzLayer:
        def forward(self, x, cache=None):
            return x


    class ZzModel:
        def __init__(self):
            self.layer = ZzLayer()

        @deprecate_kwarg("past", new_name="cache")
        def forward(self, x, cache=None):
            return BaseOutput(hidden=self.layer(x, cache=cache), cache=cache)
"""
SHARD = """
    from toy.modeling_zz import ZzLayer, ZzModel
    from toy.outputs import BaseOutput


    class NewLayer(ZzLayer):
        def forward(self, x, past=None):
            return x


    class NewModel(ZzModel):
        def forward(self, x, past=None):
            return BaseOutput(hidden=x, past=past)


    class NewHead(ZzModel):
        pass


    __all__ = ["NewModel", "NewHead"]
"""


def test_places_in_the_shard(toy: Toy) -> None:
    """An inherited caller of an overridden callee, a decorator that is inherited, and an output of another release."""
    toy.parent("modeling_zz", PARENT)
    toy.parent(
        "outputs", "class ModelOutput: pass\n\n\nclass BaseOutput(ModelOutput):\n    hidden: int\n    cache: int\n"
    )
    found = toy.problems(toy.shard("new", SHARD))
    assert [line.partition("; has a parent")[0] for line in found] == [
        "modular_new.py:6:5: in NewLayer.forward and NewHead.forward, as expanded into the modeling file: `self.layer` is "
        "called with cache, which it does not take (it takes x, past)",
        "modular_new.py:11:5: in NewModel.forward, as expanded into the modeling file: the decorator passes cache on, "
        "which forward does not take",
        "modular_new.py:12:16: in NewModel.forward, as expanded into the modeling file: BaseOutput has no field past",
    ]
