# `make demo` and `make test` do all of their own set-up: Python 3.11 or newer and make are enough.

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2
COMMANDS ?= 1000000
RUNS ?= 1000000
MINUTES ?= 60
SEED ?= 1
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
# Mostly the tests wait: two processes, each with a Kafka and a PostgreSQL of its own (1.1 GB for the
# three of them), keep two cores busy.
PARALLEL := -n $(WORKERS)

.PHONY: help venv demo test test-all test-compose proof fuzz soak model lint types ci clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    the whole way on an embedded Kafka and PostgreSQL: commands in, results out, books checked"
	@echo "make test    all tests, in WORKERS=2 processes; ARGS='-k transfer -x' goes to pytest"
	@echo "make test-all  those that take long, too"
	@echo "make test STACK=containers  the tests of the contract, on Kafka and PostgreSQL in Docker containers"
	@echo "make test-compose  docker-compose.yml built, brought up, used from outside, restarted in part, taken down"
	@echo "make proof   everything killed, frozen and cut off under load for MINUTES=60, then judged from outside: docs/proof.md; SEED=1"
	@echo "make fuzz    records, by the million, that nobody would think of; RUNS=1000000 SEED=1 by default"
	@echo "make soak    the same at half the rate that it finds sustained: what grows is drawn into docs/soak.svg; MINUTES=60 SEED=1"
	@echo "make model   random commands against the model; COMMANDS=1000000 SEED=1"
	@echo "make venv    .venv/ with the project and all its extras"
	@echo "make lint    ruff and the import contracts"
	@echo "make types   mypy, strict"
	@echo "make ci      lint, types and test in a new virtual environment: what .ci/run does"
	@echo "make clean   .venv/ and the tools' caches away"

venv: $(STAMP)

# The stamp is written last: an installation that broke off begins again.
# Named by the environment, the pinned versions hold for the build of the project too.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)': install Python 3.11 or newer, or name one with 'make PYTHON=python3.12 $(MAKECMDGOALS)'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, and '$(PYTHON)' is `$(PYTHON) -V 2>&1`: name another one with 'make PYTHON=python3.12 $(MAKECMDGOALS)'." >&2; exit 1; }
	@echo "==> Making $(VENV)/ and installing the project; the first time downloads about 250 MB (Java and PostgreSQL among it)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No virtual environment can be made: install your system's python3-venv package." >&2; rm -rf $(VENV); exit 1; }
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar on -e '.[stack,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/wallet demo $(ARGS)

# With STACK=containers: what other teams' programs see, on the images that they may run themselves.
test: $(STAMP)
ifeq ($(STACK),containers)
	STACK=containers $(BIN)/python -m pytest --timeout=300 -m "contract and not long" $(ARGS)
else
	@$(BIN)/python -m ops.stack
	$(BIN)/python -m pytest -m "not long and not compose" $(PARALLEL) $(ARGS)
endif

# With those that take long by their nature: whole runs of wallet bench, a restore, long fault runs.
test-all: $(STAMP)
	@$(BIN)/python -m ops.stack
	$(BIN)/python -m pytest -m "not compose" $(PARALLEL) $(ARGS)

# A Docker engine with compose must answer; the project it runs is its own and leaves nothing behind.
test-compose: $(STAMP)
	$(BIN)/python -m pytest -m compose tests/deploy/test_compose.py $(ARGS)

# On servers of its own. ARGS='--rate 200' for another rate, --no-table to leave the seeded bugs out.
proof: $(STAMP)
	$(BIN)/python -m tests.faults.proof --minutes $(MINUTES) --seed $(SEED) --page docs/proof.md $(ARGS)

# Without a wheel of the coverage-guided fuzzer: mutations of known records instead.
fuzz: $(STAMP)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --disable-pip-version-check --no-input -q -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz --runs $(RUNS) --seed $(SEED) $(ARGS)

soak: $(STAMP)
	$(BIN)/python -m tests.faults.proof --soak --minutes $(MINUTES) --seed $(SEED) --page docs/soak.md $(ARGS)

model: $(STAMP)
	@$(BIN)/python -m ops.stack
	WALLET_TEST_COMMANDS=$(COMMANDS) WALLET_TEST_SEED=$(SEED) $(BIN)/python -m pytest -s -q tests/consumers/test_model.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

ci:
	.ci/run

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
