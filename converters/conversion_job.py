"""What is to be converted and into what: the checkpoint without what is left out of it, its origin, and the format to write."""

from dataclasses import dataclass
from typing import Any

from .budget import chosen_plan
from .checkpoint import Checkpoint
from .conversion_options import ConversionOptions
from .engine.errors import CheckpointError, refuse
from .engine.plan import inverted
from .engine.quantised import COMPUTABLE, module_in
from .engine.tensor_layout import Experts, cast_all
from .formats.published_format import PublishedFormat
from .fusion import with_fused_blocks
from .narrowing import Cut, narrowed, size_of
from .output_format import output_format
from .provenance import Origin, VerifiedOrigin, origin_after, origins_of, restored, verified_origin
from .pruning import empty_layers, without_empty_layers, without_sub_blocks
from .tensor_checks import quantised_tensors


@dataclass(frozen=True)
class ConversionJob:
    """
    A checkpoint and the format that it is to be written in.

    Attributes:
        source: Without what is left out of it.
        verified: What it was converted from, or is where it is published, if that still holds.
        back: What it was converted from, where the output is to be that again.
        cut_origin: What it was before rows of its tensors were cut out, now or earlier.
        cut: What is cut out now: before and after.
        fused_layout: Whether the norms of fused blocks are to lie beside the weights of their MLPs.
    """

    source: Checkpoint
    output: PublishedFormat
    dropped_layers: tuple[int, ...]
    verified: VerifiedOrigin | None
    back: VerifiedOrigin | None
    cut_origin: Origin | None
    cut: Cut | None
    fused_layout: bool

    @property
    def names(self) -> dict[str, str]:
        """Beginnings of tensor names, the family's -> those to write."""
        if self.back is not None:
            return inverted(self.back.origin.names)
        names = self.output.names if self.output.written_names is None else self.output.written_names
        fused = self.source.published.family.fused_names(self.source.config) if self.fused_layout else {}
        return {**inverted(names), **inverted(fused)}

    def experts(self, asked: Experts) -> Experts:
        """How experts are to lie."""
        return self.back.origin.experts if self.back is not None and asked == "keep" else asked


def prepare(source: Checkpoint, options: ConversionOptions) -> ConversionJob:
    """Leave out what is to be left out, and look where the checkpoint came from."""
    if options.prune is not None:
        check_pruning(options)
    pruned, record = without_rows(source, options)
    output = output_format(source.published, pruned.config, options.to, options.runtime)
    check_options(source, output, options)
    origins = [] if options.dequantise or record is not None else list(origins_of(source))
    shorter = without_empty_layers(pruned) if options.drop_empty_layers else pruned
    dropped_layers = tuple(empty_layers(pruned.config)) if options.drop_empty_layers else ()
    verified = [found for origin in origins if (found := verified_origin(shorter, origin)) is not None]
    back = next((each for each in verified if leads_back(each, shorter, output, options)), None)
    final = with_fused_blocks(shorter, options.fuse) if back is None else restored(shorter, back)
    cut_origin = None if verified else origin_after(source, record)
    cut = None if record is None else Cut(size_of(source), size_of(final), record)
    return ConversionJob(
        final, output, dropped_layers, verified[0] if verified else None, back, cut_origin, cut, bool(options.fuse)
    )


def without_rows(source: Checkpoint, options: ConversionOptions) -> tuple[Checkpoint, dict[str, Any] | None]:
    """A checkpoint without sub-blocks and rows that are to go, and what there is to remember of the rows."""
    plan = options.prune
    if plan is None:
        return without_sub_blocks(source, options.skip), None
    source = without_sub_blocks(source, options.skip)
    if plan.has_target:
        plan = chosen_plan(source, plan)
    return narrowed(without_sub_blocks(source, plan.skips), plan)


def check_pruning(options: ConversionOptions) -> None:
    """Raise a `CheckpointError` where rows that were cut out would be computed with."""
    asked = {"--dtype": options.dtype, "--dequantise": options.dequantise, "--fuse": options.fuse}
    asked |= {"--experts": options.experts != "keep"}
    names = [name for name, value in asked.items() if value]
    refuse(
        "Pruning", (f"{name} is another conversion" for name in names), remedy="Prune, and convert what comes of it."
    )


def leads_back(
    verified: VerifiedOrigin, source: Checkpoint, output: PublishedFormat, options: ConversionOptions
) -> bool:
    """Whether the output is to be what the source was converted from, byte for byte."""
    regrouped = options.experts not in ("keep", verified.origin.experts)
    names_change = regrouped and source.method is not None  # of the modules in the quantisation config
    return output.name == verified.origin.format and not options.drop_empty_layers and not names_change


def check_options(source: Checkpoint, output: PublishedFormat, options: ConversionOptions) -> None:
    """Raise a `CheckpointError` where the checkpoint is not one that they can be carried out on."""
    if options.with_code and output.write_config is not None:
        raise CheckpointError(
            f"--with-code: the code that is there reads {source.config.model_type}, not {output.name}",
            remedy="Leave out --to, or --with-code.",
        )
    if options.fuse and output.write_config is not None:
        raise CheckpointError(
            f"--fuse: {output.name} has no words for fused blocks", remedy="Leave out --to, or --fuse."
        )
    if options.subblocks and output.name != "anymodel":
        raise CheckpointError(
            f"--subblocks: {output.name} has no library of sub-blocks", remedy="Add --to anymodel, or leave it out."
        )
    if options.dequantise and source.method is None:
        raise CheckpointError(
            f"{source.folder}: cannot be dequantised: this checkpoint is not quantised",
            remedy="Leave out --dequantise.",
        )
    if source.method not in (None, *COMPUTABLE):
        check_untouched(source, options)


def check_untouched(source: Checkpoint, options: ConversionOptions) -> None:
    """Raise a `CheckpointError` that names the tensors of a method not known here which would be computed or cut up."""
    family, config = source.published.family, source.config
    heading = f"{source.folder}: quantised by {source.method!r}, whose tensors are renamed or left alone, and no more"
    if options.dequantise:
        known = ", ".join(COMPUTABLE)
        raise CheckpointError(
            f"{heading}: they cannot be dequantised, known are {known}", remedy="Leave out --dequantise."
        )
    quantised = sorted(quantised_tensors(source.tensors, family, config))
    if options.experts != "keep":
        modules = {module_in(name, 3) for stack, names in source.groups.items() for name in (stack, *names)}
        experts = [name for name in quantised if module_in(name, len(source.tensors[name].shape)) in modules]
        refuse(heading, (f"{name!r} cannot be stacked or split" for name in experts), remedy="Leave out --experts.")
    if options.dtype is not None:
        after = cast_all({name: source.tensors[name] for name in quantised}, options.dtype, family.buffers(config))
        changed = [name for name, tensor in after.items() if tensor is not source.tensors[name]]
        refuse(heading, (f"{name!r} cannot be cast" for name in changed), remedy="Leave out --dtype.")
