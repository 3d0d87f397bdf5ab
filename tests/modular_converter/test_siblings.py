"""Parents that another shard of the same folder expands to."""

import ast
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.command.generate import generate_command
from transformers_heterogeneous.scripts.modular_converter.output.package import render_package
from transformers_heterogeneous.scripts.modular_converter.run import expand

from .toybox import Toy, body, clean


PARENT = """
    def scale(x):
        return x


    class ZzConfig:
        model_type = "zz"


    class ZzMLP:
        def __init__(self, size):
            self.size = size

        def forward(self, x):
            return scale(x)


    class ZzAttention:
        pass
"""
OTHER = """
    from toy.modeling_zz import ZzAttention, ZzMLP


    class OtherConfig:
        model_type = "other"


    class OtherMLP(ZzMLP):
        def __init__(self, size):
            super().__init__(size)
            self.extra = [
                1, 2]


    class OtherAttention(ZzAttention):
        pass


    __all__ = ["OtherConfig", "OtherMLP", "OtherAttention"]
"""
NEW = """
    from .modular_other import OtherMLP


    class NewMLP(OtherMLP):
        def __init__(self, size):
            super().__init__(size)
            self.more = 2


    __all__ = ["NewMLP"]
"""
EXPANDED = """
    def scale(x):
        return x


    class NewMLP:
        def __init__(self, size):
            self.size = size
            self.extra = [1, 2]
            self.more = 2

        def forward(self, x):
            return scale(x)


    __all__ = ["NewMLP"]
"""


@pytest.fixture
def zz(toy: Toy) -> Toy:
    toy.parent("modeling_zz", PARENT)
    toy.shard("other", OTHER)
    return toy


@pytest.mark.parametrize("module", ["modular_other", "modeling_other"])
@pytest.mark.parametrize("first", ["new", "other"])
def test_a_sibling_is_flattened_like_any_parent(zz: Toy, module: str, first: str) -> None:
    new = zz.shard("new", NEW.replace("modular_other", module))
    other = zz.shards / "modular_other.py"
    shards = [new, other] if first == "new" else [other, new]
    expected = zz.texts(*shards)
    assert expected["modeling_new.py"] == clean(EXPANDED)
    assert zz.texts(*shards) == expected  # as remembered


def test_the_same_from_the_file_on_disk(zz: Toy) -> None:
    new, other = zz.shard("new", NEW), zz.shards / "modular_other.py"
    together = zz.run(new, other)
    assert generate_command([other], None) == 0
    assert zz.run(new).files[zz.shards / "modeling_new.py"] == together.files[zz.shards / "modeling_new.py"]


@pytest.mark.parametrize("alone", [True, False])
def test_a_change_of_the_sibling_is_seen(zz: Toy, alone: bool) -> None:
    new, other = zz.shard("new", NEW), zz.shards / "modular_other.py"
    shards = [new] if alone else [new, other]
    generate_command([other], None)
    zz.run(*shards)
    zz.shard("other", OTHER.replace("1, 2]", "1, 3]"))
    forget_sources()
    generate_command([other], None)
    forget_sources()
    assert "self.extra = [1, 3]" in zz.run(*shards).files[zz.shards / "modeling_new.py"]


def forget_sources() -> None:
    """What a new process would not know."""
    from transformers_heterogeneous.scripts.modular_converter.sources.source import read_source

    read_source.cache_clear()


def test_what_is_not_inherited_stays_an_import(zz: Toy) -> None:
    shard = NEW.replace("import OtherMLP", "import OtherAttention, OtherConfig, OtherMLP").replace(
        "self.more = 2", "self.more = OtherAttention(), OtherConfig()"
    )
    text = zz.texts(zz.shards / "modular_other.py", zz.shard("new", shard))["modeling_new.py"]
    assert "from .configuration_other import OtherConfig\nfrom .modeling_other import OtherAttention\n" in text


def test_a_function_of_a_sibling_takes_the_parents_place(zz: Toy) -> None:
    other = OTHER.replace("class OtherConfig:", "def scale(x):\n        return 2 * x\n\n\n    class OtherConfig:", 1)
    imported = """
        from toy.modeling_zz import ZzMLP
        from .modular_other import (
            OtherConfig,
            scale,  # noqa: F401  (in the place of the parent's)
        )


        class NewMLP(ZzMLP):
            config_class = OtherConfig


        __all__ = ["NewMLP"]
    """
    text = zz.texts(zz.shard("other", other), zz.shard("new", imported))["modeling_new.py"]
    assert "from .modeling_other import scale\n" in text and "def scale" not in text and "#" not in body(text)


