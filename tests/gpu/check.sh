#!/usr/bin/env bash
# What a GPU is checked for, in at most six minutes: `tests/gpu/check.sh cuda`. Without an argument
# the same on the CPU, with little of everything, which `make test` does.
# PYTHON names the interpreter; FASHION_MNIST the folder with its four files, where it is elsewhere
# than Debian's package puts them.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec "${PYTHON:-python3}" tests/gpu/check.py "${1:-cpu}"
