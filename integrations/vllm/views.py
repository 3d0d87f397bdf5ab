"""Configs as vLLM's modules read them. Knows no vLLM."""

from typing import Any

from .limits import Config


def with_fields(config: Config, **fields: Any) -> Config:
    """The same config saying something else, for readers that know one size. It is not validated, as what it is made of was."""
    found = object.__new__(type(config))
    found.__dict__.update(vars(config), _is_computed=True, **fields)
    found.__dict__.pop("_view", None)
    return found


def without_layers(config: Config) -> Config:
    """For a model that is made of all but its layers."""
    return with_fields(config, num_hidden_layers=0, mixer_types=[], mlp_types=[])


def only_layer(config: Config, layer_idx: int) -> Config:
    """The config of a layer, which says of itself that it is all that there is."""
    types = {name: [getattr(config, name)[layer_idx]] for name in ("mixer_types", "mlp_types")}
    return with_fields(config.per_layer_config[layer_idx], num_hidden_layers=1, **types)


def largest(config: Config) -> Config:
    """For readers of one number, who make room or look for names: of each size the largest of all layers."""
    sizes = {name: value for name, value in vars(config).items() if name in config.per_layer_sizes}
    fields = {name: max(filter(None, value), default=None) for name, value in sizes.items() if isinstance(value, list)}
    return with_fields(config, **fields)
