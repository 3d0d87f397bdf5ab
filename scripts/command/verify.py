"""`hetero verify`: are two checkpoints the same model?"""

import json
import sys
from pathlib import Path

from rich.console import Console

from transformers_heterogeneous.converters import CheckpointError, Comparison, verify


MAX_SHOWN = 10


def verify_command(first: Path, second: Path, jobs: int | None, as_json: bool) -> int:
    """Compare and say what differs; 0 for the same model, 1 for another, 2 with the reason on stderr."""
    try:
        comparison = verify(first, second, jobs)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(comparison.to_dict(), indent=2))
    else:
        print_comparison(comparison)
    return 0 if comparison.same else 1


def print_comparison(comparison: Comparison) -> None:
    """The verdict, and the first differences."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if comparison.dequantised:
        console.print(f"{comparison.dequantised}: is quantised (MXFP4, FP8 or NVFP4), and is dequantised to compare")
    if comparison.same:
        console.print(
            f"{comparison.first} and {comparison.second} are the same model: "
            f"{comparison.num_tensors:,} tensors, {comparison.num_bytes:,} bytes"
        )
        console.print(f"  sha256 of the tensors: {comparison.digest}")
        return
    console.print(f"{comparison.first} and {comparison.second} differ in {len(comparison.differences):,} places")
    for difference in comparison.differences[:MAX_SHOWN]:
        console.print(f"  {difference.name}: {difference.problem}")
        console.print(f"    A: {difference.first or 'nothing'}")
        console.print(f"    B: {difference.second or 'nothing'}")
    if (more := len(comparison.differences) - MAX_SHOWN) > 0:
        console.print(f"  and {more:,} more; --json names all")
