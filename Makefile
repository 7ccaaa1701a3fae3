# make        install fedkd with the development tools into .venv
# make run    run the quickstart experiment
# make test   run the tests
# make lint   check style, types and the direction of imports
# make docs   build the documentation into build/site
# make clean  remove .venv, caches and build outputs (not runs/)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: install run test lint docs clean

install: $(STAMP)

run: $(STAMP)
	@$(BIN)/fedkd run configs/quickstart.yaml

# Side by side, one torch thread each; who has nothing left to do takes half of what another has.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)
	PYTHONPATH=scripts NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that an installation that failed is tried again.
$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "fedkd needs Python 3.11 to 3.13; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing fedkd into $(VENV); the first time this downloads PyTorch and takes a few minutes."
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' \
		| awk '/Downloading .*MB|Using cached .*MB/ { print "  " $$1, $$2, $$3, $$4; fflush() } \
		       /^Installing collected/ { print "  unpacking"; fflush() }'
	@touch $@
