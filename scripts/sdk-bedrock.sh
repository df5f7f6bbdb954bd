#!/usr/bin/env bash
# Asks the simulated provider with AWS's own Python SDK (boto3), so that a misreading of Bedrock's format, of its signatures
# or of its event stream can't hide in both our ends.
#
# $TIDEGATE_BIN names the binary (default: the debug build). Where the SDK cannot be installed the test is skipped,
# loudly; with CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-target}/debug/tidegate}
[[ -x $binary ]] || { echo "sdk-bedrock: no binary at $binary; run 'cargo build' or set TIDEGATE_BIN" >&2; exit 2; }

venv=${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/sdk/bedrock
install() {
    [[ -x $venv/bin/python ]] || python3 -m venv "$venv" || return 1
    "$venv/bin/python" -c 'import boto3' 2>/dev/null || "$venv/bin/pip" install --quiet 'boto3>=1.40,<2'
}
if ! install; then
    [[ ${CI:-} != true ]] || { echo "sdk-bedrock: the SDK cannot be installed" >&2; exit 1; }
    echo "SKIPPED: sdk-bedrock.sh did not run, because the SDK could not be installed (see above)."
    exit 0
fi

# Nothing of the user's own may reach the SDK, least of all a real key.
for name in $(compgen -e AWS_ || true); do unset "$name"; done
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
NO_PROXY=127.0.0.1 "$venv/bin/python" scripts/sdk_bedrock.py "$binary"
