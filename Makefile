# `make demo` shows a call recorded and replayed; `make test` runs everything. Both set themselves up.

PYTHON ?= python3
BIN := .venv/bin
MEMBERS := integrations/litellm integrations/langchain integrations/pytest
SOURCES := $(shell git ls-files chatcache integrations) pyproject.toml README.md LICENSE CHANGELOG.md
export LITELLM_LOCAL_MODEL_COST_MAP := True
# what the many processes of the tests import is compiled once
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/compiled
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-matrix fuzz bench lint types oracles versions matrix-versions partner-versions clean

demo: .venv/ready
	@$(BIN)/python examples/demo.py

test: lint types oracles build/venvs/ready build/partners/ready
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# the tests of the LiteLLM adapter with plain installs of the oldest release it is for, of 1.101, and of the newest
test-matrix: .venv/ready
	$(BIN)/python tests/packaging/matrix.py $(PYTHON)

# make fuzz N=200000 SEED=1 runs so many random operations in our storage and in workerd's, in our stores and in Effect's,
# and then kills for a minute, at random, processes that ask a cache for the same
fuzz: .venv/ready oracles
	FUZZ_OPERATIONS=$(or $(N),200000) FUZZ_SEED=$(or $(SEED),1) \
		$(BIN)/python -m pytest --timeout 0 tests/differential/test_workerd.py tests/differential/effect/test_effect.py
	FUZZ_SECONDS=60 FUZZ_SEED=$(or $(SEED),1) $(BIN)/python -m pytest tests/durability/test_single_flight.py -k random

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy
	$(BIN)/mypy tests examples

# make bench ROWS="litellm import" runs the rows whose names hold one of the words
bench: .venv/ready
	$(BIN)/python tests/bench/run.py $(ROWS)

# Cloudflare's runtime and Effect, which our storage and our stores are compared with
oracles: .venv/ready
	@$(BIN)/python tests/differential/fetch.py

# the development environment: every member editable, exact versions from the list
.venv/ready: versions.txt pyproject.toml $(MEMBERS:=/pyproject.toml)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' versions.txt)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r versions.txt --editable . $(MEMBERS:%=--editable %)
	@touch $@

# what a user has who installed one distribution with plain pip: the tests of packaging run in these
build/venvs/ready: .venv/ready $(SOURCES) tests/packaging/prepare.py
	$(BIN)/python tests/packaging/prepare.py $(PYTHON)
	@touch $@

# the packages of LangChain's partners, which only the tests of the models in them need
build/partners/ready: .venv/ready versions/partners.txt
	rm -rf build/partners
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target build/partners --no-deps -r versions/partners.txt
	@touch $@

# resolve the exact versions anew, within the ranges of the pyproject files
versions:
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--upgrade --group dev --all-extras pyproject.toml | grep -v 'chatcache$$' | grep -v '^-e' > versions.txt

# the lists of test-matrix: make matrix-versions LITELLM="1.98.0 1.101.6 1.110.2"
matrix-versions: .venv/ready
	rm -f versions/litellm-*.txt
	for version in $(LITELLM); do echo "litellm==$$version" | $(BIN)/uv pip compile --quiet --universal --no-header \
		--no-annotate --no-emit-index-url --no-emit-find-links versions/tests.in - -o versions/litellm-$$version.txt; done

# the list of build/partners: what versions.txt does not have
partner-versions: .venv/ready
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--constraint versions.txt versions/partners.in | grep -vxFf versions.txt > versions/partners.txt

clean:
	rm -rf .venv build dist .chatcache-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
