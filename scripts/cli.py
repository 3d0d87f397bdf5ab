"""The `hetero` command. Every command ends with 0 (done), 1 (found something) or 2 (could not do it, reason on stderr)."""

from pathlib import Path
from typing import Annotated

import typer


app = typer.Typer(
    help="Heterogeneous model families for transformers: generate them, convert checkpoints, look inside.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Shards = Annotated[list[Path] | None, typer.Argument(metavar="[SHARD]...", help="Shards; none: all of modular/.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the expanded files.")]


@app.command()
def generate(shards: Shards = None, out: Out = None) -> None:
    """Expand shards into the files that are imported."""
    from .generate import generate_command

    raise typer.Exit(generate_command(shards, out))


@app.command()
def check(
    shards: Shards = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary instead of the diff.")] = False,
) -> None:
    """Expand shards in memory and compare with what is on disk; exit 1 when anything differs."""
    from .generate import check_command

    raise typer.Exit(check_command(shards, out, as_json))
