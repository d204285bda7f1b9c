# SPDX-License-Identifier: Apache-2.0
# make quickstart   sets up what is missing, records this machine, prints the report
# make test         sets up what is missing, runs all checks and tests that a commit must pass
# make test-changed BASE=main   those of them that the changes since BASE can break
# make test-quick   without those that boot guests: needs no QEMU
# make test-all     also those that take long
# make fuzz MINUTES=30 [SEED=1]   mutated runs and traces, and what became of them
# make kills TIMES=200 [SEED=1]   recorders killed at bad moments, and what their runs are worth
# make soak MINUTES=30   two recorders for long, and whether their memory grows

ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
VENV := $(ROOT)/.venv
PYTHON := $(VENV)/bin/python
MEMTRACE := $(VENV)/bin/memtrace
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
DEMO := $(ROOT)/quickstart.parquet

QUICK := $(PYTHON) -m pytest -m "not vm" -n 2
GUESTS := $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20

# Bytecode is kept, also for the guests that mount this tree: without it each command compiles its modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup quickstart test test-changed test-quick test-all fuzz kills soak lint bench clean

quickstart: $(VENV)/.ready
	$(SUDO) $(MEMTRACE) record -f -o $(DEMO) -a -- $(PYTHON) -m memtrace.probes.workloads.demo
	$(MEMTRACE) report $(DEMO) --plot $(ROOT)/quickstart.png
	@echo "The picture is in $(ROOT)/quickstart.png, the run in $(DEMO)."

test: lint $(VENV)/.ready-test
	cd $(ROOT) && $(QUICK)
	cd $(ROOT) && $(GUESTS) -m "vm and not long"

test-all: lint $(VENV)/.ready-test
	cd $(ROOT) && $(QUICK)
	cd $(ROOT) && $(GUESTS) -m vm

# Status 5 of pytest: of the files chosen, none has such tests.
test-changed: lint $(VENV)/.ready-test
	cd $(ROOT) && chosen=$$($(PYTHON) -m memtrace.tests.changed $(or $(BASE),main)) && \
	if [ -z "$$chosen" ]; then echo "No test can be broken by these changes."; exit 0; fi && \
	{ $(QUICK) $$chosen || [ $$? = 5 ]; } && { $(GUESTS) -m "vm and not long" $$chosen || [ $$? = 5 ]; }

kills: $(VENV)/.ready
	cd $(ROOT) && $(SUDO) $(PYTHON) -m memtrace.tests.endurance.kills $(or $(TIMES),200) $(or $(SEED),1)

soak: $(VENV)/.ready
	cd $(ROOT) && $(SUDO) $(PYTHON) -m memtrace.tests.endurance.soak $(or $(MINUTES),30)

fuzz: $(VENV)/.ready
	cd $(ROOT) && $(PYTHON) -m memtrace.tests.fuzz.harness $(or $(MINUTES),10) $(or $(SEED),1)

test-quick: lint
	cd $(ROOT) && $(QUICK)

lint: $(VENV)/.ready
	cd $(ROOT) && $(VENV)/bin/ruff check . && $(VENV)/bin/mypy -p memtrace

bench: $(VENV)/.ready
	cd $(ROOT) && $(PYTHON) -m benchmarks.run_all

setup: $(VENV)/.ready

$(VENV)/.ready: $(ROOT)/setup.cfg $(ROOT)/setup.sh
	$(ROOT)/setup.sh $(VENV)
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready $(ROOT)/lab/needs.py
	$(ROOT)/setup.sh $(VENV) lab
	touch $@

clean:
	rm -rf $(VENV) $(ROOT)/build $(ROOT)/quickstart.parquet $(ROOT)/quickstart.png
