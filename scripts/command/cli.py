"""The `hetero` command. Every command ends with 0 (done), 1 (found something) or 2 (could not do it, reason on stderr)."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from transformers_heterogeneous.converters.conversion_options import FORM, RUN, ConversionOptions
from transformers_heterogeneous.converters.scoring_options import ScoringOptions
from transformers_heterogeneous.integrations.installing import how_to_install

from .dataclass_options import takes_fields_of


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Shards = Annotated[list[Path] | None, typer.Argument(metavar="[SHARD]...", help="Shards; none: all of modular/.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the expanded files.")]
Strict = Annotated[
    bool | None,
    typer.Option("--strict/--no-strict", help="Take warnings for errors; the default where no shard is named."),
]
Format = Annotated[
    Literal["text", "github"],
    typer.Option("--format", help="How problems are told. github: annotations of a pull request."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON summary.")]


def need_generator() -> None:
    """Stop where shards cannot be parsed or expansions not be formatted: the generator is an extra."""
    missing = [name for name in ("libcst", "merge3", "ruff") if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        message = f"{' and '.join(missing)} {verb} missing: {how_to_install('generator')}"
    elif not _has_program_of_ruff():
        message = "ruff is installed without its program: pip install --force-reinstall ruff"
    else:
        return
    typer.echo(f"hetero: {message}", err=True)
    raise typer.Exit(2)


def _has_program_of_ruff() -> bool:
    from ..modular_converter.output.formatting import ruff_program

    try:
        ruff_program()
    except FileNotFoundError:
        return False
    return True


def need_fitting_transformers() -> None:
    """Stop where the families' configs would be read by another transformers than they were expanded from."""
    from .versions import misfit

    if (reason := misfit()) is not None:
        typer.echo(f"hetero: {reason}", err=True)
        raise typer.Exit(2)


def say_versions(asked: bool) -> None:
    """Print the versions and end, where `--version` asks for them."""
    if asked:
        from .versions import versions_line

        typer.echo(versions_line())
        raise typer.Exit


def need_shards_to_run(shards: list[Path] | None, run: bool) -> None:
    """Stop where `--run` has nothing to run, or `--config` stands alone."""
    missing = [shard for shard in shards or () if not shard.is_file()]
    reason = (
        "--config and --heterogeneous belong to --run"
        if not run
        else "--run takes the shards to run"
        if not shards
        else ""
    )
    if reason or missing:
        typer.echo(f"hetero check: {reason or f'there is no shard {missing[0]}'}", err=True)
        raise typer.Exit(2)


def need_all_shards(shards: list[Path] | None) -> None:
    """Stop where single shards are to be expanded for another release."""
    if shards:
        typer.echo("hetero generate: --against expands all of modular/; name no shards", err=True)
        raise typer.Exit(2)


@app.callback()
def hetero(
    versions: Annotated[
        bool,
        typer.Option("--version", callback=say_versions, is_eager=True, help="Print the versions and exit."),
    ] = False,
) -> None:
    """Heterogeneous model families for transformers: generate them, convert checkpoints, look inside."""


@app.command()
def generate(
    shards: Shards = None,
    out: Out = None,
    as_json: AsJson = False,
    strict: Strict = None,
    format: Format = "text",
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OVERRIDE", help="An override that fits though its parent changed; more than once, or: all."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION|WHEEL|FOLDER",
            help="Expand all families for another release of transformers, or: installed. Needs --out.",
        ),
    ] = None,
    locked: Annotated[bool, typer.Option("--lock/--no-lock", hidden=True)] = True,
) -> None:
    """Expand shards into the files that are imported."""
    need_generator()
    if against is not None:
        need_all_shards(shards)
        from .expand_against import generate_against

        raise typer.Exit(generate_against(against, out, accept or ()))
    from .generate import generate_command

    raise typer.Exit(generate_command(shards, out, as_json, strict, format, accept or (), locked))


