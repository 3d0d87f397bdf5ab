"""Patterns in quantisation configs, of any kind, on any tree of modules: what they mean is the same before and after."""

import json
import re
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from transformers.quantizers.quantizers_utils import should_convert_module
from transformers_heterogeneous.converters.engine.plan import inverted, renamed
from transformers_heterogeneous.converters.engine.tensor_plan import Piece, TensorPlan
from transformers_heterogeneous.converters.families.layers import renumbered
from transformers_heterogeneous.converters.quantisation import READERS, Modules, Translation, modules_of, with_words


BACKBONE = {"backbone.": "model."}
NUM_EXPERTS = 3
KINDS = {
    "attention": ["mixer.q_proj", "mixer.o_proj", "norm"],
    "experts": [*(f"mixer.experts.{at}.up_proj" for at in range(NUM_EXPERTS)), "mixer.gate", "norm"],
    "mlp": ["mixer.up_proj", "norm"],
    "nothing": [],
}
layers = st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=12)


def tensor_names(kinds: list[str]) -> list[str]:
    inside = [f"model.layers.{layer}.{name}" for layer, kind in enumerate(kinds) for name in KINDS[kind]]
    return [f"{name}.weight" for name in ["model.embeddings", *inside, "model.norm_f", "lm_head"]]


def plan(name: str, num_dims: int = 2) -> TensorPlan:
    shape = (2,) * num_dims
    return TensorPlan(name, "BF16", shape, "keep", (Piece("file", name, "BF16", shape, 0, 2**num_dims * 2),))


def stacks(names: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name in names:
        if ".experts." in name:
            found.setdefault(re.sub(r"\.\d+\.up_proj\.weight$", ".up_proj", name), []).append(name)
    return {stack: tuple(singles) for stack, singles in found.items()}


def modules(names: list[str], outer: Callable[[str], str], own: Callable[[str], str], stacked: bool) -> Modules:
    """
    Those of a checkpoint.

    Args:
        names: Of tensors, by the family.
        outer: What the files call a tensor.
        own: What the family's model would call what is in these files.
    """
    groups = stacks(names)
    taken = {name: stack for stack, singles in groups.items() for name in singles} if stacked else {}
    present = dict.fromkeys(taken.get(name, name) for name in names)
    plans = [plan(name, 3 if name in groups else 2) for name in present]
    return modules_of(((outer(each.name), own(each.name), each) for each in plans), groups)


# --- readers, written down once more

PARTS = [
    "backbone",
    "model",
    "layers",
    "mixer",
    "experts",
    "norm",
    "up_proj",
    "q_proj",
    "lm_head",
    "x",
    *"0123.*?$^|+",
]
PARTS += [".*", r"\.", r"\d", r"\d+", "[0-2]", "[13]", "(backbone|x)", "(?!model)", "(", "_", "re:", "1.", ".1."]


def glob(name: str, pattern: str) -> bool:
    parts = name.split(".")
    outer = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    if pattern.startswith("re:"):
        return any(re.fullmatch(pattern[3:], each) for each in outer)
    return any(fnmatchcase(each, pattern) for each in outer)


def named(name: str, pattern: str) -> bool:
    return bool(re.match(pattern[3:], name)) if pattern.startswith("re:") else name == pattern


def boundary(name: str, pattern: str) -> bool:
    try:
        return not should_convert_module(name, [pattern])
    except re.error:
        return name.endswith(pattern)


ORACLES = {"modelopt": glob, "compressed-tensors": named, "fp8": boundary}


def reads(oracle: Callable[[str, str], bool], name: str, pattern: str) -> bool:
    try:
        return oracle(name, pattern)
    except re.error:
        return False


def meaning(found: Modules, patterns: list[str], oracle: Callable[[str, str], bool]) -> set[str]:
    """By the names in the files; of a pattern that means nothing so, by the family's."""
    result: set[str] = set()
    for pattern in patterns:
        for names in (found.names, found.own):
            meant = {part for name, parts in names.items() if reads(oracle, name, pattern) for part in parts}
            result |= meant
            if meant:
                break
    return result


@st.composite
def some_patterns(draw: st.DrawFn, names: list[str]) -> list[str]:
    """Names, beginnings and ends of names, names with a part replaced, and words in any order."""
    chosen = st.sampled_from([name.removesuffix(".weight") for name in names])
    parts = st.sampled_from(PARTS)

    def changed(name: str, at: int, part: str) -> str:
        words = re.split(r"(\.)", name)
        words[at % len(words)] = part
        return "".join(words)

    made = st.one_of(
        chosen,
        st.builds(lambda name, at: name[: at % len(name)] + "*", chosen, st.integers(1, 50)),
        st.builds(lambda name, at: name[at % len(name) :], chosen, st.integers(1, 50)),
        st.builds(changed, chosen, st.integers(0, 9), parts),
        st.builds(lambda name: "re:" + re.escape(name), chosen),
        st.builds(lambda name, at, part: "re:" + changed(name, at, part), chosen, st.integers(0, 9), parts),
        st.lists(parts, min_size=1, max_size=6).map("".join),
        st.lists(parts, min_size=1, max_size=6).map(lambda words: "re:" + "".join(words)),
    )
    return draw(st.lists(made, min_size=1, max_size=5))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Modules, Modules, Callable[[str], str], list[str]]:
    """A checkpoint and another of the same model: names, numbers and experts otherwise; and patterns of the first."""
    kinds = draw(layers)
    names = tensor_names(kinds)
    kept = [layer for layer, kind in enumerate(kinds) if kind != "nothing"]
    shorter = draw(st.booleans()) and len(kept) < len(kinds)
    numbers = {old: new for new, old in enumerate(kept)} if shorter else {}
    first = {new: old for old, new in numbers.items()}
    present = [renumbered(name, numbers) for name in names]
    before, after = draw(st.sampled_from([({}, BACKBONE), (BACKBONE, {}), (BACKBONE, BACKBONE), ({}, {})]))
    source = modules(
        present,
        lambda name: renamed(renumbered(name, first), inverted(before)),
        lambda name: renumbered(name, first),
        draw(st.booleans()),
    )
    target = modules(present, lambda name: renamed(name, inverted(after)), lambda name: name, draw(st.booleans()))

    def guess(pattern: str) -> str:
        return with_words(renumbered(with_words(pattern, before), numbers), inverted(after))

    outer = [renamed(name, inverted(before)) for name in names]
    return source, target, guess, draw(some_patterns(outer))


