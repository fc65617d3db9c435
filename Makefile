# For GNU make. It needs git and Python 3.11 or newer; `make help` lists the commands.

# Another Python for .venv: make PYTHON=/path/to/python (after `make clean`).
PYTHON ?= $(shell python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && echo python3 || .ci/pythons | sed -n '$$s/^[^ ]* //p' | grep . \
	|| echo python3)

VENV := .venv
BIN  := $(VENV)/bin
LOWEST_AND_HIGHEST = $(shell .ci/pythons | sed -n '1p;$$p' | cut -d' ' -f1)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Settings of the shell must not change which code is imported or measured.
unexport PYTHONPATH
unexport PYTHONWARNINGS

.PHONY: help
help:  ## List the commands
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# --- Use ---

.PHONY: run
run: $(VENV)/.example  ## Run the example application (PORT=8000 chooses the port)
	$(BIN)/python -m example_app

.PHONY: run-gunicorn
run-gunicorn: $(VENV)/.example  ## Run it with gunicorn, with two workers
	$(BIN)/gunicorn --config example_app/gunicorn_conf.py

.PHONY: run-relay
run-relay: $(VENV)/.example  ## Run it and a process that confirms orders (RELAY_URL=redis://… for a broker)
	$(BIN)/python -m example_app.relayed

.PHONY: test
test: $(VENV)/.test  ## Run tests and doctests, report coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	@$(MAKE) --no-print-directory report-coverage

# The profile makes Hypothesis try fewer examples.
.PHONY: test-fast
test-fast: $(VENV)/.test  ## Test signals, middleware, receivers and settings, in a minute
	HYPOTHESIS_PROFILE=fast $(BIN)/python -m pytest \
		tests/_engine tests/wsgi tests/receivers tests/config

.PHONY: test-all
test-all:  ## Run the tests on each supported Python of this machine
	@failed=""; \
	for version in 3.11 3.12 3.13; do \
		if [ -z "$$(.ci/pythons $$version)" ]; then \
			echo "== Python $$version: skipped, not on this machine"; continue; fi; \
		echo "== Python $$version"; \
		{ $(MAKE) --no-print-directory .venv-$$version/.test \
			&& .venv-$$version/bin/python -m pytest; } || failed="$$failed $$version"; \
	done; \
	[ -z "$$failed" ] || { echo "== Failed on Python$$failed" >&2; exit 1; }

# The newest release of each series, with the newest Werkzeug that it accepts. Flask main
# is not on PyPI: make test-flask FLASK_SOURCE=/path/to/flask, and WERKZEUG_SOURCE.
FLASKS := 3.0 3.1
FLASK_3.0 := flask==3.0.3 werkzeug==3.1.9
FLASK_3.1 := flask==3.1.3 werkzeug==3.1.9
FLASK_SOURCE ?=
WERKZEUG_SOURCE ?=
FLASK_source := $(FLASK_SOURCE) $(or $(WERKZEUG_SOURCE),werkzeug==3.1.9)
FLASK_TESTS := $(wildcard tests/integrations/test_flask*.py) tests/integrations/test_served.py \
	tests/example_app

.PHONY: test-flask
test-flask:  ## Run the tests with Flask on each Flask; FLASK_SOURCE=dir adds a checkout
	@failed=""; \
	for version in $(FLASKS) $(if $(FLASK_SOURCE),source); do \
		python=.venv-flask-$$version/bin/python; \
		echo "== Flask $$version"; \
		{ $(MAKE) --no-print-directory .venv-flask-$$version/.test \
			&& $$python -m pip list | grep -iE '^(flask|werkzeug) ' \
			&& $$python -m pytest $(FLASK_TESTS); } || failed="$$failed $$version"; \
	done; \
	[ -n "$(FLASK_SOURCE)" ] || echo "== Flask from source: skipped, FLASK_SOURCE is" \
		"not given; Flask main was NOT tested" >&2; \
	[ -z "$$failed" ] || { echo "== Failed on Flask$$failed" >&2; exit 1; }

# check-tests runs on the newest Flask; this is the oldest supported series.
.PHONY: check-flask
check-flask:
	@$(MAKE) --no-print-directory test-flask FLASKS=3.0