@app.command()
def check(
    shards: Shards = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary instead of the diff.")] = False,
    strict: Strict = None,
    format: Format = "text",
    run: Annotated[
        bool, typer.Option("--run", help="Execute each shard as a Python module and compare it with its expansion.")
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="With --run: fields of the small config that models are built from, or a file."
        ),
    ] = None,
    heterogeneous: Annotated[
        bool,
        typer.Option(
            "--heterogeneous", help="With --run: compare models whose layers differ with the parent's layers."
        ),
    ] = False,
) -> None:
    """Expand shards in memory and compare with what is on disk; exit 1 when anything differs."""
    need_generator()
    if run or config is not None or heterogeneous:
        need_shards_to_run(shards, run)
        if heterogeneous:
            from .judge import judge_command

            raise typer.Exit(judge_command(shards or [], config))
        from .run_shard import run_command

        raise typer.Exit(run_command(shards or [], config))
    from .generate import check_command

    raise typer.Exit(check_command(shards, out, as_json, strict, format))


@app.command()
def rebase(
    shards: Shards = None,
    onto: Annotated[
        str | None,
        typer.Option(metavar="VERSION|WHEEL|FOLDER", help="Release to follow; by default what is installed."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes instead of writing them.")] = False,
) -> None:
    """Merge what the parents have changed into the overrides of shards; exit 1 when a conflict is left in one."""
    need_generator()
    from .rebase import rebase_command

    raise typer.Exit(rebase_command(shards, onto, dry_run))


EXAMPLES = """\
Examples:

hetero convert Llama-3_3-Nemotron-Super-49B-v1 super-49b

hetero convert plain-llama thinner --skip attention:19,20,22-23 --skip mlp:30

hetero convert super-49b again --to nemotron-nas

hetero convert super-49b for-gguf --for llama.cpp

hetero convert gpt-oss-puzzle-88B dense --dequantise --dtype bfloat16 --dry-run
"""


@app.command(epilog=EXAMPLES)
@takes_fields_of(ConversionOptions)
def convert(
    src: Annotated[Path, typer.Argument(help="Checkpoint folder in a known format, or ORG/NAME on the hub.")],
    dst: Annotated[Path, typer.Argument(help="Folder to write; it must not exist, or be empty.")],
    *,
    code_for: Annotated[
        str | None,
        typer.Option(
            metavar="RELEASE",
            help="The code as --with-code puts it there, for another transformers, as in 5.19.",
            rich_help_panel=FORM,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole plan and the report as JSON.", rich_help_panel=RUN)
    ] = False,
    **options: Any,
) -> None:
    """Convert a checkpoint to the family that loads it without remote code, or back."""
    need_fitting_transformers()
    from transformers_heterogeneous.converters import convert as convert_checkpoint

    from .convert import convert_command, print_json, print_report

    given = {name: value for name, value in options.items() if value is not None}
    conversion = partial(convert_checkpoint, src, dst, **given)
    told = print_json if as_json else print_report
    if code_for is not None:
        need_generator()
        from .expand_against import with_code_for

        raise typer.Exit(
            with_code_for(code_for, lambda code: convert_command(partial(conversion, with_code=code), dst, told))
        )
    raise typer.Exit(convert_command(conversion, dst, told))


@app.command()
def verify(
    first: Annotated[Path, typer.Argument(metavar="A", help="Checkpoint folder, or ORG/NAME on the hub.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another, in the same or another format.")],
    jobs: Annotated[int | None, typer.Option(min=1, help="Tensors read at a time; by default one per core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Say whether two checkpoints are the same model, tensor by tensor; exit 1 when they differ."""
    need_fitting_transformers()
    from .verify import verify_command

    raise typer.Exit(verify_command(first, second, jobs, as_json))


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="Checkpoint folder, config.json, or ORG/NAME on the hub.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[OTHER]", help="Another, to be compared side by side.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, one entry a layer.")] = False,
    context: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How many tokens the FLOPs of one are counted among; by default 4,096."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the layers: .png, .svg or .pdf.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    groups: Annotated[
        bool,
        typer.Option(
            "--groups",
            help="Show the tensors by sub-block instead, as Puzzletron has them; --json: all of `describe`.",
        ),
    ] = False,
) -> None:
    """Show what each layer is made of, how many parameters it has, what the KV cache and a token take; of two models, what differs."""
    need_fitting_transformers()
    if groups:
        if plot is not None:
            typer.echo("hetero inspect: --plot draws the layers; leave out --groups", err=True)
            raise typer.Exit(2)
        from .groups import groups_command

        raise typer.Exit(groups_command(path, as_json, revision))
    from .inspection import inspect_command

    raise typer.Exit(inspect_command(path, as_json, plot, revision, other, context))


@app.command()
@takes_fields_of(
    ConversionOptions, "experts", "dtype", "dequantise", "fuse", "skip", "drop_empty_layers", "solution", "index"
)
def prune(
    src: Annotated[Path, typer.Argument(help="Checkpoint folder in a known format, or ORG/NAME on the hub.")],
    dst: Annotated[Path, typer.Argument(help="Folder to write; it must not exist, or be empty.")],
    plan: Annotated[
        Path | None, typer.Argument(help="What each layer is to be, as per_layer_config says it: a JSON file.")
    ] = None,
    *,
    width: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYERS:NUMBER", help="Width of the MLP or of an expert, as in 3,5-8:8192."),
    ] = None,
    kv_heads: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYERS:NUMBER", help="KV heads; those that come together share one, as in 7:2."),
    ] = None,
    heads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYERS:NUMBER", help="Query heads: as many of each group, or whole groups with their KV heads."
        ),
    ] = None,
    experts: Annotated[
        list[str] | None, typer.Option(metavar="LAYERS:NUMBER", help="Routed experts, as in 0-11:96.")
    ] = None,
    top_k: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYERS:NUMBER", help="Experts that a token goes to; lowered anyway where fewer are left."
        ),
    ] = None,
    shared_width: Annotated[
        list[str] | None, typer.Option(metavar="LAYERS:NUMBER", help="Width of the shared expert or MLP.")
    ] = None,
    latent: Annotated[
        list[str] | None, typer.Option(metavar="LAYERS:NUMBER", help="Width of what routed experts read and write.")
    ] = None,
    state: Annotated[list[str] | None, typer.Option(metavar="LAYERS:NUMBER", help="State of mamba layers.")] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="NAME:LAYERS", help="Leave sub-blocks out, as in attention:19,22-23.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="LAYERS", help="Layers that stay, as in 0-20,25-31; they are renumbered.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="first|norm|random|FILE", help="What chooses the units that stay; a file holds a score for each."
        ),
    ] = "first",
    seed: Annotated[int, typer.Option(help="Of --by random.")] = 0,
    kv_heads_by: Annotated[
        Literal["keep", "mean"], typer.Option(help="Of KV heads that come together one stays, or their mean.")
    ] = "keep",
    target: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Choose what is cut by --by FILE until this share of the parameters is left, greedily: the cheapest cut first.",
        ),
    ] = None,
    target_cache: Annotated[
        float | None, typer.Option(metavar="SHARE", help="The same for the bytes of the KV cache.")
    ] = None,
    width_step: Annotated[int, typer.Option(min=1, help="Of --target: widths are multiples of it.")] = 64,
    plan_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of --target: write the plan that was chosen, as PLAN has it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole plan and the report as JSON.")] = False,
    **options: Any,
) -> None:
    """Cut neurons, heads, experts, states or layers out of a checkpoint, tensor by tensor."""
    need_fitting_transformers()
    from .prune import prune_command

    sizes = {"width": width, "kv_heads": kv_heads, "heads": heads, "experts": experts, "top_k": top_k}
    sizes |= {"shared_width": shared_width, "latent": latent, "state": state}
    choice = {"by": by, "seed": seed, "kv_heads_by": kv_heads_by, "skips": tuple(skip or ())}
    choice |= {"target": target, "target_cache": target_cache, "width_step": width_step}
    wanted = {name: value for name, value in options.items() if value is not None}
    raise typer.Exit(prune_command(src, dst, plan, sizes, layers, choice, wanted, as_json, plan_out))


