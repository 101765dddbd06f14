# AxNode: set-up, demonstration and tests. `make help` lists what there is.
#
# The virtual environment is made once and again only when the lock files, pyproject.toml or the
# choices below change: a stamp file in it is named by their hash, so a second run starts at once.

PYTHON ?= python3
# Where to take torch and torchvision from; empty: the package index, with CUDA. The lock files hold
# no hashes of another index's builds: from there they come by version alone.
TORCH_INDEX ?=
# Folder of the demonstration's output; empty: its own default.
OUT ?=
# More arguments for pytest, for example ARGS="-x -k walker".
ARGS ?=
# Seconds that `make fuzz` spends on each target.
TIME ?= 600

BIN := .venv/bin
JUNIT := build/junit.xml
KEY := $(shell { cat deploy/supply/*.txt pyproject.toml; echo '$(TORCH_INDEX)'; } | sha256sum | cut -c1-12)
RUNTIME := .venv/.runtime-$(KEY)
DEVELOP := .venv/.develop-$(KEY)
PIP := $(BIN)/python -m pip --disable-pip-version-check install
# Wheels alone, each with a hash that the lock names: none of their code runs before it is checked.
LOCKED := $(PIP) --require-hashes --no-deps --only-binary :all:
# Our own package, built with the locked setuptools, which has much to say on folders of data files.
OWN := PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation --editable .

# Orthanc is installed to /usr/sbin, which a user's PATH leaves out.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help venv demo show test lint types bench soak fuzz lock sbom audit licences debian viewer clean distclean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12
	@echo
	@echo "Without CUDA: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu"

venv: $(RUNTIME) ## .venv with the pinned dependencies

demo: $(RUNTIME) ## the whole loop on the samples: modality, node, PACS, all on loopback
	@$(BIN)/axnode demo $(if $(OUT),--out '$(OUT)')

# A file of tests stays in one process; ARGS="-n 0" runs them one after the other. Threads of torch
# wait asleep, for they have neighbours. The files that take longest begin first.
test: debian viewer $(DEVELOP) lint types ## style, types, import rule, then every test with coverage
	@mkdir -p build
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest \
		tests/acceptance tests/integration tests/unit tests/fuzz \
		-n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		--junitxml=$(JUNIT) --cov --cov-report=term:skip-covered $(ARGS)

lint: $(DEVELOP) ## ruff, and the rule who may import what
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEVELOP) ## mypy, strict
	$(BIN)/mypy

bench: $(DEVELOP) ## every benchmark, one after the other: build/bench/bench.md and bench.json
	@PYTHON='$(PYTHON)' bash tests/debian-packages.sh bench
	$(BIN)/python -m tests.benchmarks.run $(ARGS)

fuzz: $(DEVELOP) ## every target of tests/fuzz, guided by coverage, TIME seconds each
	@set -e; for target in walker association frames multipart; do \
		echo "== $$target"; $(BIN)/python -m tests.fuzz.run "$$target" '$(TIME)'; done

soak: debian $(DEVELOP) ## hours of kills, power cuts (as root) and associations
	$(BIN)/python -m tests.soak.kill_matrix
	$(BIN)/python -m tests.soak.power_cut
	$(BIN)/python -m tests.soak.endurance

# By what the lock files held before, so that a new dependency can come in; torch is not needed.
lock: .venv/.created ## the lock files anew, from pyproject.toml and constraints.txt
	$(LOCKED) -r deploy/supply/runtime.txt -r deploy/supply/develop.txt
	$(BIN)/python -m deploy.supply.lock

licences: $(DEVELOP) ## docs/third-party.md anew, from what is installed
	$(BIN)/python -m deploy.supply.licences

sbom: $(DEVELOP) ## build/axnode.cdx.json: what a node consists of (CycloneDX 1.6)
	@mkdir -p build
	$(BIN)/python -m deploy.supply.sbom build/axnode.cdx.json

audit: $(DEVELOP) ## the locked packages against the list of known vulnerabilities (OSV)
	$(BIN)/python -m deploy.supply.audit

show: debian viewer $(DEVELOP) ## the loop with Orthanc and OHIF, to look at in a browser, until Ctrl-C
	@$(BIN)/python -m tests.show $(ARGS)

debian: # what tests need from Debian: installed as root, named otherwise
	@PYTHON='$(PYTHON)' bash tests/debian-packages.sh test

# Without npm or its registry the viewers' tests are skipped; in continuous integration that fails.
viewer: # what tests need from npm: a viewer and JavaScript readers
	@bash tests/viewer/prepare.sh || echo "The viewers' tests will be skipped"

clean: ## build products and caches
	rm -rf build dist demo-output bench-output .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache .coverage
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## clean, and the virtual environment
	rm -rf .venv *.egg-info

.venv/.created:
	@command -v '$(PYTHON)' >/dev/null || { \
		echo "$(PYTHON) is not installed: install Python 3.11 or newer," \
			"or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "AxNode needs Python 3.11 or newer, and $(PYTHON) is older:" \
			"name a newer one, for example make PYTHON=python3.11" >&2; exit 1; }
	@PYTHON='$(PYTHON)' bash tests/debian-packages.sh venv
	@echo "Making .venv"
	@'$(PYTHON)' -m venv .venv
	@touch $@

# Where torch has an index of its own it comes first and alone: with two indices at once pip would
# take whichever build has the higher version.
$(RUNTIME): .venv/.created
	@echo "Installing the locked dependencies into .venv (once; a few minutes)"
ifeq ($(strip $(TORCH_INDEX)),)
	$(LOCKED) -r deploy/supply/torch.txt -r deploy/supply/runtime.txt
else
	$(PIP) --constraint constraints.txt --upgrade --no-deps --index-url '$(TORCH_INDEX)' \
		torch torchvision
	$(LOCKED) -r deploy/supply/runtime.txt
endif
	$(OWN)
	$(BIN)/python -m pip check
	@rm -f .venv/.runtime-* .venv/.develop-*
	@touch $@

$(DEVELOP): $(RUNTIME)
	$(LOCKED) -r deploy/supply/develop.txt
	$(BIN)/python -m pip check
	@touch $@
