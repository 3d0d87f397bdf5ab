"""Small models of every family, mixed layers and all, in the hands of tools that load by folder name.

Each tool is a program of an environment of its own, started by `hetero run`, or a few lines of Python that its users write.
The table that is printed stands in docs/tools.md.
"""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import transformers_heterogeneous
from transformers import PreTrainedTokenizerFast


BIN = Path(sys.executable).parent
HETERO = [str(BIN / "hetero"), "run", "--"]
SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "head_dim": 16,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
DENSE = {
    "num_hidden_layers": 5,
    "mixer_types": ["attention", "none", "attention", "attention", "attention"],
    "mlp_types": ["dense", "dense", "none", "dense", "dense"],
    "num_key_value_heads": [2, None, 1, 2, 1],
    "intermediate_size": [96, 128, None, 64, 32],
    "sliding_window": [None, None, 8, 16, None],
}
MODELS: dict[str, dict[str, Any]] = {
    "Llama": {
        "num_hidden_layers": 5,
        "mixer_types": ["attention", "none", "linear", "attention", "attention"],
        "mlp_types": ["dense", "dense", "dense", "none", "linear"],
        "num_key_value_heads": [4, None, None, 1, 2],
        "intermediate_size": [96, 128, 64, None, None],
        "sliding_window": [None, None, None, 8, 16],
    },
    **dict.fromkeys(("Mistral", "Qwen2", "Qwen3"), DENSE),
    "Qwen3Moe": {
        "num_hidden_layers": 4,
        "mixer_types": ["attention", "none", "attention", "attention"],
        "mlp_types": ["moe", "moe", "dense", "none"],
        "num_key_value_heads": [4, None, 2, 1],
        "num_experts": [4, 6, None, None],
        "num_experts_per_tok": [2, 3, None, None],
        "moe_intermediate_size": 32,
        "intermediate_size": 64,
    },
    "Qwen3Next": {
        "num_hidden_layers": 4,
        "mixer_types": ["mamba", "none", "attention", "mamba"],
        "mlp_types": ["moe", "moe", "dense", "none"],
        "num_key_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "num_experts": [4, 6, None, None],
        "num_experts_per_tok": [2, 3, None, None],
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "intermediate_size": 64,
    },
    "GptOss": {
        "num_hidden_layers": 4,
        "mixer_types": ["attention", "attention", "none", "attention"],
        "mlp_types": ["moe", "none", "moe", "moe"],
        "num_key_value_heads": 2,
        "num_local_experts": [4, None, 8, 6],
        "num_experts_per_tok": [2, None, 2, 3],
        "intermediate_size": 64,
        "sliding_window": [8, None, None, None],
    },
    "GraniteMoeHybrid": {
        "num_hidden_layers": 4,
        "mixer_types": ["mamba", "attention", "none", "mamba"],
        "mlp_types": ["moe", "dense", "moe", "none"],
        "num_key_value_heads": 2,
        "num_local_experts": [4, None, 8, None],
        "num_experts_per_tok": [2, None, 3, None],
        "intermediate_size": 32,
        "shared_intermediate_size": [64, 96, 64, None],
        "mamba_n_heads": 8,
        "mamba_d_head": 16,
        "mamba_d_state": 16,
        "mamba_chunk_size": 16,
    },
    "NemotronH": {
        "num_hidden_layers": 5,
        "mixer_types": ["mamba", "none", "attention", "none", "none"],
        "mlp_types": ["none", "moe", "none", "dense", "none"],
        "num_key_value_heads": 2,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "moe_shared_expert_intermediate_size": 64,
        "intermediate_size": 96,
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 16,
        "n_groups": 2,
        "chunk_size": 16,
    },
}
CHAT = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
QUESTIONS = [
    {"question": f"{number} and {number}", "choices": [str(number), "none"], "answer": 0} for number in range(4)
]
TASK = """\
task: same
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
doc_to_choice: choices
metric_list: [{{metric: acc}}]
"""


