"""Configs as vLLM's modules read them. Knows no vLLM."""

from .limits import Config


def without_layers(config: Config) -> Config:
    """For a model that is made of all but its layers."""
    return config.with_fields(num_hidden_layers=0, mixer_types=[], mlp_types=[])


def only_layer(config: Config, layer_idx: int) -> Config:
    """The config of a layer, which says of itself that it is all that there is."""
    types = {name: [getattr(config, name)[layer_idx]] for name in ("mixer_types", "mlp_types")}
    return config.per_layer_config[layer_idx].with_fields(num_hidden_layers=1, **types)


def largest(config: Config) -> Config:
    """For readers of one number, who make room or look for names: of each size the largest of all layers."""
    sizes = {name: value for name, value in vars(config).items() if name in config.per_layer_sizes}
    fields = {name: max(filter(None, value), default=None) for name, value in sizes.items() if isinstance(value, list)}
    return config.with_fields(**fields)
