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
LONG_BENCHES := learning game dashboard chunks
OPERATOR := pair dashboard-link logs start stop status fetch report cost rotate-token leftovers

.PHONY: help setup generated settings protocol screenshot demo serve dashboard report export test test-all test-cloud test-wine test-game lint cuts bench $(addprefix bench-,$(BENCHES) $(LONG_BENCHES)) bridge $(OPERATOR) constraints clean
.DEFAULT_GOAL := help

help:
	@echo "Begin here"
	@echo "  make demo          set up, then watch a car learn to lap on this machine (TRACK=seed:7 or a CSV, MINUTES=8, OUTPUT=folder, WHOLE_TIME=1)"
	@echo "  make setup         only the set-up: .venv with the pinned packages (the others do it themselves)"
	@echo "  make clean         remove what the commands here made, .venv too"
	@echo "A run of your own on this machine, without a cloud"
	@echo "  make serve         receiver, trainer and page, for the PCs that reach this machine; prints the pairing string (FOLDER=served, RUN=run.json, HOST=address, PORT=8765)"
	@echo "  make status, logs, fetch, pair, dashboard-link, stop   of that run, by themselves where Terraform is not set up (FOLDER=, or RUN=run.json)"
	@echo "Watch a run"
	@echo "  make dashboard     RUN=run.json: serve the page about a run that goes on in FOLDER (default work) on this machine"
	@echo "  make dashboard-link   print a link that lets in once, a secret: to that page (FOLDER=work), or to the cloud's (TUNNEL=1: through the tunnel)"
	@echo "  make report        one file that tells how the run went, with pictures and laps beside it (RUN=run.json: of your own; OUTPUT=folder)"
	@echo "  make export        the run for programs of others: RUN=run.json KIND=minari, parquet or onnx TO=folder or file"
	@echo "On the gaming PC"
	@echo "  make bridge        drive for a training run, the game if it runs here; asks for the pairing string once (ARGS=... for ac-bridge drive)"
	@echo "A run in the cloud, from any PC with AWS credentials (DEPLOYMENT=file.json: without Terraform there)"
	@echo "  make pair          wait for the instance and print the pairing string, a secret (WAIT=minutes)"
	@echo "  make status        how it stands: instance, spend, steps, laps, checkpoint, bridges (JSON=1)"
	@echo "  make logs          an instance's journal from the bucket (INSTANCE=i-..., TAIL=200, FOLLOW=1)"
	@echo "  make fetch         bring the best checkpoint home, verified (NEWEST=1: the newest; TO=folder; default models/<run>/<steps>)"
	@echo "  make stop          save everything and end the instance"
	@echo "  make start         let the run go on, with a fresh count of hours"
	@echo "  make cost          hours and runs that the budget pays for on each instance type (BUDGET=20, PRICES=file)"
	@echo "  make rotate-token  give the bridges a new token"
	@echo "  make leftovers     what AWS still has when Terraform's state is lost (PROJECT=name, REGION=one; REMOVE=name ends it)"
	@echo "Before a change is done"
	@echo "  make test          the quick tests"
	@echo "  make lint          ruff, mypy --strict and the floors of the house"
	@echo "  make test-all      the slow tests too"
	@echo "  make test-cloud    Terraform on a made-up AWS, instances in a box (Linux, root; minutes)"
	@echo "  make test-wine     the bridge in Windows' Python under Wine (Linux; minutes)"
	@echo "  make test-game     learning from what several PCs drive in the fake game (Linux; minutes)"
	@echo "  make cuts          cut the link to remote environments 10,000 times (CUTS=n, SEED=n): is any step doubled, lost, shifted?"
	@echo "What is written from the code"
	@echo "  make generated     every generated page and file"
	@echo "  make settings      of them, what Terraform and docs/settings.md say of a run's settings"
	@echo "  make protocol      of them, the messages: docs/wire-protocol.md, and docs/protocol for other languages"
	@echo "  make screenshot    docs/images/dashboard.png, from a real demo run (Chromium; minutes)"
	@echo "  make constraints   the pinned versions, after a change of the dependencies (uv)"
	@echo "Measured"
	@echo "  make bench         every table of docs/performance.md; one of them:"
	@echo "  make $(addprefix bench-,$(BENCHES))"
	@echo "  make $(addprefix bench-,$(LONG_BENCHES))   not among them: they take an hour and more, or real time"
	@echo "  make help          this"

