"""What is wrong with a shard is told with its place and what to write instead, all of it at once."""

import pytest

from .toybox import Toy


SHARD = """\
from toy.modeling_zz import ZzModel


class NewModel(ZzModel):
    pass


__all__ = ["NewModel"]
"""


@pytest.fixture
def zz(toy: Toy) -> Toy:
    toy.parent(
        "modeling_zz",
        "class ZzModel:\n    size = 1\n\n    def forward(self, x):\n        return x\n\n\nclass ZzOther:\n    pass\n",
    )
    return toy


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param(
            "modeling_zz", "modeling_zy", "1:1: the parent module toy.modeling_zy does not exist", id="parent module"
        ),
        pytest.param("toy.", "tooy.", "1:1: the package tooy is not installed", id="package"),
        pytest.param(
            "ZzModel", "ZzModle", "1:1: toy.modeling_zz defines no ZzModle; did you mean ZzModel?", id="parent class"
        ),
        pytest.param(
            "import ZzModel", "import ZzModel as Z", "1:1: `ZzModel as Z`: parents keep their names", id="alias"
        ),
        pytest.param("import ZzModel", "import *", "1:1: `import *` hides what is inherited", id="star"),
        pytest.param(
            "import ZzModel",
            "import ZzConfig",
            "1:1: ZzConfig is a config: import it from configuration_zz",
            id="config from modeling",
        ),
        pytest.param(
            "toy.modeling_zz", "transformers", "1:1: `from transformers import` hides the file", id="from transformers"
        ),
        pytest.param(
            "(ZzModel)", "(ZzModel, ZzOther)", "4:1: NewModel has 2 parents from other models", id="two parents"
        ),
        pytest.param(
            "    pass",
            "    siz = AttributeError()",
            "5:5: `siz = AttributeError()` deletes nothing: the parent has no such attribute; did you mean size?",
            id="attribute",
        ),
        pytest.param(
            "    pass",
            "    def forwrd(self):\n        raise AttributeError()",
            "5:5: `raise AttributeError` deletes nothing: the parent has no method forwrd; did you mean forward?",
            id="method",
        ),
        pytest.param(
            "    pass",
            "    def run(self):\n        return missing(self)",
            "6:16: Undefined name `missing` in the output modeling_new.py",
            id="undefined name",
        ),
        pytest.param(
            "\n\nclass",
            "\ntry:\n    import fast\nexcept ImportError:\n    fast = None\n\n\nclass",
            "3:1: this top-level statement would be left out",
            id="try",
        ),
        pytest.param("\n\nclass", "\nUNUSED = 1\n\n\nclass", "3:1: UNUSED would be left out", id="unused"),
        pytest.param(
            '["NewModel"]',
            '["NewModle"]',
            "8:1: `__all__` lists NewModle, which nothing defines; did you mean NewModel?",
            id="exports",
        ),
        pytest.param(
            "(ZzModel)",
            "(toy.modeling_zz.ZzModel)",
            "4:1: the base toy.modeling_zz.ZzModel is not recognised as a parent",
            id="module-style base",
        ),
        pytest.param("class NewModel(ZzModel):", "class NewModel(ZzModel:", "4:23: invalid syntax", id="syntax"),
        pytest.param(
            "    pass", "    *size", "5:5: invalid syntax: can't use starred expression here", id="uncompilable"
        ),
        pytest.param("    pass", "    return 1", "5:5: invalid syntax: 'return' outside function", id="return"),
        pytest.param(
            "    pass",
            "<<<<<<< NewModel.size\n    pass\n=======\n    return\n>>>>>>> toy 2",
            "5:1: a conflict that a merge left, in NewModel.size: keep what is right of both sides",
            id="conflict",
        ),
        pytest.param(
            "\n\nclass",
            "\nfrom .modular_shared import x\n\n\nclass",
            "3:1: the parent module .modular_shared does not exist",
            id="helper shard",
        ),
        pytest.param(
            "\n\nclass",
            "\nfrom .sibling import x\n\n\nclass",
            "3:7: the output modeling_new.py imports from .sibling, which is neither generated",
            id="sibling",
        ),
    ],
)
def test_problem(zz: Toy, old: str, new: str, problem: str) -> None:
    text = SHARD.replace(old, new)
    if "ZzOther" in new:
        text = text.replace("import ZzModel", "import ZzModel, ZzOther")
    if "sibling" in new:
        text = text.replace("    pass", "    size = x")
    found = zz.problems(zz.shard("new", text))
    assert any(line.startswith(f"modular_new.py:{problem}") for line in found), found


