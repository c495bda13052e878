#!/usr/bin/env bash
# MMEngine asks for opencv-python, which needs the libraries of a desktop; its twin has the same module without windows.
set -euo pipefail
python -m pip uninstall --quiet --yes opencv-python
python -m pip install --quiet --constraint constraints.txt --force-reinstall --no-deps opencv-python-headless
