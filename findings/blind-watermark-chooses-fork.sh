#!/usr/bin/env bash
# Importing blind-watermark makes "fork" the way in which the whole program starts processes, or fails where it can't.
#
# Packages: blind-watermark 0.4.4.
# Documentation: Python's multiprocessing, set_start_method: "should be protected inside the if __name__ == '__main__' clause" and
#   called at most once in a program; a library should use get_context instead. The package says nothing of it.
# Expected: an import changes nothing outside of the package; modes that start no process don't need any.
# Seen: its module pool calls multiprocessing.set_start_method("fork") when it is imported. Where the program chose "spawn", or has
#   made a queue before, the import raises RuntimeError; where it comes first, the program's own choice raises.
# For diffusion models: forking a process that holds CUDA, a runtime's threads or an event loop breaks it, so servers of models choose
#   "spawn", and then can't import the package. Importing it with multiprocessing.set_start_method replaced by a no-op is enough.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 opencv-python-headless==5.0.0.93 PyWavelets==1.9.0
"$place/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps blind-watermark==0.4.4
cd "$place"
python="$place/venv/bin/python"
changed() { echo "changed: $*"; exit 1; }
told=$("$python" -c 'import multiprocessing, blind_watermark; print(multiprocessing.get_start_method(allow_none=True))')
echo "after the import alone, processes start by: $told"
[ "$told" = fork ] || changed "the import leaves the start method alone"
for first in 'multiprocessing.set_start_method("spawn")' 'multiprocessing.Queue()'; do
  if told=$("$python" -c "import multiprocessing; $first; import blind_watermark" 2>&1); then
    changed "it can be imported after $first"
  fi
  echo "after $first: ${told##*$'\n'}"
  case $told in *"context has already been set") ;; *) changed "another error" ;; esac
done
echo 'as recorded: the import sets "fork", or raises'
