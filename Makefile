# Environments are created here: `make quickstart` and `make test` need only make and Python 3.11 or 3.12.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test test-latest test-slurm test-verl test-browser check docs test-docs bench clean

quickstart: $(VENV)/.train
	$(BIN)/octo quickstart

test: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

# The default tests with the newest version of every library that pyproject.toml allows
test-latest:
	test -x build/latest/bin/python || $(PYTHON) -m venv build/latest
	build/latest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[train,study,dev]'
	build/latest/bin/python -m pytest -n 2 --dist worksteal -q

# Tests with a real Slurm on the loopback interface, as root, on Debian or Ubuntu; takes some minutes
test-slurm: $(VENV)/.dev
	( PATH="$$PATH:/usr/sbin"; for name in munged slurmctld slurmd sbatch; do command -v $$name || exit 1; done ) || \
	  { apt-get update && apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge; }
	$(BIN)/python -m pytest -m "engine and not slow" tests/curation/test_cluster.py tests/training/test_slurm.py -q

# RL with an installed verl, on a CPU
test-verl: $(VENV)/.dev
	$(INSTALL) --editable '.[train,verl,study,dev]'
	$(BIN)/python -m pytest -m engine -q tests/rl

# Types and import contracts
check: $(VENV)/.dev
	$(BIN)/pyright
	$(BIN)/lint-imports

# The generated pages of docs/, then the site in build/site
docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site

# The blocks of docs/tour.md, run as one script
test-docs: docs
	$(BIN)/python -m pytest -q -m slow tests/test_tour.py

# Reports and `octo ui` in headless Chromium, which is installed if it is missing (as root, on Debian or Ubuntu)
test-browser: $(VENV)/.dev
	$(INSTALL) --editable '.[browser]'
	command -v chromium || command -v chromium-browser || command -v google-chrome || apt-get install --yes chromium
	$(BIN)/python -m pytest -q -m engine tests/octo/test_browser.py

bench: $(VENV)/.dev
	for name in identity grading curation mixtures training; do $(BIN)/python -m benchmarks.$$name || exit; done

$(VENV)/.train: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[train,study,dev]'
	touch $@ $(VENV)/.train

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
