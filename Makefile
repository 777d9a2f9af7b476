# make demo: install, serve the bundled model, classify bundled photos.
# make test: install, lint, check types, run every test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SERVER_STAMP := $(VENV)/.installed-server
ALL_STAMP := $(VENV)/.installed-all

.PHONY: demo serve test lint check proto constraints clean

demo: $(SERVER_STAMP)
	@$(BIN)/python examples/demo.py

serve: $(SERVER_STAMP)
	$(BIN)/python -m server

test: $(ALL_STAMP)
	$(BIN)/python -m pytest

lint: $(ALL_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/lint-imports

proto: $(ALL_STAMP)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m proto.generate

# Repin every dependency to its newest release that the project's bounds admit.
constraints:
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet -e ".[all]"
	build/constraints/bin/pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(SERVER_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[server]"
	@touch $@

$(ALL_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all]"
	@touch $@ $(SERVER_STAMP)
