"""Whole shards: what the outputs hold and in which order, from toy parents."""

import pytest

from .toybox import Toy


PARENT = """
    # Copyright of the parent
    import math

    from .relative import get, is_fast, tool
    from .configuration_zz import ZzConfig

    if is_fast():
        import fast


    logger = get(__name__)

    LIMIT = 3
    TABLE = {}
    TABLE["a"] = LIMIT


    def leaf(x):
        return math.sqrt(x) + LIMIT


    def unused(x):
        return x


    class ZzPart:
        def run(self):
            return leaf(1)


    class ZzLayer:
        def __init__(self, config: ZzConfig):
            self.part = ZzPart()
            self.table = TABLE

        def forward(self, x):
            return tool(fast.go(x))


    class ZzModel:
        def __init__(self, config: ZzConfig):
            self.layer = ZzLayer(config)
"""
CONFIG = """
    class ZzConfig:
        model_type = "zz"
"""
SHARD = """
    # Licence of the shard

    from toy.configuration_zz import ZzConfig
    from toy.modeling_zz import ZzModel


    class NewConfig(ZzConfig):
        pass


    class NewModel(ZzModel):
        pass


    __all__ = ["NewConfig", "NewModel"]
"""


@pytest.fixture
def zz(toy: Toy) -> Toy:
    toy.parent("modeling_zz", PARENT)
    toy.parent("configuration_zz", CONFIG)
    return toy


def order(text: str, *names: str) -> list[str]:
    """The names in the order in which the text defines them."""
    places = {
        name: min(p for word in (f"class {name}", f"def {name}", f"\n{name} =") if (p := text.find(word)) >= 0)
        for name in names
    }
    return sorted(names, key=lambda name: places[name])


def test_files_by_type_and_what_they_export(zz: Toy) -> None:
    texts = zz.texts(zz.shard("new", SHARD))
    assert sorted(texts) == ["configuration_new.py", "modeling_new.py"]
    assert '__all__ = ["NewConfig"]' in texts["configuration_new.py"]
    assert '__all__ = ["NewModel"]' in texts["modeling_new.py"]


def test_dependencies_come_before_their_users(zz: Toy) -> None:
    text = zz.texts(zz.shard("new", SHARD))["modeling_new.py"]
    names = ["LIMIT", "leaf", "NewPart", "TABLE", "NewLayer", "NewModel"]
    found = order(text, *names)
    assert found.index("leaf") < found.index("NewPart") < found.index("NewLayer") < found.index("NewModel")
    assert found.index("TABLE") < found.index("NewLayer")
    assert 'TABLE["a"] = LIMIT' in text
    assert "unused" not in text and "logger" not in text


def test_imports_are_absolute_outside_and_siblings_relative(zz: Toy) -> None:
    text = zz.texts(zz.shard("new", SHARD))["modeling_new.py"]
    assert "from toy.relative import is_fast, tool\n" in text
    assert "import math\n" in text
    assert "from .configuration_new import NewConfig\n" in text
    assert "if is_fast():\n    import fast\n" in text


def test_header_of_the_shard_and_banner(zz: Toy) -> None:
    text = zz.run(zz.shard("new", SHARD)).files[zz.shards / "modeling_new.py"]
    assert text.startswith("# Generated from shards/modular_new.py by `hetero generate`.")
    assert "# Licence of the shard\n" in text
    assert text.count("Copyright of the parent") == 1 and "#   Copyright of the parent\n" in text


def test_the_parents_copyright_comes_along(toy: Toy) -> None:
    toy.parent("modeling_zz", "# Copyright 2020 The Zz team.\n#\n# Licence text.\n\nclass ZzModel:\n    pass\n")
    code = 'from toy.modeling_zz import ZzModel\n\n\nclass NewModel(ZzModel):\n    pass\n\n\n__all__ = ["NewModel"]\n'
    (text,) = toy.run(toy.shard("new", code)).files.values()
    assert "#   Copyright 2020 The Zz team.\n" in text
    (text,) = toy.run(toy.shard("other", "# Copyright 2020 The Zz team.\n" + code)).files.values()
    assert text.count("Copyright 2020 The Zz team.") == 1


def test_the_banner_hashes_the_code_that_was_used(zz: Toy) -> None:
    def banner() -> str:
        zz.write(zz.root / "toy" / "__init__.py", "")
        text = zz.run(zz.shard("new", SHARD)).files[zz.shards / "modeling_new.py"]
        return text.split("\n")[1]

    from transformers_heterogeneous.scripts.modular_converter.sources.source import read_source

    first = banner()
    zz.parent("modeling_zz", PARENT.replace("def unused(x):\n        return x", "def unused(x):\n        return 2"))
    read_source.cache_clear()
    assert banner() == first
    zz.parent("modeling_zz", PARENT.replace("math.sqrt", "math.exp"))
    read_source.cache_clear()
    assert banner() != first


