#!/usr/bin/env bash
# Asks LiteLLM's proxy with the tidegate binary: an independent reading of four formats, behind which no model stands.
#
# On demand only, because it is heavy: about 750 MB, which go into ${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/litellm and may
# be deleted afterwards. $TIDEGATE_BIN names the binary (default: the debug build).
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-target}/debug/tidegate}
[[ -x $binary ]] || { echo "test-litellm: no binary at $binary; run 'cargo build' or set TIDEGATE_BIN" >&2; exit 2; }

venv=${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/litellm
"$venv/bin/python" -c '' 2>/dev/null || python3 -m venv --clear "$venv"
# Pip looks at no index when the package is there already, so a warm cache needs no network.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.2'

NO_PROXY=127.0.0.1 "$venv/bin/python" scripts/test_litellm.py "$binary" "$venv/bin/litellm"
