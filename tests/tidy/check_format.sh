#!/bin/bash
# Fails if clang-format 14 would change a tracked C or C++ file.  check_format.sh ROOT [--fix]
set -euo pipefail
cd "$1"
if ! command -v clang-format-14 > /dev/null; then
  echo "check_format.sh: clang-format-14 is missing: apt-get install clang-format-14" >&2
  exit 1
fi
mapfile -d '' -t files < <(git ls-files -z -- '*.cc' '*.hh' '*.c' '*.h')
if [ "${#files[@]}" -eq 0 ]; then
  echo "check_format.sh: no tracked files in $1" >&2
  exit 1
fi
if [ "${2:-}" = --fix ]; then
  clang-format-14 -i "${files[@]}"
else
  printf '%s\0' "${files[@]}" | xargs -0 -n 40 clang-format-14 --dry-run --Werror
fi
echo "format: ok (${#files[@]} files)"
