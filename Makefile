# make demo      set up .venv and scan samples/ with the model that ships
# make test      set up .venv for the tests and run them
# make check     what must hold before a commit: lint, types, imports, tests
# make docs      the documentation site, into site/; a broken link is an error
# make coverage  the tests, and which lines of the package they run: the total, the worst modules
#
# VENV=DIR uses another environment, PYTHON=python3.12 another Python (3.11 or newer), and
# ARGS="tests/sample -x" runs pytest on something narrower. With CONSTRAINTS= packages are the newest
# that pyproject.toml allows, as users get them: make test VENV=.venv-newest CONSTRAINTS=

VENV ?= .venv
PYTHON ?= python3
EXTRAS ?= train,test
ARGS ?=
CONSTRAINTS ?= constraints.txt

BIN := $(VENV)/bin
# What the installation compiles.
KERNEL := hatch_build.py maltriage/sample/_kernel.c
PIP := $(BIN)/python -m pip --disable-pip-version-check
CACHES := .cache .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist site

.DELETE_ON_ERROR:
.PHONY: demo test slow coverage fuzz lint format types imports check bench docs docs-serve reference \
  supply-chain clean man wheel

# Exit code 1 says that something was flagged, which is an answer and no failure.
demo: $(VENV)/.base
	$(BIN)/maltriage scan samples || test $$? -eq 1

# Tests of a file stay together where they can, for they share fixtures.
PYTEST := pytest -q -n auto --dist worksteal -m "not slow"
test: $(VENV)/.test
	$(BIN)/$(PYTEST) $(ARGS)

slow: $(VENV)/.test
	$(BIN)/pytest -q -m slow $(ARGS)

# Told, and no gate. What the command line runs in processes of its own is counted as well.
coverage: $(VENV)/.test
	$(BIN)/$(PYTEST) --cov=maltriage --cov-report= $(ARGS)
	$(BIN)/coverage report --skip-covered --sort=cover | sed -n 1,32p
	@echo "total: $$($(BIN)/coverage report --format=total)%"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# With torch installed, so that its types are checked too.
types: $(VENV)/.test $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

check: lint types imports test

# Each target for a minute, from a corpus that is kept: SECONDS=600 ARGS=layout. ARGS="all --total
# 10000000": in turns, until all calls on the corpus together made so many executions.
SECONDS ?= 60
FUZZ ?= .fuzz
fuzz: $(VENV)/.test $(VENV)/.fuzz
	$(BIN)/python tests/fuzz/run.py $(or $(ARGS),all) --seconds $(SECONDS) --corpus $(FUZZ)

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.speed.scan $(ARGS)

# Zensical keeps what it rendered in .cache: a page that is gone would stay.
docs: $(VENV)/.docs
	rm -rf site
	$(BIN)/zensical build --strict --clean

docs-serve: $(VENV)/.docs
	$(BIN)/zensical serve

# What the reference takes from the code: after a change of a command or of the record.
reference: $(VENV)/.test
	$(BIN)/python .ci/reference.py

# What others can hold an install against: digests of bundles, of the packages that are tested,
# and the bill of materials that is in the wheel.
supply-chain: $(VENV)/.test
	$(BIN)/python .ci/digests.py
	$(BIN)/python .ci/requirements.py
	$(BIN)/python .ci/sbom.py

clean:
	rm -rf $(CACHES)
	find maltriage tests samples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The package is installed in place: an edit needs no second installation, a new dependency
# does. The tests and tools run with the versions of constraints.txt, users with any that fit.

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "maltriage needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml $(KERNEL) | $(VENV)/pyvenv.cfg
	$(PIP) install -q -e .
	@touch $@

$(VENV)/.test: pyproject.toml $(CONSTRAINTS) $(KERNEL) | $(VENV)/pyvenv.cfg
	$(PIP) install -q $(addprefix -c ,$(CONSTRAINTS)) -e ".[$(EXTRAS)]"
	@touch $@

$(VENV)/.docs: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	$(PIP) install -q $(addprefix -c ,$(CONSTRAINTS)) -e ".[docs]"
	@touch $@

$(VENV)/.fuzz: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	$(PIP) install -q $(addprefix -c ,$(CONSTRAINTS)) -e ".[fuzz]"
	@touch $@

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	$(PIP) install -q $(addprefix -c ,$(CONSTRAINTS)) -e ".[dev]"
	@touch $@

# The manual pages, into man/; the wheel has them in share/man/man1. `make wheel` makes dist/*.whl.
man: $(VENV)/.base
	$(BIN)/python .ci/man.py

wheel: $(VENV)/.base
	$(PIP) wheel -q --no-deps -w dist .
