#!/usr/bin/env bash
# Sends 100 real prompts to a real llama.cpp server with the tidegate binary and checks what comes back.
#
# $TIDEGATE_BIN names the binary (default: the debug build). Where the server cannot be installed the test is skipped,
# loudly; with CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-target}/debug/tidegate}
[[ -x $binary ]] || { echo "test-llama: no binary at $binary; run 'cargo build' or set TIDEGATE_BIN" >&2; exit 2; }

status=0
scripts/llama-server.sh --install-only || status=$?
if [[ $status -eq 69 && ${CI:-} != true ]]; then
    echo "SKIPPED: test-llama.sh did not run, because the llama.cpp server could not be installed (see above)."
    exit 0
fi
[[ $status -eq 0 ]] || exit "$status"

work=$(mktemp -d)
server=
stop() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT
scripts/llama-server.sh --slots 4 --context 1024 >"$work/url" 2>"$work/log" &
server=$!
for _ in {1..1200}; do
    [[ ! -s $work/url ]] || break
    kill -0 "$server" 2>/dev/null || { tail -20 "$work/log" >&2; echo "test-llama: the server did not start" >&2; exit 1; }
    sleep 0.1
done
NO_PROXY=127.0.0.1 python3 scripts/test_llama.py "$binary" "$(cat "$work/url")" "$work"
