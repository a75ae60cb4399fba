# A thin caller: what each command does lives in scripts/, so that it also runs where there is no make.

ifeq ($(OS),Windows_NT)
PYTHON ?= py -3
IN_VENV := .venv/Scripts/
else
PYTHON ?= python3
IN_VENV := .venv/bin/
endif
PY := $(IN_VENV)python
BENCHES := wire receiver simulator inference learner remote realtime pictures
LONG_BENCHES := learning game
OPERATOR := pair logs start stop status fetch cost rotate-token leftovers

.PHONY: help setup settings protocol demo test test-all test-cloud test-wine test-game lint cuts bench $(addprefix bench-,$(BENCHES) $(LONG_BENCHES)) bridge $(OPERATOR) constraints clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      set up, then watch a car learn to lap on this machine (TRACK=seed:7 or a CSV, MINUTES=8, OUTPUT=folder)"
	@echo "make test      set up, then run the quick tests"
	@echo "make test-all  the slow ones too"
	@echo "make test-cloud  the cloud side: Terraform on a made-up AWS, instances in a box (Linux, root; minutes)"
	@echo "make test-wine  the bridge in Windows' Python under Wine (Linux; minutes)"
	@echo "make test-game  learning from what several PCs drive in the fake game (Linux; minutes)"
	@echo "make settings  after a change of a run's settings: what Terraform and docs/settings.md say of them"
	@echo "make protocol  after a change of what is said about remote environments: docs/protocol for other languages"
	@echo "make lint      ruff, mypy --strict and the floors of the house"
	@echo "make cuts      cut the link to remote environments 10,000 times (CUTS=n, SEED=n): is any step doubled, lost, shifted?"
	@echo "make bench     every figure of docs/performance.md; bench-wire and so on for one of: $(BENCHES)"
	@echo "make bridge    drive for a training run, the game if it runs here; asks for the pairing string once (ARGS=... for ac-bridge drive)"
	@echo "make pair      wait for the cloud's instance and print the pairing string, a secret (WAIT=minutes)"
	@echo "make status    how the cloud's run stands: instance, spend, steps, laps, checkpoint, bridges (JSON=1)"
	@echo "make logs      an instance's journal from the bucket (INSTANCE=i-..., TAIL=200, FOLLOW=1)"
	@echo "make status, logs, fetch RUN=run.json   the same of a run of your own, without AWS or Terraform"
	@echo "make start     let the run go on, with a fresh count of hours; make stop: save everything and end it"
	@echo "make fetch     bring the best checkpoint home, verified (NEWEST=1: the newest; TO=folder; default models/<run>/<steps>)"
	@echo "make cost      hours and runs that the budget pays for on each instance type (BUDGET=20, PRICES=file)"
	@echo "make rotate-token   give the bridges a new token; DEPLOYMENT=file.json with any of these: no Terraform here"
	@echo "make leftovers   what AWS still has when Terraform's state is lost (PROJECT=name, REGION=one; REMOVE=name ends it)"
	@echo "make setup     only the set-up: .venv with the pinned packages (the others do it themselves)"
	@echo "make clean     remove what the commands above made, .venv too"

setup:
	@$(PYTHON) scripts/setup.py

# The options travel in the environment, so that a path with spaces needs no second layer of quotes.
demo: export AC_DEMO_TRACK := $(TRACK)
demo: export AC_DEMO_MINUTES := $(MINUTES)
demo: export AC_DEMO_OUTPUT := $(OUTPUT)
demo: export AC_DEMO_WHOLE_TIME := $(if $(WHOLE_TIME),1,0)
demo: setup
	@$(PY) -m scripts.demo

test: setup
	$(PY) -m pytest -m "not slow and not terraform and not box and not wine and not game" -n auto -q

# The schedules of cuts and kills wait most of the time: more of them at once than there are cores.
test-all: setup
	$(PY) -m pytest -m "not terraform and not box and not wine and not game" -n auto --dist worksteal -q \
		--ignore=tests/chaos/test_nothing_lost.py
	$(PY) -m pytest tests/chaos/test_nothing_lost.py -n 4 -q

