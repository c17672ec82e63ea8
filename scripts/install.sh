#!/usr/bin/env bash
# Make .venv and install the named groups into it: pack, optim, host, test. A second call with nothing changed is instant.
#
#   PYTHON          interpreter that makes the environment (default python3)
#   VENV            where it lies (default .venv)
#   WIZDROID_CACHE  where packages lie that only the ComfyUI host or the tests see (default .cache)
#   WIZDROID_TORCH  a requirement such as torch==2.13.0, in place of the default: constraints-cpu.txt without a GPU,
#                   the newest torch with one; a torch that is installed already is kept
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
cache=${WIZDROID_CACHE:-.cache}
python=$venv/bin/python
groups=("${@:-pack}")

stamp=$venv/.installed
wanted=$(cat requirements.txt requirements/*.txt scripts/install.sh | sha256sum | cut -d' ' -f1)-${WIZDROID_TORCH:-default}
missing=()
for group in "${groups[@]}"; do
  [ "$(cat "$stamp-$group" 2>/dev/null || true)" = "$wanted" ] || missing+=("$group")
done
[ ${#missing[@]} -gt 0 ] || exit 0

[ -x "$python" ] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$python" -m pip --disable-pip-version-check -qq "$@"; }
say() { printf 'install: %s\n' "$*"; }

constraints=$venv/constraints.txt
installed=$("$python" -c 'import importlib.metadata as m; print("torch==" + m.version("torch").split("+")[0])' 2>/dev/null || true)
if [ -n "${WIZDROID_TORCH:-}" ]; then
  echo "$WIZDROID_TORCH" >"$constraints"
elif command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
  echo "$installed" >"$constraints"
else
  cp requirements/constraints-cpu.txt "$constraints"
fi

say "torch ($(grep -v '^#' "$constraints" | tr -d '\n' | sed 's/^$/newest/'))"
pip install -c "$constraints" torch
for group in "${missing[@]}"; do
  say "$group"
  case $group in
    pack) pip install -c "$constraints" -r requirements.txt ;;
    optim) pip install -c "$constraints" -r requirements/optim.txt ;;
    test)
      pip install -c "$constraints" -r requirements/test.txt
      pip install --no-deps -r requirements/test-no-deps.txt
      pip install --no-deps --upgrade --target "$cache/newest-frontend" -r requirements/newest-frontend.txt
      # The panel's types are checked where npm is; the panel itself needs no package of it.
      ! command -v npm >/dev/null || npm install --silent --no-fund --no-audit --prefix "$cache/npm" typescript@5 >/dev/null
      ;;
    host)
      pip install -c "$constraints" -r requirements/host.txt
      pip install --no-deps -r requirements/host-no-deps.txt
      pip install --no-deps --upgrade --target "$cache/host/torchvision" -r requirements/host-torchvision.txt
      ;;
    *) say "there is no group '$group'; groups: pack optim host test" >&2; exit 2 ;;
  esac
  echo "$wanted" >"$stamp-$group"
done
if "$python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torchvision") is None)'; then
  [ -n "$(command -v nvidia-smi || true)" ] || say "torchvision is in $venv; without a GPU build it breaks diffusers: pip uninstall torchvision" >&2
fi
