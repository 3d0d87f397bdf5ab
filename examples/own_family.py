# %% [markdown]
# # A family of your own, in a package
#
# A model that differs from one of transformers in a few lines is a shard of those lines. `hetero generate` writes the files that
# are imported; `hetero check` says when they are not what the shard expands to, and when the parent has changed.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from transformers import AutoConfig, AutoModelForCausalLM


folder = Path(tempfile.mkdtemp()) / "our-models"


def hetero(*words: str) -> None:
    """Run the command, and print what it prints."""
    where = folder if folder.is_dir() else folder.parent
    done = subprocess.run([sys.executable, "-m", "hetero", *words], cwd=where, capture_output=True, text=True)
    print(f"$ hetero {' '.join(words)}\n{done.stdout.replace(str(where), '.')}{done.stderr}", end="")


# %%
hetero("init", "our-models")
hetero("new", "scaled_qwen3", "--parent", "qwen3")

# %% [markdown]
# The shard that was written copies Qwen3. This one halves what each MLP adds.

# %%
shard = folder / "our_models/modular/modular_scaled_qwen3.py"
shard.write_text('''\
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM, Qwen3MLP


class ScaledQwen3Config(Qwen3Config):
    r"""
    mlp_scale (`float`, *optional*, defaults to 0.5):
        What is multiplied with the output of each MLP.
    """

    mlp_scale: float = 0.5


class ScaledQwen3MLP(Qwen3MLP):
    def __init__(self, config):
        super().__init__(config)
        self.scale = config.mlp_scale

    def forward(self, x):
        return self.scale * super().forward(x)


class ScaledQwen3ForCausalLM(Qwen3ForCausalLM):
    pass


__all__ = ["ScaledQwen3Config", "ScaledQwen3ForCausalLM"]
''')
hetero("generate")
hetero("check")
written = (folder / "our_models/generated/modeling_scaled_qwen3.py").read_text()
print(f"{len(shard.read_text().splitlines())} lines of shard, {len(written.splitlines())} of modeling_scaled_qwen3.py")

# %% [markdown]
# Importing the package registers the family. With a scale of 1 it is Qwen3.

# %%
sys.path.insert(0, str(folder))
import our_models  # noqa: E402, F401


sizes = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
sizes |= {"head_dim": 8, "intermediate_size": 48}
torch.manual_seed(0)
parent = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen3", **sizes)).eval()
tokens = torch.arange(9)[None]
for scale in (1.0, 0.5):
    ours = AutoModelForCausalLM.from_config(AutoConfig.for_model("scaled_qwen3", **sizes, mlp_scale=scale)).eval()
    ours.load_state_dict(parent.state_dict())
    print(
        f"{type(ours).__name__}, scale {scale}: equal to Qwen3: {torch.equal(ours(tokens).logits, parent(tokens).logits)}"
    )
