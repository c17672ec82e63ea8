#!/usr/bin/env bash
# Install what the tests need, then run a tier of them: `check` (no torch, no ComfyUI, no browser) or `all`, which is what CI runs.
# Further arguments go to pytest. WORKERS processes run side by side: tests wait for processes half of their time, so unless told
# otherwise there are more of them than cores, two for each core in `check` and one more than cores in `all`.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${VENV:-.venv}/bin/python
export HF_HUB_OFFLINE=1
tier=${1:-all}
shift || true
cores=$("${PYTHON:-python3}" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')

case $tier in
  check)
    selected=(-n "${WORKERS:-$((2 * cores))}" -m quick)
    "${PYTHON:-python3}" -m scripts.programs node
    scripts/install.sh pack test ;;
  all)
    selected=(-n "${WORKERS:-$((cores + 1))}" --durations=10)
    "${PYTHON:-python3}" -m scripts.programs chromium node
    scripts/install.sh pack optim host test ;;
  *) echo "there is no tier '$tier'; tiers: check all" >&2; exit 2 ;;
esac
unset PYTHONDONTWRITEBYTECODE # pytest keeps the tests that it has rewritten, which is most of the time until the first one runs
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # several workers with a thread a core each would wait for each other

"$python" -m ruff check . # in no time; what takes seconds is read beside the tests
read_log=$(mktemp)
scripts/lint.sh >"$read_log" 2>&1 &
reading=$!
trap 'kill $reading 2>/dev/null || true; rm -f "$read_log"' EXIT
status=0
"$python" -m compileall -q kohya_bridge nodes scripts tests # the tests start hundreds of processes that import these
"$python" -m pytest "${selected[@]}" "$@" || status=$?
wait $reading || { status=1; echo "lint failed:"; }
cat "$read_log"
exit $status
