"""Names, tokens and prefixes: the rules that work on words."""

import libcst as cst
import pytest

from transformers_heterogeneous.scripts.modular_converter.merging.classes import merged_bases
from transformers_heterogeneous.scripts.modular_converter.naming.model_names import ModelNames, Spelling
from transformers_heterogeneous.scripts.modular_converter.naming.prefix import infer_prefix
from transformers_heterogeneous.scripts.modular_converter.naming.renaming import Renaming
from transformers_heterogeneous.scripts.modular_converter.sources.file_types import file_type
from transformers_heterogeneous.scripts.modular_converter.syntax.parameters import merged_parameters
from transformers_heterogeneous.scripts.modular_converter.syntax.tree import code, identifiers, without_comments


NAMES = ModelNames({"gpt_neox": "GPTNeoXConfig", "gpt-sw3": "GPT2Config", "gpt2": "GPT2Config", "clip": "CLIPConfig"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a.b(c=1)", {"a", "b", "c"}, id="attributes and keywords count"),
        pytest.param("x = 'a b' # c", {"x"}, id="strings and comments do not"),
        pytest.param('f"{a} b {c!r:>{d}}"', {"a", "c", "d"}, id="expressions of f-strings"),
        pytest.param("f\"{a['b']}\"", {"a"}, id="strings inside f-strings"),
        pytest.param("f'{{a}}'", set(), id="doubled braces"),
        pytest.param('"""\na = b\n"""', set(), id="triple quotes"),
        pytest.param("1e5 + 0x1f", set(), id="numbers"),
    ],
)
def test_identifiers(text: str, expected: set[str]) -> None:
    assert identifiers(cst.parse_module(text)) == expected


def test_merged_parameters_keep_their_comments() -> None:
    child = cst.ensure_type(cst.parse_statement("def f(self, b=2, c=3, **super_kwargs): pass"), cst.FunctionDef)
    parent = "def f(self, a: dict[str, int],  # why\n b=(1, 2), *args, d, **kwargs): pass"
    theirs = cst.ensure_type(cst.parse_statement(parent), cst.FunctionDef)
    text = code(merged_parameters(child.params, theirs.params))
    assert text == "self, a: dict[str, int],  # why\n b=2, *args, d, c=3, **kwargs"


def test_statements_compare_without_comments_and_layout() -> None:
    first, second = map(cst.parse_statement, ("a = (  # b\n    1)", "a = ( 1)"))
    assert without_comments(first) == without_comments(second)


@pytest.mark.parametrize(
    ("cased", "lower"),
    [
        pytest.param("GPTNeoX", "gpt_neox", id="from the mapping"),
        pytest.param("GPT2", "gpt2", id="the last key wins"),
        pytest.param("AIMv2", "a_i_mv2", id="split before each capital"),
    ],
)
def test_lower_names(cased: str, lower: str) -> None:
    assert NAMES.lower(cased) == lower


@pytest.mark.parametrize(
    ("lower", "cased"),
    [
        pytest.param("gpt_neox", "GPTNeoX", id="from the mapping"),
        pytest.param("gpt_sw3", "GPT2", id="dashes in the mapping"),
        pytest.param("heterogeneous_llama", "HeterogeneousLlama", id="title case otherwise"),
    ],
)
def test_cased_names(lower: str, cased: str) -> None:
    assert NAMES.cased(lower) == cased


ZZ = Renaming(Spelling("zz_pd", "ZzPd"), Spelling("new_one", "NewOne"))
CLIP = Renaming(Spelling("clip", "CLIP"), Spelling("alt_clip", "AltCLIP"))


