"""Messages of this package, told and kept quiet as those of transformers are."""

import logging


def follow_verbosity() -> None:
    """Let loggers of the package have the level and the handlers of transformers', as `transformers.logging` sets them."""
    logging.getLogger("transformers_heterogeneous").parent = logging.getLogger("transformers")
