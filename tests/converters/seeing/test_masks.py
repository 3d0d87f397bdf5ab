"""Masks as the model passes them to attention, beside masks written down by hand and those of models with weights."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from transformers import (
    AutoConfig,
    BertConfig,
    Gemma3Config,
    GptOssConfig,
    Llama4TextConfig,
    T5Config,
)
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers_heterogeneous import HeterogeneousGptOssConfig
from transformers_heterogeneous.converters import CheckpointError, masks
from transformers_heterogeneous.converters.seeing.passed_masks import forwarded, packed, padded, plain, with_images
from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.maintenance.tools import tokenizer

from ...generated import llama_shaped, small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h


DATA = Path(__file__).parents[2] / "data"
FAMILIES = {
    "llama": small,
    "gpt_oss": small_gpt_oss,
    "granite": small_granite_moe_hybrid,
    "nemotron_h": small_nemotron_h,
    "mistral": llama_shaped.small_models("Mistral"),
    "qwen2": llama_shaped.small_models("Qwen2", head_dim=None, num_attention_heads=4),
}
WINDOWS = {**small_gpt_oss.UNIFORM, "num_hidden_layers": 5, "sliding_window": [2, None, 3, 2, 5]}


def written(text: str) -> torch.Tensor:
    return torch.tensor([[cell == "x" for cell in line.split()] for line in text.strip().splitlines()])


def run(*words):
    return CliRunner().invoke(app, ["masks", *map(str, words)])


# Two sequences in a row, of 3 and 6 tokens, by hand
FULL = """
x . . . . . . . .
x x . . . . . . .
x x x . . . . . .
. . . x . . . . .
. . . x x . . . .
. . . x x x . . .
. . . x x x x . .
. . . x x x x x .
. . . x x x x x x
"""
TWO = """
x . . . . . . . .
x x . . . . . . .
. x x . . . . . .
. . . x . . . . .
. . . x x . . . .
. . . . x x . . .
. . . . . x x . .
. . . . . . x x .
. . . . . . . x x
"""
THREE = """
x . . . . . . . .
x x . . . . . . .
x x x . . . . . .
. . . x . . . . .
. . . x x . . . .
. . . x x x . . .
. . . . x x x . .
. . . . . x x x .
. . . . . . x x x
"""
FIVE = """
x . . . . . . . .
x x . . . . . . .
x x x . . . . . .
. . . x . . . . .
. . . x x . . . .
. . . x x x . . .
. . . x x x x . .
. . . x x x x x .
. . . . x x x x x
"""


def test_three_windows_and_a_packed_row_are_what_is_written_here():
    found = masks(HeterogeneousGptOssConfig(**WINDOWS), packed([3, 6]))
    assert [each.layers for each in found.masks] == [(0, 3), (1,), (2,), (4,)]
    for mask, text in zip(found.masks, (TWO, FULL, THREE, FIVE), strict=True):
        assert mask.sees.shape == (1, 9, 9) and torch.equal(mask.sees[0], written(text))
    assert found.masks[0].modules == ("model.layers.0.self_attn", "model.layers.3.self_attn")


def test_padding_is_what_is_written_here():
    found = masks(HeterogeneousGptOssConfig(**WINDOWS), padded([2, 4]))
    full = next(each for each in found.masks if 1 in each.layers)
    assert torch.equal(full.sees[0], written(". . . .\n. . . .\n. . x .\n. . x x"))
    assert torch.equal(full.sees[1], written("x . . .\nx x . .\nx x x .\nx x x x"))


CASES = [(name, kind) for name, module in FAMILIES.items() for kind in module.KINDS]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_model_with_weights_gets_the_same(name, kind):
    module = FAMILIES[name]
    config = module.CONFIG(**module.KINDS[kind])
    for inputs in (padded([4, 12]), packed([5, 7])):
        if "position_ids" in inputs and "mamba" in config.mixer_types:
            with pytest.raises(CheckpointError, match="position_ids begin again"):
                masks(config, inputs)
            continue
        config._attn_implementation = "eager"
        model = module.CAUSAL(config).eval()
        passed: dict[int, torch.Tensor] = {}

        def note(part, args, kwargs, passed=passed):
            passed[part.layer_idx] = kwargs["attention_mask"]

        for part in model.modules():
            if hasattr(part, "q_proj"):
                part.register_forward_pre_hook(note, with_kwargs=True)
        with torch.no_grad():
            model(**inputs, use_cache=False)
        found = masks(config, inputs)
        by_layer = {layer: mask.sees for mask in found.masks for layer in mask.layers}
        assert by_layer.keys() == passed.keys()
        assert found.without == tuple(sorted(set(range(len(model.model.layers))) - passed.keys()))
        for layer, sees in by_layer.items():
            assert torch.equal(sees, passed[layer][:, 0] == 0), layer
        distinct = {(tuple(sees.shape), tuple(sees.flatten().tolist())) for sees in by_layer.values()}
        assert len(distinct) == len(found.masks)


def test_no_weight_takes_memory_and_nothing_is_left_registered():
    config = AutoConfig.from_pretrained(DATA / "openai--gpt-oss-20b.json")
    model, noted = forwarded(config, lambda config: __import__("transformers").GptOssForCausalLM(config), plain(4))
    assert all(each.is_meta for each in (*model.parameters(), *model.buffers())) and len(noted) == 24
    assert model.num_parameters() > 2 * 10**10
    assert not [name for name in ALL_MASK_ATTENTION_FUNCTIONS if "hetero" in name]


class TestStockModels:
    def test_as_the_parent(self, tmp_path):
        uniform = small_gpt_oss.UNIFORM
        GptOssConfig(**uniform).save_pretrained(tmp_path / "stock")
        HeterogeneousGptOssConfig(**uniform).save_pretrained(tmp_path / "ours")
        stock, ours = (masks(tmp_path / name, padded([3, 12])) for name in ("stock", "ours"))
        assert stock.computed_by == "GptOssForCausalLM" != ours.computed_by
        assert [each.layers for each in stock.masks] == [each.layers for each in ours.masks] == [(0, 2), (1, 3)]
        assert all(torch.equal(a.sees, b.sees) for a, b in zip(stock.masks, ours.masks, strict=True))

    def test_chunks(self):
        sizes = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 32, "intermediate_size_mlp": 32}
        sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 2}
        found = masks(Llama4TextConfig(**sizes, num_hidden_layers=4, attention_chunk_size=3, pad_token_id=0), 5)
        assert [each.layers for each in found.masks] == [(0, 1, 2), (3,)]
        assert torch.equal(
            found.masks[0].sees[0],
            written("x . . . .\nx x . . .\nx x x . .\n. . . x .\n. . . x x"),
        )

    def test_images(self):
        text = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4, "head_dim": 8}
        text |= {"num_key_value_heads": 2, "num_hidden_layers": 6, "sliding_window": 3}
        config = Gemma3Config(text_config=text)
        found = masks(config, with_images(plain(6), [(1, 3)]))
        assert [each.layers for each in found.masks] == [(0, 1, 2, 3, 4), (5,)]
        whole = "x . . . . .\nx x x x . .\nx x x x . .\nx x x x . .\nx x x x x .\nx x x x x x"
        assert torch.equal(found.masks[1].sees[0], written(whole))
        with pytest.raises(CheckpointError, match="takes no images"):
            masks(HeterogeneousGptOssConfig(**WINDOWS), with_images(plain(6), [(1, 3)]))

    def test_an_encoder(self):
        config = BertConfig(
            vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32
        )
        config.is_decoder = False
        found = masks(config, padded([2, 3]))
        assert torch.equal(found.masks[0].sees, torch.tensor([[[False, True, True]], [[True] * 3]]).expand(2, 3, 3))

    def test_what_cannot_be_run_says_why(self):
        with pytest.raises(CheckpointError, match="t5: cannot be run on these tokens"):
            masks(T5Config(), 4)


class TestLength:
    @pytest.mark.parametrize(("windows", "length"), [(None, 16), ([2, None, 3, 2, 5], 16), ([2, None, 40, 2, 5], 50)])
    def test_as_many_tokens_as_windows_need(self, windows, length):
        found = masks(HeterogeneousGptOssConfig(**{**WINDOWS, "sliding_window": windows}))
        assert found.num_tokens == length and len(found.masks) == len({*(windows or [None])})


class TestCommand:
    def test_text(self, tmp_path):
        HeterogeneousGptOssConfig(**WINDOWS).save_pretrained(tmp_path)
        done = run(tmp_path, "--packed", "3,6")
        assert done.exit_code == 0, done.output
        assert "HeterogeneousGptOssForCausalLM passes 4 masks to attention, 9 tokens" in done.stdout
        drawn = written(TWO)
        lines = done.stdout.splitlines()
        at = lines.index("layers 0, 3")
        for row, line in zip(drawn.tolist(), lines[at + 1 : at + 10], strict=True):
            assert line.split(" ", 1)[1] == "".join("██" if each else "··" for each in row)

    def test_cells_of_several_tokens(self, tmp_path):
        HeterogeneousGptOssConfig(**WINDOWS).save_pretrained(tmp_path)
        done = run(tmp_path, "--tokens", 80)
        lines = done.stdout.splitlines()
        at = lines.index("layer 1")
        assert lines[at + 2] == f" 2 ██▒▒{'··' * 38}" and "a cell is 2 x 2 tokens" in done.stdout

    def test_words(self, tmp_path):
        HeterogeneousGptOssConfig(**WINDOWS).save_pretrained(tmp_path)
        tokenizer().save_pretrained(tmp_path)
        done = run(tmp_path, "--prompt", "ab")
        words = tokenizer().convert_ids_to_tokens(tokenizer()("ab")["input_ids"])
        assert done.exit_code == 0 and f"0 {words[0]} ██··" in done.stdout, done.output

    def test_json_and_picture(self, tmp_path):
        HeterogeneousGptOssConfig(**WINDOWS).save_pretrained(tmp_path)
        done = run(tmp_path, "--tokens", 4, "--json", "--plot", tmp_path / "masks.png")
        told = json.loads(done.stdout)
        assert told["masks"][0]["sees"] == [[[[0, 1]], [[0, 2]], [[1, 3]], [[2, 4]]]]
        assert (tmp_path / "masks.png").read_bytes().startswith(b"\x89PNG")

    def test_a_large_config_needs_no_weights(self):
        done = run(DATA / "nvidia--gpt-oss-puzzle-88B.json", "--tokens", 4, "--json")
        assert sorted(json.loads(done.stdout)["masks"][0]["layers"]) == list(range(36))

    def test_mistakes(self, tmp_path):
        HeterogeneousGptOssConfig(**WINDOWS).save_pretrained(tmp_path)
        for words, said in (
            (("--tokens", 3, "--packed", "3"), "--tokens and --packed: one of them is needed"),
            (("--packed", "3,x"), "--packed 3,x: lengths of sequences are needed"),
            (("--image", "1-2"), "give --tokens N too"),
            (("--image", "1-9", "--tokens", 4), "from 0 to 3"),
            (("--plot", "a.gif"), "cannot draw '.gif'"),
        ):
            done = run(tmp_path, *words)
            assert done.exit_code == 2 and said in done.stderr, done.output
