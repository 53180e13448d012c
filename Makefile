# Everything goes through .venv, which is made on the first use and renewed when pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run install test check bench bench-startup bench-peers bench-serving bench-serving-smoke format reference docs lock sbom clean

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: $(STAMP)  ## Install, teach the default classifier, serve it; Ctrl-C stops
	@HONE_HOME="$${HONE_HOME:-$(CURDIR)/.hone}" $(BIN)/hone up

install: $(STAMP)  ## Make the environment and nothing else

# Hundreds of these tests start processes or drive a browser on a machine they share: what fails is run once more, and the summary
# names it. What fails twice is broken; what a property found is tried again by itself, and fails again.
test: $(STAMP)  ## Run the whole suite
	$(BIN)/pytest --reruns 1

check: $(STAMP)  ## Lint, types, import rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## Measure every figure of the README again; an hour, goes on where it was stopped; `ONLY="head startup"` picks
	$(BIN)/python -m load_tests.bench $(if $(ONLY),--only $(ONLY))

bench-startup: $(STAMP)  ## Measure first start, second start and Ctrl-C on a state folder of its own
	$(BIN)/python -m load_tests.startup

bench-peers: $(STAMP)  ## Measure Hone against LitServe, BentoML and others, each installed in an environment of its own; `ONLY=litserve`
	$(BIN)/python -m load_tests.peers $(if $(ONLY),--only $(ONLY))

bench-serving: $(STAMP)  ## Measure serving against raw engine, baselines and overload; wants a quiet machine (15 minutes)
	$(BIN)/python -m load_tests.serving --out results/serving

bench-serving-smoke: $(STAMP)  ## The same in two minutes, judging nothing
	$(BIN)/python -m load_tests.serving --smoke --out results/serving-smoke

format: $(STAMP)  ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(STAMP)  ## Write the generated parts of README.md and docs/ anew
	$(BIN)/python -m deploy.reference

docs: $(STAMP)  ## Build the documentation into site/, with warnings as errors; it is read without a network
	$(BIN)/python -m mkdocs build --strict --quiet

lock: $(STAMP)  ## Write deploy/docker/requirements.lock, exact versions with hashes, anew; asks the package index
	$(BIN)/python -m deploy.lock

sbom: $(STAMP)  ## Write a software bill of materials (CycloneDX) of what Hone needs to run
	$(BIN)/python -m deploy.licences results/sbom.cdx.json

clean:  ## Remove the environment and every cache; the state in .hone stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache site

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hone needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1); try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "a virtual environment could not be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	@touch $(STAMP)