@app.command()
@takes_fields_of(ScoringOptions)
def score(
    src: Annotated[Path, typer.Argument(help="Checkpoint folder in a known format, or ORG/NAME on the hub.")],
    *,
    data: Annotated[
        Path,
        typer.Option(metavar="FILE", help='JSON lines with "text" or "input_ids", other input_ids, or plain text.'),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the scores go, a .safetensors file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
    **options: Any,
) -> None:
    """Measure what layers, neurons, heads and experts do to data, for `hetero prune --by`: one layer in memory at a time.

    The influence of layers and of their sub-blocks, activations of neurons and heads, tokens that go to each expert. A run
    that was stopped goes on where it was.
    """
    need_fitting_transformers()
    from .score import score_command

    raise typer.Exit(score_command(src, data, out, ScoringOptions(**options), as_json))


@app.command()
def trace(
    path: Annotated[Path, typer.Argument(help="Checkpoint folder, ORG/NAME on the hub, or a saved trace.")],
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What it runs on; needs its tokenizer.")] = None,
    ids: Annotated[str | None, typer.Option(metavar="IDS", help="Token ids instead, as in 1,15,7.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="OTHER", help="Checkpoint or saved trace to compare with; exit 1 where they part."),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(metavar="LAYERS", help="Of each layer, its number in OTHER, as in 0-3,6-9; else found out."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Relative difference that does not count; 0: every byte does.")
    ] = 0.0,
    every_layer: Annotated[bool, typer.Option("--all", help="Show all layers, not one of each kind.")] = False,
    by_family: Annotated[
        bool,
        typer.Option(
            "--by-family", help="Run a stock checkpoint by its family too, with one layer in memory at a time."
        ),
    ] = False,
    dtype: Annotated[
        Literal["bfloat16", "float16", "float32"] | None,
        typer.Option(help="What is computed in; by default the checkpoint's own."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where, as in cuda:1; by default the accelerator that there is.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the difference by layer: .png, .svg or .pdf.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print as JSON; a trace that is saved so can be compared with.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
) -> None:
    """Show what each module of a model gives, and the first one that gives something else in another model."""
    need_fitting_transformers()
    from .trace import Asked, trace_command

    asked = Asked(
        prompt, ids, against, layers, tolerance, every_layer, by_family, dtype, device, plot, as_json, revision
    )
    raise typer.Exit(trace_command(path, asked))


@app.command()
def masks(
    path: Annotated[Path, typer.Argument(help="Checkpoint folder, config.json, or ORG/NAME on the hub.")],
    tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many tokens; by default what the largest window needs.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The tokens of a text; needs its tokenizer.")
    ] = None,
    packed: Annotated[
        str | None, typer.Option(metavar="LENGTHS", help="Several sequences in one row, as in 3,5.")
    ] = None,
    padded: Annotated[
        str | None, typer.Option(metavar="LENGTHS", help="Several sequences, padded on the left, as in 3,8.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(metavar="FIRST-LAST", help="Tokens of an image, as in 2-5; more than once.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print as JSON what each token attends to, as spans.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the masks: .png, .svg or .pdf.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
) -> None:
    """Show every mask that a model passes to attention, and which layers take it. No weights are read."""
    need_fitting_transformers()
    from .masks import Tokens, masks_command

    raise typer.Exit(masks_command(path, Tokens(tokens, prompt, packed, padded, image or ()), as_json, plot, revision))


@app.command()
@takes_fields_of(ConversionOptions, "solution", "index")
def infer(
    src: Annotated[Path, typer.Argument(help="Checkpoint folder whose tensors were cut, or ORG/NAME on the hub.")],
    dst: Annotated[
        Path | None, typer.Argument(help="Folder to write with the config that is found; none: look.")
    ] = None,
    *,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="What the shapes leave open, as in head_dim=128; more than once."
        ),
    ] = None,
    zeros: Annotated[
        bool, typer.Option("--zeros", help="Count neurons that are zero in every tensor; with DST take them out.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found, and the report, as JSON.")] = False,
    **options: Any,
) -> None:
    """Work out the config of a pruned checkpoint from the shapes of its tensors, where config.json has the old numbers."""
    need_fitting_transformers()
    from .infer import infer_command

    wanted = {name: value for name, value in options.items() if value is not None}
    raise typer.Exit(infer_command(src, dst, given or (), as_json, {**wanted, "zeros": zeros}))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the repository; empty, or not there yet.")],
    package: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the package in it; by default the folder's.")
    ] = None,
) -> None:
    """Start a repository for families of your own: shards, what they expand to, CI, a pre-commit hook."""
    need_generator()
    from .init import init_command

    raise typer.Exit(init_command(folder, package))


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model name in lower case: NAME of modular_NAME.py.")],
    parent: Annotated[str, typer.Option(metavar="MODEL", help="Model of transformers to inherit from, as in qwen3.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the shard; by default the project's, or this one."),
    ] = None,
    heterogeneous: Annotated[
        bool, typer.Option("--heterogeneous", help="A family whose layers may differ, out of a decoder.")
    ] = False,
    package: Annotated[
        Path | None, typer.Option("--package", metavar="DIR", help="Write a package with the family, to be installed.")
    ] = None,
) -> None:
    """Start a family: a shard that expands to a working copy of a parent, ready to be edited."""
    need_generator()
    from datetime import date

    if package is not None:
        from .new_package import package_command

        raise typer.Exit(package_command(name, parent, package, date.today().year, heterogeneous))
    from .new import new_command

    raise typer.Exit(new_command(name, parent, out, date.today().year, heterogeneous))


