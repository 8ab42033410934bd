PYTHON ?= python3
# Debian's has no window and is the smaller one; elsewhere it has another name.
CHROMIUM := $(shell command -v chromium-headless-shell chromium chromium-browser google-chrome 2>/dev/null | head -n 1)
SECONDS ?= 300
VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/ready-to-run
READY := $(VENV)/ready
TOOLS := $(VENV)/tools
TOOLS_READY := $(TOOLS)/ready
BENCH_READY := $(VENV)/ready-for-bench
# A run starts Python dozens of times, so compiled code is kept, even if the caller's environment says otherwise.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run shell demo test browser endurance faults bench bench-flows day simulate chaos chaos-hosts audit-dependencies docs api examples tools tour \
	clean

# A newcomer waits for this. uv installs the same pins in a fraction of the time, where it is installed. Else the pip that
# Python has installs them from outside: to put a pip into the environment takes 8 s of a processor. The lists name all that
# they need, which a test holds. What is imported is compiled then; to compile all of it took 10 s.
PIP_OPTIONS := --quiet --disable-pip-version-check --no-deps --no-compile
define install
	if command -v uv > /dev/null; then uv pip install --quiet --no-deps --python $(1) -r $(2); \
	elif $(PYTHON) -m pip --python $(1) --version > /dev/null 2>&1; then \
	    $(PYTHON) -m pip --python $(1) install $(PIP_OPTIONS) -r $(2); \
	else $(1) -m ensurepip > /dev/null && $(1) -m pip install $(PIP_OPTIONS) -r $(2); fi
endef

$(RUN_READY): requirements.txt requirements-run.txt
	@$(PYTHON) -c 'import sys; sys.exit("Surefile needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else 0'
	@echo "Setting up $(VENV) (once; less than a minute) ..."
	@$(PYTHON) -m venv --without-pip $(VENV)
	@$(call install,$(BIN)/python,requirements-run.txt)
	@touch $(RUN_READY)

$(READY): $(RUN_READY) requirements-watch.txt requirements-dev.txt
	@echo "Adding to it what tests need (once) ..."
	@test -x $(BIN)/pip || $(BIN)/python -m ensurepip > /dev/null
	@$(call install,$(BIN)/python,requirements-dev.txt)
	@touch $(READY)

run: $(RUN_READY) ## the whole system on this machine; Ctrl-C stops it
	@$(BIN)/python -m sandbox run

shell: $(RUN_READY) ## beside `make run`: a shell in which every `flask …` reaches the running system
	@$(BIN)/python -m sandbox shell

demo: $(RUN_READY) ## one scripted story through every outcome; exits 0 only if every promise was kept
	@$(BIN)/python -m sandbox demo

$(TOOLS_READY): $(READY) requirements-tools.txt
	@echo "Setting up $(TOOLS), what strangers use us with (once) ..."
	@$(PYTHON) -m venv $(TOOLS)
	@$(call install,$(TOOLS)/bin/python,requirements-tools.txt)
	@touch $(TOOLS_READY)

test: $(READY) $(TOOLS_READY) ## format, lint, types and every test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@# Types are checked beside the tests. In a fresh clone four processes would each compile every test, so one does
	@# that first.
	$(BIN)/mypy & types=$$!; \
	test -e $(VENV)/collected || $(BIN)/python -m pytest --collect-only -qq > $(VENV)/collected || cat $(VENV)/collected; \
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder; tests=$$?; \
	wait $$types && exit $$tests

browser:        ## a Chromium for the tests of the pages, from the distribution's packages
ifneq ($(CHROMIUM),)
	@echo "$(CHROMIUM) is here"
else
	@if command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ]; then \
	    { timeout 300 apt-get install -y -qq --no-install-recommends chromium-headless-shell || \
	      { timeout 300 apt-get update -qq && \
	        timeout 300 apt-get install -y -qq --no-install-recommends chromium-headless-shell; }; } > /dev/null \
	    || echo "No Chromium could be installed here. The tests that need one are skipped."; \
	else \
	    echo "Install Chromium by your system's packages (apt install chromium-headless-shell, dnf install chromium-headless," \
	         "brew install --cask chromium). Without it the tests that need one are skipped."; \
	fi
endif

endurance: $(READY) ## the long form of stories that `make test` tells in short
	ENDURANCE=1 $(BIN)/python -m pytest tests/processes/test_itf_outage.py

faults: $(READY) ## the front end's pages with every fault of the sandbox; takes about ten minutes
	$(BIN)/python -m pytest tests/e2e/faults_on_pages.py

$(BENCH_READY): $(READY) requirements-bench.txt
	@echo "Installing what we are compared with ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-bench.txt || \
	{ echo "make bench compares us with the packages of requirements-bench.txt; they could not be installed" >&2; exit 1; }
	@touch $(BENCH_READY)

bench: $(BENCH_READY) ## against peers and limits, in under 12 minutes; MEASURE="posting jobs" for a part; table and plots in build/bench
	@$(BIN)/python -m tests.benchmarks $(MEASURE)

bench-flows: $(READY) ## what slow upstreams, large files, outages and years cost in each flow; takes long
	$(BIN)/python -m pytest tests/benchmarks --override-ini=addopts=-q -s

day: $(RUN_READY) ## one Monday in minutes; exits 0 only if all was kept and it went as its constants predict
	@$(BIN)/python -m sandbox day

SEEDS ?= 1000
simulate: $(READY) ## relay, workers and rescue in one thread, with SEEDS stories of faults; a failing seed replays by its number
	@$(BIN)/python -m tests.simulator --seeds $(SEEDS)

chaos: $(RUN_READY) ## everything under load and under faults of every kind, for SECONDS (300); exits 0 only if all was kept
	@$(BIN)/python -m sandbox chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

chaos-hosts: $(READY) ## the same on many hosts in network namespaces, with a standby, a pooler and a replica; needs root and pgbouncer
	@$(BIN)/python -m sandbox chaos-hosts $(if $(SEED),--seed $(SEED))

tools: $(TOOLS_READY) ## the programs of requirements-tools.txt, without which their tests are skipped

api: $(TOOLS_READY) ## the API's description, held against validators and a client that is generated from it
	$(BIN)/python -m pytest tests/contract/test_openapi.py tests/contract/test_generated_client.py
	@$(BIN)/python -m tests.linters

examples: $(READY) ## keep real answers as the examples of the API's description; takes minutes
	@$(BIN)/python -m tests.examples

audit-dependencies: $(READY) ## known weaknesses of the pinned packages, without those in accepted-findings.toml; needs the network
	@$(BIN)/python -m sandbox dependencies $(if $(OSV_URL),--osv-url $(OSV_URL))

tour: $(READY) ## the pictures of docs/tour.md, made anew with a Chromium; takes minutes
	@$(BIN)/python -m tests.tour

docs: $(RUN_READY) ## write the pages of docs/ that are generated from code
	@$(BIN)/python -m sandbox docs

clean:          ## delete the virtual environment and the local data
	rm -rf $(VENV) .run build
