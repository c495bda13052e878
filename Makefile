# make demo: install, then run the whole workflow on the sample. make test: install, then run linters, build the docs and run the tests.
# make docs: install, then build the documentation site, which is read without a server or a network: runs/site/index.html.
# make coverage: run the tests with line coverage of the package (runs/coverage/index.html).
# make photos: install, download 96 photographs of COCO (or use PHOTOS=DIR) and evaluate pseudo-masks of them.
# Requires Python 3.11 or newer with venv, and make. The virtual environment is .venv; PYTHON=python3.12 selects a Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
PHOTOS ?=

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo photos test docs coverage lint format clean

demo: $(VENV)/.installed
	snakemake --cores $(CORES)

photos: $(VENV)/.installed
	python scripts/get_photos.py runs/photos/data $(if $(PHOTOS),--source "$(PHOTOS)")
	snakemake --cores $(CORES) --configfile photos.yaml

test: $(VENV)/.installed lint docs
	@python -c 'import sys, torch; print("Python", sys.version, "torch", torch.__version__)'
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict --quiet
	@echo "documentation: $(CURDIR)/runs/site/index.html"

coverage: $(VENV)/.installed
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile --cov --cov-report term --cov-report html

lint: $(VENV)/.installed
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile rules

format: $(VENV)/.installed
	ruff check --fix .
	ruff format .
	snakefmt Snakefile rules

$(VENV)/.installed: pyproject.toml constraints.txt envs/opencv_headless.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[detector,models,workflow,dev,docs]"
	bash envs/opencv_headless.sh
	touch $@

clean:
	rm -rf $(VENV) runs .cuts3d .snakemake
