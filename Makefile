# Everything a person types here; `make` alone lists it. Nothing has a fixed port or path, so two clones can work side by side.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Tests and demo start hundreds of processes: their modules are compiled once, whatever the caller's shell says.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
SECONDS ?= 60
ARGS ?=

bin := .venv/bin
install := $(bin)/python -m pip install -qq --disable-pip-version-check --no-input
install_trainer := .venv-trainer/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --require-hashes
compile = CUSTOM_COMPILE_COMMAND="make $@" $(CURDIR)/$(bin)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

# The two npm packages, each pinned by the sha512 of its archive.
swagger_version := 5.35.0
swagger_sha512 := 534eaba4cb56f55dd73c638179a993512af4674f63317e0826e00da44fc465b021c341bc0a0c2bcd4e18997927fe1d3008336c5dd19aad334d1c2dec53cc9551
swagger_files := swagger-ui.css swagger-ui-bundle.js swagger-ui-standalone-preset.js favicon-32x32.png LICENSE
pyright_version := 1.1.414
pyright_sha512 := 14f6596f9d637a90d7e1e3fb4c460378d16d984dd683092411c269bc7dff426512b23d04032dcb5eefb10784ff1560de8edb179427c5affadb5858f0bb0b97c3

# A stamp is named by the sum of what it was made from: an unchanged clone is ready in milliseconds, a moved one starts afresh.
sum = $(shell $(1) | sha256sum | cut -c 1-16)
venv := .venv/.place-$(call sum,pwd -P)
runtime := .venv/.runtime-$(call sum,cat requirements.txt)
project := .venv/.project-$(call sum,cat pyproject.toml)
dev := .venv/.dev-$(call sum,cat requirements.txt requirements-dev.txt)
trainer := .venv-trainer/.trainer-$(call sum,{ pwd -P; cat examples/trainer/*.txt; })
swagger := api/web/swagger-ui/.$(swagger_version)
pyright := .venv/pyright/.$(pyright_version)

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo up check test test-trainer bench soak
demo: setup ## train a real tiny model through the API, from dataset to checkpoint
	@$(bin)/tuneyard demo $(ARGS)

up: setup ## start API, host worker and Redis here; ARGS="--port 9000 --data DIR"
	@$(bin)/tuneyard up $(ARGS)

check: setup-check ## formatting, lint, both type checkers, import contracts, struct = table = migrated database
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	node .venv/pyright/index.js
	$(bin)/lint-imports
	$(bin)/python -m infra.db.migrations.check

test: setup-dev ## the whole test suite, three at a time since they wait as much as they work; ARGS="-k cancel" for a part of it
	$(bin)/python -m pytest -n 3 --dist worksteal $(ARGS)

test-trainer: setup-trainer ## the tests of the reference trainer, with real torch on this CPU
	$(bin)/python -m pytest -p no:xdist -m trainer $(ARGS) tests/e2e

bench: setup-dev ## measure it, beside two programs that do the same
	@$(bin)/python -m benchmarks $(ARGS)

soak: setup-dev ## kill every part again and again, and see that each promise holds; SECONDS=600 ARGS="--seed 7"
	@$(bin)/python -m tests.soak --seconds $(SECONDS) $(ARGS)

.PHONY: setup setup-dev setup-check setup-trainer lock lock-trainer clean
# The lock on this file keeps two makes in one clone from installing at once.
setup: ## bring .venv up to date; every target above does so by itself
	@flock --close Makefile $(MAKE) --silent $(project) $(swagger)

setup-dev:
	@flock --close Makefile $(MAKE) --silent $(project) $(swagger) $(dev)

setup-check:
	@flock --close Makefile $(MAKE) --silent $(project) $(swagger) $(dev) $(pyright)

# The reference trainer lives apart: torch and its like are gigabytes, and nothing of ours needs them.
setup-trainer: setup-dev
	@flock --close Makefile $(MAKE) --silent $(trainer)

lock: setup-dev ## write requirements*.txt anew from requirements*.in; ARGS=--upgrade for newer versions
	$(compile) $(ARGS) --output-file requirements.txt requirements.in
	$(compile) $(ARGS) --output-file requirements-dev.txt requirements-dev.in

lock-trainer: setup-dev
	cd examples/trainer && $(compile) $(ARGS) --output-file cuda.txt cuda.in
	cd examples/trainer && $(compile) --no-allow-unsafe $(patsubst %,--unsafe-package %,torch $(shell grep -oE '^[a-z0-9-]+' examples/trainer/cuda.txt)) \
		$(ARGS) --output-file requirements.txt requirements.in

clean: ## remove what setup and the tools made; training.db and .tuneyard/ stay
	rm -rf .venv .venv-trainer api/web/swagger-ui *.egg-info build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(venv):
	@command -v $(PYTHON) >/dev/null \
		|| { echo "Tuneyard needs Python 3.11 or newer, and there is no '$(PYTHON)' here. Name another one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Tuneyard needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.11" >&2; exit 1; }
	@echo "making .venv …"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@touch $@

$(runtime): $(venv)
	@echo "installing what Tuneyard needs into .venv (the first time, about half a minute) …"
	@$(install) --require-hashes -r requirements.txt
	@rm -f .venv/.runtime-* && touch $@

$(project): $(runtime)
	@$(install) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@rm -f .venv/.project-* && touch $@

$(dev): $(runtime)
	@echo "installing the test and check tools into .venv (the first time, about half a minute) …"
	@$(install) --require-hashes -r requirements-dev.txt
	@rm -f .venv/.dev-* && touch $@

# Without dependencies, for the locks hold them all, and a torch for CPUs asks for none of CUDA's.
$(trainer):
	@echo "installing what the reference trainer needs into .venv-trainer (about a minute) …"
	@rm -rf .venv-trainer
	@$(PYTHON) -m venv .venv-trainer
	@$(install_trainer) -r examples/trainer/torch-cpu.txt -r examples/trainer/requirements.txt 2>/dev/null \
		|| { echo "no torch for CPUs is to be had here, so the one for CUDA comes with its libraries (several gigabytes) …"; \
			$(install_trainer) $(foreach lock,torch cuda requirements,-r examples/trainer/$(lock).txt); }
	@touch $@

# /docs is worth a page, not a failed start: without npm all else works.
$(swagger):
	@if command -v npm >/dev/null; then \
		echo "fetching the page for /docs …"; \
		.ci/npm-package swagger-ui-dist@$(swagger_version) $(swagger_sha512) api/web/swagger-ui $(swagger_files) && touch $@ \
			|| echo "the page for /docs could not be fetched: /docs will be empty until the next 'make setup' that can"; \
	else \
		echo "npm is missing, so /docs will lack its page (all else works)"; \
	fi

$(pyright): $(venv)
	@command -v npm >/dev/null || { echo "make check needs Node and npm: pyright runs on them" >&2; exit 1; }
	@echo "fetching pyright $(pyright_version) …"
	@.ci/npm-package pyright@$(pyright_version) $(pyright_sha512) .venv/pyright && touch $@
