#!/usr/bin/env bash
# Print the id of a character's newest run: scripts/newest_run.sh CHARACTER
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/${VENV:-.venv}/bin/python}
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
"$python" -m kohya_bridge runs "$1" --json | "$python" -c '
import json, sys
row = next(iter(sys.stdin), "")
sys.exit(f"There is no run of {sys.argv[1]!r} yet." if not row else print(json.loads(row)["run_id"]))' "$1"
