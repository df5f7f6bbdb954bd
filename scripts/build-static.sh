#!/usr/bin/env bash
# Builds one static binary that runs on any Linux of this machine's kind: musl, fat LTO. It ends up in target/static/tidegate.
#
#   scripts/build-static.sh                 the program as `cargo install` builds it
#   FEATURES=full scripts/build-static.sh   with everything
#   PROFILE=dev scripts/build-static.sh     quickly, to try the script
#
# Needs rustup, which fetches the target, and a C compiler for musl (Debian: apt-get install musl-tools).
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(uname -m)-unknown-linux-musl
command -v musl-gcc >/dev/null || { echo "build-static: there is no musl-gcc; on Debian: apt-get install musl-tools" >&2; exit 2; }
rustup target add "$target" >&2
export "CC_${target//-/_}=musl-gcc"
profile=${PROFILE:-dist}
cargo build --locked --profile "$profile" --target "$target" -p tidegate-cli ${FEATURES:+--features "$FEATURES"} >&2
folder=$([[ $profile == dev ]] && echo debug || echo "$profile")
built=${CARGO_TARGET_DIR:-target}
mkdir -p "$built/static"
cp "$built/$target/$folder/tidegate" "$built/static/tidegate"

# What is static names no interpreter and asks for no library.
if readelf -l "$built/static/tidegate" | grep -q 'Requesting program interpreter' || readelf -d "$built/static/tidegate" | grep -q NEEDED; then
    echo "build-static: the binary is not static" >&2
    exit 1
fi
"$built/static/tidegate" --version >&2
echo "$built/static/tidegate"
