"""`hetero export`: families in a source tree of transformers, which here is the installed package, laid out as one by links."""

import ast
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import transformers
from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.upstreaming.tree_imports import SHARED

from ..generated import small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h


ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(transformers.__file__).parent
FAMILIES = (
    *("llama", "gpt_oss", "granite_moe_hybrid", "nemotron_h", "qwen2", "qwen3", "qwen3_moe", "qwen3_next", "mistral"),
    "llama4_text",
)
MODELS = {family: f"heterogeneous_{family}" for family in FAMILIES} | {
    "llama4_text": "heterogeneous_llama4"
}  # folders
NUM_FILES = 7 * len(FAMILIES) + 2 + 5  # what all share, and where they are registered
SMALL = {
    "llama": small,
    "gpt_oss": small_gpt_oss,
    "granite_moe_hybrid": small_granite_moe_hybrid,
    "nemotron_h": small_nemotron_h,
}
CONTENTS = """\
- sections:
  - sections:
      - local: model_doc/gpt_oss
        title: GptOss
      - local: model_doc/granitemoehybrid
        title: GraniteMoeHybrid
      - local: model_doc/llama
        title: LLaMA
      - local: model_doc/llama4
        title: Llama4
      - local: model_doc/mistral
        title: Mistral
      - local: model_doc/nemotron_h
        title: NemotronH
      - local: model_doc/qwen2
        title: Qwen2
      - local: model_doc/qwen3
        title: Qwen3
      - local: model_doc/qwen3_moe
        title: Qwen3MoE
      - local: model_doc/qwen3_next
        title: Qwen3Next
    title: Text models
  title: API
"""


def lay_out(root: Path) -> Path:
    """A source tree that runs: what an export writes into is there itself, all else by links to what is installed."""
    package = root / "src" / "transformers"
    for folder in ("", "models", "models/auto", "integrations"):
        (package / folder).mkdir(parents=True, exist_ok=True)
        for each in (INSTALLED / folder).iterdir():
            if not (package / folder / each.name).exists() and f"{folder}/{each.name}".lstrip("/") not in (
                "models",
                "models/auto",
                "integrations",
            ):
                if folder in ("models", "models/auto") and each.suffix == ".py":
                    (package / folder / each.name).write_bytes(each.read_bytes())
                else:
                    (package / folder / each.name).symlink_to(each)
    docs = root / "docs" / "source" / "en"
    docs.mkdir(parents=True)
    (docs / "_toctree.yml").write_text(CONTENTS)
    return root


