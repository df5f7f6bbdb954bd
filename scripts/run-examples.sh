#!/usr/bin/env bash
# Runs every example of the library against the simulated provider: an example that only compiles may still be wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
# A key in the environment would send them to a real provider.
unset ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN AZURE_OPENAI_AD_TOKEN GEMINI_API_KEY GOOGLE_API_KEY OPENAI_API_KEY AZURE_OPENAI_API_KEY
cargo build --locked --quiet -p tidegate --examples
for source in crates/tidegate/examples/*.rs; do
    name=$(basename "$source" .rs)
    echo "example $name"
    timeout 120 "${CARGO_TARGET_DIR:-target}/debug/examples/$name" > /dev/null || { echo "example $name failed" >&2; exit 1; }
done
