# Each target works as the first command in a fresh clone: it needs Python 3.11+, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo serve test drill bench lint format lock clean
.DEFAULT_GOAL := demo

$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "countersign needs Python 3.11 or newer; say which with: make PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV), the first time only: it takes some minutes, and says nothing meanwhile."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP)
	@$(BIN)/countersign demo

# The sample's workflows on this machine only, and what to paste into another shell.
serve: $(STAMP)
	@$(BIN)/countersign serve --config service/samples --try-out

# Whoever turned it off in general has it here: the assertions of 480 modules are written out only once.
test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal

# More of what the suite does a little of: COUNTERSIGN_DRILL multiplies it.
drill: export COUNTERSIGN_DRILL ?= 1000
drill: $(STAMP)
	$(BIN)/python -m pytest tests/integration/test_drill.py tests/integration/test_api_fuzz.py \
	  tests/integration/test_atomicity.py tests/integration/test_seal.py \
	  tests/integration/test_restore_killed.py tests/integration/test_adopt_head.py tests/integration/test_jsonb.py \
	  tests/events/test_killed.py tests/unit/test_bundle_fuzz.py tests/unit/test_tile_reader.py

bench: $(STAMP)
	$(BIN)/python benchmarks/case.py
	$(BIN)/python benchmarks/verify.py
	$(BIN)/python benchmarks/appends.py
	$(BIN)/python benchmarks/log.py
	$(BIN)/python benchmarks/service.py

lint: $(STAMP) build/types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy build/types/countersign tests $(wildcard examples)
	cd benchmarks && MYPYPATH=../build/types:. ../$(BIN)/mypy --config-file ../pyproject.toml .
	$(BIN)/lint-imports --no-cache

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy does not follow setuptools' package-dir; four links show it the import names.
build/types: $(STAMP)
	@mkdir -p build/types/countersign
	@ln -sfn ../../../audit build/types/countersign/audit
	@ln -sfn ../../../reports build/types/countersign/reports
	@ln -sfn ../../../service build/types/countersign/service
	@ln -sfn ../../../alembic build/types/countersign/migrations

# Pins with hashes, and no index or host in the file.
lock: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" \
	  --extra service --extra reports --extra embedded --extra hsm --group dev \
	  pyproject.toml --output-file requirements/dev.lock

clean:
	rm -rf $(VENV) build dist *.egg-info
