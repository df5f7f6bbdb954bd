#!/usr/bin/env bash
# Runs `tidegate` and two simple clients against the same simulated limits over HTTP, and writes what was measured to
# docs/design/comparison.md, with plots.
#
#   scripts/compare.sh [--rounds N] [--parallel N] [--only CASE,…]
#   scripts/compare.sh --render     # the page again, from the numbers of the last time
#
# $TIDEGATE_BIN names a binary to use in place of a release build made here.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ -z ${TIDEGATE_BIN:-} && ${1:-} != --render ]]; then
    cargo build --locked --release -p tidegate-cli
fi
exec python3 scripts/compare.py --tidegate "${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-target}/release/tidegate}" "$@"
