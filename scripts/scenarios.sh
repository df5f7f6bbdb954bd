#!/usr/bin/env bash
# Runs every scenario of crates/tidegate/tests/scenarios and writes what they reach into docs/design/scheduling.md, whole,
# from this one run. Nothing is written where a scenario misses what it promises.
set -euo pipefail
cd "$(dirname "$0")/.."
page=docs/design/scheduling.md
table=$(cargo test --locked -p tidegate --test scenarios -- --nocapture | grep '^|')
awk -v table="$table" '
    /^<!-- \/scenarios -->/ { inside = 0 }
    !inside { print }
    /^<!-- scenarios -->/ { inside = 1; print ""; print table; print "" }
' "$page" >"$page.new"
mv "$page.new" "$page"
