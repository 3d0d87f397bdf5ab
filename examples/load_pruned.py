# %% [markdown]
# # Load a checkpoint that was pruned elsewhere
#
# Pruning tools often cut the weights and leave config.json as it was, or leave nothing but the tensors to tell what each layer is now.
# Such a folder loads nowhere: the shapes do not fit the config. `hetero infer` reads the config off the shapes. Nothing is downloaded.

# %%
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import transformers_heterogeneous  # noqa: F401  (registers the families)
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers_heterogeneous import infer, inspect


torch.manual_seed(0)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## What a pruning tool leaves
#
# A plain Llama of four layers. Half of the neurons of layer 1 are cut off, three quarters of layer 2, and two of four KV heads of layer 3
# with the query heads that use them. config.json still has the numbers of the whole model.

# %%
config = LlamaConfig(
    vocab_size=100, hidden_size=64, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4, head_dim=8,
    intermediate_size=128, max_position_embeddings=64,
)  # fmt: skip
LlamaForCausalLM(config).save_pretrained(folder / "pruned")
tensors = load_file(folder / "pruned/model.safetensors")
for layer, width in ((1, 64), (2, 32)):
    mlp = f"model.layers.{layer}.mlp"
    for name in ("gate_proj", "up_proj"):
        tensors[f"{mlp}.{name}.weight"] = tensors[f"{mlp}.{name}.weight"][:width].clone()
    tensors[f"{mlp}.down_proj.weight"] = tensors[f"{mlp}.down_proj.weight"][:, :width].clone()
attention = "model.layers.3.self_attn"
for name, heads in (("q_proj", 4), ("k_proj", 2), ("v_proj", 2)):
    tensors[f"{attention}.{name}.weight"] = tensors[f"{attention}.{name}.weight"][: heads * 8].clone()
tensors[f"{attention}.o_proj.weight"] = tensors[f"{attention}.o_proj.weight"][:, : 4 * 8].clone()
save_file(tensors, folder / "pruned/model.safetensors", metadata={"format": "pt"})

try:
    LlamaForCausalLM.from_pretrained(folder / "pruned")
except RuntimeError as error:
    print(f"transformers: {type(error).__name__}: the shapes are not the config's")

# %% [markdown]
# ## What the shapes say
#
# `infer` finds the sizes, and with a second folder writes a checkpoint with the config that fits. `hetero infer pruned loads` does the same.

# %%
found = infer(folder / "pruned", folder / "loads")
for name in ("intermediate_size", "num_attention_heads", "num_key_value_heads"):
    print(f"{name}: {found.config[name]}")
print(f"{inspect(folder / 'loads').num_parameters:,} parameters")

# %% [markdown]
# ## It loads

# %%
model = AutoModelForCausalLM.from_pretrained(folder / "loads", dtype=torch.float32).eval()
print(type(model).__name__)
tokens = torch.arange(8)[None]
print(model.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0)[0].tolist()[:8], "and four more")
