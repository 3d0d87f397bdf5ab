"""Shards that nobody here wrote: names in their own case, bases before mentions, what is used and not inherited."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .toybox import Toy


PARENT = """
    from torch import nn

    from .configuration_vit import ViTConfig


    class ViTLayer(nn.Module):
        pass


    class ViTModel(nn.Module):
        config: ViTConfig
        base_model_prefix = "vit"

        def __init__(self):
            self.vit = ViTLayer()
"""


@pytest.fixture
def vit(toy: Toy) -> Toy:
    toy.parent("modeling_vit", PARENT)
    toy.parent("configuration_vit", 'class ViTConfig:\n    model_type = "vit"\n')
    return toy


def shard(prefix: str) -> str:
    return f"""
    from toy.configuration_vit import ViTConfig
    from toy.modeling_vit import ViTModel


    class {prefix}Config(ViTConfig):
        pass


    class {prefix}Model(ViTModel):
        pass


    __all__ = ["{prefix}Config", "{prefix}Model"]
    """


@pytest.mark.parametrize(
    ("model", "prefix"),
    [
        ("my_vit", "MyViT"),
        ("nano_gpt2", "NanoGPT2"),
        ("tiny_vit", "TinyViT"),
        ("norbert", "NorBert"),
        ("reznet", "RezNet"),
        ("mixmoe", "MixMoe"),
        ("other", "TinyViT"),
    ],
)
def test_the_prefix_is_that_of_the_shards_classes(vit: Toy, model: str, prefix: str) -> None:
    texts = vit.texts(vit.shard(model, shard(prefix)))
    assert f'class {prefix}Config:\n    model_type = "{model}"' in texts[f"configuration_{model}.py"]
    modeling = texts[f"modeling_{model}.py"]
    assert f"class {prefix}Layer(nn.Module):" in modeling and f"self.{model} = {prefix}Layer()" in modeling
    assert f'base_model_prefix = "{model}"' in modeling and f"    config: {prefix}Config\n" in modeling
    assert f"from .configuration_{model} import {prefix}Config\n" in modeling


def test_a_common_ending_that_is_longer_than_the_models_name_does_not_count(toy: Toy) -> None:
    toy.parent("modeling_resnet", "class ResNetStage:\n    pass\n\n\nclass ResNetModel:\n    stage = ResNetStage\n")
    text = "from toy.modeling_resnet import ResNetModel\n\n\nclass {0}Model(ResNetModel):\n    pass\n\n\n"
    names = toy.texts(toy.shard("other", (text + '__all__ = ["{0}Model"]\n').format("RezNet")))
    assert "class RezNetStage:" in names["modeling_other.py"]


def test_the_front_of_the_classes_counts_where_no_ending_does(vit: Toy) -> None:
    text = "from toy.modeling_vit import ViTModel\n\n\nclass MyViTThing(ViTModel):\n    pass\n\n\n__all__ = ['MyViTThing']\n"
    assert "class MyViTLayer(" in vit.texts(vit.shard("my_vit", text))["modeling_my_vit.py"]


FOREIGN = """
    import torch
    from tokens import normalizers
    from .image import OPENAI_CLIP_MEAN, CLIPOutput
    from .generation_clip import CLIPGeneration
    from .configuration_clip import CLIPConfig


    class CLIPModel(CLIPGeneration):
        config: CLIPConfig
        mean = OPENAI_CLIP_MEAN
        model_type = "clip"
        other = "clip_of_another"
        output: "CLIPOutput"

        def forward(self, clip_loss, x):
            "Like `CLIPModel`, a clip_loss."
            self.clip_scale = clip_loss
            x = torch.clip(x, normalizers.ClipNormalizer(x.clip(clip_min=1)))
            return self.clip_scale + clip_loss + self.is_encoder_decoder
