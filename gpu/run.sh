#!/usr/bin/env bash
# Runs the GPU kit's stages on the machine with the card: gpu/run.sh [--rehearse] [STAGE ...]
# Unpacks build/gpu-kit/pieces first and installs what is in there, all below build/gpu-kit; needs no
# network and writes one JSON file, by default in benchmarks/results. RESULTS, PYTHON: other choices.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
kit=build/gpu-kit/kit
export PYTHONUNBUFFERED=1

bash gpu/setup.sh "$PYTHON" "$kit"
export PYTHONPATH="$PWD/build/gpu-kit/packages:$PWD"
export FGDM_KERNELS="$PWD/$kit/programs/libfgdm_kernels.so"
if [ -z "${FGDM_ONNXRUNTIME:-}" ]; then
  FGDM_ONNXRUNTIME=$(ls "$PWD/$kit"/onnxruntime/libonnxruntime.so.* 2>/dev/null | head -1)
  export FGDM_ONNXRUNTIME
fi
card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 | tr ' ' '-' || true)
exec "$PYTHON" -m gpu.run --results "${RESULTS:-benchmarks/results/${card:-rehearsal}.json}" "$@"
