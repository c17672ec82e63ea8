#!/usr/bin/env bash
# Train a character from a shell: check what is needed, train, and leave the log where people look for it.
#
#   scripts/train_lora.sh CONFIG [options of `python -m kohya_bridge train`]
#   scripts/train_lora.sh alice --set unet_lr=5e-5
#
# CONFIG is a YAML file or the name of one. A name without a config takes the template $TEMPLATE (default sd15_character) with
# the dataset of that name and the base model $BASE. The run goes on when this terminal is closed; the same command again attaches.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
config=$1; shift
python=${PYTHON:-$root/${VENV:-.venv}/bin/python}
[ -x "$python" ] || python=$(command -v python3)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; $python is older." >&2; exit 6; }
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("torch", "diffusers", "peft", "pydantic"))))' || {
  echo "Packages are missing. Install them with scripts/install.sh pack, or pip install -r $root/requirements.txt; \`python -m kohya_bridge doctor\` says which." >&2
  exit 6
}

workspace=${WIZDROID_TRAINING:-$root/training}
if [ ! -f "$config" ] && [ ! -f "$workspace/kohya/configs/$config.yaml" ] && [ ! -f "$root/training/kohya/configs/$config.yaml" ]; then
  [ -n "${BASE:-}" ] || { echo "There is no config '$config'. To train the dataset of that name, name a base model: BASE=model.safetensors" >&2; exit 4; }
  set -- --set "dataset=$config" --set "base_model=$BASE" "$@"
  config=${TEMPLATE:-sd15_character}
fi
exec "$python" -m kohya_bridge train "$config" --wait "$@"
