#!/usr/bin/env bash
# Asks the simulated provider with Google's own Python SDK (google-genai), so that a misreading of Gemini's format can't
# hide in both our ends.
#
# $TIDEGATE_BIN names the binary (default: the debug build). Where the SDK cannot be installed the test is skipped,
# loudly; with CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-target}/debug/tidegate}
[[ -x $binary ]] || { echo "sdk-gemini: no binary at $binary; run 'cargo build' or set TIDEGATE_BIN" >&2; exit 2; }

venv=${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/sdk/gemini
install() {
    [[ -x $venv/bin/python ]] || python3 -m venv "$venv" || return 1
    "$venv/bin/python" -c 'import google.genai' 2>/dev/null || "$venv/bin/pip" install --quiet 'google-genai>=3.4,<4'
}
if ! install; then
    [[ ${CI:-} != true ]] || { echo "sdk-gemini: the SDK cannot be installed" >&2; exit 1; }
    echo "SKIPPED: sdk-gemini.sh did not run, because the SDK could not be installed (see above)."
    exit 0
fi

# Nothing of the user's own may reach the SDK, least of all a real key.
unset GOOGLE_API_KEY GEMINI_API_KEY GOOGLE_GEMINI_BASE_URL GOOGLE_GENAI_API_VERSION GOOGLE_GENAI_USE_VERTEXAI
unset GOOGLE_GENAI_USE_ENTERPRISE GOOGLE_CLOUD_PROJECT GOOGLE_CLOUD_LOCATION
NO_PROXY=127.0.0.1 "$venv/bin/python" scripts/sdk_gemini.py "$binary"
