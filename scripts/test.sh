#!/usr/bin/env bash
# Install what the tests need, then run every check. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${VENV:-.venv}/bin/python
export HF_HUB_OFFLINE=1
scripts/install.sh pack optim host test
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m scripts.dead_code
"$python" -m pytest --durations=10 "$@"
node --test tests/js/
