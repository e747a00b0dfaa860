#!/usr/bin/env bash
# gpu/setup.sh PYTHON KIT: unpacks the kit's pieces and installs what is in it beside it. Without a
# network; what is there already stays.
set -euo pipefail
python=$1 kit=$2
folder=$(dirname "$kit")

if [ ! -d "$kit" ]; then
  if [ ! -f "$folder/pieces/pieces.json" ]; then
    echo "there is no GPU kit in $folder: run make gpu-kit on a machine with a network, and copy" \
      "$folder/pieces here (docs/gpu.md)" >&2
    exit 1
  fi
  "$python" -m gpu.pieces "$folder/pieces" "$kit"
fi
if [ ! -f "$folder/packages/.ready" ]; then
  rm -rf "$folder/packages"
  install=("$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps
    --no-compile --target "$folder/packages")
  "${install[@]}" "$kit"/wheels/*.whl
  if ! PYTHONPATH="$folder/packages" "$python" -c 'import fgdm._core' 2>/dev/null; then
    echo "gpu/setup.sh: no wheel of fgdm for $("$python" --version) in the kit; building it"
    PYTHONPATH="$folder/packages" "${install[@]}" --upgrade --no-build-isolation .
  fi
  touch "$folder/packages/.ready"
fi
