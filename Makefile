PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WRITTEN := hetero.py converters examples integrations modular scripts tests

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-quick fix generate check style bench newest wheel wheels test-releases notebook tools readers vllm puzzletron survey survey-run upstream nearest rebase-history curve

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(READY)  ## Convert and load a small copy of Nemotron-Super-49B, and leave a picture of its layers
	$(BIN)/python -m transformers_heterogeneous.scripts.demo

test: $(READY) style check  ## Style, generated files, tests: what has to pass
	$(BIN)/python -m pytest -n 2

test-quick: $(READY)  ## A selection of the tests in about a minute: every family, every format, the generator
	$(BIN)/python -m pytest -n 2 @tests/quick.txt

fix: $(READY)  ## Format, and correct what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format $(WRITTEN)

generate: $(READY)  ## Expand modular/ into generated/
	$(BIN)/hetero generate

check: $(READY)  ## Fail when generated/ is not what modular/ expands to
	$(BIN)/hetero check

style: $(READY)  ## Lint, format check, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check $(WRITTEN)
	$(BIN)/mypy

newest: $(READY)  ## What the newest transformers would change, tried in an environment of its own
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.newest

wheel: $(READY)  ## The wheel for one release of transformers: make wheel TRANSFORMERS=5.19
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.wheels wheels $(TRANSFORMERS)

wheels: $(READY)  ## A wheel for each release of transformers in the window
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.wheels wheels

test-releases: $(READY)  ## Each wheel tested beside its release: make test-releases RELEASES="5.19 5.24"
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.wheels test $(RELEASES)

notebook: $(READY)  ## Run two examples and write their notebooks in docs/ with what they print (two minutes)
	TQDM_DISABLE=1 $(BIN)/python -m transformers_heterogeneous.scripts.maintenance.notebook

tools: .tools/.ready  ## lm-eval, transformers serve, TRL and PEFT on models of every family (ten minutes)
	.tools/bin/python -m transformers_heterogeneous.scripts.maintenance.tools

readers: .readers/.ready  ## llama.cpp and MLX on what `hetero convert --for` writes, beside what we compute (five minutes)
	.readers/bin/python -m transformers_heterogeneous.scripts.maintenance.runtime_proof

.tools/.ready: NEEDS := lm-eval==0.4.13 trl==1.16.0 peft==0.21.2 transformers[serving]
.readers/.ready: NEEDS := mlx-lm==0.32.2 mlx[cpu]==0.32.4 xllamacpp==2026.10.11549 gguf==0.19.0 sentencepiece
.tools/.ready .readers/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet torch --constraint constraints.txt
	$(@D)/bin/python -m pip install --quiet --editable . $(NEEDS)
	@touch $@

vllm: $(READY)  ## Small models in vLLM on a CPU beside ours, in an environment of its own (half an hour)
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.vllm_proof

puzzletron: $(READY)  ## What `describe` says beside what ModelOpt says, in an environment of its own (five minutes)
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.puzzletron_proof

survey: $(READY)  ## `hetero new` for every model of transformers; with --heterogeneous for every decoder, judged (half an hour)
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.survey > docs/survey.md
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.survey_heterogeneous > docs/survey_heterogeneous.md

survey-run: $(READY)  ## `hetero check --run` on the copy of every model of transformers (an hour)
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.survey_run > docs/survey_run.md

upstream: $(READY)  ## Families in a source tree of transformers, their tests there: make upstream CHECKOUT=DIR (an hour)
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.upstream_proof $(CHECKOUT) $(FAMILIES)

nearest: $(READY)  ## `hetero nearest` against history: the parents that authors of transformers' shards chose (minutes)
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.parents_history

rebase-history: $(READY)  ## `hetero rebase` over transformers' own shards, 5.22.2 to 5.23.0 to 5.24.0 (twenty minutes)
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.rebase_history 5.22.2 5.23.0
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.rebase_history 5.23.0 5.24.0

docs: $(READY)  ## The documentation site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

curve: $(READY)  ## Lines that had to be maintained, over the history: docs/maintenance.svg, and the table for docs/seeing.md
	$(BIN)/python -m transformers_heterogeneous.scripts.maintenance.curve

bench: $(READY)  ## Measure against the parents, as ratios in one run: make bench FAMILIES="llama qwen3_next"
	$(BIN)/python -m transformers_heterogeneous.scripts.bench $(FAMILIES)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@