def test_outputs_elsewhere(zz: Toy, tmp_path: Path) -> None:
    new, out = zz.shard("new", NEW), tmp_path / "out"
    assert generate_command([zz.shards / "modular_other.py"], out) == 0
    assert generate_command([new], out) == 0
    assert body((out / "modeling_new.py").read_text()) == clean(EXPANDED)


def test_three_generations(zz: Toy) -> None:
    last = zz.shard("last", NEW.replace("Other", "New").replace("other", "new").replace("NewMLP(", "LastMLP(", 1))
    zz.write(last, last.read_text().replace("class NewMLP", "class LastMLP").replace('["NewMLP"]', '["LastMLP"]'))
    text = zz.texts(last, zz.shard("new", NEW), zz.shards / "modular_other.py")["modeling_last.py"]
    assert "class LastMLP:\n" in text and "self.size = size\n" in text


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        pytest.param("modular_other", "generate modular_other.py first", id="shard"),
        pytest.param("modeling_other", "generate modular_other.py first", id="file"),
        pytest.param("modular_none", "the parent module .modular_none does not exist", id="no such shard"),
    ],
)
def test_a_sibling_that_is_not_there(zz: Toy, module: str, problem: str) -> None:
    found = zz.problems(zz.shard("new", NEW.replace("modular_other", module)))
    assert len(found) == 1 and found[0].startswith("modular_new.py:1:1:") and problem in found[0], found


def test_an_unknown_class_of_a_sibling(zz: Toy) -> None:
    new = zz.shard("new", NEW.replace("OtherMLP", "OtherMLX"))
    assert zz.problems(new, zz.shards / "modular_other.py") == [
        "modular_new.py:1:1: modeling_other defines no OtherMLX; did you mean OtherMLP?"
    ]


def test_shards_in_a_circle(zz: Toy) -> None:
    new = zz.shard("new", NEW)
    other = zz.shard("other", "from .modular_new import NewMLP\n" + clean(OTHER))
    assert zz.problems(new, other) == [
        f"{name}:1:1: shards inherit from one another in a circle: modular_new.py -> modular_other.py -> modular_new.py; "
        "move what they share into a third one"
        for name in ("modular_new.py", "modular_other.py")
    ]


# --- what siblings share ----------------------------------------------------------------------------------------------

SHARED = """
    class LayerView:
        def __init__(self, config):
            self.config = config


    class SharedError(ValueError):
        pass


    class SharedConfig:
        def check(self):
            raise SharedError(LayerView(self))


    __all__ = ["SharedConfig", "SharedError"]
"""
HELPER = """
    from .modular_shared import SharedConfig


    class SharedModel:
        def read(self, config: SharedConfig):
            return config
"""
FAMILY = """
    from toy.modeling_zz import ZzConfig, ZzMLP

    from .modular_helper import SharedModel
    from .modular_shared import SharedConfig


    class NewConfig(ZzConfig, SharedConfig):
        pass


    class NewModel(SharedModel):
        pass


    class NewMLP(ZzMLP):
        pass


    __all__ = ["NewConfig", "NewMLP", "NewModel"]
"""
EXPANDED_FAMILY = {
    "configuration_shared.py": SHARED,
    "configuration_new.py": """
        from .configuration_shared import SharedConfig


        class NewConfig(SharedConfig):
            model_type = "new"


        __all__ = ["NewConfig"]
    """,
    "modeling_new.py": """
        from .configuration_shared import SharedConfig


        class SharedModel:
            def read(self, config: SharedConfig):
                return config


        class NewModel(SharedModel):
            pass


        def scale(x):
            return x


        class NewMLP:
            def __init__(self, size):
                self.size = size

            def forward(self, x):
                return scale(x)


        __all__ = ["NewMLP", "NewModel"]
    """,
}


@pytest.fixture
def family(toy: Toy) -> Toy:
    toy.parent("modeling_zz", PARENT)
    toy.shard("helper", HELPER)
    toy.shard("shared", SHARED)
    toy.shard("new", FAMILY.replace("modeling_zz import ZzConfig, ZzMLP", "modeling_zz import ZzMLP"))
    toy.parent("configuration_zz", 'class ZzConfig:\n    model_type = "zz"\n')
    new = toy.shards / "modular_new.py"
    new.write_text("from toy.configuration_zz import ZzConfig\n" + new.read_text())
    return toy


def shards_of(toy: Toy, *names: str) -> list[Path]:
    return [toy.shards / f"modular_{name}.py" for name in names]


@pytest.mark.parametrize("names", [("shared", "new"), ("new", "shared")], ids=str)
def test_a_sibling_beside_a_parent_is_a_base_that_is_imported(family: Toy, names: tuple[str, ...]) -> None:
    found = family.texts(*shards_of(family, *names, "helper"))
    assert found == {name: clean(text) for name, text in EXPANDED_FAMILY.items()}
    assert family.texts(*shards_of(family, *names, "helper")) == found  # as remembered


