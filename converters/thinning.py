"""Checkpoints made thinner on the way to another folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .conversion import Report, convert
from .conversion_options import ConversionOptions
from .pruning_plan import PruningPlan, read_plan


PLAN_FIELDS = ("skips", "layers", "by", "seed", "kv_heads_by", "zeros", "target", "target_cache", "width_step")


def prune(
    src: str | Path,
    dst: str | Path,
    plan: PruningPlan | Mapping[Any, Any] | str | Path | None = None,
    options: ConversionOptions | None = None,
    **more: Any,
) -> Report:
    """
    Cut neurons, heads, experts, states or layers out of a checkpoint, tensor by tensor; the model is never in memory.

    Args:
        src: Folder with config.json and safetensors files, in any of the known formats, or a repository of the hub.
        dst: Folder to write. It must not exist, or be empty; it appears whole or not at all.
        plan: What stays: a [`PruningPlan`], or `per_layer_config`'s form of it, such as
            `{3: {"intermediate_size": 8192}, 7: {"keep": {"num_key_value_heads": [0, 4]}}}`, or a JSON file with that.
        options: Of the conversion.
        more: Members of [`PruningPlan`] and [`ConversionOptions`] by name, such as `by="norm"`.

    Returns:
        The report of the conversion; `cut` has the sizes of the model before and after.

    Raises:
        CheckpointError: names every layer and size that cannot be what it is to be; nothing is left behind.
    """
    members = {name: more.pop(name) for name in PLAN_FIELDS if name in more}
    if isinstance(plan, PruningPlan):
        plan = replace(plan, **members)
    else:
        plan = read_plan({} if plan is None else plan, **members)
    return convert(src, dst, options, **more, prune=plan)
