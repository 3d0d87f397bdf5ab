"""
What converting costs on more than 4 GB: CPU and wall time and peak memory, as ratios to `shutil.copyfile` of the same
files right before it. Every measurement is a process of its own, its start in it; of the rounds the median counts. The
copy leaves its bytes in memory: what bringing them to the disk adds, as converting does, "copy to disk" says.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from transformers_heterogeneous.converters.engine.headers import TensorEntry, make_header, num_bytes_of
from transformers_heterogeneous.converters.engine.open_files import held
from transformers_heterogeneous.converters.engine.plan import in_files, plan_weights, read_tensors, with_names
from transformers_heterogeneous.converters.engine.rendering import no_arithmetic
from transformers_heterogeneous.converters.engine.staging import flush_tree
from transformers_heterogeneous.converters.engine.tensor_layout import regroup
from transformers_heterogeneous.converters.engine.transfer import Link, can_share
from transformers_heterogeneous.converters.engine.weights import SINGLE, read_weights
from transformers_heterogeneous.converters.engine.writing import write_files


Row = tuple[str, str, str, str, str, str]
Task = Callable[[Path, Path], object]

# The package without its `__init__`, which imports torch; as the `hetero` command does it
START = (
    "import importlib.util, sys; name = 'transformers_heterogeneous';"
    "sys.modules[name] = importlib.util.module_from_spec(importlib.util.find_spec(name));"
)
CHILD = (
    f"{START} from transformers_heterogeneous.scripts.bench import conversions; conversions.run_task(*sys.argv[1:])"
)
# Runs a command in a process that measures its own children: this one is larger
MEASURE = (
    "import resource, subprocess, sys\n"
    "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)\n"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    "print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
)
HETERO = [sys.executable, "-c", "import hetero; hetero.main()", "convert"]
ROUNDS = 3
MOVING = ("copy to disk", "load and save", "rename", "stack")
WISHES: tuple[list[str], ...] = ([], ["--experts", "stacked"])
# Sixteen layers of experts with attention between them, two of each in a file
NUM_PAIRS, PAIRS_PER_FILE, NUM_EXPERTS, HIDDEN, WIDTH, VOCAB = 16, 2, 32, 2048, 1024, 1024
SOME_OFFSET = 1000  # of the data in its block: real headers end anywhere, at multiples of 8
LINKED_SIZES = (2**30, 2**33)
NAMES = {"backbone.": "model."}
CONFIG = f"""{{
  "model_type": "nemotron_h", "architectures": ["NemotronHForCausalLM"], "hybrid_override_pattern": "{"*E" * NUM_PAIRS}",
  "num_hidden_layers": {2 * NUM_PAIRS}, "hidden_size": {HIDDEN}, "vocab_size": {VOCAB}, "intermediate_size": {WIDTH},
  "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 128, "moe_intermediate_size": {WIDTH},
  "moe_shared_expert_intermediate_size": {WIDTH}, "n_routed_experts": {NUM_EXPERTS}, "n_shared_experts": 1,
  "num_experts_per_tok": 2, "layer_norm_epsilon": 1e-5, "torch_dtype": "bfloat16"
}}"""


@dataclass(frozen=True)
class Cost:
    """CPU and wall time in seconds, peak memory in MB of a process, its start in it."""

    cpu: float
    wall: float
    megabytes: float


def pair_shapes(pair: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an attention layer and the layer of experts after it."""
    mixer, experts = f"backbone.layers.{2 * pair}.mixer", f"backbone.layers.{2 * pair + 1}.mixer"
    norms = {f"{layer.removesuffix('mixer')}norm.weight": (HIDDEN,) for layer in (mixer, experts)}
    heads = {"q": (2048, HIDDEN), "k": (256, HIDDEN), "v": (256, HIDDEN), "o": (HIDDEN, 2048)}
    projections = {f"{mixer}.{name}_proj.weight": shape for name, shape in heads.items()}
    router = {
        f"{experts}.gate.weight": (NUM_EXPERTS, HIDDEN),
        f"{experts}.gate.e_score_correction_bias": (NUM_EXPERTS,),
    }
    modules = [f"{experts}.shared_experts", *(f"{experts}.experts.{expert}" for expert in range(NUM_EXPERTS))]
    ups = {f"{module}.up_proj.weight": (WIDTH, HIDDEN) for module in modules}
    downs = {f"{module}.down_proj.weight": (HIDDEN, WIDTH) for module in modules}
    return {**norms, **projections, **router, **ups, **downs}


