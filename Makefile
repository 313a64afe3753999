# Every task of the project. A machine needs only make and Python 3.11 or newer:
# `make demo` and `make test` set up the rest in .venv, once.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first of these that is new enough, unless PYTHON= names one.
PYTHONS := python3 python3.13 python3.12 python3.11
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for python in $(PYTHONS); do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$python; break; }; done)
endif
PYTHON_VERSION := $(shell $(or $(PYTHON),false) -c \
	'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)

# Stamps carry the version of Python, so that another PYTHON= makes the environment anew.
VENV := .venv
LOCKED := $(VENV)/.locked-$(PYTHON_VERSION)
READY := $(VENV)/.ready-$(PYTHON_VERSION)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --no-input -qq

BENCH := $(VENV)/.bench-$(PYTHON_VERSION)
LOCK := requirements-dev.lock
UV_VERSION := 0.13.8
UV := .venv-uv-$(UV_VERSION)/bin/uv
LOWEST := .venv-lowest

.PHONY: help setup python-ok demo test check lint format crash fuzz mutants equality bench plots lock lowest clean

help:  ## List the targets (the default).
	@echo "usage: make TARGET [PYTHON=python3.12]"
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)$$/  \1  \2/p' $(MAKEFILE_LIST) | \
		awk '{ name = $$1; $$1 = ""; printf "  %-8s%s\n", name, $$0 }'

setup: $(READY)  ## Make .venv: the locked dependencies and nostro itself, editable.

demo: setup  ## See payments survive a crash, and a walk back in time.
	@$(VENV)/bin/nostro demo

test: setup  ## Run every test, as many at a time as there are cores.
	$(VENV)/bin/python -m pytest --numprocesses auto --dist worksteal

check: lint  ## Check format, lint and types, then run the fast tests.
	$(VENV)/bin/python -m pytest --numprocesses auto --dist worksteal -m "not slow"

lint: setup  ## Check format, lint and types.
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: setup  ## Format the code and fix what ruff can fix.
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

crash: setup  ## Run the crash tests for long.
	NOSTRO_CRASH=long $(VENV)/bin/python -m pytest tests/crash

fuzz: setup  ## Give every decoder 100,000 hostile inputs; FUZZ_FLAGS="--decoder frame".
	@$(VENV)/bin/python -m tests.fuzz $(FUZZ_FLAGS)

mutants: setup  ## Put bugs into a copy of the source, and see tests fail; MUTANTS_FLAGS="-k name".
	@$(VENV)/bin/python -m tests.mutants $(MUTANTS_FLAGS)

equality: setup  ## Send a million transfers through the shortcuts and the rules, and compare.
	NOSTRO_EQUALITY_TRANSFERS=1000000 $(VENV)/bin/python -m pytest -k a_stream_goes_both_ways tests/property

bench: $(BENCH)  ## Measure nostro and the other systems that are installed; print a table.
	@$(VENV)/bin/python -m tests.bench --out bench.json $(BENCH_FLAGS)

plots: $(BENCH)  ## Draw into docs/plots how throughput changes; PLOTS_FLAGS="--transfers 50000000".
	@$(VENV)/bin/python -m tests.bench --plots docs/plots $(PLOTS_FLAGS)

lock: $(UV)  ## Write requirements-dev.lock anew; LOCK_FLAGS=--upgrade takes newer versions.
	$(UV) pip compile pyproject.toml --group dev --extra sign --extra tigerbeetle \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--quiet $(LOCK_FLAGS) --output-file $(LOCK)
	@echo "Wrote $(LOCK): $$(grep -c '==' $(LOCK)) packages, pinned with hashes."

lowest: $(UV)  ## Run the fast tests with the lowest versions that pyproject.toml allows.
	$(UV) venv --quiet --clear --python $(PYTHON) $(LOWEST)
	$(UV) pip install --quiet --python $(LOWEST) --resolution lowest-direct \
		--editable '.[sign,tigerbeetle]' --group test
	$(UV) pip list --python $(LOWEST)
	$(LOWEST)/bin/python -m pytest --numprocesses auto --dist worksteal -m "not slow"

clean:  ## Remove the environments and every cache.
	rm -rf $(VENV) $(LOWEST) .venv-uv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find journal projections tools tests -name __pycache__ -type d -prune -exec rm -rf {} +

python-ok:
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "nostro needs Python 3.11 or newer;" \
			"this is not, or does not run: $(or $(PYTHON),$(PYTHONS))." \
			"Name one that is: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; }

# The whole environment when the lock changes, only nostro itself when pyproject.toml does.
$(LOCKED): $(LOCK) | python-ok
	@echo "Setting up $(VENV) with Python $(PYTHON_VERSION) (once; a minute or so)."
	@"$(PYTHON)" -m venv --clear $(VENV) || { echo "$(PYTHON) cannot make virtual environments;" \
		"on Debian and Ubuntu, install the package python3-venv." >&2; exit 2; }
	@$(PIP) install --require-hashes --only-binary :all: --requirement $(LOCK)
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(BENCH): $(READY)
	@$(PIP) install 'pip>=25.1'  # The first that installs a dependency group.
	@$(PIP) install --editable '.[tigerbeetle]' --group bench
	@touch $@

$(UV): | python-ok
	@"$(PYTHON)" -m venv --clear $(dir $(UV))..
	@$(dir $(UV))python -m pip --disable-pip-version-check --no-input -qq install \
		uv==$(UV_VERSION)
