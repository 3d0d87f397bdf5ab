"""Libraries that know models by tables of their own: the families are entered when such a library is imported, not before."""

from collections.abc import Sequence
from functools import partial

from .at_import import at_import
from .auto_classes import follow_parents
from .peft import allow_import, enter_targets, refuse_prefixes
from .trl import balance_by_layer
from .verbosity import follow_verbosity


follow_verbosity()


def follow_imports(configs: Sequence[type]) -> None:
    """Enter the config classes of the families wherever a library is or will be imported."""
    follow_parents(configs)
    at_import("transformers.quantizers.auto", follow_quantizers)
    at_import("peft.utils.constants", partial(enter_targets, configs))
    at_import("peft.peft_model", refuse_prefixes)
    at_import("peft.auto", allow_import)
    at_import("trl.trainer.utils", balance_by_layer)


def follow_quantizers() -> None:
    """Enter the quantizer that knows layers which differ."""
    from .mxfp4 import enter_quantizer

    enter_quantizer()
