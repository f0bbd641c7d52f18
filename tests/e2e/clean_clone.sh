#!/usr/bin/env bash
# The README's first command as a newcomer runs it: a fresh clone, an empty HOME, a bare environment, no server.
# Run twice; fails unless the second run reuses everything within a fifth of the first one's time.
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'bare make -s down >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT

bare() {
    local kept=()
    while IFS= read -r name; do kept+=("$name=${!name}"); done < <(compgen -e | grep -E '^(PIP_|SSL_CERT_FILE$)' || true)
    (cd "$folder/millrace" && env -i PATH="$PATH" HOME="$folder/home" ${kept[@]+"${kept[@]}"} "$@")
}

mkdir "$folder/home"
git clone -q "$project" "$folder/millrace"
bare make install
mkdir -p "$project/.reports"
for run in first second; do
    began=$(date +%s)
    bare make -s demo JSON=1 >"$project/.reports/demo-$run.json"
    wall=$(($(date +%s) - began))
    echo "$run demo: $wall s wall"
    if [ "$run" = first ]; then most=60; else most=25; fi
    ((wall <= most)) || { echo "the $run demo took $wall s, more than $most" >&2; exit 1; }
done
bare make -s down
python3 - "$project/.reports" <<'PYTHON'
import json
import sys
from pathlib import Path

first, second = (json.loads(Path(sys.argv[1], f"demo-{name}.json").read_text()) for name in ("first", "second"))
share = second["seconds"]["total"] / first["seconds"]["total"]
print(f"first {first['seconds']}, second {second['seconds']}, share {share:.3f}")
print(f"test accuracy {first['metrics']['test_accuracy']:.4f}, {first['model']}")
assert first["state"] == "Completed", first
assert first["metrics"]["test_accuracy"] >= 0.98, first
assert second["state"] == "Unchanged", second
assert all(step["reused"] and step["why"] for step in second["steps"]), second
assert second["model"] == first["model"], second
assert share < 0.2, share
PYTHON
