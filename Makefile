# Everything a person types here. `make` alone lists it.
# Needs: Python 3.11 or newer (with venv), make, git. The rest is brought into .venv by `make setup`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# What is compiled is kept, whatever the surroundings say: the tests start a thousand processes.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
JOBS ?= auto

# The newest Python there is; `make setup PYTHON=/path/to/python` to choose.
PYTHON ?= $(shell for candidate in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	"$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo "$$candidate" && break; done)

.PHONY: help
help: ## list what can be made
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

# -- setting up ---------------------------------------------------------------------------------

.PHONY: setup
setup: $(STAMP) ## make .venv with all that is needed (done once per pyproject.toml)

$(STAMP): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: no Python 3.11 or newer with venv was found." >&2; \
		echo "  Install one (Debian: python3 and python3-venv), or name it: make setup PYTHON=/path/to/python3" >&2; \
		exit 1; fi
	@if [ ! -f flowledger/core/__init__.py ]; then \
		echo "make: flowledger/core is no link. Clone again with: git clone -c core.symlinks=true" >&2; exit 1; fi
	@if ! $(BIN)/python -c '' 2>/dev/null; then \
		echo "making $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv --clear $(VENV); fi
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

# A second version of Python, for the test that both decide alike (R15): only with what that needs. Where there is none
# the test is skipped, and says so.
OTHER := $(VENV)-other
OTHER_PYTHON ?= $(shell own=$$($(BIN)/python -c 'import sys; print(sys.version_info[:2])' 2>/dev/null); \
	for candidate in python3.14 python3.13 python3.12 python3.11 $$HOME/.pyenv/versions/3.1[1-4]*/bin/python; do \
	version=$$("$$candidate" -c 'import sys, venv, ensurepip; print(sys.version_info[:2])' 2>/dev/null) \
	&& test "$$version" != "$$own" && echo "$$candidate" && break; done)

.PHONY: other-python
other-python: $(OTHER)/.set-up ## make .venv-other with a second version of Python, where there is one

$(OTHER)/.set-up: $(STAMP)
	@if [ -z "$(OTHER_PYTHON)" ]; then echo "no second version of Python was found: what compares two is skipped"; exit 0; fi; \
	echo "making $(OTHER) with $(OTHER_PYTHON)"; \
	$(BIN)/python -m pip list --format=freeze --disable-pip-version-check 2>/dev/null \
		| grep -iE '^(msgspec|pydantic|python.ulid|typing.extensions)==' > $(VENV)/other.txt; \
	"$(OTHER_PYTHON)" -m venv --clear $(OTHER) \
		&& $(OTHER)/bin/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/other.txt \
		&& touch $@ || echo "$(OTHER) could not be made: what compares two versions of Python is skipped"

# A real RabbitMQ, Redis and pgbouncer, of which each test session starts its own; and faketime, for wrong clocks (R9).
.PHONY: services
services: ## bring RabbitMQ, Redis, pgbouncer, faketime (Debian, as root), or say what is left out
	@missing=""; \
	ls /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server >/dev/null 2>&1 \
		|| PATH="$$PATH:/usr/sbin" command -v rabbitmq-server >/dev/null || missing="$$missing rabbitmq-server"; \
	for program in redis-server pgbouncer faketime; do \
		PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing$$missing"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
			apt-get install -y -qq --no-install-recommends $$missing >/dev/null && missing=""; } || true; fi; \
	if [ -n "$$missing" ]; then \
		echo "################################################################################"; \
		echo "## NOT TESTED HERE: what needs$$missing"; \
		echo "## Install that (as root, with apt, this is done by itself)."; \
		echo "################################################################################"; fi

# -- checking -----------------------------------------------------------------------------------

# What is brought from elsewhere waits for the network, the checkers for a core: at the same time they take half as long.
SYNC = $(if $(filter output-sync,$(.FEATURES)),--output-sync)

.PHONY: test
test: setup ## set up, then all checks and all tests
	@$(MAKE) -j4 $(SYNC) other-python services lint types
	@$(BIN)/pytest -n $(JOBS) --dist worksteal

.PHONY: test-fast
test-fast: setup ## the tests that take no time
	@$(BIN)/pytest -n $(JOBS) -m "not slow and not crash"

.PHONY: lint
lint: setup ## style, format and architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

.PHONY: types
types: setup ## mypy --strict and pyright
	@$(BIN)/mypy & mypy=$$!; failed=0; \
	$(BIN)/pyright || failed=1; \
	wait $$mypy || failed=1; \
	exit $$failed

.PHONY: format
format: setup ## let ruff mend style and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: crash
crash: setup ## the long crash corpus
	@FLOWLEDGER_CRASH_CORPUS=long $(BIN)/pytest -n $(JOBS) -m crash --timeout 1800