.PHONY: servers
servers: $(VENV)/.test  ## Check the records on real servers, print the matrix
	@$(MAKE) --no-print-directory $(VENV)/.servers-built \
		|| echo "== bjoern and mod_wsgi: skipped, they cannot be built here" >&2
	@failed=""; \
	$(BIN)/python -m pytest tests/servers || failed=yes; \
	$(BIN)/python -m tests.servers || failed=yes; \
	[ -z "$$failed" ]

# make mutants MUTANTS="--seed 2 --sample 20"; --help lists the options.
MUTANTS ?=
.PHONY: mutants
mutants: $(VENV)/.test  ## Change the engine's code, print changes that no test finds
	$(BIN)/python -m tests.mutants $(MUTANTS)

.PHONY: bench
bench: $(VENV)/.bench  ## Run the benchmarks, with other libraries for comparison
	$(BIN)/python -m benchmarks

.PHONY: bench-live
bench-live: .venv-bench-live/.bench-live  ## Measure the live page, with similar packages for comparison
	.venv-bench-live/bin/python -m benchmarks.live

# Without root or apt, the installed wrk is used.
.PHONY: load
load: $(VENV)/.test  ## Send requests to gunicorn for a minute, compare all counters
	@command -v wrk > /dev/null || test "$$(id -u)" != 0 \
		|| { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install \
			-qq --no-install-recommends wrk; } > /dev/null \
		|| echo "apt could not install wrk" >&2
	$(BIN)/python -m tests.servers.load

# --- Check ---

.PHONY: check
check: environments check-format lint types imports notes docs check-tests  ## Run all checks that a merge needs

# All at the same time, because each takes a minute.
.PHONY: environments
environments: $(VENV)/.base
	@pids=""; \
	for stamps in "$(GROUPS:%=$(VENV)/.%)" \
			"$(addsuffix /.test,$(filter-out $(VENV),$(TESTED)))" \
			.venv-flask-3.0/.test; do \
		[ -z "$$stamps" ] || { $(MAKE) --no-print-directory $$stamps & \
			pids="$$pids $$!"; }; \
	done; \
	for pid in $$pids; do wait "$$pid"; done

.PHONY: format
format: $(VENV)/.lint  ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format

.PHONY: check-format
check-format: $(VENV)/.lint
	$(BIN)/ruff format --check --diff

.PHONY: lint
lint: $(VENV)/.lint  ## Check the style and sizes of the code, and the words of texts
	$(BIN)/ruff check
	$(BIN)/python .ci/sizes
	$(BIN)/python .ci/words
	$(BIN)/codespell README.md CONTRIBUTING.rst CHANGES.rst changes docs src tests \
		example_app benchmarks .ci Makefile

.PHONY: types
types: $(VENV)/.lint $(VENV)/.test $(VENV)/.bench  ## Check types, and that each public name has one
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/pyright --pythonpath $(BIN)/python \
		--verifytypes signalpost --ignoreexternal

.PHONY: imports
imports: $(VENV)/.lint  ## Check which package imports which
	$(BIN)/lint-imports --no-logo

.PHONY: docs
docs: $(VENV)/.docs  ## Build the documentation into docs/_build/html
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --quiet \
		docs docs/_build/html
	$(BIN)/python .ci/pages docs/_build/html

.PHONY: notes
notes: $(VENV)/.docs  ## Show the changelog of the next release
	$(BIN)/towncrier build --draft

# Only the oldest and the newest Python are tested, to save time. One of them is usually
# that of .venv.
OWN = $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
	2>/dev/null)
TESTED = $(or $(patsubst .venv-$(OWN),$(VENV),$(addprefix .venv-,\
	$(sort $(LOWEST_AND_HIGHEST)))),$(VENV))

.PHONY: check-tests
check-tests: $(VENV)/.test
	@$(MAKE) --no-print-directory $(addsuffix /.test,$(TESTED))
	@$(BIN)/coverage erase
	@.ci/check-tests $(TESTED)
	@$(MAKE) --no-print-directory report-coverage

.PHONY: report-coverage
report-coverage:
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# --- Environments: a stamp file for each group of tools ---

