#!/usr/bin/env bash
# The system packages that the tests need (tests/system_packages.txt): installed where that is possible, else named.
set -euo pipefail
mapfile -t wanted <"$(dirname "$0")/system_packages.txt"
missing=()
for program in "${wanted[@]}"; do command -v "$program" >/dev/null || missing+=("$program"); done
((${#missing[@]})) || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "millrace: installing ${missing[*]} for the tests" >&2
    { apt-get update -qq && apt-get install -y -qq "${missing[@]}"; } >/dev/null
else
    echo "the tests need ${missing[*]}: install them with the system's package manager, then run the same command" >&2
    exit 1
fi
