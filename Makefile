# The commands of this project. Only Python 3.11 or newer, make and a package index are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
BENCH ?= all

# GenICam cameras: their extra is built from source, so it is tried only where its headers are.
ifeq ($(shell pkg-config --exists gobject-introspection-1.0 cairo-gobject 2>/dev/null && echo yes),yes)
GENICAM := $(VENV)/.genicam
endif
READY := $(STAMP) $(GENICAM)

.PHONY: help install demo up test test-slow stories check format schemas bench screenshots clean

help:
	@echo "make demo          install, start a whole plant, play a scenario (ARGS=\"--help\" for options)"
	@echo "make up            install, run the plant for good; Ctrl-C stops it"
	@echo "make test          install and run all tests but the slow ones"
	@echo "make test-slow     the slow ones: whole stories in line time, real pictures, soaks"
	@echo "make stories       rollouts on whole plants, about four minutes each"
	@echo "make check         ruff, mypy, import rules, schemas"
	@echo "make bench         benchmarks, one JSON line each (BENCH=name for one, ARGS=\"--sizes 100\" for fewer repetitions)"
	@echo "make schemas       write docs/schemas from the contracts"
	@echo "make screenshots   write docs/images from running demos (needs Chromium)"

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	@touch $(STAMP)

$(VENV)/.genicam: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[genicam]" \
	  || echo "PyGObject cannot be built here: GenICam cameras are left out (docs/cameras.md says what it needs)"
	@touch $@

install: $(READY)

demo: $(READY)
	$(BIN)/sightline demo $(ARGS)

up: $(READY)
	$(BIN)/sightline up $(ARGS)

# Code 5 means that no test was selected: no fault when ARGS names a few of them.
PYTEST = $(BIN)/python -m pytest $(1) $(ARGS) || { code=$$?; [ $$code = 5 ] && [ -n "$(strip $(ARGS))" ]; }

# Two tests at once. Slow ones stand apart, so that nobody waits for them before every commit; CI runs both. Stories in line time mostly wait for their takt: the longest runs beside the others, and nothing
# else beside them. Of the rest groups are dealt out before single tests, and those on real pictures take longest.
test: $(READY)
	$(call PYTEST,-n 2 -m "not slow and not story")

test-slow: $(READY)
	$(call PYTEST,-n 2 --dist loadgroup -m line_time)
	$(call PYTEST,-n 2 --dist loadgroup -m "slow and not line_time and not story")

# Rollouts on a whole plant of three stations, about four minutes each.
stories: $(READY)
	$(call PYTEST,-n 1 -m story)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m tests.schemas --check
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(READY)
	$(BIN)/python -m tests.schemas --write

bench: $(READY)
	$(BIN)/python -m benchmarks $(BENCH) $(ARGS)

screenshots: $(READY)
	$(BIN)/python -m tests.browser.screenshots
	$(BIN)/python -m tests.browser.rollout_screenshots

clean:
	rm -rf $(VENV) build *.egg-info