"""


def test_what_the_model_does_not_bind_keeps_its_name(toy: Toy) -> None:
    toy.parent("modeling_clip", FOREIGN)
    toy.parent("configuration_clip", "class CLIPConfig:\n    pass\n")
    text = shard("MyCLIP").replace("vit", "clip").replace("ViT", "CLIP")
    found = toy.texts(toy.shard("my_clip", text))["modeling_my_clip.py"]
    assert "from toy.image import OPENAI_CLIP_MEAN, CLIPOutput\n" in found
    assert (
        "from toy.generation_clip import CLIPGeneration\n" in found and "class MyCLIPModel(CLIPGeneration):" in found
    )
    assert "mean = OPENAI_CLIP_MEAN\n" in found and 'output: "CLIPOutput"\n' in found
    assert "x = torch.clip(x, normalizers.ClipNormalizer(x.clip(clip_min=1)))\n" in found
    assert "return self.my_clip_scale + my_clip_loss + self.is_encoder_decoder\n" in found
    assert 'model_type = "my_clip"\n' in found and "Like `MyCLIPModel`, a my_clip_loss." in found


def test_types_of_other_models_keep_their_names(toy: Toy) -> None:
    toy.parent(
        "configuration_rt_detr", 'class RTDetrConfig:\n    model_type = "rt_detr"\n    backbone = "rt_detr_resnet"\n'
    )
    text = (
        "from toy.configuration_rt_detr import RTDetrConfig\n\n\nclass MyRTDetrConfig(RTDetrConfig):\n    pass\n\n\n"
        '__all__ = ["MyRTDetrConfig"]\n'
    )
    found = toy.texts(toy.shard("my_rt_detr", text))["configuration_my_rt_detr.py"]
    assert 'model_type = "my_rt_detr"\n' in found and 'backbone = "rt_detr_resnet"\n' in found


def test_of_two_spellings_in_a_parent_one_is_renamed(toy: Toy) -> None:
    toy.parent(
        "modeling_vit",
        "class ViTModel:\n    pass\n\n\nclass Vi_TModel(ViTModel):\n    pass\n\n\nclass VitModel(ViTModel):\n    pass\n",
    )
    text = (
        "from toy.modeling_vit import ViTModel, VitModel\n\n\nclass MyViTModel(ViTModel):\n    pass\n\n\n"
        'class MyViTOldModel(VitModel):\n    pass\n\n\n__all__ = ["MyViTModel", "MyViTOldModel"]\n'
    )
    (found,) = toy.run(toy.shard("my_vit", text)).files.values()
    assert "class MyViTModel:\n" in found and "class MyViTOldModel(MyViTModel):\n" in found


def test_an_attribute_of_every_config_keeps_its_name(toy: Toy) -> None:
    toy.parent(
        "configuration_encoder_decoder",
        "class EncoderDecoderConfig:\n    is_encoder_decoder = True\n    encoder_decoder_size = 1\n",
    )
    text = "from toy.configuration_encoder_decoder import EncoderDecoderConfig\n\n\nclass NewConfig(EncoderDecoderConfig):\n    pass\n\n\n"
    (found,) = toy.texts(toy.shard("new", text + '__all__ = ["NewConfig"]\n')).values()
    assert "    is_encoder_decoder = True\n    new_size = 1\n" in found


CHECKPOINTS = '''
class ViTModel:
    """Loads ["google/vit-base"], as `models/vit` says.

    >>> model = ViTModel.from_pretrained("google/vit-base", "vit")
    """
'''


def test_repositories_keep_their_names(toy: Toy) -> None:
    toy.parent("modeling_vit", CHECKPOINTS)
    text = (
        "from toy.modeling_vit import ViTModel\n\n\nclass MyViTModel(ViTModel):\n    pass\n\n\n"
        '__all__ = ["MyViTModel"]\n'
    )
    (found,) = toy.run(toy.shard("my_vit", text)).files.values()
    assert 'Loads ["google/vit-base"], as `models/my_vit` says.' in found
    assert '>>> model = MyViTModel.from_pretrained("google/vit-base", "my_vit")' in found


INITIALISES = """
    class ZzPreTrainedModel:
        def _init_weights(self, module):
            if isinstance(module, (ZzModel, ZzHead)):
                return ZzConfig


    class ZzBackbone(ZzPreTrainedModel):
        pass


    class ZzModel(ZzPreTrainedModel):
        kinds = [ZzBackbone]


    def sized(x=ZzModel):
        return ZzHead


    class ZzHead(ZzPreTrainedModel):
        size = sized
"""


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    """Each test has a package `toy` of its own."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("toy", "shards")]:
        del sys.modules[name]


def imported(toy: Toy, module: str) -> ModuleType:
    """A generated module."""
    (toy.shards / "__init__.py").touch()
    importlib.invalidate_caches()
    return importlib.import_module(f"shards.{module}")


