#!/usr/bin/env bash
# Checks our Parquet and Arrow files with pyarrow, and our object stores with moto's S3 server: readers, writers and a server
# that we did not write.
#
# $TIDEGATE_BIN names a binary that was built with `--features full` (default: the debug build). The Python packages go into
# ${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/data, about 500 MB. Where they cannot be installed the test is skipped, loudly; with
# CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-target}/debug/tidegate}
[[ -x $binary ]] || { echo "test-data: no binary at $binary; run 'cargo build --features tidegate-cli/full' or set TIDEGATE_BIN" >&2; exit 2; }

unavailable() {
    echo "SKIPPED: test-data.sh did not run, because $1." >&2
    [[ ${CI:-} != true ]] || exit 1
    exit 0
}
venv=${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/data
"$venv/bin/python" -c '' 2>/dev/null || python3 -m venv --clear "$venv" >&2 || unavailable "python3 cannot make a venv"
# Pip looks at no index when the packages are there already, so a warm cache needs no network.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'moto[server]==5.2.5' pyarrow==26.0.1 >&2 ||
    unavailable "pip cannot install moto and pyarrow"

NO_PROXY=127.0.0.1 "$venv/bin/python" scripts/test_data.py "$(realpath "$binary")"