def test_a_change_of_a_base_that_is_imported_is_seen(family: Toy) -> None:
    family.texts(*shards_of(family, "shared", "new"))
    family.shard("shared", SHARED.replace("SharedConfig", "OtherConfig"))
    forget_sources()
    assert family.problems(*shards_of(family, "shared", "new")) == [
        "modular_helper.py:1:1: .configuration_shared defines no SharedConfig; did you mean OtherConfig?",
        "modular_new.py:5:1: .configuration_shared defines no SharedConfig; did you mean OtherConfig?",
    ]


def test_a_helper_alone_needs_the_sibling(family: Toy) -> None:
    new, *_ = shards_of(family, "new")
    new.write_text(
        new.read_text().replace("from .modular_shared import SharedConfig\n", "").replace(", SharedConfig", "")
    )
    assert (
        family.problems(new)[0].startswith("modular_helper.py:1:1: there is no modeling_shared.py in")
        and "generate modular_shared.py first" in family.problems(new)[0]
    )
    assert "configuration_shared.py" in family.texts(new, *shards_of(family, "shared"))


def test_a_helper_that_needs_the_shard_it_is_copied_into(family: Toy) -> None:
    family.shard(
        "shared",
        SHARED.replace("class SharedError", "class SharedBase(SharedModel):\n        pass\n\n\n    class SharedError"),
    )
    shared, *_ = shards_of(family, "shared")
    shared.write_text("from .modular_helper import SharedModel\n" + shared.read_text())
    assert family.problems(*shards_of(family, "shared"))[0].startswith(
        "modular_shared.py:1:1: shards inherit from one another in a circle: modular_shared.py -> modular_shared.py"
    )


def test_a_config_without_a_model_type_is_exported_and_not_registered(family: Toy) -> None:
    run = expand(shards_of(family, "shared", "new"), lambda path: path.parent, package=render_package)
    again = expand(shards_of(family, "shared", "new"), lambda path: path.parent, package=render_package)
    assert run.messages() == [] and run.files == again.files
    package = run.files[family.shards / "__init__.py"]
    assert "from .configuration_shared import SharedConfig, SharedError\n" in package
    configs = next(node for node in ast.walk(ast.parse(package)) if isinstance(node, ast.Tuple) and len(node.elts) > 1)
    registered = [ast.unparse(each) for each in configs.elts]
    assert registered[0] == "NewConfig" and "NemotronNasConfig" in registered and "SharedConfig" not in registered
    assert "from .converters.formats.nemotron_nas import NemotronNasConfig\n" in package
    exported = ast.literal_eval(package.partition("__all__ = ")[2].partition("]")[0] + "]")
    assert {"NewModel", "SharedConfig", "SharedError", *registered} <= set(exported)


IMPORTING = """
    from .acts import ACTS, scale


    class ZzMLP:
        def forward(self, x):
            return ACTS["silu"](scale(x))
"""


@pytest.mark.parametrize(
    ("binding", "problem"),
    [
        pytest.param('ACTS = {"silu": abs}', "7:1: {} ACTS, which is toy.acts.ACTS there", id="constant"),
        pytest.param("from toy.other import ACTS", "1:1: {} ACTS, which is toy.acts.ACTS there", id="elsewhere"),
        pytest.param("from toy.acts import scale as ACTS", "1:1: {} ACTS, which is toy.acts.ACTS there", id="alias"),
        pytest.param("from toy.acts import ACTS", None, id="the same"),
        pytest.param("def scale(x):\n    return x", None, id="a function of the family"),
    ],
)
def test_a_name_that_the_parent_imports_keeps_its_meaning(toy: Toy, binding: str, problem: str | None) -> None:
    toy.parent("modeling_zz", IMPORTING)
    toy.parent("other", "ACTS = {}\n")
    toy.parent("acts", 'ACTS = {"silu": abs}\n\n\ndef scale(x):\n    return 2 * x\n')
    first, then = (f"{binding}\n", "") if binding.startswith("from") else ("", f"\n\n{binding}\n")
    shard = f'{first}from toy.modeling_zz import ZzMLP\n\n\nclass NewMLP(ZzMLP):\n    pass{then}\n\n\n__all__ = ["NewMLP"]\n'
    found = toy.problems(toy.shard("new", shard))
    said = problem and problem.format("what is taken from modeling_zz.py uses")
    assert len(found) == (said is not None) and (not said or found[0].startswith(f"modular_new.py:{said}")), found