def write(toy: Toy, path: Path) -> None:
    run = toy.run(path)
    assert run.messages() == [], run.messages()
    for file, text in run.files.items():
        file.write_text(text)


@pytest.mark.parametrize("name", ["PreTrainedModel", "Backbone", "Model", "Head"])
def test_bases_come_before_those_that_only_mention_them(toy: Toy, name: str) -> None:
    toy.parent("modeling_zz", INITIALISES.replace("return ZzConfig", "return 1"))
    text = f"from toy.modeling_zz import Zz{name}\n\n\nclass New{name}(Zz{name}):\n    pass\n\n\n"
    write(toy, toy.shard("new", text + f'__all__ = ["New{name}"]\n'))
    module = imported(toy, "modeling_new")
    assert issubclass(module.NewModel, module.NewPreTrainedModel) and module.NewModel.kinds == [module.NewBackbone]
    assert module.NewHead.size() is module.NewHead and module.NewPreTrainedModel()._init_weights(module.NewHead()) == 1


USED = """
    from toy.modeling_zz import ZzMLP, ZzModel, ZzNorm


    class NewModel(ZzModel):
        def is_norm(self, x):
            return isinstance(x, ZzNorm), isinstance(x, (int, ZzNorm))

        def run(self, x):
            return ZzMLP.run(self, x), isinstance(self, ZzModel)


    __all__ = ["NewModel"]
"""
HAS_NORM = """
    class ZzNorm:
        pass


    class ZzMLP:
        def run(self, x):
            return self.size * x


    class ZzModel:
        size = 3

        def norm(self):
            return ZzNorm()
"""


def test_a_class_that_is_used_stays_imported_and_stands_for_its_copy(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.parent("modeling_zz", HAS_NORM)
    write(toy, toy.shard("new", USED))
    model = imported(toy, "modeling_new").NewModel()
    assert model.run(2) == (6, True)
    assert model.is_norm(model.norm()) == (True, True)
    assert model.is_norm(sys.modules["toy.modeling_zz"].ZzNorm()) == (True, True)
    assert model.is_norm("x") == (False, False) and model.is_norm(1) == (False, True)


def test_a_call_on_a_class_whose_method_needs_an_instance_of_it_is_refused(toy: Toy) -> None:
    toy.parent("modeling_zz", "class ZzMLP:\n    def run(self):\n        return super().run()\n")
    text = "from toy.modeling_zz import ZzMLP\n\n\nclass NewMLP(ZzMLP):\n    def other(self):\n        return ZzMLP.run(self)\n"
    (problem,) = toy.problems(toy.shard("new", text + '\n\n__all__ = ["NewMLP"]\n'))
    assert problem.startswith("modular_new.py:6:16: ZzMLP.run calls `super()`, which needs an instance of ZzMLP"), (
        problem
    )


def test_annotations_stay_lazy(toy: Toy) -> None:
    future = "from __future__ import annotations\n\n"
    toy.parent(
        "modeling_zz", "class ZzModel:\n    def run(self, x: Later) -> ZzModel:\n        return x\n\n\nLater = int\n"
    )
    toy.parent("modeling_yy", f"{future}class YyBase:\n    x: YyModel\n\n\nclass YyModel(YyBase):\n    pass\n")
    zz = "from toy.modeling_zz import ZzModel\n\n\nclass NewModel(ZzModel):\n    y: Undefined\n\n\nclass Undefined:\n    pass\n"
    write(toy, toy.shard("new", f'{future}{zz}\n\n__all__ = ["NewModel", "Undefined"]\n'))
    assert imported(toy, "modeling_new").NewModel.__annotations__ == {"y": "Undefined"}
    yy = 'from toy.modeling_yy import YyModel\n\n\nclass OwnModel(YyModel):\n    pass\n\n\n__all__ = ["OwnModel"]\n'
    write(toy, toy.shard("own", yy))
    assert imported(toy, "modeling_own").OwnBase.__annotations__ == {"x": "OwnModel"}


GUARD = """
    from tools import is_fast, Missing
    from torch import nn

    if is_fast():
        from fast import go

        fast = True
    else:
        def go(x: nn.Module):
            raise Missing()


    class ZzModel:
        def run(self):
            return go(self)
"""


def test_what_a_guard_defines_instead_brings_its_imports(toy: Toy) -> None:
    toy.parent("modeling_zz", GUARD)
    toy.parent("configuration_zz", "class ZzConfig:\n    go = 1\n")
    text = shard("New").replace("vit", "zz").replace("ViT", "Zz")
    texts = toy.texts(toy.shard("new", text))
    assert (
        "from tools import Missing, is_fast\n" in texts["modeling_new.py"]
        and "import nn\n" in texts["modeling_new.py"]
    )
    assert "is_fast" not in texts["configuration_new.py"]


SEVERAL = """
    class ZzTextConfig:
        pass


    class ZzConfig:
        pass
"""


def test_a_config_that_only_the_parents_model_imports_comes_along(toy: Toy) -> None:
    toy.parent("configuration_zz", SEVERAL)
    toy.parent(
        "modeling_zz", "from .configuration_zz import ZzTextConfig\n\n\nclass ZzModel:\n    config: ZzTextConfig\n"
    )
    texts = toy.texts(toy.shard("new", shard("New").replace("vit", "zz").replace("ViT", "Zz")))
    assert "class NewTextConfig:" in texts["configuration_new.py"]
    assert "from .configuration_new import NewTextConfig\n" in texts["modeling_new.py"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("from toy.tools import yes", ""),
        ("from toy.tools import no", "toy.tools defines no no"),
        ("from toy.tools import yess", "toy.tools defines no yess; did you mean yes?"),
        ("from toy.tolls import yes", "there is no module toy.tolls; did you mean tools?"),
        ("from toy import tools", ""),
        ("from toy import tolls", "toy defines no tolls"),
        ("from toy.anything import what", ""),
        ("from torch import not_looked_at", ""),
    ],
)
def test_what_is_imported_is_there(toy: Toy, line: str, problem: str) -> None:
    toy.parent("modeling_zz", "class ZzModel:\n    pass\n")
    toy.parent("tools", "def yes():\n    pass\n")
    toy.parent("anything", "from where import *\n")
    name = line.rpartition(" ")[2]
    text = f"from toy.modeling_zz import ZzModel\n{line}\n\n\nclass NewModel(ZzModel):\n    x = {name}\n\n\n"
    found = toy.problems(toy.shard("new", text + '__all__ = ["NewModel"]\n'))
    assert found == ([f"modular_new.py:2:1: {problem}"] if problem else [])


