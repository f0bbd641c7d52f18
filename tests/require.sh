#!/usr/bin/env bash
# The system packages that the tests need (tests/system_packages.txt): installed where that is possible, else named.
# A line is a program and, where it is called otherwise, the package that has it.
set -euo pipefail
missing=()
while read -r program package; do
    command -v "$program" >/dev/null || missing+=("${package:-$program}")
done <"$(dirname "$0")/system_packages.txt"
((${#missing[@]})) || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "millrace: installing ${missing[*]} for the tests" >&2
    { apt-get update -qq && apt-get install -y -qq "${missing[@]}"; } >/dev/null
else
    echo "the tests need ${missing[*]}: install them with the system's package manager, then run the same command" >&2
    exit 1
fi
