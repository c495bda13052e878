#!/usr/bin/env bash
# Snakemake runs this in the new environment, from the folder of the Snakefile; no checkout where a wheel wrote it.
set -euo pipefail
if [ -f pyproject.toml ]; then package=(--editable ".[models]"); else package=("cuts3d[models]"); fi
python -m pip install --constraint constraints.txt "${package[@]}"
