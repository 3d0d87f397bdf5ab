"""All that is known of a conversion before the first byte is written."""

from dataclasses import dataclass
from typing import Any

from .auxiliary_files import LeftBehind
from .checkpoint import Checkpoint
from .conversion_job import prepare
from .conversion_options import ConversionOptions
from .engine.plan import WeightsPlan
from .engine.tensor_layout import regroup
from .engine.weights import INDEX
from .formats.published_format import PublishedFormat
from .narrowing import Cut
from .output_config import lost_fields, output_config, quantisation_configs
from .output_files import as_json, card_text, files_beside, origin_text
from .output_weights import plan_output
from .quantisation import HF_QUANT_CONFIG
from .remote_code import with_code


@dataclass(frozen=True)
class ConversionPlan:
    """
    A conversion before its first byte.

    Attributes:
        source: The checkpoint, without what is left out of it.
        output: The format to write.
        config: The output's config.json.
        weights: The files with tensors.
        texts: Files that are written anew, by their names; config.json is the last.
        restored: Whether the output is what the source was converted from, config.json byte for byte.
        dropped_layers: Those that held nothing and are taken out, by their numbers in the source.
        dropped_fields: Those of the published config that are nowhere in the family's.
        cut: What is cut out of the tensors: before and after.
        carried: Files of the source that are copied.
        not_carried: Files that are not.
    """

    source: Checkpoint
    output: PublishedFormat
    config: dict[str, Any]
    weights: WeightsPlan
    texts: dict[str, str]
    restored: bool
    dropped_layers: tuple[int, ...]
    dropped_fields: tuple[str, ...]
    cut: Cut | None
    carried: tuple[str, ...]
    not_carried: tuple[LeftBehind, ...]


def plan_conversion(source: Checkpoint, origin: str, options: ConversionOptions) -> ConversionPlan:
    """
    Plan a conversion.

    Args:
        origin: What the model card calls the source.
    """
    job = prepare(source, options)
    regrouped = regroup(job.source.tensors, job.source.groups, job.experts(options.experts))
    weights = plan_output(job, regrouped, options)
    quantisation = {} if options.dequantise else quantisation_configs(job, regrouped)
    config = output_config(job, quantisation.pop("config.json", None), options.runtime)
    folder = None if isinstance(options.with_code, bool) else options.with_code
    config, code = with_code(config, source.published.family, folder) if options.with_code else (config, {})
    carried, not_carried = files_beside(job, options)
    texts = {**card_text(job, carried, origin), **code, **origin_text(job)}
    texts |= {name: as_json(members) for name, members in quantisation.items()}
    if job.back is not None and job.back.hf_quant_config is not None:
        texts[HF_QUANT_CONFIG] = job.back.hf_quant_config
    texts |= {INDEX: as_json(weights.index)} if weights.index is not None else {}
    texts["config.json"] = as_json(config) if job.back is None else job.back.origin.config
    return ConversionPlan(
        source=job.source,
        output=job.output,
        config=config,
        weights=weights,
        texts=texts,
        restored=job.back is not None,
        dropped_layers=job.dropped_layers,
        dropped_fields=lost_fields(source) if job.back is None else (),
        cut=job.cut,
        carried=tuple(carried),
        not_carried=tuple(left for left in not_carried if left.name not in texts),
    )
