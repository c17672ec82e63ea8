#!/usr/bin/env bash
# Train a character from a shell: scripts/train_lora.sh CONFIG [options]. The same as `python -m scripts.train_lora`, which runs
# on every system and says without words how it is used.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/${VENV:-.venv}/bin/python}
[ -x "$python" ] || python=$(command -v python3)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m scripts.train_lora "$@"
