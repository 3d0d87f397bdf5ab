# %% [markdown]
# # Prune and heal
#
# A small Llama learns where people live and what they like, is pruned in four ways, and is fine-tuned until it knows again.
# Nothing is downloaded, two cores and two minutes are enough. It needs `pip install trl peft lm-eval` beside this package.

# %%
import json
import random
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from trl import SFTConfig, SFTTrainer

from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from transformers_heterogeneous import prune, score


torch.set_num_threads(1)  # for matrices this small
torch.manual_seed(0)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The facts
#
# A sentence for each of 48 people, and a question about each half of it, which lm-eval asks.

# %%
chance = random.Random(0)
cities = ["oslo", "rome", "lima", "cairo", "delhi", "paris"]
colours = ["red", "blue", "green", "black", "white", "pink"]
people = [f"{first}{last}" for first in ("an", "be", "ca", "do", "el", "fa", "gi", "ho") for last in "abcdef"]
facts = [(name, chance.choice(cities), chance.choice(colours)) for name in people]
sentences = [f"{name} lives in {city} and likes {colour} ." for name, city, colour in facts]
questions = [
    {"question": f"{name} lives in", "choices": cities, "answer": cities.index(city)} for name, city, _ in facts
]
questions += [
    {"question": f"{name} lives in {city} and likes", "choices": colours, "answer": colours.index(colour)}
    for name, city, colour in facts
]
(folder / "questions.json").write_text("\n".join(map(json.dumps, questions)))
(folder / "sentences.jsonl").write_text("\n".join(json.dumps({"text": sentence}) for sentence in sentences))

words = ["<pad>", "<s>", "</s>", *sorted({word for sentence in sentences for word in sentence.split()})]
word_level = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
word_level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=word_level, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=64
)
print(f"{len(words)} words, as in: {sentences[0]}")

# %% [markdown]
# ## The model
#
# A plain Llama of transformers, trained from nothing.

# %%
config = LlamaConfig(
    vocab_size=len(words), hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4, head_dim=16,
    intermediate_size=256, max_position_embeddings=64, tie_word_embeddings=True,
    initializer_range=0.05, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
model = LlamaForCausalLM(config)
tokens = tokenizer(sentences, return_tensors="pt")["input_ids"]
optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=100)
for _ in range(100):
    loss = model(tokens, labels=tokens).loss
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    schedule.step()
model.save_pretrained(folder / "plain")
tokenizer.save_pretrained(folder / "plain")
print(f"{model.num_parameters():,} parameters, loss {loss:.3f}")

# %% [markdown]
# ## Evaluation
#
# lm-eval asks the questions, of a model as `AutoModelForCausalLM` loads it.

# %%
TASK = {
    "task": "facts", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / "questions.json")}},
    "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{question}}", "doc_to_choice": "choices",
    "doc_to_target": "answer", "metric_list": [{"metric": "acc"}],
}  # fmt: skip


def accuracy(path: Path) -> float:
    loaded = AutoModelForCausalLM.from_pretrained(path)
    held = HFLM(pretrained=loaded, tokenizer=tokenizer, batch_size=64, device="cpu")
    found = simple_evaluate(held, tasks=[dict(TASK)], bootstrap_iters=0, verbosity="ERROR")
    return found["results"]["facts"]["acc,none"]


print(f"the plain model knows {accuracy(folder / 'plain'):.1%}")

# %% [markdown]
# ## Scores
#
# What each layer, sub-block, neuron and head does to the sentences: `hetero score plain --data sentences.jsonl --out ...`.

# %%
scores = score(folder / "plain", folder / "sentences.jsonl", folder / "scores.safetensors")
for layer, members in scores.scores.items():
    influence = {name: round(members[name][0], 3) for name in ("block_influence", "skip.attention", "skip.mlp")}
    print(f"layer {layer}: {influence}")

# %% [markdown]
# ## Four ways to make it smaller
#
# Each is a folder that loads by itself. The last one is a budget: `hetero prune plain target --by scores.safetensors
# --target 0.3` chooses what goes.

# %%
sub_blocks = [(members[f"skip.{name}"][0], f"{name}:{layer}")
              for layer, members in scores.scores.items() for name in ("attention", "mlp")]  # fmt: skip
every = range(config.num_hidden_layers)
ways = {
    "sub-blocks": {"skips": [name for _, name in sorted(sub_blocks)[:5]]},
    "width": {"plan": {layer: {"intermediate_size": 32} for layer in every}},
    "KV heads": {"plan": {layer: {"num_key_value_heads": 1} for layer in every}, "kv_heads_by": "mean"},
    "target": {"target": 0.3, "width_step": 32},
}
reports = {
    name: prune(folder / "plain", folder / name, by=str(folder / "scores.safetensors"), **way)
    for name, way in ways.items()
}
for name, report in reports.items():
    before, after = report.cut.before, report.cut.after
    cache = f"{before.kv_cache_bytes_per_token:,} -> {after.kv_cache_bytes_per_token:,} bytes of cache a token"
    print(f"{name}: {before.num_parameters:,} -> {after.num_parameters:,} parameters, {cache}")
print(f"chosen under the target: {json.dumps(reports['target'].cut.record['plan'])}")

# %% [markdown]
# ## Healing
#
# LoRA by TRL's `SFTTrainer`, merged into the weights, saved, and loaded again.


# %%
def heal(name: str) -> Path:
    arguments = SFTConfig(
        output_dir=str(folder / "training"), max_steps=30, per_device_train_batch_size=48, learning_rate=1e-2, max_length=32,
        use_cpu=True, bf16=False, report_to=[], save_strategy="no", gradient_checkpointing=False, disable_tqdm=True, seed=0,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=str(folder / name), args=arguments, train_dataset=Dataset.from_dict({"text": sentences}),
        processing_class=tokenizer, peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    healed = folder / f"{name}, healed"
    trainer.model.merge_and_unload().save_pretrained(healed)
    tokenizer.save_pretrained(healed)
    return healed


print("way         parameters  pruned  healed")
results = {}
for name, report in reports.items():
    results[name] = accuracy(folder / name), accuracy(heal(name))
    pruned, healed = results[name]
    print(f"{name:<11} {report.cut.after.num_parameters:>10,}  {pruned:>6.1%}  {healed:>6.1%}")
