"""What somebody else wrote is read in a time that grows with its size, and no faster; nothing of it makes us wait for ever."""

import json
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from transformers_heterogeneous import HeterogeneousLlamaConfig
from transformers_heterogeneous.configuration_heterogeneous import MAX_LAYERS, HeterogeneousConfigError
from transformers_heterogeneous.converters import CheckpointError, matching, summarise
from transformers_heterogeneous.converters.engine import json_objects
from transformers_heterogeneous.converters.formats.nemotron_nas import write_config
from transformers_heterogeneous.converters.quantisation import READERS, Modules
from transformers_heterogeneous.scripts.command.cli import app

from .published import write_checkpoint


def num_operations(work: Callable[[], object]) -> int:
    """How many of Python's instructions it takes."""
    count = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def repeated(kinds: list[Any], num_layers: int) -> list[Any]:
    return [kinds[layer_idx % len(kinds)] for layer_idx in range(num_layers)]


def llama(num_layers: int) -> dict[str, Any]:
    return {
        "model_type": "heterogeneous_llama",
        "hidden_size": 512,
        "vocab_size": 96,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": repeated([4, 2, 1, None], num_layers),
        "mixer_types": repeated(["attention", "attention", "attention", "none"], num_layers),
        "mlp_types": ["dense"] * num_layers,
        "intermediate_size": repeated([256, 512, 768, 1024, 1280], num_layers),
        "sliding_window": repeated([8, None, 16, None], num_layers),
    }


def nemotron_h(num_layers: int) -> dict[str, Any]:
    return {
        "model_type": "heterogeneous_nemotron_h",
        "hidden_size": 64,
        "vocab_size": 96,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "n_groups": 2,
        "mixer_types": repeated(["attention", "mamba", "none", "mamba"], num_layers),
        "mlp_types": repeated(["none", "none", "moe", "none"], num_layers),
        "ssm_state_size": repeated([None, 16, None, 8], num_layers),
        "n_routed_experts": repeated([None, None, 4, None, None, None, 2, None], num_layers),
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "moe_shared_expert_intermediate_size": 32,
    }


@pytest.mark.parametrize("describe", [llama, nemotron_h])
def test_inspect_is_linear_in_layers(describe, tmp_path):
    """Four times the layers, four times the work: with its square it is six times, and more of more layers."""

    def cost(num_layers: int) -> int:
        path = tmp_path / f"{num_layers}.json"
        path.write_text(json.dumps(describe(num_layers)))
        return num_operations(lambda: summarise(path))

    cost(40)  # what is prepared once: modules, and a model with a layer of each kind
    assert cost(80) < 4.1 * cost(20)


def test_blocks_are_written_in_linear_time():
    def cost(num_layers: int) -> int:
        config = HeterogeneousLlamaConfig.from_dict(llama(num_layers))
        return num_operations(lambda: write_config(config))

    cost(4)
    assert cost(80) < 4.1 * cost(20)


def test_one_limit_of_layers(tmp_path):
    """The config's own, which a built one has as well as a read one."""
    most, more = (
        {"model_type": "heterogeneous_llama", "num_hidden_layers": num} for num in (MAX_LAYERS, MAX_LAYERS + 1)
    )
    assert HeterogeneousLlamaConfig(**most).num_hidden_layers == MAX_LAYERS == 4096
    with pytest.raises(
        HeterogeneousConfigError, match="num_hidden_layers is 4097: a positive integer of at most 4,096"
    ):
        HeterogeneousLlamaConfig(**more)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(more))
    with pytest.raises(CheckpointError, match=r"num_hidden_layers = 4,097: at most 4,096 are read"):
        summarise(path)


class Name(str):
    """A key that counts how often it is compared."""

    num_compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.num_compared += 1
        return str.__eq__(self, other)


def test_a_key_that_is_there_twice_is_found_in_one_go():
    names = [Name(f"key{number}") for number in range(1000)]
    Name.num_compared = 0
    with pytest.raises(ValueError, match=r"twice in one object: \[\"'key7'\"\]"):
        json_objects.without_duplicates([(name, 0) for name in [*names, Name("key7")]])
    assert Name.num_compared < 4 * len(names)


SLOW = r"(\w|.)*!"


@pytest.fixture
def soon(monkeypatch) -> None:
    """A limit that is over after a moment: what is matched in these tests takes less, or for ever."""
    monkeypatch.setattr(matching.Limit, "__init__", lambda self: setattr(self, "seconds_left", 0.3))


def names_of(num_layers: int) -> Modules:
    names = [f"model.layers.{layer}.self_attn.{proj}_proj" for layer in range(num_layers) for proj in "qkvo"]
    meant = {name: frozenset([name]) for name in names}
    return Modules(meant, meant)


def in_thread(work: Callable[[], object]) -> object:
    """What it returns or raises in a thread of its own, which no signal reaches."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except CheckpointError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("method", READERS)
@pytest.mark.parametrize("threaded", [False, True])
def test_a_pattern_that_takes_for_ever_is_refused_by_name(method, threaded):
    pattern = SLOW if READERS[method].__name__ == "by_boundary" else f"re:{SLOW}"

    def work() -> object:
        try:
            return READERS[method](pattern, names_of(3))
        except CheckpointError as error:
            return error

    error = in_thread(work) if threaded else work()
    assert isinstance(error, CheckpointError)
    assert f"quantization_config: the pattern {pattern!r} takes too long" in str(error)


@pytest.mark.usefixtures("soon")
def test_many_slow_patterns_have_one_limit():
    modules = names_of(3)
    for _ in range(3):
        with pytest.raises(CheckpointError, match="takes too long"):
            modules.limit.matching(SLOW, SLOW, modules.names, "match")
        assert modules.limit.seconds_left <= 0


def test_signals_are_as_they_were():
    def handler(*arguments: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGVTALRM, handler)
    try:
        modules = names_of(3)
        assert len(READERS["compressed-tensors"]("re:.*q_proj", modules)) == 3
        assert signal.getsignal(signal.SIGVTALRM) is handler
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
        assert 0 < modules.limit.seconds_left <= matching.SECONDS
    finally:
        signal.signal(signal.SIGVTALRM, before)


# Patterns that other engines read otherwise -> one of the two names that each matches in Python's own
ODD = {"mlp{i}": "mlp{i}", "a{e<=1}b": "a{e<=1}b", "[[:alpha:]]": "a]", r"\Amlp\Z": "mlp", "(": "", "x{,2}$": "xx"}


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@pytest.mark.parametrize("threaded", [False, True])
def test_patterns_mean_what_they_mean_in_re(threaded):
    names = ["mlp{i}", "mlpx", "a{e<=1}b", "ab", "a]", "abc", "mlp", "xx"]
    for pattern, expected in ODD.items():

        def work(pattern: str = pattern) -> object:
            return matching.Limit().matching(pattern, pattern, names, "fullmatch")

        found = in_thread(work) if threaded else work()
        assert found == [expected] * bool(expected), pattern


@pytest.mark.usefixtures("soon")
def test_a_checkpoint_with_such_a_pattern(tmp_path):
    write_checkpoint(tmp_path / "source")
    path = tmp_path / "source/config.json"
    quantisation = {"quant_method": "compressed-tensors", "ignore": [f"re:{SLOW}"]}
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": quantisation}))
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "source"), str(tmp_path / "target")])
    assert done.exit_code == 2 and f"the pattern {f're:{SLOW}'!r} takes too long to match" in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