def test_an_import_from_another_output_is_met_or_an_error(toy: Toy) -> None:
    toy.parent(
        "modeling_zz", "from .configuration_zz import ZzText, ZzConfig\n\n\nclass ZzModel:\n    config: ZzText\n"
    )
    toy.parent("configuration_zz", "class ZzText:\n    pass\n\n\nclass ZzConfig:\n    pass\n")
    text = (
        "from toy.modeling_zz import ZzModel\n\n\nclass NewConfig:\n    pass\n\n\nclass NewModel(ZzModel):\n    pass\n"
    )
    (problem,) = toy.problems(toy.shard("new", text + '\n\n__all__ = ["NewConfig", "NewModel"]\n'))
    assert problem.startswith(
        "modular_new.py:1:1: the modeling file imports NewText from the configuration file, which the shard gives no NewText "
        "(modeling_zz.py:1)"
    ), problem


def test_an_undefined_name_of_a_parent_is_told_with_the_parents_line(toy: Toy) -> None:
    toy.parent("modeling_zz", "import torch\n\n\nclass ZzModel:\n    def run(self):\n        return gone\n")
    text = '# first\n\nfrom toy.modeling_zz import ZzModel\n\n\nclass NewModel(ZzModel):\n    pass\n\n\n__all__ = ["NewModel"]\n'
    (problem,) = toy.problems(toy.shard("new", text))
    assert problem.startswith("modular_new.py:3:1: Undefined name `gone` in the output modeling_new.py (line "), (
        problem
    )
    assert " (modeling_zz.py:6): define it" in problem


def test_syntax_of_python_3_11_is_not_refused(vit: Toy) -> None:
    body = "        def run(self, *args: *Sizes):\n            try:\n                return self[*args]\n            except* OSError:\n                raise\n"
    text = shard("New").replace("class NewModel(ViTModel):\n        pass\n", f"class NewModel(ViTModel):\n{body}")
    text = text.replace("from toy.modeling_vit", "from typing import Sizes\n    from toy.modeling_vit")
    found = vit.texts(vit.shard("new", text))["modeling_new.py"]
    assert "*args: *Sizes" in found and "except* OSError" in found and "return self[*args]" in found
