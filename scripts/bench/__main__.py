"""`make bench`: what families, kernels, generator and conversion cost, each as ratios within one run; `make bench FAMILIES="llama"`:
those families alone."""

import sys

import torch
from rich.console import Console
from rich.table import Table

from . import conversions, generator, kernels, models


def main() -> int:
    torch.set_num_threads(1)
    families = sys.argv[1:]
    console = Console(width=None if sys.stdout.isatty() else 130)
    table = Table(
        "ours / theirs", "CPU time", "Python calls", "parameters", title="ratios; 1.00 is as fast as the parent"
    )
    with torch.no_grad():
        for row in (*models.rows(families), *(() if families else kernels.rows())):
            table.add_row(*row)
    console.print(table)
    if families:
        return 0
    costs = Table("generator", "CPU seconds", "peak MB", "ratio to the floor")
    for costs_row in generator.rows():
        costs.add_row(*costs_row)
    console.print(costs)
    return conversions.main()


if __name__ == "__main__":
    sys.exit(main())