@pytest.mark.parametrize(
    ("renaming", "text", "expected"),
    [
        pytest.param(ZZ, "# ZzPdModel zz_pd_x ZZ_PD_Y", "# NewOneModel new_one_x NEW_ONE_Y", id="three spellings"),
        pytest.param(ZZ, "# Zz_Pd zzpd", "# NewOne NewOne", id="any other casing"),
        pytest.param(ZZ, "# my_zz_pd xzz_pd 3zz_pd", "# my_new_one xzz_pd 3zz_pd", id="not after a letter or digit"),
        pytest.param(ZZ, "zz-pd", "zz-pd", id="dashes in text stay"),
        pytest.param(ZZ, "f'zz_pd {zz_pd}'", "f'zz_pd {new_one}'", id="words of f-strings stay"),
        pytest.param(ZZ, "# Copied from a.ZzPd\nx = 1", "\nx = 1", id="copied-from comments go"),
        pytest.param(
            ZZ, "from zz_pd import ZzPd\nimport zz_pd", "from zz_pd import ZzPd\nimport new_one", id="imports"
        ),
        pytest.param(
            ZZ, '"""\n  from zz_pd import x\n"""', '"""\n  from new_one import x\n"""', id="docs are no imports"
        ),
        pytest.param(CLIP, "# CLIP_X CLIPMLP", "# ALT_CLIP_X AltCLIPMLP", id="cased equals upper"),
        pytest.param(
            Renaming(Spelling("mamba", "Mamba"), Spelling("new", "New")),
            "mamba_ssm = 'mamba-ssm', mamba_x",
            "mamba_ssm = 'mamba-ssm', new_x",
            id="names of kernels stay",
        ),
    ],
)
def test_renaming(renaming: Renaming, text: str, expected: str) -> None:
    assert renaming.node(cst.parse_module(text)).code == expected


@pytest.mark.parametrize(
    ("pairs", "classes", "expected"),
    [
        pytest.param([("NewModel", "ZzModel")], [], "New", id="default"),
        pytest.param([("NewTextModel", "ZzModel"), ("NewTextMLP", "ZzMLP")], [], "NewText", id="alias"),
        pytest.param([("NewZzModel", "ZzModel")], [], "NewZz", id="whole name kept"),
        pytest.param([("NewTextModel", "ZzModel"), ("NewMLP", "ZzMLP")], [], "New", id="tie goes to the default"),
        pytest.param([("NewTextModel", "ZzModel")], ["ZzTextModel"], "New", id="alias collides in the parent"),
        pytest.param([("NewNextConfig", "ZzTextConfig")], [], "New", id="endings without a capital do not count"),
        pytest.param([], [], "New", id="imported, not inherited"),
    ],
)
def test_prefix(pairs: list[tuple[str, str]], classes: list[str], expected: str) -> None:
    assert infer_prefix(pairs, "New", "Zz", classes) == expected


@pytest.mark.parametrize(
    ("parent", "extra", "expected"),
    [
        pytest.param(["nn.Module"], [], ["nn.Module"], id="kept"),
        pytest.param(["NewPreTrainedModel", "GenerationMixin"], ["GenerationMixin"], None, id="already there"),
        pytest.param(
            ["PreTrainedConfig"], ["HeterogeneousPreTrainedConfig"], ["HeterogeneousPreTrainedConfig"], id="replaced"
        ),
        pytest.param(
            ["NewPreTrainedModel", "GenerationMixin"],
            ["OurGenerationMixin"],
            ["NewPreTrainedModel", "OurGenerationMixin"],
            id="mixin replaced",
        ),
        pytest.param(["nn.Module"], ["B", "A"], ["nn.Module", "B", "A"], id="appended as written"),
        pytest.param(
            ["nn.Module"], ["GradientCheckpointingLayer"], ["GradientCheckpointingLayer"], id="nn.Module goes"
        ),
    ],
)
def test_bases(parent: list[str], extra: list[str], expected: list[str] | None) -> None:
    assert merged_bases(parent, extra) == (expected or parent)


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        pytest.param("NewConfig", "New", "configuration", id="config"),
        pytest.param("NewModel", "New", "modeling", id="anything else"),
        pytest.param("NewImageProcessorPil", "New", "image_processing_pil", id="longest ending"),
        pytest.param("Sam2VideoProcessor", "Sam2Video", "processing", id="without the model's name"),
    ],
)
def test_file_types(name: str, model: str, expected: str) -> None:
    assert file_type(name, model) == expected