def export(tree: Path, *arguments, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["export", "--transformers", str(tree), *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def files_of(tree: Path) -> dict[str, bytes]:
    """What is in a tree itself, and not behind a link."""
    return {
        str(path.relative_to(tree)): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file()
        and not any(each.is_symlink() for each in (path, *path.parents))
        and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    tree = lay_out(tmp_path_factory.mktemp("exported"))
    export(tree, *FAMILIES)
    return tree


# --- the shards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_exported_shard_expands_to_the_exported_files(family, exported):
    folder = exported / f"src/transformers/models/{MODELS[family]}"
    result = CliRunner().invoke(app, ["check", str(folder / f"modular_{MODELS[family]}.py")])
    assert result.exit_code == 0, result.output
    assert "1 shards, 2 files, 2 identical" in result.output


def origin(node: ast.ImportFrom, name: str, model: str) -> str:
    """Where a name is imported from, in words that both files have."""
    module = node.module or ""
    if node.level == 0:
        return f"{module}.{name}"
    if module.startswith(("configuration_", "modeling_")) and node.level == 1:
        shared = module in SHARED
        return f"shared.{module}.{name}" if shared else f"transformers.models.{model}.{module}.{name}"
    back = {theirs: ours for ours, theirs in SHARED.items()}
    last = module.removeprefix("integrations.")
    if last in back:
        return f"shared.{back[last]}.{name}"
    return ".".join(["transformers", *([module] if module else []), name])


def without_words(node: ast.stmt) -> ast.stmt:
    """A config without what is said of it, in its docstring and in the decorator that transformers has for that."""
    if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
        node.decorator_list = [each for each in node.decorator_list if "auto_docstring" not in ast.unparse(each)]
        node.body = node.body[1:]
    return node


def alike(code: str) -> str:
    """Without checkpoints, which transformers' converter renames; a base that is called by its name as `super()`, and a part of
    a model (Llama 4) as the model, as the tree has them."""
    code = re.sub(r'from_pretrained\("[\w./-]+"\)', "from_pretrained(...)", code)
    code = re.sub(r"PreTrainedModel\._init_weights\(self, (\w+)\)", r"super()._init_weights(\1)", code)
    return re.sub(r"\b(Heterogeneous)?Llama4RMSNorm is", "Llama4RMSNorm is", code)


def essence_of(path: Path, model: str) -> tuple[set[str], list[str]]:
    """The imports of a file and its statements, without what may differ between the package and the tree."""
    text = path.read_text().replace("        >>> import transformers_heterogeneous\n", "")
    tree = ast.parse(text.replace("from transformers_heterogeneous import", "from transformers import"))
    imports, statements = set(), []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            imports |= {origin(node, alias.name, model) for alias in node.names}
        elif isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        else:
            statements.append(alike(ast.unparse(without_words(node))))
    calls_base = {"transformers.modeling_utils.PreTrainedModel"}  # by its name, see `alike`
    return imports - {"transformers.utils.auto_docstring"} - calls_base, statements


def config_in(path: Path) -> ast.ClassDef:
    return next(
        each
        for each in ast.parse(path.read_text()).body
        if isinstance(each, ast.ClassDef) and each.name.startswith("Heterogeneous")
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_configs_have_the_decorator_of_their_parents_and_every_field_in_our_words(family, exported):
    ours = ast.get_docstring(config_in(ROOT / "generated" / f"configuration_heterogeneous_{family}.py"))
    model = MODELS[family]
    node = config_in(exported / f"src/transformers/models/{model}/configuration_{model}.py")
    said, decorator = ast.get_docstring(node), ast.unparse(node.decorator_list[0])
    parent = getattr(transformers, re.search(r"All fields of \[`(\w+)`\]", re.sub(r"\s+", " ", ours))[1])
    checkpoint = re.search(r"checkpoint='([\w./-]+)'", decorator)[1]
    assert f'checkpoint="{checkpoint}"' in Path(sys.modules[parent.__module__].__file__).read_text()
    fields = re.split(r"(?m)^(?=    \w+ \()", ours.partition("\nArgs:\n")[2].partition("\nRaises:")[0])
    assert len(fields) > 4
    for field in fields:
        assert textwrap.dedent(field).strip() in said


LOSS = "return heterogeneous_model.load_balancing_loss_func(gate_logits, num_experts, top_k, attention_mask)"


# Not of Mistral, whose config calls in one file what it has in a line of the other
@pytest.mark.parametrize("kind", ["configuration", "modeling"])
@pytest.mark.parametrize("family", FAMILIES)
def test_exported_files_differ_from_ours_in_imports_the_packages_name_and_words_alone(family, kind, exported):
    model = MODELS[family]
    ours = essence_of(ROOT / "generated" / f"{kind}_heterogeneous_{family}.py", model)
    ours = {each.replace(f"heterogeneous_{family}.", f"{model}.") for each in ours[0]}, ours[1]
    theirs = essence_of(exported / f"src/transformers/models/{model}/{kind}_{model}.py", model)
    # A function in the place of the parent's is imported by ours; in the tree it is the family's, and calls the shared one
    own = [each for each in theirs[1] if each not in ours[1]]
    if own:
        assert kind == "modeling" and len(own) == 1
        assert own[0].startswith("def load_balancing_loss_func(") and own[0].splitlines()[1:] == [f"    {LOSS}"]
        ours[0].remove("shared.modeling_heterogeneous.load_balancing_loss_func")
        theirs[0].remove("transformers.integrations.heterogeneous_model")
    assert [each for each in theirs[1] if each not in own] == ours[1]
    assert theirs[0] == ours[0]


def test_the_tree_knows_nothing_of_the_package(exported):
    for name, content in files_of(exported).items():
        assert b"transformers_heterogeneous" not in content, name
        assert "heterogeneous" not in name or b"upstream" not in content, name
        if "heterogeneous" in name and name.endswith(".py"):
            absolute = re.findall(rb"(?m)^ *from transformers[. ].*", content)
            assert name.startswith("tests/") or not absolute, name


# --- what is around them -------------------------------------------------------------------------------------------------

IN_THE_TREE = """
import json, sys, torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
equal = {}
for name in sys.argv[2:]:
    folder = f"{sys.argv[1]}/{name}"
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    told = torch.load(f"{folder}/told.pt")
    with torch.no_grad():
        logits = model(told["tokens"]).logits
        made = model.generate(told["tokens"], max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=0)
    module = type(model).__module__.split(".")[:2]
    base = type(AutoModel.from_config(model.config)) is type(model.model)
    equal[name] = [torch.equal(logits, told["logits"]), torch.equal(made, told["made"]), module, base]
print(json.dumps([equal, "transformers_heterogeneous" in sys.modules, sys.modules["transformers"].__file__]))
"""


def run_in(tree: Path, program: str, *arguments: str) -> subprocess.CompletedProcess:
    """A program where transformers is the tree and our package is not."""
    environment = {
        "PYTHONPATH": str(tree / "src"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_in_the_tree_auto_classes_load_what_we_saved_and_compute_the_same_bits(exported, tmp_path):
    names = []
    for family, module in SMALL.items():
        for kind in ("UNIFORM", "MIXED"):
            names.append(f"{family}-{kind}")
            model = module.build(getattr(module, kind), attn_implementation="eager")
            model.save_pretrained(tmp_path / names[-1])
            tokens = torch.arange(3, 17)[None]
            made = model.generate(tokens, max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=0)
            with torch.no_grad():
                told = {"tokens": tokens, "logits": model(tokens).logits, "made": made}
            torch.save(told, tmp_path / names[-1] / "told.pt")
    done = run_in(exported, IN_THE_TREE, str(tmp_path), *names)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "[ERROR]" not in done.stdout  # as `auto_docstring` says of fields that nothing is said of
    equal, ours_is_there, file = json.loads(done.stdout.splitlines()[-1])
    assert equal == {name: [True, True, ["transformers", "models"], True] for name in names}
    assert not ours_is_there and file == str(exported / "src/transformers/__init__.py")


def test_lines_stand_where_their_files_are_sorted(exported):
    auto = (exported / "src/transformers/models/auto/modeling_auto.py").read_text()
    for mapping in ("MODEL_MAPPING_NAMES", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"):
        block = re.search(rf"(?ms)^{mapping} = OrderedDict\(\n    \[\n(.*?)^    \]", auto)[1]
        keys = re.findall(r'(?m)^        \((?:\n +)?"([^"]+)"', block)
        added = [key for key in keys if key.startswith("heterogeneous_")]
        assert len(added) == len(FAMILIES) and added == sorted(added)
        assert keys[keys.index(added[0]) - 1] < added[0] and added[-1] < keys[keys.index(added[-1]) + 1]
    before = (INSTALLED / "models/auto/modeling_auto.py").read_text()
    assert "".join(line for line in auto.splitlines(True) if "heterogeneous" not in line) == before
    titles = re.findall(r"title: (.*)", (exported / "docs/source/en/_toctree.yml").read_text())[:-2]
    assert titles == sorted(titles, key=str.lower) and len(titles) == 2 * len(FAMILIES)


def test_every_family_has_tests_and_a_page(exported):
    for family in FAMILIES:
        model = MODELS[family]
        tests = (exported / f"tests/models/{model}/test_modeling_{model}.py").read_text()
        page = (exported / f"docs/source/en/model_doc/{model}.md").read_text()
        config = re.search(r"\[\[autodoc\]\] (\w+)Config", page)[1]
        assert f"class {config}ModelTest(CausalLMModelTest, unittest.TestCase)" in tests
        example = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
        compile(tests, "tests", "exec"), compile(example, "example", "exec")


EXAMPLES = """
import re, sys, torch
from pathlib import Path
for page in sys.argv[1:]:
    example = re.search(r"```python\\n(.*?)```", Path(page).read_text(), re.DOTALL)[1]
    with torch.device("meta"):
        exec(example, {})
assert "transformers_heterogeneous" not in sys.modules
"""


def test_the_examples_of_the_pages_run(exported):
    pages = [str(exported / f"docs/source/en/model_doc/{model}.md") for model in MODELS.values()]
    done = run_in(exported, EXAMPLES, *pages)
    assert done.returncode == 0, done.stderr[-2000:]
    skips = [line for line in done.stdout.splitlines() if line.startswith("[") and "ERROR" not in line]
    assert len(skips) == len(FAMILIES), done.stdout


# --- writing -------------------------------------------------------------------------------------------------------------


def test_again_it_changes_nothing_and_a_dry_run_never_does(exported, tmp_path):
    before = files_of(exported)
    assert export(exported, *FAMILIES).endswith(f"0 of {NUM_FILES} files written\n")
    assert files_of(exported) == before
    tree = lay_out(tmp_path)
    empty = files_of(tree)
    listed = export(tree, "--dry-run", *FAMILIES)
    assert files_of(tree) == empty and f"{NUM_FILES} of {NUM_FILES} files would be written" in listed
    told = dict(reversed(line.split()) for line in listed.splitlines() if line.startswith(("new ", "changed ")))
    assert {name for name, state in told.items() if state == "new"} == before.keys() - empty.keys() - {
        ".hetero-export.json"
    }
    assert {name for name, state in told.items() if state == "changed"} == {
        name for name in empty if before[name] != empty[name]
    }


def test_what_somebody_wrote_is_not_replaced_and_nothing_else_is_written(tmp_path):
    tree = lay_out(tmp_path)
    theirs = [
        tree / "src/transformers/models/heterogeneous_llama/modeling_heterogeneous_llama.py",
        tree / "docs/source/en/model_doc/heterogeneous_llama.md",
    ]
    for path in theirs:
        path.parent.mkdir(parents=True)
        path.write_text("mine\n")
    before = files_of(tree)
    said = export(tree, "llama", code=2)
    assert all(f"{path} is there and is not what `hetero export` wrote" in said for path in theirs)
    assert files_of(tree) == before
    for path in theirs:
        path.unlink()
    export(tree, "llama")
    theirs[0].write_text(theirs[0].read_text() + "# a change by hand\n")
    before = files_of(tree)
    assert str(theirs[0]) in export(tree, "llama", code=2)
    assert files_of(tree) == before


def test_a_model_type_that_is_taken_is_refused(tmp_path):
    tree = lay_out(tmp_path)
    auto = tree / "src/transformers/models/auto/auto_mappings.py"
    line = '        ("helium", "HeliumConfig"),\n'
    auto.write_text(auto.read_text().replace(line, line + '        ("heterogeneous_llama", "OtherConfig"),\n'))
    before = files_of(tree)
    assert 'CONFIG_MAPPING_NAMES says of "heterogeneous_llama" already: "OtherConfig"' in export(tree, "llama", code=2)
    assert files_of(tree) == before


def test_where_a_file_cannot_be_written_none_is(tmp_path):
    tree = lay_out(tmp_path)
    path = tree / "src/transformers/models/__init__.py"
    (tmp_path / "elsewhere.py").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.py")
    before = {str(each) for each in tree.rglob("*")}
    assert "is a link" in export(tree, "llama", code=2)
    assert {str(each) for each in tree.rglob("*")} == before


@pytest.mark.parametrize(
    ("found", "said"), [("5.23.1", "is transformers 5.23.1"), ("4.57.0", "is transformers 4.57.0")]
)
def test_a_tree_of_another_release_is_refused(found, said, tmp_path):
    init = tmp_path / "src/transformers/__init__.py"
    init.parent.mkdir(parents=True)
    init.write_text(f'__version__ = "{found}"\n')
    assert said in export(tmp_path, "llama", code=2)
    assert list(files_of(tmp_path)) == ["src/transformers/__init__.py"]


def test_what_is_no_tree_and_what_is_no_family_is_said(tmp_path):
    assert f"{tmp_path} is no source tree of transformers" in export(tmp_path, "llama", code=2)
    assert "there is no family 'lama'" in export(tmp_path, "lama", code=2)
    assert "did you mean heterogeneous_llama?" in export(tmp_path, "heterogeneous_lama", code=2)
    assert "has 0 shards" in export(tmp_path, tmp_path, code=2)


# --- families of others --------------------------------------------------------------------------------------------------


def test_a_family_of_hetero_new_is_exported_and_again_after_its_shard_was_changed(tmp_path):
    tree, own = lay_out(tmp_path / "tree"), tmp_path / "own"
    contents = tree / "docs/source/en/_toctree.yml"
    contents.write_text(CONTENTS.replace("model_doc/llama", "model_doc/olmoe"))
    result = CliRunner().invoke(app, ["new", "mixed_olmoe", "--parent", "olmoe", "--heterogeneous", "--out", str(own)])
    assert result.exit_code == 0, result.output
    export(tree, own)
    folder = tree / "src/transformers/models/mixed_olmoe"
    assert {path.name for path in folder.iterdir()} == {
        *("__init__.py", "modular_mixed_olmoe.py", "configuration_mixed_olmoe.py", "modeling_mixed_olmoe.py")
    }
    assert (
        '("mixed_olmoe", "MixedOlmoeConfig")' in (tree / "src/transformers/models/auto/auto_mappings.py").read_text()
    )
    checked = CliRunner().invoke(app, ["check", str(folder / "modular_mixed_olmoe.py")])
    assert checked.exit_code == 0, checked.output
    done = run_in(tree, EXAMPLES, str(tree / "docs/source/en/model_doc/mixed_olmoe.md"))
    assert done.returncode == 0 and "ERROR" not in done.stdout, done.stdout + done.stderr[-2000:]
    shard = own / "modular_mixed_olmoe.py"
    shard.write_text(shard.read_text().replace("class MixedOlmoeModel(", "# of ours\nclass MixedOlmoeModel("))
    said = export(tree, own)
    assert "changed  src/transformers/models/mixed_olmoe/modular_mixed_olmoe.py" in said
    assert "# of ours" in (folder / "modular_mixed_olmoe.py").read_text()