def test_other_indentation(zz: Toy) -> None:
    shard = zz.shard("new", SHARD.replace("    pass", "  def forward(self, x):\n    return 1"))
    assert zz.problems(shard) == [
        "modular_new.py:4:1: NewModel and its parent must both be indented by four spaces a level, "
        "as they become one class"
    ]


def test_exports_must_be_literal(zz: Toy) -> None:
    shard = zz.shard("new", SHARD.replace('["NewModel"]', "[name for name in dir()]"))
    assert zz.problems(shard) == [
        "modular_new.py:8:1: `__all__` must be a list of string literals, each of which goes to the file of its kind"
    ]


def test_unmatched_deletions_of_transformers_are_warnings(toy: Toy) -> None:
    toy.inside_parent("zz", "class ZzModel:\n    def run(self):\n        self.x = 1\n")
    text = "from ..zz.modeling_zz import ZzModel\n\n\nclass NewModel(ZzModel):\n    def run(self):\n        super().run()\n"
    run = toy.run(toy.inside_shard("new", f'{text}        del self.y\n\n\n__all__ = ["NewModel"]\n'))
    assert not run.failed
    assert [problem.line for problem in run.problems if problem.warning] == [7]


def test_all_problems_of_a_run_are_told_together(zz: Toy) -> None:
    first = zz.shard("one", SHARD.replace("modeling_zz", "modeling_zy"))
    second = zz.shard(
        "two",
        SHARD.replace("New", "Two")
        .replace("(ZzModel)", "(ZzModel, ZzOther)")
        .replace("import ZzModel", "import ZzModel, ZzOther"),
    )
    assert [line.split(":")[0] for line in zz.problems(first, second)] == ["modular_one.py", "modular_two.py"]


def test_helper_shards_in_a_circle(zz: Toy) -> None:
    zz.shard("one", "from .modular_two import b\n\n\ndef a():\n    return b\n")
    zz.shard("two", "from .modular_one import a\n\n\ndef b():\n    return a\n")
    shard = zz.shard("new", SHARD.replace("\n\nclass", "\nfrom .modular_one import a\n\n\nclass"))
    assert any("modular_one.py -> modular_two.py -> modular_one.py" in line for line in zz.problems(shard))


def test_unfit_names(zz: Toy) -> None:
    path = zz.write(zz.shards / "shard.py", SHARD)
    assert zz.problems(path) == [
        "shard.py:1:1: a shard is called modular_<name>.py, so that its outputs can take its name; this is shard.py"
    ]


BASES = """\
from toy.base import Known
from elsewhere import Unknown


class ZzBase(Known):
    def reset(self):
        pass


class ZzKnown(ZzBase):
    def forward(self, x):
        return x


class ZzUnknown(Unknown):
    def forward(self, x):
        return x

    def _init(self):
        pass
"""


@pytest.mark.parametrize(
    ("parent", "called", "problem"),
    [
        pytest.param("ZzKnown", "forwardd", "; did you mean forward?", id="misspelt"),
        pytest.param("ZzKnown", "run", "", id="no base has it"),
        pytest.param("ZzKnown", "reset", None, id="of a base"),
        pytest.param("ZzKnown", "build", None, id="of a base in another file"),
        pytest.param("ZzKnown", "__repr__", None, id="of object"),
        pytest.param("ZzUnknown", "forwardd", "; did you mean forward?", id="misspelt, with an unknown base"),
        pytest.param("ZzUnknown", "run", None, id="perhaps of an unknown base"),
        pytest.param("ZzUnknown", "init", None, id="perhaps public in an unknown base"),
    ],
)
def test_super_call_of_an_unknown_method(toy: Toy, parent: str, called: str, problem: str | None) -> None:
    toy.parent("base", "class Known:\n    def build(self):\n        pass\n")
    toy.parent("modeling_zz", BASES)
    method = f"    def {called}(self, x):\n        return super().{called}(x)"
    name = parent.replace("Zz", "New")
    shard = SHARD.replace("ZzModel", parent).replace("NewModel", name).replace("    pass", method)
    message = f"modular_new.py:6:16: `super().{called}(...)` calls what neither the parent nor its bases define"
    found = [each for each in toy.problems(toy.shard("new", shard)) if "warning" not in each]
    assert found == ([] if problem is None else [message + problem])


def test_signature_that_does_not_merge(toy: Toy) -> None:
    toy.parent("modeling_zz", "class ZzModel:\n    def forward(self, x=1):\n        return x\n")
    child = "    def forward(self, y, **super_kwargs):\n        return y"
    assert toy.problems(toy.shard("new", SHARD.replace("    pass", child))) == [
        "modular_new.py:5:5: with the parent's parameters this is no signature: Cannot have param without defaults "
        "following a param with defaults. Write out all parameters"
    ]