def test_the_shards_function_replaces_the_parents(zz: Toy) -> None:
    shard = SHARD.replace("\n\n    class NewConfig", "\n\n    def leaf(x):\n        return 7\n\n\n    class NewConfig")
    text = zz.texts(zz.shard("new", shard))["modeling_new.py"]
    assert text.count("def leaf") == 1 and "return 7" in text and "import math" not in text


def test_classes_of_the_shard_inherit_from_one_another(zz: Toy) -> None:
    shard = SHARD.replace(
        '\n\n    __all__ = ["NewConfig"',
        '\n\n    class OldConfig(NewConfig):\n        model_type = "old"\n\n\n    __all__ = ["OldConfig", "NewConfig"',
    )
    text = zz.texts(zz.shard("new", shard))["configuration_new.py"]
    assert 'class OldConfig(NewConfig):\n    model_type = "old"' in text


def test_exported_functions_are_kept(zz: Toy) -> None:
    shard = SHARD.replace(
        "\n\n    class NewConfig", "\n\n    def helper():\n        return 7\n\n\n    class NewConfig"
    ).replace('["New', '["helper", "New')
    text = zz.texts(zz.shard("new", shard))["modeling_new.py"]
    assert "def helper():" in text and '__all__ = ["helper", "NewModel"]' in text


def test_alias_prefix_keeps_the_sibling_module(zz: Toy) -> None:
    shard = SHARD.replace("NewModel", "NewTextModel").replace("NewConfig", "NewTextConfig")
    text = zz.texts(zz.shard("new", shard))["modeling_new.py"]
    assert "class NewTextLayer" in text and "from .configuration_new import NewTextConfig" in text


HELPER = """
    # Licence of the helper
    from collections.abc import Sequence

    SIZES = (1, 2)


    def widest(sizes):
        return max(sizes, *SIZES)


    class View(Sequence):
        pass


    class OurPreTrainedConfig(PreTrainedConfig):
        def view(self) -> View:
            return View()


    class OurPreTrainedModel(PreTrainedModel):
        def plan(self, config: OurPreTrainedConfig):
            return widest(config.sizes)
"""
BASES = """
    from toy.base import PreTrainedConfig, PreTrainedModel


    class ZzConfig(PreTrainedConfig):
        model_type = "zz"


    class ZzPreTrainedModel(PreTrainedModel):
        config: ZzConfig


    class ZzModel(ZzPreTrainedModel):
        pass
"""
USER = """
    from toy.configuration_zz import ZzConfig
    from toy.modeling_zz import ZzModel, ZzPreTrainedModel

    from .modular_shared import OurPreTrainedConfig, OurPreTrainedModel


    class NewConfig(ZzConfig, OurPreTrainedConfig):
        pass


    class NewPreTrainedModel(ZzPreTrainedModel, OurPreTrainedModel):
        pass


    class NewModel(ZzModel):
        pass


    __all__ = ["NewConfig", "NewModel"]
"""


@pytest.fixture
def shared(toy: Toy) -> Toy:
    toy.parent("base", "class PreTrainedConfig:\n    pass\n\n\nclass PreTrainedModel:\n    pass\n")
    config, _, model = BASES.partition("\n\n    class ZzPreTrainedModel")
    toy.parent("configuration_zz", config)
    imports = "    from toy.base import PreTrainedModel\n    from .configuration_zz import ZzConfig\n"
    toy.parent("modeling_zz", f"{imports}\n\n    class ZzPreTrainedModel{model}")
    helper = HELPER.replace("    SIZES", "    from toy.base import PreTrainedConfig, PreTrainedModel\n\n    SIZES")
    toy.shard("shared", helper)
    return toy


def test_a_helper_shard_has_no_files_of_its_own(shared: Toy) -> None:
    assert shared.texts(shared.shards / "modular_shared.py") == {}


def test_helpers_are_copied_where_they_are_needed(shared: Toy) -> None:
    texts = shared.texts(shared.shard("new", USER))
    config, model = texts["configuration_new.py"], texts["modeling_new.py"]
    assert order(config, "View", "OurPreTrainedConfig", "NewConfig") == ["View", "OurPreTrainedConfig", "NewConfig"]
    assert "class OurPreTrainedModel" not in config and "widest" not in config
    assert order(model, "SIZES", "widest", "OurPreTrainedModel", "NewPreTrainedModel", "NewModel")[0] == "SIZES"
    assert "class OurPreTrainedConfig" not in model
    assert "from .configuration_new import NewConfig, OurPreTrainedConfig" in model


