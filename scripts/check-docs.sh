#!/usr/bin/env bash
# Holds the documentation to the program: every flag, configuration key, scenario key and field that the one knows, the other
# knows. $TIDEGATE_BIN names the binary (default: the debug build).
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-target}/debug/tidegate}
[[ -x $binary ]] || { echo "check-docs: no binary at $binary; run 'cargo build' or set TIDEGATE_BIN" >&2; exit 2; }
# Settings of whoever runs this must not be taken for defaults.
for name in $(compgen -e | grep '^TIDEGATE_' || true); do unset "$name"; done
exec python3 scripts/check_docs.py "$(realpath "$binary")"