class Failed(Exception):
    """A tool did not do what it is for; the last line that it said."""


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, three special ones, and a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<s>", "</s>", "<pad>"]
    vocab = {token: idx for idx, token in enumerate([*alphabet, *specials])}
    tokens = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    names = dict(zip(("bos_token", "eos_token", "pad_token"), specials, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokens, chat_template=CHAT, **names)


def write_model(name: str, folder: Path) -> Path:
    """A small model with a tokenizer, as it is saved."""
    torch.manual_seed(0)
    config = getattr(transformers_heterogeneous, f"Heterogeneous{name}Config")(**SIZES, **MODELS[name])
    path = folder / name
    getattr(transformers_heterogeneous, f"Heterogeneous{name}ForCausalLM")(config).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines()
        errors = [line for line in lines if re.match(r"\S*(Error|Exception)\b", line)] or lines
        raise Failed(errors[-1][:200] if errors else f"ended with {done.returncode}")
    return done.stdout


def python(code: str, model: Path, folder: Path) -> str:
    """Lines of Python that never mention the package, in a program that `hetero run` starts."""
    return run([*HETERO, sys.executable, "-c", code, str(model)], folder)


def lm_eval(model: Path, folder: Path) -> None:
    """`lm_eval --model hf` over a task in a local file."""
    data = folder / "questions.json"
    data.write_text("\n".join(map(json.dumps, QUESTIONS)))
    (folder / "same.yaml").write_text(TASK.format(data=data))
    arguments = ["--model", "hf", "--model_args", f"pretrained={model}", "--include_path", str(folder)]
    out = run([*HETERO, "lm_eval", *arguments, "--tasks", "same", "--device", "cpu"], folder)
    if "|same" not in out:
        raise Failed("no result of the task is printed")


def serve(model: Path, folder: Path) -> None:
    """`transformers serve`, asked at /v1/chat/completions."""
    port = 8000 + hash(model) % 1000
    arguments = ["serve", str(model), "--device", "cpu", "--dtype", "float32", "--port", str(port)]
    with open(folder / "serve.log", "w") as log:
        server = subprocess.Popen([*HETERO, "transformers", *arguments], cwd=folder, stdout=log, stderr=log)
    try:
        answer = ask(port, {"model": str(model), "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4})
    finally:
        server.terminate()
        server.wait()
    if not isinstance(answer["choices"][0]["message"]["content"], str):
        raise Failed(json.dumps(answer)[:200])


def ask(port: int, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://localhost:{port}/v1/chat/completions",
        json.dumps({**body, "stream": False}).encode(),
        {"Content-Type": "application/json"},
    )
    for attempt in range(60):
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise Failed(error.read().decode()[:200]) from error
        except OSError as error:
            if attempt == 59:
                raise Failed(str(error)) from error
            time.sleep(1)
    return None


SFT = """
import sys
from datasets import Dataset
from trl import SFTConfig, SFTTrainer
data = Dataset.from_dict({"text": ["a b c d e f g"] * 8})
config = SFTConfig(output_dir="sft", max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False,
    max_length=32, packing=PACKING)
trainer = SFTTrainer(model=sys.argv[1], args=config, train_dataset=data)
assert trainer.train().training_loss > 0
"""
DPO = """
import sys
from datasets import Dataset
from trl import DPOConfig, DPOTrainer
data = Dataset.from_dict({"prompt": ["a b "] * 8, "chosen": ["c d"] * 8, "rejected": ["x y"] * 8})
config = DPOConfig(output_dir="dpo", max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False)
trainer = DPOTrainer(model=sys.argv[1], args=config, train_dataset=data)
assert trainer.train().training_loss > 0
"""
GRPO = """
import sys
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
data = Dataset.from_dict({"prompt": ["a b c"] * 8})
config = GRPOConfig(output_dir="grpo", max_steps=2, per_device_train_batch_size=2, num_generations=2, report_to=[],
    use_cpu=True, bf16=False, max_completion_length=8)
trainer = GRPOTrainer(model=sys.argv[1], reward_funcs=lambda completions, **_: [float(len(each)) for each in completions],
    args=config, train_dataset=data)
trainer.train()
"""
PEFT = """
import sys
import torch
from peft import CONFIG, get_peft_model
from transformers import AutoModelForCausalLM
torch.manual_seed(0)
model = get_peft_model(AutoModelForCausalLM.from_pretrained(sys.argv[1]), CONFIG(task_type="CAUSAL_LM"))
model(torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
"""


ADAPTER = """
import sys
import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM, LoraConfig
from trl import SFTConfig, SFTTrainer
data = Dataset.from_dict({"text": ["a b c d e f g"] * 8})
config = SFTConfig(output_dir="adapter", max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False,
    max_length=32)
trainer = SFTTrainer(model=sys.argv[1], args=config, train_dataset=data, peft_config=LoraConfig())
trainer.train()
trainer.save_model("adapter")
loaded = AutoPeftModelForCausalLM.from_pretrained("adapter")
trained = trainer.model.eval().float()
tokens = torch.arange(8)[None]
torch.testing.assert_close(loaded.eval().float()(tokens).logits, trained(tokens).logits)
"""


def programs(code: str, **values: str) -> Callable[[Path, Path], None]:
    for name, value in values.items():
        code = code.replace(name, value)

    def of_model(model: Path, folder: Path) -> None:
        python(code, model, folder)

    return of_model


TOOLS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "lm_eval --model hf": ("lm_eval", lm_eval),
    "transformers serve": ("transformers", serve),
    "TRL SFT, model by path": ("trl", programs(SFT, PACKING="False")),
    "TRL SFT, packing": ("trl", programs(SFT, PACKING="True")),
    "TRL DPO, model by path": ("trl", programs(DPO)),
    "TRL GRPO, model by path": ("trl", programs(GRPO)),
    "TRL SFT of an adapter, AutoPeftModel": ("trl", programs(ADAPTER)),
    "PEFT LoRA, default targets": ("peft", programs(PEFT, CONFIG="LoraConfig")),
    "PEFT IA3, default targets": ("peft", programs(PEFT, CONFIG="IA3Config")),
}


def rows(names: list[str]) -> Iterator[list[str]]:
    """One row a tool: its name, its version, and for each family what came of it."""
    with TemporaryDirectory() as name:
        paths = [write_model(each, Path(name)) for each in MODELS]
        for tool, (package, check) in TOOLS.items():
            if names and not any(each in tool for each in names):
                continue
            results = []
            for path in paths:
                try:
                    check(path, Path(name))
                    results.append("yes")
                except Failed as error:
                    results.append(str(error).replace("|", "/"))
            yield [tool, version(package), *results]


def main() -> None:
    """Print the table; names of tools as arguments run these alone."""
    print("| tool | version |", " | ".join(MODELS), "|")
    print("|---" * (2 + len(MODELS)) + "|")
    for row in rows(sys.argv[1:]):
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
