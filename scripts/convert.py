"""`hetero convert`: a checkpoint folder in any known format becomes one of the family."""

import json
import signal
import sys
from pathlib import Path

from rich.console import Console

from transformers_heterogeneous.converters import CheckpointError, Report, convert
from transformers_heterogeneous.converters.transfer import Link


def convert_command(src: Path, dst: Path, link: Link, dry_run: bool, as_json: bool) -> int:
    """Convert and print the report; 0 when done, 2 with the reason on stderr when it could not be."""
    # A polite kill cleans up as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = convert(src, dst, link=link, dry_run=dry_run)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(report)
    return 0


def print_report(report: Report) -> None:
    """The report in words, one line a fact."""
    console = Console(highlight=False, soft_wrap=True)
    done = "would become" if report.dry_run else "is now"
    console.print(f"{report.source} ({report.format}) {done} {report.target} ({report.model_type})", markup=False)
    console.print(
        f"  {report.num_tensors:,} tensors, {report.num_parameters:,} parameters, {report.num_bytes:,} bytes"
    )
    for how in sorted({file.how for file in report.files}):
        names = [file.name for file in report.files if file.how == how]
        console.print(f"  {how}: {span_of(names)}", markup=False)
    for tensor in report.dropped:
        console.print(f"  dropped: {tensor.name} in {tensor.file}: {tensor.reason}", markup=False)
    if report.dropped_fields:
        console.print(f"  dropped from config.json: {', '.join(report.dropped_fields)}", markup=False)
    if report.carried:
        console.print(f"  carried along: {', '.join(report.carried)}", markup=False)
    for left in report.not_carried:
        console.print(f"  not carried: {left.name}: {left.reason}", markup=False)


def span_of(names: list[str]) -> str:
    """One name as it is, several as how many from where to where."""
    return names[0] if len(names) == 1 else f"{len(names)} files, {names[0]} to {names[-1]}"
