# make demo    separate a real song and read its pitch
# make test    run the tests; arguments for pytest: make test ARGS="-k pitch"
# make lint    check style and which room imports which
# make wheel   build dist/*.whl
# make clean   remove everything that was made
#
# Each sets up .venv first, which takes a few minutes once. Variables:
#   PYTHON        interpreter that .venv is made of
#   CONSTRAINTS   versions for pip; on a machine with a GPU leave them out: make demo CONSTRAINTS=

PYTHON ?= $(shell command -v python3.11 || echo python3)
CONSTRAINTS ?= constraints-cpu.txt
ARGS ?=

# Set on many images. Without bytecode every process compiles torch and transformers again, 8 s each.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
INSTALLED := $(VENV)/.installed
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check

.PHONY: help demo test lint wheel clean transformers-source

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@echo "Setting up $(VENV) (a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --no-compile $(addprefix --constraint ,$(CONSTRAINTS)) --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/python scripts/demo.py

test: $(INSTALLED) transformers-source
	@$(BIN)/python -m pytest $(ARGS)

# transformers' common tests are in its source distribution only; without it they are skipped.
transformers-source: $(INSTALLED)
	@version=$$($(BIN)/python -c "from importlib.metadata import version; print(version('transformers'))"); \
	test -f .cache/transformers-$$version.tar.gz \
	|| $(PIP) download --dest .cache --no-deps --no-binary transformers transformers==$$version \
	|| echo "transformers' source could not be fetched; its common tests will be skipped."

lint: $(INSTALLED)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-logo

wheel: $(INSTALLED)
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache build dist demo_output
