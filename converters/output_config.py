"""The config.json of the output, and what it says of the quantisation."""

import json
from functools import partial
from typing import Any

from .checkpoint import Checkpoint
from .conversion_job import ConversionJob
from .engine.errors import refuse
from .engine.plan import renamed
from .engine.tensor_layout import Regrouped
from .quantisation import HF_QUANT_CONFIG, Translation, modules_of, read_hf_quant_config, with_words
from .runtimes import Runtime


WITHOUT_READER = "Choose another format with --to, or leave out --for to write it all the same."
# Fields of published configs that are read into others of the family's config, `mixer_types` and `rope_parameters` among them
TRANSLATED = (
    *(
        "hybrid_override_pattern",
        "mtp_hybrid_override_pattern",
        "attention_head_dim",
        "norm_eps",
        "rms_norm_eps",
        "rope_scaling",
        "rope_theta",
        "torch_dtype",
    ),
    "quantization_config",
)


def output_config(job: ConversionJob, quantisation: dict[str, Any] | None, runtime: Runtime | None) -> dict[str, Any]:
    """The config.json to write."""
    name, model = job.output.name, job.source.config
    config = written_config(job)
    if runtime is not None:
        problems = runtime.cannot(name, model)
        refuse(f"{job.source.folder}: cannot be written for {runtime}", problems, remedy=WITHOUT_READER)
    if job.back is not None:
        return config
    config = config if runtime is None else runtime.config(name, model, config)
    config = {name: value for name, value in config.items() if name != "quantization_config"}
    return config if quantisation is None else {**config, "quantization_config": quantisation}


def written_config(job: ConversionJob) -> dict[str, Any]:
    """The config.json of the output's format: as it was published, where it is that again."""
    if job.back is not None:
        return job.back.config_dict
    if job.output.write_config is not None:
        return job.output.write_config(job.source.config)
    members: dict[str, Any] = json.loads(job.source.config.to_json_string())
    return members


def quantisation_configs(job: ConversionJob, regrouped: Regrouped) -> dict[str, dict[str, Any]]:
    """
    Name of a file -> what it says of the quantisation, with the modules under their names in the output. What comes back
    as it was is not among them.

    Raises:
        CheckpointError: names every file, field and module that cannot follow.
    """
    source, back = job.source, job.back
    found = {
        "config.json": source.config_dict.get("quantization_config") if back is None else None,
        HF_QUANT_CONFIG: None if back and back.hf_quant_config else read_hf_quant_config(source.folder),
    }
    written = ((renamed(name, job.names), name, tensor) for name, tensor in regrouped.tensors.items())
    target = modules_of(written, source.groups)
    translated = {}
    for name, members in found.items():
        if members:
            method = source.method if name == "config.json" else "modelopt"
            place = "quantization_config" if name == "config.json" else ""
            names = Translation(source.modules, target, method or "", partial(module_out, job))
            translated[name] = names.config(members, place)
            refuse(f"{source.folder / name}: names of modules cannot follow", names.problems)
    return translated


def module_out(job: ConversionJob, pattern: str) -> str:
    """What a module of the source, or a pattern of such, may be called in the output; "" of what is not there any more."""
    return with_words(job.source.module_in(pattern), job.names)


def lost_fields(source: Checkpoint) -> tuple[str, ...]:
    """The fields of a published config that are neither in the family's nor translated into others of its fields, and
    those that its own models do not read."""
    if source.published.read_config is not None:
        return ()  # it reads all, or refuses it
    read = source.published.family.config_class.without_unread_fields(source.config_dict)
    translated = (*TRANSLATED, *source.published.readers)
    return tuple(
        name
        for name, value in sorted(source.config_dict.items())
        if (name not in translated and not hasattr(source.config, name)) or (name not in read and value is not None)
    )
