# Everything a person starts by hand. `make help` lists it; each target installs what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Where there is a GPU torch comes from the public index, with the CUDA libraries that it asks for.
TORCH_FROM := $(if $(shell command -v nvidia-smi),,--no-deps --extra-index-url $(TORCH_INDEX))
RECIPE ?= digits-cnn
MODEL ?= digits-cnn
PORT ?= 8080
SOURCE ?=
REASON ?=
TO ?=
SET ?=
CRON ?=
ZONE ?=
DOCKER ?= docker
FORCE ?=
PYTEST ?=

ifdef DATA
export MILLRACE_DATA := $(DATA)
endif

LIBRARIES := $(VENV)/.libraries
INSTALLED := $(VENV)/.installed
LOCKS := infra/locks/torch.txt infra/locks/py311.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

$(LIBRARIES): $(LOCKS)
	@$(PYTHON) infra/locks/check_platform.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "millrace: installing from infra/locks into $(VENV) (a few minutes the first time)" >&2
	@$(PIP) install -qq --retries 1 $(TORCH_FROM) -r infra/locks/torch.txt
	@$(PIP) install -qq --no-deps --require-hashes -r infra/locks/py311.txt
	@touch $@

$(INSTALLED): $(LIBRARIES) pyproject.toml
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@$(PIP) check
	@$(BIN)/millrace setup
	@touch $@

.PHONY: install
install: $(INSTALLED) ## make .venv from the lock and create the local databases

.PHONY: libraries
libraries: $(LIBRARIES) # the environment without Millrace itself: a layer of the image

.PHONY: image
image: ## build the image of work pools of containers and jobs, with docker or what is called like it: DOCKER=podman
	$(DOCKER) build -f infra/docker/Dockerfile -t millrace:latest .

.PHONY: demo
demo: $(INSTALLED) ## raw digits images to a registered model, in one run
	@$(BIN)/millrace run digits-cnn $(if $(JSON),--json)

.PHONY: train
train: $(INSTALLED) ## run a recipe: RECIPE=digits-cnn SET="train.max_epochs=3 split.test=0.3"
	@$(BIN)/millrace run $(RECIPE) $(foreach pair,$(SET),--set $(pair)) $(if $(JSON),--json)

.PHONY: tune
tune: $(INSTALLED) ## search for better values of a recipe's keys (its section `search`): RECIPE=digits-cnn SET="search.trials=20"
	@$(BIN)/millrace tune $(RECIPE) $(foreach pair,$(SET),--set $(pair)) $(if $(JSON),--json)

.PHONY: up
up: $(INSTALLED) ## start the local Prefect server, MLflow server and worker
	@$(BIN)/millrace up

.PHONY: deploy
deploy: $(INSTALLED) ## make the Prefect pages able to start runs, and the schedule: CRON="0 3 * * *" ZONE=Europe/Berlin for another
	@$(BIN)/millrace deploy $(if $(CRON),--cron "$(CRON)") $(if $(ZONE),--timezone "$(ZONE)")

.PHONY: status
status: $(INSTALLED) ## which local servers run, champions with their age and drift, last runs, what comes next
	@$(BIN)/millrace status || test $$? -eq 1

.PHONY: serve
serve: $(INSTALLED) ## answer over HTTP with a registered model: MODEL=digits-cnn PORT=8080
	@$(BIN)/millrace serve $(MODEL) --port $(PORT)

.PHONY: score
score: $(INSTALLED) ## answer every row of a source with a registered model, each once: MODEL=digits-cnn SOURCE=<file, folder or recipe> TO=<folder>
	@$(BIN)/millrace score $(MODEL) $(SOURCE) $(if $(TO),--to '$(TO)')

.PHONY: monitor
monitor: $(INSTALLED) ## hold new rows against those that a model was tested on: MODEL=digits-cnn SOURCE=<file, folder or recipe>
	@$(BIN)/millrace monitor $(MODEL) $(SOURCE)