setup:
	@$(PYTHON) scripts/setup.py

# The options travel in the environment, so that a path with spaces needs no second layer of quotes.
demo: export AC_DEMO_TRACK := $(TRACK)
demo: export AC_DEMO_MINUTES := $(MINUTES)
demo: export AC_DEMO_OUTPUT := $(OUTPUT)
demo: export AC_DEMO_WHOLE_TIME := $(if $(WHOLE_TIME),1,0)
# Of the set-up what a run needs: the tests' and benchmarks' packages are nearly as many again.
demo:
	@$(PYTHON) scripts/setup.py bridge cloud operator
	@$(PY) -m scripts.demo

serve: export AC_SERVE_RUN := $(RUN)
serve: export AC_SERVE_FOLDER := $(FOLDER)
serve: export AC_SERVE_HOST := $(HOST)
serve: export AC_SERVE_PORT := $(PORT)
serve:
	@$(PYTHON) scripts/setup.py cloud operator
	@$(PY) -m scripts.serve

dashboard: setup
	@$(if $(RUN),,$(error name the run: make dashboard RUN=run.json FOLDER=work))
	@$(PY) -m train_cloud.dashboard --config "$(RUN)" --folder "$(or $(FOLDER),work)" $(ARGS)

test: setup
	$(PY) -m pytest -m "not slow and not terraform and not box and not wine and not game" -n auto -q

# The schedules of cuts and kills wait most of the time: more of them at once than there are cores.
test-all: setup
	$(PY) -m pytest -m "not terraform and not box and not wine and not game" -n auto --dist worksteal -q \
		--ignore=tests/chaos/test_nothing_lost.py
	$(PY) -m pytest tests/chaos/test_nothing_lost.py -n 4 -q

# Whole stacks are applied, and boxes boot: these wait for half of their time, so that three files go on side by side.
# The first line makes what the checks need and a user does not.
test-cloud: setup
	$(PY) -m scripts.checkov_setup
	$(PY) -m pytest -m "terraform or box" -n 3 --dist loadfile -q

test-wine: setup
	$(PY) -m pytest -m wine -q

# Nothing beside it, or the game's car and the trainer wait for the processor.
test-game: setup
	$(PY) -m pytest -m "game and not slow" -q -rP

generated: setup
	@$(PY) -m scripts.generated

settings: setup
	@$(PY) -m scripts.settings

protocol: setup
	@$(PY) -m scripts.protocol

# By another name, because old versions of make take a line that begins with it for their own command.
EXPORT := export
$(EXPORT): setup
	@$(PY) -m train_cloud.export $(KIND) --config "$(RUN)" --output "$(TO)"

screenshot: setup
	@$(PY) -m scripts.screenshot

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
OF_OWN_RUNS := status logs fetch report stop pair dashboard-link
$(OF_OWN_RUNS): export AC_RUN_FILE := $(RUN)
$(OF_OWN_RUNS): export AC_FOLDER := $(FOLDER)
$(OPERATOR): export AC_WAIT_MINUTES := $(WAIT)
status: export AC_JSON := $(if $(JSON),1,0)
logs: export AC_INSTANCE := $(INSTANCE)
dashboard-link: export AC_TUNNEL := $(if $(TUNNEL),1,0)
logs: export AC_TAIL := $(TAIL)
logs: export AC_FOLLOW := $(if $(FOLLOW),1,0)
fetch: export AC_TO := $(TO)
fetch: export AC_NEWEST := $(if $(NEWEST),1,0)
report: export AC_OUTPUT := $(OUTPUT)
cost: export AC_BUDGET := $(BUDGET)
cost: export AC_PRICES := $(PRICES)
leftovers: export AC_PROJECT := $(PROJECT)
leftovers: export AC_REGION := $(REGION)
leftovers: export AC_REMOVE := $(REMOVE)
$(OPERATOR):
	@$(if $(and $(RUN),$(filter-out $(OF_OWN_RUNS),$@)),$(error make $@ is for the cloud's run; RUN= goes with $(OF_OWN_RUNS)))
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
