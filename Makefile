# What can be done with Berth. `make help` tells it in short.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
WORKERS ?= 4
SEEDS ?= 1000
ROUNDS ?= 20
SEED ?= 1
ORDERS ?= 0
VENV := .venv
IN := $(VENV)/bin/python
# haproxy lies where only root looks.
export PATH := $(PATH):/usr/sbin:/sbin

PIP := $(IN) -m pip --disable-pip-version-check --quiet

# Programs that only tests need, and Debian's package of each.
TOOLS := chromium:chromium chromedriver:chromium-driver docker-compose:docker-compose \
         haproxy:haproxy redis-cli:redis-tools wrk:wrk

# $(call debian,packages): install them where we may, else say what to type.
debian = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing$(1) ..."; \
	  apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) \
	    </dev/null >/dev/null; \
	else echo "Missing:$(1). Type: sudo apt-get install$(1)"; exit 1; fi

# $(call install,requirements,others that it names): unless the same texts are installed already.
# The stamp is written last, so that an interrupted install is not taken for a whole one.
install = wanted="$$(cat $(1) $(2) | cksum)"; stamp="$(VENV)/$(1).installed"; \
	if [ "$$(cat "$$stamp" 2>/dev/null)" != "$$wanted" ]; then \
	  echo "Installing $(1) into $(VENV) ..."; \
	  $(PIP) install -r $(1) && echo "$$wanted" > "$$stamp"; \
	fi

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' \
	  $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: installed ## Everything on this machine, until Ctrl-C. PORT=8888, DATA_DIR=./data
	@exec $(IN) app_queue.py --with-parent

.PHONY: test
test: lint tools ## Style, types, and the whole suite on real engines. ARGS="-k lease" for a part
	@$(IN) -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

.PHONY: lint
lint: dev ## Style, and strict types in the rooms that decide
	@$(IN) -m ruff check .
	@$(IN) -m mypy booking queues search catalogue

.PHONY: simulate
simulate: dev ## The booking road with crashes and lost answers, replayed from seeds. SEEDS=1000
	@$(IN) -m tests.simulation --seeds $(SEEDS) --every-point

.PHONY: mutants
mutants: dev ## Is the simulation able to fail? Each protection taken out, and seen missed. SEEDS=1000
	@$(IN) -m tests.simulation.mutants --seeds $(SEEDS)

.PHONY: faults
faults: dev ## Kill real processes under load, and count. ROUNDS=20, SEED=1, ORDERS=0
	@$(IN) -m tests.faults.soak --rounds $(ROUNDS) --seed $(SEED) --orders $(ORDERS)

.PHONY: bench
bench: dev tools ## Speed, against plain MongoDB and peers, in one run; pictures in docs/
	@$(IN) -m bench booking --json --plot docs
	@$(IN) -m bench booking --rate 500 --json
	@$(IN) -m bench accept --json --plot docs
	@$(IN) -m bench search --json --plot docs
	@$(IN) -m bench pages --json --plot docs
	@$(IN) -m bench recommend --json

.PHONY: audit
audit: installed ## Recount all orders of the running system; fails on anything lost or oversold
	@$(IN) -m audit

.PHONY: clean
clean: ## Remove what was installed and cached here; ./data stays
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: installed
installed: $(VENV)/bin/pip
	@$(call install,requirements.txt,requirements-production.txt)

.PHONY: dev
dev: $(VENV)/bin/pip ## What tests and benches need, into .venv
	@$(call install,requirements-dev.txt,requirements.txt requirements-production.txt)

.PHONY: tools
tools:
	@missing=""; \
	for tool in $(TOOLS); do \
	  command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	if [ -n "$$missing" ]; then $(call debian,$$missing); fi

# pip comes last into a new environment: an interrupted one is made again.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Berth needs Python 3.11 or later: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(call debian, python3-venv); }
	@$(PYTHON) -m venv $(VENV)
