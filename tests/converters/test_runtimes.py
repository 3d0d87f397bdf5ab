"""`hetero convert --for`: what a program needs is written, what it computes wrongly is refused, and the report says who reads.

That the rules are true is shown by `make readers`, which runs the programs.
"""

import json

import pytest

from transformers_heterogeneous.converters import CheckpointError, convert
from transformers_heterogeneous.converters.runtimes import runtime_named
from transformers_heterogeneous.scripts.maintenance.runtime_proof import (
    GPT_OSS,
    GRANITE,
    LLAMA,
    NEMOTRON_H,
    TRIED,
    Case,
    cases,
    write_model,
)


ATTENTION = ["attention"] * 4


def llama(**fields) -> Case:
    return Case("nemotron-nas", "", "Llama", {**LLAMA, **fields})


def written(case: Case, folder, **options) -> dict:
    source = write_model(case, folder / "source")
    convert(source, folder / "target", **options)
    return json.loads((folder / "target/config.json").read_text())


@pytest.mark.parametrize(
    ("case", "reader", "problem"),
    [
        (llama(sliding_window=[None, 4, None, None]), "mlx", "sliding_window is [4] in layers [1]: it attends"),
        (llama(mlp_types=["dense", "none", "dense", "dense"]), "llama.cpp", "layer 1 has attention and no MLP"),
        (llama(mixer_types=["none", *ATTENTION[1:]]), "llama.cpp", "mixer_types[0] is 'none'"),
        (llama(mixer_types=["attention", "linear", *ATTENTION[2:]]), "mlx", "mixer_types[1] is 'linear'"),
        (llama(head_dim=32), "llama.cpp", "head_dim = 32: it takes hidden_size / num_attention_heads = 16"),
        (
            llama(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}),
            "llama.cpp",
            "rope_type = 'linear'",
        ),
        (
            Case("nemotron_h", "", "NemotronH", {**NEMOTRON_H, "mlp_types": ["none", "dense"] * 2}),
            "llama.cpp",
            "layers [1, 3]",
        ),
        (
            llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
            "mlx",
            "rope_type = 'dynamic'",
        ),
        (Case("gpt_oss_puzzle", "", "GptOss", GPT_OSS), "mlx", "mlx-lm 0.32.2 is not known to read gpt_oss_puzzle"),
    ],
)
def test_what_a_reader_computes_wrongly_is_refused_by_field(case: Case, reader: str, problem: str, tmp_path) -> None:
    with pytest.raises(CheckpointError) as error:
        written(case, tmp_path, to=case.format, reader=reader)
    assert f"cannot be written for {runtime_named(reader)}:\n  {problem}" in str(error.value)
    assert not (tmp_path / "target").exists()


def test_all_problems_are_named_at_once(tmp_path) -> None:
    case = llama(sliding_window=[4, None, None, 4], mlp_types=["dense", "linear", "none", "dense"])
    with pytest.raises(CheckpointError) as error:
        written(case, tmp_path, to="nemotron-nas", reader="llama.cpp")
    assert [line.split(":")[0].strip() for line in str(error.value).splitlines()[1:-1]] == [
        "sliding_window is [4] in layers [0, 3]",
        "layer 2 has attention and no MLP",
        "mlp_types[1] is 'linear'",
    ]


def test_scaled_rope_is_written_by_the_fields_that_mlx_reads(tmp_path) -> None:
    rope = {"rope_type": "linear", "rope_theta": 5e4, "factor": 2.0}
    fields = written(llama(rope_parameters=rope), tmp_path, to="nemotron-nas", reader="mlx")
    assert fields["rope_theta"] == 5e4 and fields["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
    assert fields["rope_parameters"] == rope


@pytest.mark.parametrize(
    ("case", "reader"),
    [
        (llama(rope_parameters={"rope_type": "linear", "rope_theta": 5e4, "factor": 2.0}), "mlx"),
        (Case("granitemoehybrid", "", "GraniteMoeHybrid", GRANITE), "llama.cpp"),
    ],
)
def test_what_is_written_for_a_reader_comes_back(case: Case, reader: str, tmp_path) -> None:
    for_reader = written(case, tmp_path, to=case.format, reader=reader)
    convert(tmp_path / "source", tmp_path / "plain", to=case.format)
    assert for_reader != json.loads((tmp_path / "plain/config.json").read_text())
    convert(tmp_path / "target", tmp_path / "back")
    config, back = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("source", "back"))
    assert config == back


