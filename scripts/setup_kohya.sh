#!/usr/bin/env bash
# Set up the kohya engine. The same as `python -m scripts.setup_kohya`, which runs on every system and names the variables.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m scripts.setup_kohya "$@"
