"""The load-balancing loss as TRL's trainers compute it: by Mixtral's function, with what a config says of experts."""

import subprocess
import sys

import pytest
import torch

from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
from transformers_heterogeneous.integrations.trl import by_layer

from ..generated import small_gpt_oss, small_granite_moe_hybrid


TOKENS = torch.arange(24).reshape(2, 12)
MASK = torch.ones(2, 12, dtype=torch.long).index_fill(1, torch.tensor([0, 1]), 0)


@pytest.mark.parametrize("family", [small_gpt_oss, small_granite_moe_hybrid])
@pytest.mark.parametrize("kind", ["uniform", "mixed"])
def test_the_loss_is_that_of_the_models_own_forward(family, kind: str) -> None:
    model = family.build(family.KINDS[kind])
    outputs = model(TOKENS, attention_mask=MASK, output_router_logits=True, labels=TOKENS)
    config = model.config.get_text_config()
    arguments = outputs.router_logits, config.num_experts, config.num_experts_per_tok, MASK
    assert by_layer(load_balancing_loss_func)(*arguments) == outputs.aux_loss
    assert outputs.aux_loss > 0


def test_what_is_no_list_is_left_to_mixtral() -> None:
    asked = []
    by_layer(lambda *arguments: asked.append(arguments))(None, 4, 2, None)
    assert asked == [(None, 4, 2, None)]


def test_it_is_put_in_place_where_trl_is_imported(tmp_path) -> None:
    (tmp_path / "trl/trainer").mkdir(parents=True)
    for path in ("trl/__init__.py", "trl/trainer/__init__.py", "trl/trainer/utils.py"):
        (tmp_path / path).touch()
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import transformers_heterogeneous\n"
        "from transformers.models.mixtral import modeling_mixtral as mixtral; before = mixtral.load_balancing_loss_func\n"
        "import trl.trainer.utils; transformers_heterogeneous.register()\n"
        "print(mixtral.load_balancing_loss_func.__wrapped__ is before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
