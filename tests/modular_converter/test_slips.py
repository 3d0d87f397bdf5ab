"""Shards that would be expanded, and then not run, or not as their authors mean: each is told at its place."""

import pytest

from .toybox import Toy


PARENT = """
    from torch import nn


    class ZzMLP(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.gate = nn.Linear(config.size, config.size)

        def forward(self, x):
            return self.gate(x)

        def _init_weights(self):
            pass
"""
CONFIG = """
    class ZzConfig:
        model_type = "zz"
        size: int = 1
"""


def problems(toy: Toy, parent: str, body: str) -> list[str]:
    toy.parent("modeling_zz", PARENT)
    toy.parent("configuration_zz", CONFIG)
    kind = "configuration" if parent == "ZzConfig" else "modeling"
    name = parent.replace("Zz", "New")
    text = f'from toy.{kind}_zz import {parent}\n\n\nclass {name}({parent}):\n{body}\n\n\n__all__ = ["{name}"]\n'
    return toy.problems(toy.shard("new", text))


METHOD = "    def {}(self, config):\n        super().__init__(config)\n        {}\n"


@pytest.mark.parametrize(
    ("parent", "body", "said"),
    [
        ("ZzMLP", METHOD.format("__init__", "del self.gate"), "7:13: forward of ZzMLP reads self.gate: override it"),
        (
            "ZzMLP",
            "    def foward(self, x):\n        return x",
            "5:5: warning: ZzMLP has no foward, which nothing calls",
        ),
        ("ZzMLP", "    def __init__(self, config):\n        self.a = 1", "5:5: warning: __init__ calls no other one"),
        ("ZzMLP", METHOD.format("__init__", "self.a = nn.Linear(1, 1)"), "7:18: Undefined name `nn`: import it"),
        (
            "ZzMLP",
            "    forward = lambda self, x: super(NewMLP, self).forward(x)",
            "5:5: `super()` in an attribute looks past the parent",
        ),
        (
            "ZzMLP",
            "    def __init__(self, config):\n        super().__init__(config, 2)",
            "6:9: __init__ of ZzMLP takes 1 arguments, ['config'], and 2 are given",
        ),
        (
            "ZzMLP",
            "    def __init__(self, config):\n        super().__init__(config, size=2)",
            "6:9: __init__ of ZzMLP takes no size, only ['config']",
        ),
        (
            "ZzMLP",
            METHOD.format("__init__", "self.a = config.sizee"),
            "7:18: warning: no config of zz has sizee; did you mean size?",
        ),
        ("ZzConfig", "    width = 3", "5:5: warning: width has no annotation"),
        ("ZzConfig", "    widths: list[int] = []", "5:5: widths has a mutable default"),
        ("ZzConfig", '    model_type = "llama"', "5:5: 'llama' is the model_type of a model of transformers"),
    ],
)
def test_slips(toy: Toy, parent: str, body: str, said: str) -> None:
    found = problems(toy, parent, body)
    assert any(each.startswith(f"modular_new.py:{said}") for each in found), found


@pytest.mark.parametrize(
    ("parent", "body"),
    [
        ("ZzMLP", METHOD.format("__init__", "del self.gate") + "\n    def forward(self, x):\n        return x"),
        ("ZzMLP", "    def __init__(self, *args):\n        super().__init__(*args)"),
        ("ZzMLP", METHOD.format("__init__", "self.a = config.size")),
        ("ZzMLP", "    def inits(self, x):\n        return x"),
        ("ZzConfig", '    model_type = "new"\n    size: int = 2\n    width: int = 3'),
    ],
)
def test_what_is_meant_is_none(toy: Toy, parent: str, body: str) -> None:
    assert problems(toy, parent, body) == []