# pip is updated first, because --group needs pip 25.1.
define set_up
	@"$(2)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "signalpost needs Python 3.11 or newer; '$(2)' is not." >&2; \
		echo "Name one that is: make PYTHON=/path/to/python …" >&2; exit 1; }
	@"$(2)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(2)' cannot make a virtual environment: its venv is incomplete." >&2; \
		echo "On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -x $(1)/bin/pip || "$(2)" -m venv --clear $(1)
	$(1)/bin/python -m pip install --quiet --constraint constraints.txt pip flit-core
	$(1)/bin/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@
endef

define install_group
	$(1)/bin/python -m pip install --quiet --constraint constraints.txt --group $(2)
	@touch $@
endef

INPUTS := pyproject.toml constraints.txt

$(VENV)/.base: $(INPUTS)
	$(call set_up,$(VENV),$(PYTHON))

GROUPS := bench docs example lint test
$(GROUPS:%=$(VENV)/.%): $(VENV)/.%: $(VENV)/.base
	$(call install_group,$(VENV),$*)

# Without root or apt, the installed packages are used.
SERVER_HEADERS := apache2-bin apache2-dev libev-dev
$(VENV)/.servers-built: $(VENV)/.base
	@dpkg -s $(SERVER_HEADERS) > /dev/null 2>&1 || test "$$(id -u)" != 0 \
		|| { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install \
			-qq --no-install-recommends $(SERVER_HEADERS); } > /dev/null \
		|| echo "apt could not install $(SERVER_HEADERS)" >&2
	$(call install_group,$(VENV),servers-built)

.PRECIOUS: .venv-%/.base
.venv-%/.base: $(INPUTS)
	$(call set_up,.venv-$*,$(shell .ci/pythons $* | cut -d' ' -f2-))

.venv-%/.test: .venv-%/.base
	$(call install_group,.venv-$*,test)

.venv-bench-live/.base: $(INPUTS)
	$(call set_up,$(@D),$(PYTHON))

# The group pins versions for which constraints.txt has those of Celery.
.venv-bench-live/.bench-live: .venv-bench-live/.base
	grep -v '^tzlocal=' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install --quiet --constraint $(@D)/constraints.txt \
		--group bench-live
	@touch $@

FLASK_VENVS := $(FLASKS:%=.venv-flask-%) .venv-flask-source
$(FLASK_VENVS:%=%/.base): $(INPUTS)
	$(call set_up,$(@D),$(PYTHON))

# The pinned versions first, then this Flask; pip check reports a conflict.
$(FLASK_VENVS:%=%/.test): .venv-flask-%/.test: .venv-flask-%/.base Makefile
	$(call install_group,.venv-flask-$*,test)
	.venv-flask-$*/bin/python -m pip install --quiet --no-deps $(FLASK_$*)
	.venv-flask-$*/bin/python -m pip check
	@touch $@

# A checkout can change, so it is installed again each time.
.PHONY: .venv-flask-source/.test

.PHONY: constraints
constraints:  ## Write constraints.txt from the versions in pyproject.toml
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	.ci/pythons | while read -r version python; do \
		echo "Python $$version"; \
		"$$python" -m venv "$$scratch/$$version"; \
		bin="$$scratch/$$version/bin"; \
		"$$bin/python" -m pip install --quiet --upgrade pip; \
		"$$bin/python" -m pip install --quiet flit-core --group dev; \
		"$$bin/python" -m pip freeze --all \
			| tr 'A-Z_' 'a-z-' >> "$$scratch/frozen"; \
	done; \
	sort -u "$$scratch/frozen" > "$$scratch/sorted"; \
	twice=$$(cut -d= -f1 "$$scratch/sorted" | uniq -d); \
	[ -z "$$twice" ] || { echo "These differ between Pythons: $$twice" >&2; exit 1; }; \
	{ sed -n '/^#/p' constraints.txt; cat "$$scratch/sorted"; } > "$$scratch/new"; \
	cp "$$scratch/new" constraints.txt

.PHONY: clean
clean:  ## Remove environments, caches and built files
	rm -rf .venv .venv-* build dist htmlcov docs/_build instance .coverage .coverage.* \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests docs example_app benchmarks -name __pycache__ -prune \
		-exec rm -rf {} + 2>/dev/null || true