# One after the other: each applies whole stacks, and a box wants the machine for itself. The first line makes what the
# checks need and a user does not.
test-cloud: setup
	$(PY) -m scripts.checkov_setup
	$(PY) -m pytest -m "terraform and not box" -n 2 --dist loadfile -q
	$(PY) -m pytest -m box -q

test-wine: setup
	$(PY) -m pytest -m wine -q

# Nothing beside it, or the game's car and the trainer wait for the processor.
test-game: setup
	$(PY) -m pytest -m "game and not slow" -q -rP

settings: setup
	@$(PY) -m scripts.settings

protocol: setup
	@$(PY) -m scripts.protocol

lint: setup
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(IN_VENV)lint-imports --no-logo

cuts: setup
	AC_REMOTE_CUTS=$(or $(CUTS),10000) AC_REMOTE_SEED=$(or $(SEED),12) \
		$(PY) -m pytest tests/train_cloud/remote/test_many_cuts.py -q -rP --show-capture=stdout

bench: setup
	@$(PY) -m scripts.bench

$(addprefix bench-,$(BENCHES) $(LONG_BENCHES)): bench-%: setup
	@$(PY) -m scripts.bench $*

# The gaming PC needs neither torch nor the cloud's libraries. The pairing string is a secret, and whoever may see this
# make's command line can read a URI there for as long as it runs: so with URI it pairs and ends, and what drives was
# started without. No child has it on its command line or in MAKEFLAGS, and make does not echo it.
ifdef URI
bridge: export AC_BRIDGE_URI := $(URI)
unexport URI
MAKEOVERRIDES :=
endif
bridge:
	@$(PYTHON) scripts/setup.py bridge
ifdef URI
	@$(PY) -m bridge pair $(filter --allow-plain,$(ARGS))
	@echo "Now the same without URI, which drives, with the token on no command line: make bridge"
else
	@$(PY) -m bridge drive $(ARGS)
endif

# From any PC with AWS credentials: needs neither torch nor, with DEPLOYMENT=file, Terraform. The set-up speaks on
# standard error, because `make pair` prints a pairing string and nothing else.
$(OPERATOR): export AC_DEPLOYMENT := $(DEPLOYMENT)
status logs fetch: export AC_RUN_FILE := $(RUN)
status: export AC_FOLDER := $(or $(FOLDER),work)
$(OPERATOR): export AC_WAIT_MINUTES := $(WAIT)
status: export AC_JSON := $(if $(JSON),1,0)
logs: export AC_INSTANCE := $(INSTANCE)
logs: export AC_TAIL := $(TAIL)
logs: export AC_FOLLOW := $(if $(FOLLOW),1,0)
fetch: export AC_TO := $(TO)
fetch: export AC_NEWEST := $(if $(NEWEST),1,0)
cost: export AC_BUDGET := $(BUDGET)
cost: export AC_PRICES := $(PRICES)
leftovers: export AC_PROJECT := $(PROJECT)
leftovers: export AC_REGION := $(REGION)
leftovers: export AC_REMOVE := $(REMOVE)
$(OPERATOR):
	@$(if $(and $(RUN),$(filter-out status logs fetch,$@)),$(error make $@ is for the cloud's run; RUN= goes with status, logs, fetch))
	@$(PYTHON) scripts/setup.py operator 1>&2
	@$(PY) -m scripts.cloud $@

# For maintainers, after a change of the dependencies in pyproject.toml; needs uv.
constraints:
	uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --no-emit-index-url \
		--no-annotate --custom-compile-command "make constraints" --upgrade --quiet --output-file constraints.txt

LEFTOVERS := .venv demo-output build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
clean:
	@$(PYTHON) -c "import shutil, sys; [shutil.rmtree(name, ignore_errors=True) for name in sys.argv[1:]]" \
		$(LEFTOVERS) ac_training.egg-info
