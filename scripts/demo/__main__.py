"""`make demo`: a small copy of Nemotron-Super-49B in NVIDIA's layout, inspected, converted, loaded both ways."""

import json
import shutil
import subprocess
import sys
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tqdm import tqdm

import transformers_heterogeneous  # noqa: F401  registers the families
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast


ROOT = Path(__file__).resolve().parents[2]
PUBLISHED_CONFIG = ROOT / "tests/data/nvidia--Llama-3_3-Nemotron-Super-49B-v1.json"
FOLDER = ROOT / "demo"
# Hidden size, vocabulary and token ids are divided by it. The table of layers is the published one, and MLP widths
# follow from it by NVIDIA's formula, which rounds them up to a multiple of 256.
SCALE = 16
LAYERS_PER_SHARD = 20
PROMPT = "Layers that are not there cost nothing."
REMOTE_CODE = "raise RuntimeError('remote code was executed')\n"

Config = dict[str, Any]

console = Console(highlight=False)


def scaled_config() -> Config:
    """The published config, all keys, with widths and token ids divided by `SCALE`."""
    config: Config = json.loads(PUBLISHED_CONFIG.read_text())
    for name in ("hidden_size", "vocab_size", "bos_token_id"):
        config[name] //= SCALE
    config["eos_token_id"] = [config["bos_token_id"] + offset for offset in (1, 2, 3)]
    return config


def ffn_width(ffn_mult: float, hidden_size: int) -> int:
    width = int(2 * ffn_mult * hidden_size / 3)
    return width if width % 256 == 0 else width + 256 - width % 256


def layer_shapes(config: Config, layer_idx: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one layer's tensors as NVIDIA publishes them; a no-op has none."""
    block, hidden = config["block_configs"][layer_idx], config["hidden_size"]
    shapes: dict[str, tuple[int, ...]] = {}
    if not block["attention"]["no_op"]:
        key_value = hidden // block["attention"]["n_heads_in_group"]
        shapes |= {
            "input_layernorm": (hidden,),
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.o_proj": (hidden, hidden),
        }
        shapes |= {"self_attn.k_proj": (key_value, hidden), "self_attn.v_proj": (key_value, hidden)}
    if not block["ffn"]["no_op"]:
        width = ffn_width(block["ffn"]["ffn_mult"], hidden)
        shapes |= {"post_attention_layernorm": (hidden,), "mlp.down_proj": (hidden, width)}
        shapes |= {"mlp.gate_proj": (width, hidden), "mlp.up_proj": (width, hidden)}
    return {f"model.layers.{layer_idx}.{name}.weight": shape for name, shape in shapes.items()}


def shards_of(config: Config) -> list[dict[str, tuple[int, ...]]]:
    """The tensors of each file: embeddings first, head last, `LAYERS_PER_SHARD` layers in each."""
    embedding = (config["vocab_size"], config["hidden_size"])
    shards: list[dict[str, tuple[int, ...]]] = []
    for first in range(0, config["num_hidden_layers"], LAYERS_PER_SHARD):
        layers = [layer_shapes(config, layer_idx) for layer_idx in range(first, first + LAYERS_PER_SHARD)]
        shards.append({name: shape for layer in layers for name, shape in layer.items()})
    shards[0] = {"model.embed_tokens.weight": embedding, **shards[0]}
    shards[-1] |= {"model.norm.weight": (config["hidden_size"],), "lm_head.weight": embedding}
    return shards


def random_tensor(shape: tuple[int, ...]) -> torch.Tensor:
    """Norms around one, matrices of a scale that keeps activations of order one."""
    if len(shape) == 1:
        return (1 + 0.1 * torch.randn(shape)).to(torch.bfloat16)
    return (torch.randn(shape) * shape[1] ** -0.5).to(torch.bfloat16)


def write_weights(folder: Path, config: Config) -> None:
    torch.manual_seed(49)
    shards = shards_of(config)
    weight_map: dict[str, str] = {}
    total_size = 0
    progress = tqdm(total=sum(len(shard) for shard in shards), unit="tensor", desc="writing", leave=False)
    for number, shard in enumerate(shards, start=1):
        file_name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {}
        for name, shape in shard.items():
            tensors[name] = random_tensor(shape)
            progress.update()
        save_file(tensors, folder / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file_name)
        total_size += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    progress.close()
    index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def write_tokenizer(folder: Path, config: Config) -> None:
    """A byte-level tokenizer with the special tokens where the config expects them. Made-up words fill the rest of the
    vocabulary, so that what random weights say can at least be read."""
    consonants, vowels = "bcdfghjklmnprstvwxyz", "aeiou"
    words = ("Ġ" + "".join(letters) for letters in product(consonants, vowels, consonants, vowels))
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *islice(words, config["bos_token_id"] - 256)]
    special = {"<|begin_of_text|>": config["bos_token_id"], "<|eot_id|>": config["eos_token_id"][-1]}
    vocabulary = {piece: number for number, piece in enumerate(pieces)} | special
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    fast.save_pretrained(folder)


def write_checkpoint(folder: Path) -> None:
    """A folder as NVIDIA publishes them, remote code included: here it raises if anyone runs it."""
    folder.mkdir(parents=True)
    config = scaled_config()
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    write_weights(folder, config)
    write_tokenizer(folder, config)
    for name in ("configuration_decilm.py", "modeling_decilm.py"):
        (folder / name).write_text(REMOTE_CODE)


def hetero(*arguments: str | Path) -> None:
    """Run the command as a user would, and show it."""
    shown = [str(argument).replace(f"{ROOT}/", "") for argument in arguments]
    console.print(f"\n[bold]$ hetero {' '.join(shown)}[/]")
    subprocess.run([Path(sys.executable).with_name("hetero"), *arguments], check=True, cwd=ROOT)


def generate(folder: Path, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor, str]:
    """Logits of the prompt, the tokens generated from it, and their text; plain transformers, no flag."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = tokenizer(PROMPT, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits
        tokens = model.generate(**inputs, max_new_tokens=24, do_sample=False, **kwargs)
    console.print(f"{folder.name}: {type(model).__name__}, {model.num_parameters():,} parameters")
    return logits, tokens, tokenizer.decode(tokens[0, -24:])


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    published, converted = FOLDER / "nemotron-nas", FOLDER / "heterogeneous_llama"
    console.print(
        f"[bold]Writing a checkpoint in NVIDIA's layout: Super-49B with hidden size and vocabulary / {SCALE}[/]"
    )
    write_checkpoint(published)
    hetero("inspect", published, "--plot", FOLDER / "layers.png")
    hetero("convert", published, converted)
    console.print("\n[bold]AutoModelForCausalLM.from_pretrained, no flag, on both folders[/]")
    logits, tokens, text = generate(published)
    converted_logits, converted_tokens, _ = generate(converted)
    _, cache_free, _ = generate(converted, use_cache=False)
    same_logits, same_tokens = torch.equal(logits, converted_logits), torch.equal(tokens, converted_tokens)
    console.print(f"logits identical: {same_logits}   tokens identical: {same_tokens}   ({logits.numel():,} logits)")
    same_without = torch.equal(converted_tokens, cache_free)
    console.print(f"tokens with and without a cache identical: {same_without}")
    console.print(f"text (the weights are random): {text!r}")
    console.print(f"picture: {(FOLDER / 'layers.png').relative_to(ROOT)}")
    return 0 if same_logits and same_tokens and same_without else 1


if __name__ == "__main__":
    sys.exit(main())
