# `make` lists the targets; `make demo` and `make test` work on a machine with Python 3.10 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PYTEST_ARGS ?=
# The real FlowyML has an environment of its own: it brings much that this package must work without.
FLOWYML_ENV := build/flowyml-env
# The programs that tests start are read compiled, from one place and not from the tree.
PYTEST := FLOWYML_PYTHON=$(CURDIR)/$(FLOWYML_ENV)/bin/python PYTHONPYCACHEPREFIX=$(CURDIR)/build/pycache $(BIN)/pytest
CODE := flowyml_policy tests scripts benchmarks libopa/build.py hatch_build.py

# A change in any of these asks for a new install; Go itself compiles only what it must.
BUILD_INPUTS := pyproject.toml hatch_build.py flowyml_policy/version.py libopa/build.py libopa/go.mod libopa/go.sum \
	$(shell find libopa -name '*.go' ! -name '*_test.go')

unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo demo-images demo-bundles demo-org demo-flowyml test slow lint format types rego go pytest opa flowyml bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## install into .venv, with all that development needs

$(INSTALLED): $(BUILD_INPUTS)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "error: $(PYTHON) cannot make a virtual environment: install its venv module (Debian: python3-venv)," \
			"or name another Python with PYTHON=" >&2; rm -rf $(VENV); exit 1; }
	@echo "Installing into $(VENV); compiling OPA takes a minute or two the first time."
	@$(BIN)/python -m pip install --quiet 'pip>=23.1'
	@$(BIN)/python libopa/build.py requirements > $(VENV)/build-requirements.txt
	@$(BIN)/python -m pip install --quiet --requirement $(VENV)/build-requirements.txt
	@$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	@touch $@

demo: install ## validate the example stacks, then show the audit
	@$(BIN)/python scripts/demo.py

demo-images: install ## examine images in a registry and a daemon that it starts (Debian: docker-registry docker.io)
	@$(BIN)/python scripts/demo_images.py

demo-bundles: install ## publish policy, tamper with it, roll it back, unplug (Debian: docker-registry)
	@$(BIN)/python scripts/demo_bundles.py

demo-org: install ## a company's server, an engine and an OPA server that it starts: one policy, stacks, decisions
	@$(BIN)/python scripts/demo_org.py

demo-flowyml: flowyml ## start pipelines of FlowyML that policy allows, denies, and cannot judge
	@$(FLOWYML_ENV)/bin/python scripts/demo_flowyml.py

test: lint types rego go pytest ## everything that must hold

lint: install ## style of the code
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

format: install ## put the code into its style
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/flowyml-policy opa fmt --write rego

types: install ## types of the code
	$(BIN)/mypy

rego: install ## the gates on the shipped policy
	$(BIN)/python scripts/rego_gates.py

go: install ## vet and test the OPA library
	$(BIN)/python libopa/build.py go vet ./...
	$(BIN)/python libopa/build.py go test ./...

# On every core; a test is given to the worker that has nothing left to do.
pytest: install flowyml opa
	$(PYTEST) -m 'not slow' --numprocesses auto --dist worksteal $(PYTEST_ARGS)

# After `go`, which compiles most of it, it takes seconds; Go itself sees whether it is up to date.
opa: install ## the stock opa of the same version, which the tests compare decisions with
	@$(BIN)/python -m tests.stock_opa

flowyml: $(FLOWYML_ENV)/installed ## an environment with FlowyML, for the tests that need the real one

$(FLOWYML_ENV)/installed: $(INSTALLED)
	@test -x $(FLOWYML_ENV)/bin/python || $(BIN)/python -m venv $(FLOWYML_ENV)
	@$(FLOWYML_ENV)/bin/python -m pip install --quiet 'pip>=23.1'
	@$(FLOWYML_ENV)/bin/python -m pip install --quiet --requirement $(VENV)/build-requirements.txt
	@$(FLOWYML_ENV)/bin/python -m pip install --quiet 'flowyml==2.2.1' --editable .
	@touch $@

slow: install flowyml opa ## what takes minutes: the slow tests, and an install without compilers
	$(PYTEST) -m slow $(PYTEST_ARGS)
	$(BIN)/python -m benchmarks.polls
	$(BIN)/python scripts/check_install.py

bench: install flowyml ## measure side by side against what one would use instead
	FLOWYML_PYTHON=$(FLOWYML_ENV)/bin/python $(BIN)/python -m benchmarks.run

docs: install ## generate what a program can print: the rule catalogue, the command reference
	$(BIN)/python scripts/rego_catalogue.py
	$(BIN)/python scripts/cli_reference.py

clean: ## remove what was built and installed
	rm -rf $(VENV) build dist flowyml_policy/opa/_lib flowyml_policy/opa/_bundle
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .flowyml
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
