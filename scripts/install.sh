#!/usr/bin/env bash
# The same as `python -m scripts.install` (which runs on every system): scripts/install.sh [pack] [optim] [host] [test]
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m scripts.install "$@"
