# `make help` lists the targets. Variables that can be given on the command line:
#   VENV       the virtual environment; it may lie outside of the checkout and serve several checkouts
#   PYTHON     the interpreter that a new environment is made from, 3.11 or newer
#   PIP_FLAGS  flags of pip; `PIP_FLAGS=` shows its progress
#   ARGS       arguments of quickstart, such as ARGS="--run_dir runs/first"
VENV ?= .venv
PYTHON ?= python3
PIP_FLAGS ?= --quiet
ARGS ?=
LOCK_FLAGS ?=
RUNS := tests/recipes

override VENV := $(VENV:~/%=$(HOME)/%)
BIN := $(VENV)/bin
# What the environment holds: a copy of the lock it was filled from, and the checkout it was last pointed to.
LOCK_STAMP := $(VENV)/.pairstill-lock
PROJECT_STAMP := $(VENV)/.pairstill-project
PROJECT_STATE = { printf '%s\n' "$$PWD"; cat pyproject.toml; }

# This checkout's code comes first, even while another checkout uses the same environment.
export PYTHONPATH := $(CURDIR)/src
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help quickstart test lint types imports docs unit audit env format lock clean check-python install-lock install-project

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

quickstart: env ## distil the embedded benchmark and print the table of recalls
	@"$(BIN)/pairstill" quickstart $(ARGS)

test: lint types imports docs audit unit ## run every gate (make -k test goes on after one that fails)

lint: env ## gate: ruff's rules and format
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .

types: env ## gate: static types of src
	"$(BIN)/pyright" --pythonpath "$(BIN)/python"

imports: env ## gate: the import order of the layers
	"$(BIN)/lint-imports" --no-logo

docs: env ## gate: the documentation builds without a warning, into build/site
	NO_MKDOCS_2_WARNING=1 "$(BIN)/mkdocs" build --strict --quiet

# tests of whole runs take about as long as all the rest; what they say is shown when the rest is done
unit: env ## gate: the tests, in two processes
	@runs="$$(mktemp)"; trap 'rm -f "$$runs"' EXIT; \
	"$(BIN)/python" -m pytest $(RUNS) >"$$runs" 2>&1 & whole=$$!; \
	"$(BIN)/python" -m pytest --ignore=$(RUNS); rest=$$?; \
	wait $$whole; status=$$?; cat "$$runs"; exit $$((rest | status))

audit: env ## gate: licences of the locked packages, and their known vulnerabilities where there is a network
	@"$(BIN)/python" .ci/audit.py

format: env ## format the code and apply ruff's safe fixes
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

env: check-python ## create or update the environment in VENV (default .venv)
	@{ [ -x "$(BIN)/python" ] && cmp -s requirements.lock "$(LOCK_STAMP)"; } || $(MAKE) --no-print-directory install-lock
	@$(PROJECT_STATE) | cmp -s - "$(PROJECT_STAMP)" || $(MAKE) --no-print-directory install-project

check-python:
	@python="$(BIN)/python"; [ -x "$$python" ] || python="$(PYTHON)"; \
	command -v "$$python" >/dev/null || \
	  { echo "error: $$python was not found; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$python is $$("$$python" -V 2>&1); pairstill needs Python 3.11 or newer:" \
	    "make PYTHON=/path/to/python3 VENV=/a/new/folder" >&2; exit 1; }

# The stamp goes first and comes back last: an interrupted install leaves none.
install-lock:
	@rm -f "$(LOCK_STAMP)"
	@"$(BIN)/python" -m pip --version >/dev/null 2>&1 || \
	  { echo "Creating the environment in $(VENV)"; "$(PYTHON)" -m venv "$(VENV)"; }
	@echo "Installing the packages of requirements.lock into $(VENV)"
	@echo "(on Linux, where torch is the CUDA build: about 3 GB to download, 7 GB on disk, some minutes; PIP_FLAGS= shows progress)"
	@"$(BIN)/python" -m pip install $(PIP_FLAGS) --require-hashes --only-binary :all: -r requirements.lock
	@cp requirements.lock "$(LOCK_STAMP)"

install-project:
	@echo "Pointing $(VENV) to this checkout"
	@rm -f "$(PROJECT_STAMP)"
	@"$(BIN)/python" -m pip install $(PIP_FLAGS) --no-index --no-deps --no-build-isolation --editable .
	@$(PROJECT_STATE) > "$(PROJECT_STAMP)"

lock: ## rewrite requirements.lock (needs uv; LOCK_FLAGS=--upgrade takes the newest versions)
	uv --no-config pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
	  --only-binary :all: --no-annotate --no-emit-index-url --custom-compile-command "make lock" $(LOCK_FLAGS) \
	  --output-file requirements.lock

clean: ## delete caches and build outputs; runs and environments stay
	rm -rf build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