.PHONY: retrain
retrain: $(INSTALLED) ## train a model again by the recipe that made it: MODEL=digits-cnn REASON=data
	@$(BIN)/millrace retrain $(MODEL) $(if $(REASON),--reason $(REASON)) $(if $(JSON),--json)

.PHONY: down
down: $(INSTALLED) ## end the local servers and the worker: FORCE=1 also while a run of a shell needs them
	@$(BIN)/millrace down $(if $(FORCE),--force)

.PHONY: test
test: $(INSTALLED) ## the default test suite
	@bash tests/require.sh
	@$(BIN)/python -m pytest $(PYTEST)

.PHONY: faults
faults: $(INSTALLED) ## kill, fill and starve the store at every event: ONLY=F25 for one row, wherever it is tested
	@bash tests/require.sh
	@rm -f .reports/faults.jsonl
	@$(BIN)/python -m pytest -n 0 $(if $(ONLY),-m 'not gpu' -k '$(ONLY)',-m faults) $(PYTEST)

.PHONY: e2e
e2e: $(INSTALLED) ## whole runs as users start them: a clean clone, the README's commands, servers, a bucket, what each change runs again
	@bash tests/e2e/clean_clone.sh
	@rm -f .reports/matrix.jsonl
	@$(BIN)/python -m pytest -n 0 -m e2e $(PYTEST)

.PHONY: gpu
gpu: $(INSTALLED) ## what only a machine with an NVIDIA GPU can show
	@nvidia-smi -L || { echo "make gpu needs an NVIDIA GPU and its driver" >&2; exit 1; }
	@$(BIN)/python -m pytest -n 0 -m gpu $(PYTEST)

.PHONY: recipes
recipes: $(INSTALLED) ## the quick recipes over their seeds against what they promise: ONLY=digits-cnn DATA=<folder>
	@$(BIN)/python -m tests.e2e.recipes $(ONLY)

.PHONY: recipes-full
recipes-full: $(INSTALLED) ## all recipes so, also those that take long
	@$(BIN)/python -m tests.e2e.recipes --full $(ONLY)

.PHONY: bench
bench: $(INSTALLED) ## measure the goals side by side with their peers: GOAL="G24 demo"
	@$(BIN)/python -m tests.benchmarks.run $(GOAL)

.PHONY: report
report: $(INSTALLED) ## lines per layer, medians, files a change touches, tests by marker
	@$(BIN)/python -m tests.report

.PHONY: docs
docs: $(INSTALLED) ## write infra/docs/errors.md from the code
	@$(BIN)/python infra/docs/write_errors.py

.PHONY: check
check: $(INSTALLED) ## lint, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

.PHONY: lock
lock: ## resolve the ranges of pyproject.toml again into infra/locks (UPGRADE=1 for the newest)
	@test -x $(BIN)/uv || $(MAKE) install # an installed tree may disagree with ranges that were just changed
	@$(BIN)/uv pip compile pyproject.toml $(foreach one,vision audio text avro sql lake nosql stream explain fair serve edge dev,--extra $(one)) --generate-hashes --python-version 3.11 \
	    --python-platform x86_64-manylinux_2_28 --no-emit-package torch --no-header --no-annotate \
	    $(if $(UPGRADE),--upgrade) -q -o infra/locks/py311.txt
	@# What only workers of other pools need stays apart: a Prefect server imports every one of its libraries at its start.
	@$(BIN)/uv pip compile pyproject.toml --extra docker --extra kubernetes -c infra/locks/py311.txt --generate-hashes \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-package torch --no-header --no-annotate -q \
	    | awk 'NR == FNR { if (/^[^ ]/) known[$$1] = 1; next } /^[^ ]/ { new = !($$1 in known) } new' infra/locks/py311.txt - \
	    > infra/docker/pools.txt

.PHONY: clean
clean: ## remove .venv and everything that runs have left
	@if test -x $(BIN)/millrace; then $(BIN)/millrace down --force; fi
	@rm -rf $(VENV) .millrace .reports *.egg-info