@app.command()
def export(
    families: Annotated[
        list[str],
        typer.Argument(metavar="FAMILY...", help="Families of the package, or folders with the shard of another."),
    ],
    transformers: Annotated[
        Path, typer.Option(metavar="CHECKOUT", help="Source tree of transformers, of the installed minor release.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files and write nothing.")] = False,
) -> None:
    """Lay families into a source tree of transformers: models, registration, tests and pages, as a pull request has them."""
    need_generator()
    need_fitting_transformers()
    from .export import export_command

    raise typer.Exit(export_command(transformers, families, dry_run))


@app.command()
def nearest(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE|MODEL", help="A modeling file, or a model of transformers, which is left out."),
    ],
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="DIR", help="Write the shard, and say where its expansion is not the file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it all as JSON.")] = False,
) -> None:
    """Find the models of transformers that a modeling file is nearest to, class by class, and the shard that says the same."""
    if write is not None:
        need_generator()
    from .nearest import nearest_command

    raise typer.Exit(nearest_command(file, write, as_json))


@app.command()
def drift(
    shards: Shards = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION|PATH", help="Release to compare with: a version, wheel or folder; default newest."
        ),
    ] = None,
) -> None:
    """Say what another release of transformers would change in the families; exit 1 when something does."""
    need_generator()
    from .drift import drift_command

    raise typer.Exit(drift_command(against, shards))


