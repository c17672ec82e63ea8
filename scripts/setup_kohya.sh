#!/usr/bin/env bash
# Set up the kohya engine: sd-scripts at the pinned commit, its own interpreter with its own pins, and a smoke test.
# Safe to run again; nothing of sd-scripts is changed. uv is used where it is installed.
#
#   EXTRAS            optional packages, such as EXTRAS="bitsandbytes xformers tensorboard wandb lycoris-lora"
#   PYTHON            interpreter that makes the environment (default python3; 3.10 to 3.12 suit sd-scripts best)
#   KOHYA_VENV        where the environment lies (default .venv-kohya)
#   KOHYA_SD_SCRIPTS  a checkout to use instead of the submodule (a kohya_ss folder with sd-scripts/ inside will do)
#   WIZDROID_TORCH    a requirement such as torch==2.13.0; else constraints-cpu.txt without a GPU, the newest with one
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${KOHYA_VENV:-.venv-kohya}
python=$venv/bin/python
pinned=$(cat training/kohya/VERSION)
upstream=https://github.com/kohya-ss/sd-scripts
say() { printf 'kohya: %s\n' "$*"; }
die() { printf 'kohya: %s\n' "$*" >&2; exit 1; }

# --- the checkout
checkout=${KOHYA_SD_SCRIPTS:-third_party/kohya_ss}
if [ ! -f "$checkout/train_network.py" ] && [ -f "$checkout/sd-scripts/train_network.py" ]; then
  checkout=$checkout/sd-scripts
fi
if [ ! -f "$checkout/train_network.py" ]; then
  [ -z "${KOHYA_SD_SCRIPTS:-}" ] || die "KOHYA_SD_SCRIPTS=$KOHYA_SD_SCRIPTS holds no train_network.py."
  say "getting sd-scripts $pinned"
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1 && git ls-files --error-unmatch third_party/kohya_ss >/dev/null 2>&1; then
    git submodule update --init --depth 1 third_party/kohya_ss
  else # installed without git: the registry ships an archive
    git clone --quiet --filter=blob:none "$upstream" third_party/kohya_ss
    git -C third_party/kohya_ss checkout --quiet "$pinned"
  fi
fi
have=$(git -C "$checkout" rev-parse HEAD 2>/dev/null || echo unknown)
[ "$have" = "$pinned" ] || say "the checkout is at $have; this pack is tested with $pinned"

# --- the interpreter
if command -v uv >/dev/null; then
  [ -x "$python" ] || uv venv --quiet --python "${PYTHON:-python3}" "$venv"
  pip() { uv pip "$1" --quiet --python "$python" "${@:2}"; }
else
  [ -x "$python" ] || "${PYTHON:-python3}" -m venv "$venv"
  pip() { "$python" -m pip --disable-pip-version-check -qq "$@"; }
fi

constraints=$venv/constraints.txt
gpu=false
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then gpu=true; fi
if [ -n "${WIZDROID_TORCH:-}" ]; then
  echo "$WIZDROID_TORCH" >"$constraints"
elif $gpu; then
  : >"$constraints"
else
  cp requirements/constraints-cpu.txt "$constraints"
fi
say "torch ($($gpu && echo 'for the GPU' || grep -v '^#' "$constraints" | tr -d '\n'))"
if $gpu; then
  pip install -c "$constraints" torch torchvision
else
  # There is no CPU build of torchvision in every registry. sd-scripts takes only its pure-Python transforms, which the
  # runner can import from any build of the matching version.
  pip install -c "$constraints" torch
  minor=$("$python" -c 'import importlib.metadata as m; print(m.version("torch").split("+")[0].split(".")[1])')
  pip install --no-deps "torchvision==0.$((minor + 15)).*"
fi

# --- sd-scripts' own pins. Left out: the checkout itself (its scripts run from where they lie), what is optional, and the
# desktop build of OpenCV (the headless one needs no display libraries).
say "sd-scripts' pinned requirements"
requirements=$venv/sd-scripts-requirements.txt
grep -Ev '^[[:space:]]*(#|$|-e|torch|torchvision|bitsandbytes|tensorboard|xformers|wandb)' "$checkout/requirements.txt" |
  sed -E 's/^opencv-python==/opencv-python-headless==/' >"$requirements"
pip install -c "$constraints" -r "$requirements" psutil
for extra in ${EXTRAS:-}; do
  say "optional: $extra"
  pip install -c "$constraints" "$extra" || die "$extra could not be installed; the rest is set up."
done

# --- smoke test: the script's own help, and every hook
say "smoke test"
"$python" - "$checkout" >/dev/null <<'PY' || die "train_network.py --help failed; see above."
import runpy, sys
from pathlib import Path
from kohya_bridge.engines.kohya.upstream import make_torchvision_importable

make_torchvision_importable()
checkout = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(checkout))
sys.argv = ["train_network.py", "--help"]
try:
    runpy.run_path(str(checkout / "train_network.py"), run_name="__main__")
except SystemExit as end:
    sys.exit(end.code)
PY
told=$("$python" -m kohya_bridge.engines.kohya.probe "$checkout" | tail -1)
echo "$told" | "$python" -c '
import json, sys
hooks = json.load(sys.stdin)["hooks"]
if hooks != {"missing": []}:
    sys.exit("kohya: the hooks do not fit this sd-scripts: " + json.dumps(hooks))'
say "ready: $("$python" -V), sd-scripts $have in $checkout"
say "python -m kohya_bridge doctor shows the details"
