"""What a uniform model costs beside its parent, in Python calls: a count that no machine changes."""

import copy
import sys
from functools import partial

import torch

from .release import CACHE
from .test_every_family import FAMILIES, every_family


DEPTH = 24
ALLOWED = {"build": 1.14, "forward": 1.04, "decode": 1.04, "save": 1.16}


def calls(job) -> int:
    """The Python functions that are entered the second time."""
    job()
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        job()
    finally:
        sys.setprofile(None)
    return count


def deep(fields: dict) -> dict:
    """The same kinds of layers, until there are enough to outweigh what a model costs once."""
    num_layers = fields.get("num_hidden_layers") or len(fields["layers_block_type"])
    times = DEPTH // num_layers
    lists = {name: list(value) * times for name, value in fields.items() if isinstance(value, list | tuple)}
    lists = {name: value for name, value in lists.items() if len(value) == num_layers * times}
    depth = {"num_hidden_layers": num_layers * times} if "num_hidden_layers" in fields else {}
    return {**fields, **lists, **depth}


def jobs(model_class, config, folder):
    model = model_class(copy.deepcopy(config)).eval()
    tokens = torch.arange(1, 9)[None]

    def build():
        with torch.device("meta"):
            model_class(copy.deepcopy(config))

    with torch.no_grad():
        cache = model(tokens, use_cache=True)[CACHE]
    return {
        "build": build,
        "forward": lambda: model(tokens, use_cache=False),
        "decode": lambda: model(tokens[:, :1], use_cache=True, **{CACHE: cache}),
        "save": lambda: model.save_pretrained(folder),
    }


@every_family
def test_a_uniform_model_costs_what_its_parent_does(family, tmp_path):
    small = family.small
    fields = deep(small.UNIFORM)
    ours = jobs(small.CAUSAL, small.CONFIG(**fields), tmp_path / "ours")
    theirs = jobs(small.PARENT, small.PARENT_CONFIG(**fields), tmp_path / "theirs")
    with torch.no_grad():
        ratios = {name: calls(ours[name]) / calls(theirs[name]) for name in ALLOWED}
    assert all(ratios[name] <= ALLOWED[name] for name in ALLOWED), ratios


def test_saving_costs_by_tensors(tmp_path):
    """A model with a quarter fewer tensors costs less to save than a plain one."""
    small = FAMILIES["llama"].small
    fields = {**small.BASE, "num_hidden_layers": 60}
    thinned = {**fields, "mixer_types": ["attention", "none"] * 30, "intermediate_size": [32, 48, 64] * 20}
    models = small.CAUSAL(small.CONFIG(**thinned)), small.PARENT(small.PARENT_CONFIG(**fields))
    ours, theirs = (calls(partial(model.save_pretrained, tmp_path)) for model in models)
    assert ours < theirs
