#!/usr/bin/env bash
# Runs the commands of README.md and docs/ as a reader would, against the simulated provider: what only looks right may fail.
#
# $TIDEGATE_BIN names the binary (default: the debug build).
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-target}/debug/tidegate}
[[ -x $binary ]] || { echo "run-docs: no binary at $binary; run 'cargo build --workspace' or set TIDEGATE_BIN" >&2; exit 2; }
python3 scripts/run_docs.py "$(realpath "$binary")" "$@"