def file_shapes() -> list[dict[str, tuple[int, ...]]]:
    """The tensors of each file of the checkpoint."""
    embedding = (VOCAB, HIDDEN)
    rest = {"backbone.embeddings.weight": embedding, "backbone.norm_f.weight": (HIDDEN,), "lm_head.weight": embedding}
    files = [rest]
    for first in range(0, NUM_PAIRS, PAIRS_PER_FILE):
        pairs = [pair_shapes(pair) for pair in range(first, first + PAIRS_PER_FILE)]
        files.append({name: shape for pair in pairs for name, shape in pair.items()})
    return files


def groups() -> dict[str, tuple[str, ...]]:
    """Stacked name -> single names, as the family has them."""
    layers = [f"model.layers.{2 * pair + 1}.mixer.experts" for pair in range(NUM_PAIRS)]
    return {
        f"{at}.{module}": tuple(f"{at}.{expert}.{module}.weight" for expert in range(NUM_EXPERTS))
        for at in layers
        for module in ("up_proj", "down_proj")
    }


def write_checkpoint(folder: Path) -> None:
    """Random bytes under a real checkpoint's names."""
    folder.mkdir()
    (folder / "config.json").write_text(CONFIG)
    files = file_shapes()
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(files, start=1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        write_file(folder / name, shapes)
        weight_map |= dict.fromkeys(shapes, name)
    entries = ", ".join(f'"{tensor}": "{name}"' for tensor, name in weight_map.items())
    (folder / f"{SINGLE}.index.json").write_text(f'{{"metadata": {{}}, "weight_map": {{{entries}}}}}')


def write_file(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    entries, position = [], 0
    for name, shape in shapes.items():
        end = position + num_bytes_of("BF16", shape)
        entries.append(TensorEntry(name, "BF16", shape, position, end))
        position = end
    noise = os.urandom(2**20)
    with path.open("wb") as file:
        file.write(make_header(entries, {"format": "pt"}, beside=SOME_OFFSET))
        for start in range(0, position, len(noise)):
            file.write(noise[: position - start])
        os.fsync(file.fileno())


def copy_files(source: Path, target: Path) -> None:
    for path in source.glob("*.safetensors"):
        shutil.copyfile(path, target / path.name)


def copy_files_to_disk(source: Path, target: Path) -> None:
    copy_files(source, target)
    flush_tree(target)


def load_and_save(source: Path, target: Path) -> None:
    """File by file with the safetensors library."""
    from safetensors.torch import load_file, save_file

    for path in source.glob("*.safetensors"):
        tensors = {name.replace(*next(iter(NAMES.items()))): tensor for name, tensor in load_file(path).items()}
        save_file(tensors, target / path.name, metadata={"format": "pt"})


def rename(source: Path, target: Path) -> None:
    convert(source, target, NAMES, {}, "auto")


def stack(source: Path, target: Path) -> None:
    convert(source, target, NAMES, groups(), "auto")


def hard_link(source: Path, target: Path) -> None:
    convert(source, target, {}, {}, "hardlink")


def reflink(source: Path, target: Path) -> None:
    convert(source, target, {}, {}, "reflink")


def convert(
    source: Path, target: Path, names: Mapping[str, str], stacked: Mapping[str, tuple[str, ...]], link: Link
) -> None:
    """The engine alone, without the config classes of transformers."""
    weights = read_weights(source)
    tensors, _ = read_tensors(weights, names, {})
    tensors = regroup(tensors, stacked, "stacked").tensors if stacked else tensors
    plan = plan_weights(in_files(with_names(tensors.values(), {}), lambda tensor: tensor.file), weights, (), ())
    with held(weights) as opened:
        write_files(
            plan.files, opened, target, link, min(4, os.cpu_count() or 1), no_arithmetic, lambda num_bytes: None
        )
    flush_tree(target)


TASKS: dict[str, Task] = {
    "copy": copy_files,
    "copy to disk": copy_files_to_disk,
    "load and save": load_and_save,
    "rename": rename,
    "stack": stack,
    "hardlink": hard_link,
    "reflink": reflink,
}


def run_task(name: str, source: str, target: str) -> None:
    """What a measured process does."""
    TASKS[name](Path(source), Path(target))


def measure(command: list[str], target: Path) -> Cost:
    """Run a command that writes to `target`, and remove what it wrote."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - start
    shutil.rmtree(target)
    cpu, kilobytes = map(float, done.stdout.split())
    return Cost(cpu, wall, kilobytes / 1024)


def warm_up(source: Path, target: Path) -> None:
    """What a machine does once after it was idle, above all a virtual one, which has to get its memory back."""
    os.sync()
    target.mkdir()
    copy_files(source, target)
    shutil.rmtree(target)


def measure_task(name: str, source: Path, target: Path) -> Cost:
    target.mkdir()
    return measure([sys.executable, "-c", CHILD, name, str(source), str(target)], target)


def large_rows(folder: Path) -> Iterator[Row]:
    """Everything that moves the bytes of a checkpoint, each beside a copy of the same files right before it."""
    source, target = folder / "published", folder / "target"
    write_checkpoint(source)
    copy, *tasks = (partial(measure_task, name, source, target) for name in ("copy", *MOVING))
    commands = [[*HETERO, str(source), str(target), *wishes] for wishes in WISHES]
    for name, run in zip(
        (*MOVING, *(" ".join(["hetero convert", *wishes]) for wishes in WISHES)),
        (*tasks, *(partial(measure, command, target) for command in commands)),
        strict=True,
    ):
        pairs = []
        for _ in range(ROUNDS):
            warm_up(source, target)
            pairs.append((copy(), run()))
        yield ratio_row(name, pairs)


def ratio_row(name: str, pairs: list[tuple[Cost, Cost]]) -> Row:
    """The medians of what a task took, and of the ratios to the copies beside it."""
    return (
        name,
        f"{median(cost.cpu for _, cost in pairs):.2f} s",
        f"{median(cost.cpu / copy.cpu for copy, cost in pairs):.2f}",
        f"{median(cost.wall for _, cost in pairs):.2f} s",
        f"{median(cost.wall / copy.wall for copy, cost in pairs):.2f}",
        f"{max(cost.megabytes for _, cost in pairs):.0f}",
    )


def linked_rows(folder: Path) -> Iterator[Row]:
    """Links of two sizes; the files are sparse."""
    for size in LINKED_SIZES:
        source = folder / f"linked-{size}"
        source.mkdir()
        header = make_header([TensorEntry("w", "U8", (size,), 0, size)], {"format": "pt"})
        (source / SINGLE).write_bytes(header)
        os.truncate(source / SINGLE, len(header) + size)
        ways = ["hardlink", "reflink"] if can_share(source / SINGLE, folder) else ["hardlink"]
        for way in ways:
            costs = [measure_task(way, source, folder / "target") for _ in range(ROUNDS)]
            cpu, wall = (median(getattr(cost, name) for cost in costs) for name in ("cpu", "wall"))
            yield (
                f"{way}, {size / 2**30:.0f} GiB",
                f"{cpu:.2f} s",
                "",
                f"{wall:.2f} s",
                "",
                f"{costs[0].megabytes:.0f}",
            )


def rows() -> Iterator[Row]:
    """All rows; without room for three times the checkpoint there is one that says so."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shapes = [shape for shapes in file_shapes() for shape in shapes.values()]
        needed = 3 * sum(num_bytes_of("BF16", shape) for shape in shapes)
        free = shutil.disk_usage(folder).free
        if free < needed:
            yield f"left out: {needed:,} bytes are needed in {folder}, {free:,} are free", "", "", "", "", ""
            return
        yield from large_rows(folder)
        yield from linked_rows(folder)


def main() -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "CPU", "to a copy", "wall time", "to a copy", "peak MB")
    for row in rows():
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
