"""What a caller may ask of a conversion, each option once: `convert` takes them, and `hetero convert` makes its own of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .engine.errors import CheckpointError
from .engine.tensor_layout import Experts, parse_size
from .engine.transfer import Link
from .pruning_plan import PruningPlan
from .runtimes import Runtime, runtime_named


# Under what `--help` lists options
FORM, LAYERS, RUN = "What is written", "What becomes of layers", "How it is done"


def told(
    help: str, flag: str = "", metavar: str | None = None, least: int | None = None, panel: str | None = None
) -> dict[str, Any]:
    """
    What the command says of an option.

    Args:
        flag: Its name there, where that is not the field's.
        metavar: What stands there for its value.
        least: The smallest number that it takes there.
        panel: Under what `--help` lists it.
    """
    return {"help": help, "flag": flag, "metavar": metavar, "least": least, "panel": panel}


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """
    Options of a conversion.

    Attributes:
        to: Name of the format to write; the family's own by default.
        reader: Program that is to read it, `llama.cpp`, `mlx`, `vllm` or `vllm-anymodel`: config.json is written as that needs it,
            and what it would compute wrongly is refused.
        link: How bytes that stay get there: `auto` shares blocks where the filesystem can and copies elsewhere,
            `reflink`, `hardlink` and `copy` do only that. A hard link is the source file itself, editing it edits both;
            files that change are not linked.
        experts: `stacked` makes one tensor of the experts of a layer, `separate` one of each; `keep` leaves them.
        dtype: Cast the parameters that are not quantised.
        dequantise: Make floating point of experts in MXFP4, and of ModelOpt's weights in FP8 and NVFP4: `dtype`, or the
            config's. Scales of activations and of the cache are dropped.
        max_shard_size: Deal the tensors out to files of at most so many bytes, as in `5GB`; by default they stay in
            the files that they are in.
        skip: Sub-blocks to leave out, as in `attention:19,20,22-23`: a name that the family's `skippable` has, layers.
        drop_empty_layers: Take out the layers that hold nothing and renumber the others. The way back to the format that
            the checkpoint came from has them again.
        fuse: Blocks to fuse, on disk too, as in `norm_mlp:all` or `add_norm:0,3-5`: a name that the family's `fusable`
            has, layers. Converting such a folder without `fuse` gives the ordinary names again.
        with_code: Put the family's own files into the folder, so that it loads with `trust_remote_code=True` where this
            package is not installed. A folder that holds the families expanded for another release of transformers
            (`hetero generate --against`): that code.
        subblocks: Write Puzzletron's library of the sub-blocks beside an `anymodel`: what each layer may be replaced by.
        solution: File with solutions of Puzzletron's: what is converted is not the checkpoint of such a library, but one with
            the blocks that a solution chose, wherever they lie.
        index: Which of several solutions, the first being 0.
        jobs: Number of files written at a time; by default up to four.
        revision: Branch, tag or commit of a repository.
        prune: What to cut out of the tensors of layers.
        dry_run: Read, check and plan, but write nothing.
        max_bytes: `max_shard_size` in bytes.
        runtime: What is known of the program that `reader` names.

    Raises:
        CheckpointError: where a size or a program is none that is known.
    """

    to: str | None = field(
        default=None,
        metadata=told(
            "Format to write, by default the family's own. What it came from, and what its layers can be said in: nemotron-nas, "
            "deci, llama, mistral, qwen2, qwen3, qwen3_moe, qwen3_next, pruned_experts, llama4_text, openelm, gpt_oss_puzzle, gpt_oss, "
            "granitemoehybrid, nemotron_h_puzzle, nemotron_h, anymodel, anymodel_v2, per_layer_config.",
            metavar="FORMAT",
            panel=FORM,
        ),
    )
    reader: str | None = field(
        default=None,
        metadata=told(
            "llama.cpp, mlx, vllm or vllm-anymodel: as it needs it; refuses what it gets wrong.",
            flag="--for",
            metavar="READER",
            panel=FORM,
        ),
    )
    link: Link = field(
        default="auto",
        metadata=told(
            "How bytes that stay get there. auto: share blocks where the filesystem can, else copy.", panel=RUN
        ),
    )
    experts: Experts = field(
        default="keep", metadata=told("One tensor for a layer's experts, or one for each.", panel=FORM)
    )
    dtype: Literal["bfloat16", "float16", "float32", "float64"] | None = field(
        default=None, metadata=told("Cast the parameters that are not quantised.", panel=FORM)
    )
    dequantise: bool = field(
        default=False, metadata=told("Make floating point of MXFP4, and of ModelOpt's FP8 and NVFP4.", panel=FORM)
    )
    max_shard_size: str | int | None = field(
        default=None,
        metadata=told("Deal tensors out to files of at most this size, as in 5GB.", metavar="SIZE", panel=FORM),
    )
    skip: str | Sequence[str] = field(
        default=(),
        metadata=told(
            "Leave sub-blocks out, as in attention:19,20,22-23; more than once.", metavar="NAME:LAYERS", panel=LAYERS
        ),
    )
    drop_empty_layers: bool = field(
        default=False,
        metadata=told("Take out layers that hold nothing and renumber; undone on the way back.", panel=LAYERS),
    )
    fuse: str | Sequence[str] = field(
        default=(),
        metadata=told(
            "Fuse blocks, on disk too, as in norm_mlp:all or add_norm:0,3-5.", metavar="NAME:LAYERS", panel=LAYERS
        ),
    )
    with_code: bool | Path = field(
        default=False,
        metadata=told("Put the family's code beside it, to load with trust_remote_code elsewhere.", panel=FORM),
    )
    subblocks: bool = field(
        default=False,
        metadata=told("Write the library of sub-blocks too, with --to anymodel: what layers may become.", panel=FORM),
    )
    solution: Path | None = field(
        default=None,
        metadata=told(
            "SRC is a library of sub-blocks: put together what this file of Puzzletron's chose.",
            metavar="FILE",
            panel=FORM,
        ),
    )
    index: int | None = field(
        default=None,
        metadata=told("Which of the file's solutions, from 0.", metavar="N", least=0, panel=FORM),
    )
    jobs: int | None = field(
        default=None, metadata=told("Files written at a time; by default up to four.", least=1, panel=RUN)
    )
    revision: str | None = field(default=None, metadata=told("Branch, tag or commit on the hub.", panel=RUN))
    prune: PruningPlan | None = None
    dry_run: bool = field(
        default=False, metadata=told("Check everything, say the plan and what it costs, write nothing.", panel=RUN)
    )

    max_bytes: int | None = field(init=False, repr=False, default=None)
    runtime: Runtime | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.index is not None and self.solution is None:
            raise CheckpointError(
                "index: says which of the solutions of a file", remedy="Name the file with --solution."
            )
        size, reader = self.max_shard_size, self.reader
        found: dict[str, Any] = {
            "max_bytes": None if size is None else parse_size(size),
            "runtime": None if reader is None else runtime_named(reader),
            "skip": (self.skip,) if isinstance(self.skip, str) else tuple(self.skip),
            "fuse": (self.fuse,) if isinstance(self.fuse, str) else tuple(self.fuse),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)
