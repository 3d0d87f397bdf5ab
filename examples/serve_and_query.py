# %% [markdown]
# # Serve a model, and ask it
#
# `hetero run` starts a program with the families registered: here `transformers serve`, which answers as OpenAI's API does. It needs
# `pip install fastapi uvicorn openai` beside this package. Nothing is downloaded.

# %%
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from transformers import PreTrainedTokenizerFast
from transformers_heterogeneous import HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM


folder = Path(tempfile.mkdtemp())

# %% [markdown]
# A model of four layers, two of them without attention, and a tokenizer of twenty words.

# %%
words = [
    "<pad>",
    "<s>",
    "</s>",
    *[
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "user",
        "assistant",
        ":",
        "say",
        "it",
        "again",
    ],
]
tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
    chat_template="{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} {% endfor %}assistant :",
).save_pretrained(folder / "model")  # fmt: skip
torch.manual_seed(0)
config = HeterogeneousLlamaConfig(
    vocab_size=len(words), hidden_size=64, num_hidden_layers=4, num_attention_heads=4, head_dim=16,
    num_key_value_heads=[2, None, 1, None], mixer_types=["attention", "none", "attention", "none"], intermediate_size=128,
    pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
HeterogeneousLlamaForCausalLM(config).save_pretrained(folder / "model")

# %%
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [
    "run",
    sys.executable,
    "-m",
    "transformers.cli.transformers",
    "serve",
    str(folder / "model"),
    "--port",
    str(port),
]
log = open(folder / "log", "w")  # noqa: SIM115
server = subprocess.Popen(
    [sys.executable, "-m", "hetero", *command, "--device", "cpu", "--dtype", "float32"], stdout=log, stderr=log
)


def ask(path: str, body: dict | None = None) -> dict:
    """The server's answer, once it has started."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Content-Type": "application/json"})
    data = json.dumps(body).encode() if body else None
    for _ in range(240):
        try:
            return json.load(urllib.request.urlopen(request, data=data, timeout=120))
        except (ConnectionError, urllib.error.URLError):
            if server.poll() is not None:
                raise SystemExit((folder / "log").read_text()) from None
            time.sleep(0.5)
    raise SystemExit((folder / "log").read_text())


try:
    messages = [{"role": "user", "content": "say one two three"}]
    question = {
        "model": str(folder / "model"),
        "messages": messages,
        "max_tokens": 5,
        "temperature": 0.0,
        "stream": False,
    }
    answer = ask("/v1/chat/completions", question)
    print(f"{answer['object']}: {answer['usage']['completion_tokens']} tokens")
    print(set(answer["choices"][0]["message"]["content"].split()) <= set(words))
finally:
    server.terminate()
    server.wait()
