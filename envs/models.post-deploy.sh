#!/usr/bin/env bash
# Snakemake runs this in the new environment, from the folder of the Snakefile.
set -euo pipefail
python -m pip install --constraint constraints.txt --editable ".[models]"
