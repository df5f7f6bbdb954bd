#!/usr/bin/env bash
# Measures `tidegate` side by side with a bare client, both against `tidegate sim` on the loopback interface.
#
#   scripts/bench.sh [e2e|latency|h2|memory|memory10m|resume|startup|build|all] [--rounds N]
#
# `all`, which is the default, leaves out `memory10m` (ten million rows, 12 GB of disk, some minutes) and `build` (a cold
# build). What each shows is in docs/benchmarks.md. $TIDEGATE_BIN, $SIM_BIN and $FLOOR_BIN name binaries to use in place of
# those built here, to compare two builds.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=all
[[ $# -eq 0 || $1 == -* ]] || { mode=$1; shift; }
if [[ $mode == build ]]; then
    exec python3 scripts/bench_build.py
fi
cargo build --locked --release -p tidegate-cli
floor=$(cargo build --locked --release -p tidegate --bench floor --message-format=json |
    python3 -c 'import json, sys
found = [json.loads(line).get("executable") for line in sys.stdin if "\"floor\"" in line]
print(next(path for path in found if path))')
built=${CARGO_TARGET_DIR:-target}/release/tidegate
exec python3 scripts/bench_run.py "$mode" --tidegate "${TIDEGATE_BIN:-$built}" --sim "${SIM_BIN:-$built}" \
    --floor "${FLOOR_BIN:-$floor}" "$@"
