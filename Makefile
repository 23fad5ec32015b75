# make help    this list
# make serve   a server at http://localhost:3141 that keeps its things in ./data; TWISTPI_PORT=4040 make serve: at another port
# make test    everything that has to be right: style, types, tests
# make test-quick   style, types, and the tests that start no other programs: about two minutes
# make test-cluster   tests of HTTP over what a cluster has instead of a server directory
# make bench   measure, and write docs/performance.rst and the bars of README.rst
# make soak    kill a primary and its replica in turn for ten minutes, and compare what is left of them
# make docs    write the pages of docs/ that are made from the program, and build them all: docs/_build/html
# make screenshots   make the pictures of README.rst anew: docs/images
# make lock    renew requirements-dev.lock, which says what is installed into .venv
#
# Each prepares .venv itself, and again only after pyproject.toml or requirements-dev.lock changed.

PYTHON ?= python3
# Twice as many as cores: half of what tests do is wait for servers and installers.
WORKERS ?= 4
VENV := .venv
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
AGAIN = $(BIN)/python -m pytest --last-failed --last-failed-no-failures none
LOCK := requirements-dev.lock
# What tests/browser needs, and what of it is not here.
BROWSING := chromium
MISSING = $(strip $(foreach program,$(BROWSING),$(if $(shell command -v $(program)),,$(program))))
# Tests that start servers, installers and other programs, or kill servers again and again; then those that take longest of the others.
SLOW_TESTS := browser crash docs etc live archives/test_archives_tar.py changelog/test_changelog_recovery.py \
	view/test_view_fold_property.py view/test_view_newest.py web/test_web_seeing.py web/test_web_bad_input.py \
	gc/test_gc_race.py cli/test_commands_resync.py server/test_server_many_replicas.py \
	web/handlers/test_web_docs.py web/handlers/test_web_upload_races.py
# What runs over the cluster form in each run, and what is known to.
CLUSTER_TESTS := web/handlers/test_web_upload.py web/handlers/test_web_removal.py push/test_push_request.py \
	mirror/test_mirror_full_log.py \
	web/test_web_files.py::test_external_urls_lead_to_the_upstream_while_the_file_is_not_here
ALL_CLUSTER_TESTS := push mirror web/browser web/forwarding web/handlers web/receiving web/replication web/transport \
	web/test_web_files.py web/test_web_indexes.py web/test_web_permissions.py web/test_web_policies.py web/test_web_projects.py \
	web/test_web_protected.py web/test_web_releases.py web/test_web_simple.py web/test_web_stages.py

.PHONY: help serve test test-quick test-cluster check-style check-types check-behaviour check-cluster check-quickly bench soak docs screenshots lock programs clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

serve: $(VENV)/installed
	@echo "Starting a server on the directory ./data; Ctrl-C stops it."
	$(BIN)/twistpi serve --serverdir ./data

test: check-style check-types check-behaviour check-cluster

test-cluster: programs $(VENV)/installed-to-test
	$(PYTEST) --cluster $(addprefix tests/,$(ALL_CLUSTER_TESTS)) $(PYTEST_ARGUMENTS)

test-quick: check-style check-types check-quickly

check-style: $(VENV)/installed-to-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

check-types: $(VENV)/installed-to-test
	$(BIN)/mypy

# What fails while everything runs at once is run again by itself, after its failure was shown: what passes then depends on how busy
# the machine is, which is a fault of the test or the program, and is named.
check-behaviour: programs $(VENV)/installed-to-test
	$(PYTEST) $(if $(MISSING),--ignore=tests/browser) $(PYTEST_ARGUMENTS) || { status=$$?; test $$status = 1 || exit $$status; \
		echo "Running what failed again, by itself."; \
		$(AGAIN) && echo "What failed above passed by itself: it depends on how busy the machine is. Please mend or report it."; }
	@test -z "$(MISSING)" || echo "Left out: tests/browser, which need $(MISSING). As root: apt-get install $(MISSING)"

# In one process: each would start a database and a bucket of its own.
check-cluster: programs $(VENV)/installed-to-test
	$(BIN)/python -m pytest --quiet --cluster $(addprefix tests/,$(CLUSTER_TESTS))

check-quickly: $(VENV)/installed-to-test
	$(PYTEST) $(addprefix --ignore=tests/,$(SLOW_TESTS)) $(PYTEST_ARGUMENTS)

bench: programs $(VENV)/installed-to-test
	$(BIN)/python -m bench.run --write-docs
	$(BIN)/python -m bench.peers --write-docs

soak: $(VENV)/installed-to-test
	$(BIN)/python -m bench.soak $(SOAK_ARGUMENTS)

docs: $(VENV)/installed-to-test
	$(BIN)/twistpi settings > docs/settings.rst.new
	mv docs/settings.rst.new docs/settings.rst
	$(BIN)/python docs/commands_page.py > docs/commands.rst.new
	mv docs/commands.rst.new docs/commands.rst
	$(BIN)/python -m sphinx -W -n -q docs docs/_build/html

screenshots: programs $(VENV)/installed-to-test
	$(BIN)/python -m tests.browser.readme_pictures

# What the tests put in front, and the measurements compare with and load with; installed where that is possible.
# Without a browser its tests are left out, except in continuous integration.
programs:
	@if ! command -v nginx >/dev/null || ! command -v wrk >/dev/null || ! command -v curl >/dev/null \
		|| ! command -v systemd-analyze >/dev/null || ! command -v rsync >/dev/null; then \
		if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
				nginx-light wrk curl systemd rsync; \
		else echo "install nginx, wrk, curl, rsync and systemd-analyze first" >&2; exit 1; fi; fi
	@if test -z "$(wildcard /usr/lib/postgresql/*/bin/postgres)" && ! command -v postgres >/dev/null; then \
		if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends postgresql; \
		else echo "install postgresql first" >&2; exit 1; fi; fi
	@if ! command -v pgbouncer >/dev/null; then \
		if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends pgbouncer; \
		else echo "install pgbouncer first" >&2; exit 1; fi; fi
	@if test -n "$(MISSING)" && test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
			$(MISSING) fonts-dejavu-core; fi
	@test "$$CI" != true || for program in $(BROWSING); do \
		command -v $$program >/dev/null || { echo "install $$program first" >&2; exit 1; }; done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "twistpi needs Python 3.11 or newer; say which: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "Making a Python environment in $(VENV)."
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml $(LOCK) | $(VENV)/bin/python
	@echo "Installing twistpi and what it needs into $(VENV), which takes a minute or two."
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable .
	@touch $@

$(VENV)/installed-to-test: pyproject.toml $(LOCK) | $(VENV)/bin/python
	@echo "Installing twistpi, what it needs and what its tests need into $(VENV), which takes a few minutes."
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable ".[test]"
	@touch $@ $(VENV)/installed

# Installs uv alone first: also a lock that cannot be installed can be renewed.
lock: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra test --no-annotate \
		--custom-compile-command "make lock" --output-file $(LOCK) pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
