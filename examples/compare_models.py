# %% [markdown]
# # Compare two models
#
# A port gives other numbers than the original. Which module is it? `hetero trace port --against original` says so on the command
# line; this does the same in Python. Nothing is downloaded.

# %%
import tempfile
from pathlib import Path

import torch

from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers_heterogeneous.converters import convert, parting_of, trace, verify


torch.manual_seed(0)
folder = Path(tempfile.mkdtemp())
config = Qwen3Config(
    vocab_size=128, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
    intermediate_size=96,
)  # fmt: skip
Qwen3ForCausalLM(config).save_pretrained(folder / "original")
convert(folder / "original", folder / "port")

# %% [markdown]
# ## The same model, in another format
#
# `verify` compares tensor by tensor, a trace module by module.

# %%
tokens = [3, 5, 8, 13, 21, 34]
print(f"the same tensors: {verify(folder / 'original', folder / 'port').same}")
first, second = (trace(folder / name, tokens) for name in ("original", "port"))
parting = parting_of(first, second)
print(f"{parting.num_equal} of {parting.num_compared} tensors are equal, they part at {parting.module}")

# %% [markdown]
# ## A mistake, as ports have them
#
# The norm of the keys in layer 2 has other weights than the original.

# %%
port = AutoModelForCausalLM.from_pretrained(folder / "port")
with torch.no_grad():
    port.model.layers[2].self_attn.k_norm.weight.fill_(1.5)
parting = parting_of(first, trace(port, tokens))
print(f"{parting.num_equal} of {parting.num_compared} tensors are equal, they part at {parting.module}")
for layer, apart in parting.layers.items():
    print(f"behind {layer}: {apart:.4f}")
