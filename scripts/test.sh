#!/usr/bin/env bash
# Install what the tests need, then run a tier of them: `check` (no torch, no ComfyUI, no browser) or `all`, which is what CI runs.
# Further arguments go to pytest. WORKERS processes run side by side, 2 unless told otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${VENV:-.venv}/bin/python
export HF_HUB_OFFLINE=1
tier=${1:-all}
shift || true

case $tier in
  check)
    selected=(-n "${WORKERS:-2}" -m quick)
    "${PYTHON:-python3}" -m scripts.programs node
    scripts/install.sh pack test ;;
  all)
    selected=(-n "${WORKERS:-2}" --durations=10)
    "${PYTHON:-python3}" -m scripts.programs chromium node
    scripts/install.sh pack optim host test ;;
  *) echo "there is no tier '$tier'; tiers: check all" >&2; exit 2 ;;
esac
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two workers with a thread a core each would wait for each other
scripts/lint.sh
"$python" -m compileall -q kohya_bridge nodes scripts tests # the tests start hundreds of processes that import these
"$python" -m pytest "${selected[@]}" "$@"