@pytest.mark.parametrize(
    ("case", "model_type"), [(llama(), "llama"), (llama(num_key_value_heads=[2, 1, 4, 2]), "nemotron-nas")]
)
def test_without_to_the_format_is_one_that_the_reader_reads(case: Case, model_type: str, tmp_path) -> None:
    assert written(case, tmp_path, reader="llama.cpp")["model_type"] == model_type


@pytest.mark.parametrize("to", [None, "nemotron-nas"])
def test_what_a_format_cannot_say_is_said_first(to, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"num_attention_heads = \[4, 2, 4, 4\]: one value for all layers"):
        written(llama(num_attention_heads=[4, 2, 4, 4], head_dim=16), tmp_path, to=to, reader="llama.cpp")


def test_where_there_is_no_such_format_all_that_stands_in_the_way_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError) as error:
        written(llama(sliding_window=4), tmp_path, reader="mlx")
    assert str(error.value).splitlines() == [
        "mlx-lm 0.32.2 reads this model in no format:",
        "  as llama: sliding_window = 4: this format has no windows",
        "  as nemotron-nas: sliding_window is [4] in layers [0, 1, 2, 3]: it attends to everything, without a word",
    ]


def test_the_report_says_who_reads_it(tmp_path) -> None:
    source = write_model(
        llama(rope_parameters={"rope_type": "linear", "rope_theta": 5e4, "factor": 2.0}), tmp_path / "s"
    )
    report = convert(source, tmp_path / "t", to="nemotron-nas")
    assert report.readers == {"mlx-lm 0.32.2": "--for mlx"}
    assert report.not_readers.keys() == {"llama.cpp b11549"}
    assert convert(source, tmp_path / "u", to="nemotron-nas", reader="mlx").readers == {"mlx-lm 0.32.2": ""}
    own = convert(source, tmp_path / "v")
    assert own.readers == {"vLLM 0.32.0": ""} and not own.not_readers


def test_for_vllm_it_is_the_familys_own_format_or_refused(tmp_path) -> None:
    assert (
        written(llama(sliding_window=[4, None, None, 8]), tmp_path, reader="vllm")["model_type"]
        == "heterogeneous_llama"
    )
    with pytest.raises(CheckpointError, match=r"(?s)as heterogeneous_llama: hidden_act is 'gelu': vLLM's layers"):
        written(llama(hidden_act="gelu"), tmp_path / "gelu", reader="vllm")


def test_for_vllms_anymodel_layers_have_plain_numbers_and_the_base_its_name(tmp_path) -> None:
    layers = {
        "num_hidden_layers": 12,
        "mixer_types": ["attention"] * 11 + ["none"],
        "intermediate_size": [64] * 11 + [32],
    }
    case = llama(
        **layers, mlp_types=["dense"] * 3 + ["none"] + ["dense"] * 8, num_key_value_heads=[2] * 2 + [1] + [2] * 9
    )
    found = written(case, tmp_path, reader="vllm-anymodel")
    assert found["architectures"] == ["AnyModel"] and found["base_architecture"] == "LlamaForCausalLM"
    assert found["model_type"] == "llama" and (found["num_key_value_heads"], found["intermediate_size"]) == (2, 64)
    assert found["per_layer_config"] == {
        "2": {"num_key_value_heads": 1},
        "3": {"skip": ["mlp"]},
        "11": {"intermediate_size": 32, "skip": ["attention"]},
    }
    convert(tmp_path / "target", tmp_path / "back")
    config, back = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("source", "back"))
    assert config == back
    report = convert(tmp_path / "target", tmp_path / "again", to="per_layer_config")
    assert not report.readers and not report.not_readers  # nobody has run it


def test_what_modelopt_does_not_write_for_vllms_anymodel_is_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"num_attention_heads = \[4, 2, 4, 4\]: layers may differ in num_key"):
        written(llama(num_attention_heads=[4, 2, 4, 4], head_dim=16), tmp_path, reader="vllm-anymodel")
    empty = {**GRANITE, "mixer_types": ["mamba", "none", "attention", "mamba"]}
    with pytest.raises(CheckpointError, match=r"layer 1 skips .*: attention and mlp may be, and nothing in a hybrid"):
        written(Case("granitemoehybrid", "", "GraniteMoeHybrid", empty), tmp_path / "hybrid", reader="vllm-anymodel")


def test_a_reader_that_nobody_tried() -> None:
    with pytest.raises(CheckpointError, match=r"--for tgi: known are llama.cpp, mlx, vllm, vllm-anymodel"):
        runtime_named("tgi")


def test_every_rule_has_a_case() -> None:
    tried = {(case.format, reader.name) for case in cases() for reader in TRIED}
    assert not [(name, reader) for reader in TRIED for name in reader.problems if (name, reader.name) not in tried]