SEEDS ?= 100000
FIRST ?= 0

.PHONY: simulate
simulate: setup ## 100,000 seeded worlds in which everything goes wrong; goes on where it was (SEEDS=, FIRST=)
	@$(BIN)/python -m tests.simulation $(FIRST) --count $(SEEDS)

EXAMPLES ?= 300
STEPS ?= 50

.PHONY: machine
machine: setup ## the engine against the reference model, in any sequence of requests and deaths (R17; EXAMPLES=, STEPS=; 40 x 30 on SQLite and Postgres)
	@FLOWLEDGER_TEST_LONG=1 FLOWLEDGER_EXAMPLES=$(EXAMPLES) FLOWLEDGER_STEPS=$(STEPS) $(BIN)/pytest -q -n0 tests/properties/test_rel_r17_machine.py

.PHONY: chaos
chaos: setup services ## all that can fail fails, for hours: a course per row of the reliability bar, as nightly
	@$(BIN)/python -m tests.chaos --row each --long

.PHONY: chaos-short
chaos-short: setup services ## the same in a minute and a half: forty faults of all kinds; the last line says what was met
	@$(BIN)/python -m tests.chaos --row all

chaos-%: setup services ## one row, short: R4 R5 R6 R7 R8 R9 R11 R12 joins takeover
	@$(BIN)/python -m tests.chaos --row $*

.PHONY: split-brain
split-brain: setup ## 3,000 owners that are stopped past their lease and go on, on SQLite and Postgres (R8)
	@FLOWLEDGER_TEST_R8_ROUNDS=1500 $(BIN)/pytest -n0 -q tests/integration/test_rel_r8_split_brain.py

.PHONY: mischief
mischief: setup services ## 200,000 messages, most of them of strangers (R12)
	@FLOWLEDGER_TEST_LONG=1 $(BIN)/pytest -n0 -q -k all_that tests/integration/test_rel_r12_broker_mischief.py

.PHONY: job-board
job-board: setup ## two million operations of eight clients at the job board of each store (R19)
	@FLOWLEDGER_TEST_R19_OPERATIONS=2000000 $(BIN)/pytest -n0 -q tests/integration/test_rel_r19_job_board.py

.PHONY: failover
failover: setup ## twenty synchronous standbys that take over under load, and five that lag behind (R13)
	@FLOWLEDGER_TEST_LONG=1 $(BIN)/pytest -n0 -q -s tests/integration/test_rel_r13_failover.py

.PHONY: completeness
completeness: setup ## half a million events, eight writers: the views miss nothing and count nothing twice (R14)
	@FLOWLEDGER_TEST_R14_EVENTS=500000 $(BIN)/pytest -n0 -q --timeout 7200 tests/integration/test_rel_r14_projection_completeness.py

.PHONY: coverage
coverage: setup ## which lines no test has run
	@$(BIN)/coverage run -m pytest -p no:xdist
	@$(BIN)/coverage report

.PHONY: docs
docs: setup ## draw the state machines anew (docs/states.md)
	@$(BIN)/python -c 'from flowledger.core import machine; print(machine.page(), end="")' > docs/states.md

# -- seeing it work -----------------------------------------------------------------------------

.PHONY: demo
demo: setup ## provision a cluster of five real processes, one of which fails twice
	@$(BIN)/flowledger demo

.PHONY: demo-crash
demo-crash: setup ## kill the demo half way, then resume it
	@$(BIN)/flowledger demo --crash

.PHONY: demo-clean
demo-clean: setup ## revert the demo, and prove that no process is left
	@$(BIN)/flowledger demo --clean

.PHONY: bench-short
bench-short: setup ## the main figures beside the floor, taskflow, dbos, absurd, celery: about ten minutes
	@$(BIN)/python benchmarks/run.py --short

.PHONY: bench
bench: setup ## all figures, in full, and docs/benchmarks.md anew
	@$(BIN)/python benchmarks/run.py --record

bench-%: setup ## one of: flat taskflow sqlite postgres idle fanout workers conductor jobs views views_sqlite keeping long growth size memory starting prefect pgbench
	@$(BIN)/python benchmarks/run.py $*

profile-%: setup ## where the time goes in one of: memory sqlite postgres many (a flame graph, and time by layer)
	@$(BIN)/python benchmarks/profiling.py $*

# -- shipping -----------------------------------------------------------------------------------

.PHONY: build
build: setup ## wheel and sdist into dist/
	@$(BIN)/python -m hatchling build

.PHONY: clean
clean: ## remove what the tools have made (but .venv)
	@rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
