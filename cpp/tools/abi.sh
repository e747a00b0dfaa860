#!/usr/bin/env bash
# What changed in libfgdm.so's binary interface between a commit and this working tree: bash cpp/tools/abi.sh COMMIT
# Builds both with debug information in build/abi and compares them with abidiff (Debian: abigail-tools), as far as the installed
# headers declare things. Additions are fine; any other change ends with 1. CMAKE names the command, and ABI_OPTIONS are passed to it.
set -euo pipefail
cd "$(dirname "$0")/../.."
commit=${1:-}
command -v abidiff >/dev/null || { echo "abi: abidiff is missing: apt-get install abigail-tools"; exit 2; }
test -n "$commit" || { echo "abi: there is no release tag; name a commit: make abi ABI_REF=COMMIT"; exit 2; }
git rev-parse --quiet --verify "$commit^{commit}" >/dev/null || { echo "abi: $commit is no commit here"; exit 2; }

place=$PWD/build/abi
rm -rf "$place/then"
mkdir -p "$place/then"
git archive "$commit" | tar -x -C "$place/then"
build() {  # SOURCE FOLDER
  # shellcheck disable=SC2086 # options are words
  "${CMAKE:-cmake}" -S "$1" -B "$2" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_UNITY_BUILD=ON ${ABI_OPTIONS:-} >/dev/null
  "${CMAKE:-cmake}" --build "$2" --target fgdm_shared --parallel "$(nproc)" >/dev/null
  find "$2/cpp/src" -name 'libfgdm.so.*' -type f | head -1
}
then=$(build "$place/then" "$place/build-then")
now=$(build "$PWD" "$place/build-now")
compare() {
  abidiff "$@" --headers-dir1 "$place/then/cpp/include" --headers-dir2 "$PWD/cpp/include" "$then" "$now"
}
status=0
compare >"$place/report.txt" || status=$?
cat "$place/report.txt"
# abidiff's status is a sum: 1 and 2 are its own errors, 4 a change, 8 a removal.
if ((status & 3)); then
  echo "abi: abidiff failed"
  exit 2
elif ((status == 0)); then
  echo "abi: as at $commit"
elif compare --no-added-syms >/dev/null; then
  echo "abi: more than at $commit, and nothing else: programs linked to it run on"
else
  echo "abi: changed since $commit: programs linked to it must be compiled again"
  exit 1
fi
