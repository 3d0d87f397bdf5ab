"""What the documentation site has beside docs/: pages at the repository's root, a page for each family, the reference of the
command. Called by mkdocs, as a hook."""

import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from transformers_heterogeneous.scripts.command.cli import app


ROOT = Path(__file__).resolve().parents[2]
AT_ROOT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[^)\s]+)\)")
TYPES = re.compile(r"\(<code>`.*?</code>\)")
DEFINITION = re.compile(r"^\[(\w+)\]: (\S+)$", re.MULTILINE)
FAMILY = """\
# {model_type}

Built from transformers' `{parent}`. [What every family does](../families.md) holds for it, and [the rules of the config](../config.md).
Its shard is `modular/modular_{model_type}.py` ({shard} lines), which expands to {expanded} lines in `generated/`.

## Config

{configs}

## Models

{models}
"""


def families() -> dict[str, Path]:
    """The families by their model type, and their shards."""
    shards = sorted((ROOT / "modular").glob("modular_heterogeneous_*.py"))
    found = {path.stem.removeprefix("modular_"): path for path in shards}
    return {name: path for name, path in found.items() if (ROOT / f"generated/configuration_{name}.py").is_file()}


def family_page(model_type: str, shard: Path) -> str:
    """The page of a family, from its shard."""
    text = shard.read_text(encoding="utf-8")
    listed = re.search(r"__all__ = \[(.*?)\]", text, re.DOTALL)
    names = re.findall(r'"(\w+)"', listed[1]) if listed else []
    parent = re.search(r"^from transformers\.models\.(\w+)\.configuration_", text, re.MULTILINE)
    written = [ROOT / f"generated/{kind}_{model_type}.py" for kind in ("configuration", "modeling")]
    configs = [
        f"::: transformers_heterogeneous.configuration_{model_type}.{name}"
        for name in names
        if name.endswith("Config")
    ]
    models = [
        f"::: transformers_heterogeneous.modeling_{model_type}.{name}\n    options:\n      members: [forward]\n      "
        "show_docstring_description: true"
        for name in names
        if not name.endswith(("Config", "PreTrainedModel"))
    ]
    return FAMILY.format(
        model_type=model_type,
        parent=parent[1] if parent else "?",
        shard=len(text.splitlines()),
        expanded=sum(len(path.read_text(encoding="utf-8").splitlines()) for path in written),
        configs="\n\n".join(configs),
        models="\n\n".join(models),
    )


def command_page() -> str:
    """The reference of `hetero`, as its `--help` has it."""
    group: Any = typer.main.get_command(app)
    parts = ["# hetero", "", inspect.cleandoc(group.help or ""), ""]
    for name, command in group.commands.items():
        parts += [f"## hetero {name}", "", inspect.cleandoc(command.help or ""), "", *options(command), ""]
    return "\n".join(parts)


def options(command: Any) -> Iterator[str]:
    """The rows of a command's table."""
    yield "| argument or option | |"
    yield "|---|---|"
    for each in command.params:
        if getattr(each, "hidden", False):
            continue
        metavar = each.metavar or ("" if getattr(each, "is_flag", False) else str(each.name).upper())
        argument = each.param_type_name == "argument"
        names = metavar if argument else ", ".join([*each.opts, *each.secondary_opts])
        said = names if argument else f"{names} {metavar}".strip()
        text = " ".join((each.help or "").split()).replace("|", "\\|")
        yield f"| <code>{html.escape(said).replace('|', '&#124;')}</code> | {text} |"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the families into the navigation."""
    for section in config.nav or ():
        for name, place in section.items():
            if place == "FAMILIES":
                section[name] = [{model_type: f"families/{model_type}.md"} for model_type in families()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in docs/."""
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in AT_ROOT}
    pages |= {f"families/{model_type}.md": family_page(model_type, path) for model_type, path in families().items()}
    pages["cli.md"] = command_page()
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as they are on the site, where docs/ and the root are one folder. What is no page of it is left as its text."""
    here = page.file.src_uri
    if here.startswith("families/"):
        return markdown

    def on_site(path: str) -> str | None:
        """The path that a link has on the site; `None` where it leads to a file that the site does not have."""
        if here in AT_ROOT:
            path = path.removeprefix("docs/")
        elif path.removeprefix("../").partition("#")[0] in AT_ROOT:  # one folder, on the site
            path = path.removeprefix("../")
        folder = "://" not in path and not Path(path.partition("#")[0]).suffix and not path.startswith("#")
        return None if path.startswith("../") or folder else path

    def inline(match: re.Match[str]) -> str:
        path = on_site(match["path"])
        return match["text"] if path is None else f"[{match['text']}]({path})"

    for name, path in DEFINITION.findall(markdown):
        if on_site(path) is None:
            markdown = markdown.replace(f"[{name}]: {path}\n", "")
            markdown = re.sub(rf"(?:\[[^\]\[]*\])?\[{name}\]", f"`{Path(path).name}`", markdown)
    return LINK.sub(inline, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Types of arguments as transformers writes them in docstrings, without their Markdown."""
    return TYPES.sub(lambda match: match[0].replace("`", "").replace("*optional*", "optional"), content)
