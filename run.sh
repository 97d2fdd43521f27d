#!/usr/bin/env bash
# One command: an environment, the tool, the demo.  Arguments go to `smalti run` (for instance --threads 1).
set -euo pipefail
cd "$(dirname "$0")"
if [ ! -x .venv/bin/python ]; then "${PYTHON:-python3}" -m venv .venv; fi
# Editable, so that the environment of scripts/test and this one are the same.
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e .
exec .venv/bin/smalti run --output-dir output "$@"
