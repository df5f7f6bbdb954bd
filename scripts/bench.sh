#!/usr/bin/env bash
# Measures `tidegate` side by side with a bare client, both against `tidegate sim` on the loopback interface.
#
#   scripts/bench.sh [e2e|latency|h2|memory|resume|startup|all|memory10m|instructions|cache|build] [--rounds N]
#
# `all`, which is the default, leaves out the last four: `memory10m` (ten million rows, 12 GB of disk, some minutes),
# `instructions` (needs valgrind), `cache` (a million answers, or as many as --answers says; 3 GB of disk) and `build` (a
# cold build). What each shows is in docs/benchmarks.md. $PROFILE is what all binaries are built with: `release`, or `dist`
# as they are shipped. $TIDEGATE_BIN, $SIM_BIN and $FLOOR_BIN name binaries to use in place of those built here, to compare two
# builds.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=all
[[ $# -eq 0 || $1 == -* ]] || { mode=$1; shift; }
if [[ $mode == build ]]; then
    exec python3 scripts/bench_build.py
fi
if [[ $mode == cache ]]; then
    [[ $# -gt 0 ]] || set -- --answers 1000000
    exec cargo bench --locked -p tidegate --features cache --bench cache -- "$@"
fi
profile=${PROFILE:-release}
cargo build --locked --profile "$profile" -p tidegate-cli
floor=$(cargo build --locked --profile "$profile" -p tidegate --bench floor --message-format=json |
    python3 -c 'import json, sys
found = [json.loads(line).get("executable") for line in sys.stdin if "\"floor\"" in line]
print(next(path for path in found if path))')
built=${CARGO_TARGET_DIR:-target}/$profile/tidegate
exec python3 scripts/bench_run.py "$mode" --tidegate "${TIDEGATE_BIN:-$built}" --sim "${SIM_BIN:-$built}" \
    --floor "${FLOOR_BIN:-$floor}" "$@"
