#!/usr/bin/env bash
# Print the id of a character's newest run: scripts/newest_run.sh CHARACTER. The same as `python -m scripts.newest_run`.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/${VENV:-.venv}/bin/python}
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m scripts.newest_run "$@"