@app.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="CLASS.METHOD", help="A method of a generated class.")],
    shards: Shards = None,
) -> None:
    """Say where each piece of a generated method came from: parent or shard, lines, rule."""
    need_generator()
    from .explain import explain_command

    raise typer.Exit(explain_command(name, shards))


@app.command()
def graph(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Folder of shards, modular_<name>.py; none: this package's."),
    ] = None,
    of_transformers: Annotated[
        bool, typer.Option("--transformers", help="Of the installed transformers' own models instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it.")] = None,
) -> None:
    """Show which family is made of which: parents and theirs, lines of shards and expansions, overrides."""
    from .graph import graph_command

    raise typer.Exit(graph_command(folder, of_transformers, as_json, svg))


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND [ARGUMENT]...", help="Any program, as in lm_eval.")],
) -> None:
    """Run a program with the families registered in each Python that it starts: hetero run lm_eval --model hf ..."""
    need_fitting_transformers()
    from .running import run_command

    raise typer.Exit(run_command(command))


@app.command()
def autoload(
    state: Annotated[Literal["on", "off", "status"], typer.Argument(help="status ends with 1 where it is off.")],
) -> None:
    """Register the families in every Python of this environment, when it first imports transformers."""
    from .running import autoload_command

    raise typer.Exit(autoload_command(state))
