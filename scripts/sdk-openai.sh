#!/usr/bin/env bash
# Points OpenAI's own SDK at the simulated provider: a misreading of the format could hide in our client and our
# simulator alike, but not in a client that we did not write.
#
# $TIDEGATE_BIN names the binary (default: the debug build). The SDK goes into ${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/sdk.
# Where it cannot be installed the test is skipped, loudly; with CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-target}/debug/tidegate}
[[ -x $binary ]] || { echo "sdk-openai: no binary at $binary; run 'cargo build' or set TIDEGATE_BIN" >&2; exit 2; }

unavailable() {
    echo "SKIPPED: sdk-openai.sh did not run, because $1." >&2
    [[ ${CI:-} != true ]] || exit 1
    exit 0
}
venv=${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/sdk/openai
"$venv/bin/python" -c '' 2>/dev/null || python3 -m venv --clear "$venv" >&2 || unavailable "python3 cannot make a venv"
# Pip looks at no index when the package is there already, so a warm cache needs no network.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check openai==3.54.0 >&2 ||
    unavailable "pip cannot install openai"

NO_PROXY=127.0.0.1 "$venv/bin/python" scripts/sdk_openai.py "$binary"