def test_helper_bases_take_the_place_of_the_parents(shared: Toy) -> None:
    texts = shared.texts(shared.shard("new", USER))
    assert "class NewConfig(OurPreTrainedConfig):" in texts["configuration_new.py"]
    assert "class NewPreTrainedModel(OurPreTrainedModel):" in texts["modeling_new.py"]
    assert "class NewModel(NewPreTrainedModel):" in texts["modeling_new.py"]


def test_inside_transformers_imports_stay_relative(toy: Toy) -> None:
    toy.inside_parent(
        "zz",
        "from ...activations import ACT\nfrom .configuration_zz import ZzConfig\n\n\nclass ZzModel:\n    config: ZzConfig\n    act = ACT\n",
    )
    toy.write(toy.inside / "new" / "configuration_new.py", "class NewConfig:\n    pass\n")
    shard = toy.inside_shard(
        "new",
        'from ..zz.modeling_zz import ZzModel\n\n\nclass NewModel(ZzModel):\n    pass\n\n\n__all__ = ["NewModel"]\n',
    )
    run = toy.run(shard)
    text = run.files[shard.parent / "modeling_new.py"]
    assert run.messages() == []
    assert "automatically generated from src/transformers/models/new/modular_new.py." in text
    assert "from ...activations import ACT\nfrom .configuration_new import NewConfig\n" in text


def test_deprecations_go_to_the_file_of_their_names(toy: Toy) -> None:
    toy.inside_parent("zz", "class ZzProcessor:\n    pass\n", "processing")
    shard = toy.inside_shard(
        "new",
        """
        from ...utils.deprecation import deprecate_attr
        from ..zz.processing_zz import ZzProcessor


        class NewProcessor(ZzProcessor):
            pass


        __getattr__ = deprecate_attr(__name__, rename={"NewProcessorKwargs": (dict, "6")},)

        __all__ = ["NewProcessor"]
        """,
    )
    text = toy.run(shard).files[shard.parent / "processing_new.py"]
    assert text.endswith(
        '__getattr__ = deprecate_attr(__name__, rename={"NewProcessorKwargs": (dict, "6")})\n\n__all__ = ["NewProcessor"]\n'
    )


def test_torch_is_optional_in_feature_extractors(toy: Toy) -> None:
    parent = "import torch\n\nfrom ...utils import logging\n\n\nlogger = logging.get_logger(__name__)\n\n\nclass ZzFeatureExtractor:\n    def run(self):\n        return logger, torch.ones(1)\n"
    toy.inside_parent("zz", parent, "feature_extraction")
    shard = toy.inside_shard(
        "new",
        'from ..zz.feature_extraction_zz import ZzFeatureExtractor\n\n\nclass NewFeatureExtractor(ZzFeatureExtractor):\n    pass\n\n\n__all__ = ["NewFeatureExtractor"]\n',
    )
    text = toy.run(shard).files[shard.parent / "feature_extraction_new.py"]
    assert "from ...utils import is_torch_available, logging\n\n\nif is_torch_available():\n    import torch\n" in text


def test_quantizers_of_a_family_are_registered_for_their_method() -> None:
    from transformers_heterogeneous.scripts.modular_converter.output.package import Family, render_package

    modules = {"configuration_new": ("NewConfig",), "modeling_new": ("NewModel", "NewFp3HfQuantizer")}
    text = render_package([Family(modules, "NewConfig")], "shards")
    assert "from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING\n" in text
    assert "    AUTO_QUANTIZER_MAPPING[NewFp3HfQuantizer.quant_method] = NewFp3HfQuantizer\n" in text
    assert "NewFp3HfQuantizer," not in text.split("__all__")[0].split("def register")[1]
    plain = render_package([Family({**modules, "modeling_new": ("NewModel",)}, "NewConfig")], "shards")
    assert "QUANTIZER" not in plain and "quantizers" not in plain


def test_keyword_arguments_that_a_parent_has_in_another_file_than_their_name_says(toy: Toy) -> None:
    """They stay where the parent has them, while the shard has no file of that kind; else they come along to it."""
    toy.parent(
        "image_processing_pil_zz",
        """
        class ZzImageProcessorKwargs(dict):
            size = 3


        class ZzImageProcessorPil:
            valid_kwargs = ZzImageProcessorKwargs
        """,
    )
    text = """
        from toy.image_processing_pil_zz import ZzImageProcessorPil


        class NewImageProcessorPil(ZzImageProcessorPil):
            pass


        __all__ = ["NewImageProcessorPil"]
        """
    texts = toy.texts(toy.shard("new", text))
    assert list(texts) == ["image_processing_pil_new.py"]
    names: dict[str, type] = {}
    exec(texts["image_processing_pil_new.py"], names)
    assert names["NewImageProcessorPil"].valid_kwargs is names["NewImageProcessorKwargs"]
