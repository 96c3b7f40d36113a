# Every target works on a fresh checkout with Python 3.11 to 3.13, make and a package index.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin
STAMP  := $(VENV)/.locked
DATA   ?=
SEED   ?= 0
SEEDS  ?= 0
PART   ?= development
NAME   ?= $(if $(DATA),demo-$(notdir $(patsubst %/,%,$(DATA))),demo)

# Nothing of Flower or Ray phones home or installs packages at run time.
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1
export RAY_USAGE_STATS_ENABLED := 0
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO := 0

.PHONY: help setup docs demo study study-ablations budgets test chaos check format bench simulation publish lock clean

help:
	@echo "make setup       a virtual environment with exactly the locked packages"
	@echo "make demo        one federation on this machine, ends with runs/$(NAME)/report.html"
	@echo "make demo DATA=folder   the same on centre folders of your own (source_*, target_*)"
	@echo "make study NAME=brain4 SEEDS=0,1,2   every method on the same patients, ends with results/brain4/table.md"
	@echo "make study-ablations NAME=brain4     the same with one thing changed at a time"
	@echo "make budgets     every method with 1, 2, 4, 8, 16 labelled source scans, ends with results/le_uda/table.md"
	@echo "make simulation  the same apps under Flower's simulation engine (flwr run .)"
	@echo "make test        every test that CI runs, with branch coverage"
	@echo "make chaos       the slow ones: processes killed, disks full, hours of rounds, every byte on the wire"
	@echo "make docs        docs/intake-rules.md from the table of rules"
	@echo "make check       format, lint, types, import contracts"
	@echo "make bench       what the machinery costs: memory of aggregation, time beside training"

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "wanted: Python 3.11 to 3.13 as $(PYTHON); name another one: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(RUN)/python -m simulations demo --name $(NAME) --seed $(SEED) $(if $(DATA),--data $(DATA))

# The run behind the README's picture and table; small files only, never scans.
publish: NAME := $(or $(notdir $(DATA:/=)),phantom)
publish: setup
	$(RUN)/python -m simulations demo --name $(NAME) --seed $(SEED) $(if $(DATA),--data $(DATA))
	mkdir -p results/demo-$(NAME)
	cp runs/$(NAME)/results.json runs/$(NAME)/table.md runs/$(NAME)/picture.png results/demo-$(NAME)/

# Finished jobs are not run again, so the same line goes on after an interruption. PART=test once a release.
study: NAME = phantom
study: setup
	$(RUN)/python -m simulations study $(NAME) --seeds $(SEEDS) --part $(PART) $(if $(DATA),--data $(DATA))

study-ablations: NAME = phantom
study-ablations: setup
	$(RUN)/python -m simulations study $(NAME) --seeds $(SEEDS) --part $(PART) --ablations $(if $(DATA),--data $(DATA))

budgets: setup
	$(RUN)/python -m simulations budgets le_uda --seeds 0,1,2 --part $(PART) --take-apart-at 8

simulation: setup
	$(RUN)/python -m simulations flower

test: setup
	$(RUN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadscope --no-loadscope-reorder --cov --cov-report=term -m "not gpu and not chaos"

chaos: setup
	$(RUN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadscope --no-loadscope-reorder --chaos=results/chaos -m "not gpu"

check: setup
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	PYTHONPATH=. $(RUN)/lint-imports

# The table of the intake gate's rules, as a page.
docs: setup
	$(RUN)/python -m diffuse_uda.cli rules > docs/intake-rules.md

format: setup
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

bench: setup
	$(RUN)/python -m simulations bench

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) runs cohorts .mypy_cache .ruff_cache .pytest_cache .coverage