@pytest.mark.parametrize("method", ORACLES)
@settings(max_examples=300, deadline=None)
@given(case=cases())
def test_readers_match_what_the_methods_do(method, case):
    source, _, _, patterns = case
    for pattern in patterns:
        matched = {name for name in source.names if reads(ORACLES[method], name, pattern)}
        assert set(READERS[method](pattern, source)) == matched


@pytest.mark.parametrize("method", ORACLES)
@settings(max_examples=1000, deadline=None)
@given(case=cases())
def test_patterns_mean_the_same_modules_before_and_after(method, case):
    source, target, guess, patterns = case
    oracle = ORACLES[method]
    translation = Translation(source, target, method, guess)
    translated = translation.config({"ignore": patterns}, "")["ignore"]
    before, after = meaning(source, patterns, oracle), meaning(target, translated, oracle)
    partial = [parts for parts in target.names.values() if parts & before and not parts <= before]
    if partial:
        assert any("cannot follow when experts are stacked" in problem for problem in translation.problems)
    else:
        assert not translation.problems
        assert before == after
    assert len(set(translated)) == len(translated)


@settings(max_examples=500, deadline=None)
@given(case=cases())
def test_each_key_means_the_same_modules_before_and_after(case):
    source, target, guess, patterns = case
    assume(not any(len(parts) > 1 for parts in target.names.values()))
    said = {pattern: {"number": number} for number, pattern in enumerate(patterns)}
    translation = Translation(source, target, "modelopt", guess)
    translated = translation.config(json.loads(json.dumps(said)), "")
    assume(not translation.problems)  # two keys that become one
    for value in said.values():
        before = [name for name, other in said.items() if other == value]
        after = [name for name, other in translated.items() if other == value]
        assert meaning(source, before, glob) == meaning(target, after, glob)


@settings(max_examples=500, deadline=None)
@given(case=cases())
def test_what_is_not_renamed_stays_as_it_is(case):
    source, _, _, patterns = case
    same = Translation(source, source, "modelopt", lambda pattern: pattern)
    assert same.config({"ignore": patterns}, "") == {"ignore": list(dict.fromkeys(patterns))}
