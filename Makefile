# make course   set up, run the notebooks, build the site, print its address
# make test     test the package, the notebooks and the site
# make lab      JupyterLab on your own copy of the course (my-course/)
# make outputs  write fresh outputs into notebooks/ (for those who change them)
# make bench    speed as ratios, also in _build/benchmarks.json, and what chapters and measuring cost,
#               into README and site (half an hour; let the machine be idle); without the checks
#               of shapes that the tests switch on
# make mutants  which changes to the code no test notices (installs mutmut; an hour or less)
# make clean    remove what was built; the environment and my-course/ stay
#
# Each of them makes the environment (.venv) first if it is missing or out of date.

PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
READY := .venv/.ready
# With uv, if it is there, the same versions: faster, and on Linux without an NVIDIA card with
# PyTorch's CPU build, a third of the size. Where PyTorch's own index is out of reach, as with pip.
ifeq ($(shell uv --version 2>/dev/null),)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
else
INSTALL := uv pip install --quiet --python $(BIN)/python
SMALL := --torch-backend auto
endif

export OMP_NUM_THREADS := 1

.PHONY: course test lab outputs bench mutants clean

course: $(READY)
	@$(BIN)/python -m ncourse.course.cli build

test: $(READY)
	@$(BIN)/python -m ncourse.course.cli test

lab: $(READY)
	@$(BIN)/python -m ncourse.course.cli lab

outputs: $(READY)
	@$(BIN)/python -m ncourse.course.cli outputs

bench: $(READY)
	@$(BIN)/python -m pytest -o addopts=--import-mode=importlib -m bench -s --benchmark-json=_build/benchmarks.json tests/bench
	@$(BIN)/python tests/bench/cost.py
	@$(BIN)/python -m ncourse.course.cli sync || $(BIN)/python -m ncourse.course.cli sync # 1: changed

mutants: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt mutmut==3.8.1
	@for module in simplex claims tables ufm metrics; do $(BIN)/python tests/mutants.py $$module; done

clean:
	rm -rf _build build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "ncourse needs Python 3.11 or newer; this is %d.%d. Name one: make PYTHON=python3.11" % v[:2])'
	@echo "Setting up .venv: some minutes and gigabytes, once."
	$(PYTHON) -m venv .venv
	$(INSTALL) $(SMALL) -c constraints.txt -e ".[dev]" $(if $(SMALL),|| $(INSTALL) -c constraints.txt -e ".[dev]")
	@touch $@
