#!/usr/bin/env bash
# Renders a page of `tidegate report --html` in a real browser: wide and narrow, light and dark. Fails when the page says
# anything on the console, asks the network for anything, or comes out blank. Without Chromium it says so and is skipped.
#
#   scripts/shot-report.sh PAGE.html [FOLDER]    the pictures stay in FOLDER
#   scripts/shot-report.sh                       of a run made here with the simulated provider; needs target/debug/tidegate
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [[ -z $browser ]]; then
    echo "SKIPPED: no chromium here; apt-get install -y --no-install-recommends chromium" >&2
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
page=${1:-}
if [[ -z $page ]]; then
    tidegate=$root/target/debug/tidegate
    cd "$work"
    # Some rows fail on purpose, and two samples of two models give everything to compare.
    "$tidegate" run "$root/examples/elements.csv" --id-column symbol -m sim/a,sim/b --each-model --repeat 2 -p '{{ name }}' --quiet \
        --scenario "$root/examples/scenarios/bad-day.yaml" --timeout 2s --max-time 8s --price 1,2 -o out.jsonl || [[ $? == [13] ]]
    "$tidegate" report out.jsonl --html report.html --examples 2
    page=$work/report.html
fi
page=$(realpath "$page")
folder=${2:-$work/shots}
mkdir -p "$folder"

shot() { # name width height scheme
    local dark=()
    # Chromium's own dark mode is told by a preference of the system, which a headless one takes from this switch.
    [[ $4 == dark ]] && dark=(--blink-settings=preferredColorScheme=0)
    timeout 60 "$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-background-networking \
        --user-data-dir="$work/profile" --window-size="$2,$3" --enable-logging=stderr --v=0 --virtual-time-budget=2000 \
        --log-net-log="$work/net.json" "${dark[@]}" --screenshot="$folder/$1.png" "file://$page" 2>"$work/log" || { cat "$work/log" >&2; return 1; }
    if grep -E 'CONSOLE' "$work/log" >&2; then echo "$1: the page says something on the console" >&2; return 1; fi
    python3 - "$work/net.json" "$folder/$1.png" <<'PY'
import json, os, re, sys
# The net log holds every request of the page; the browser's own (updates, certificates) go to other addresses than the page's.
text = open(sys.argv[1]).read()
asked = {url for url in re.findall(r'"url":"((?:https?|wss?|ftp)://[^"]+)"', text) if "google" not in url and "gvt1" not in url}
assert not asked, f"the page asks the network for {asked}"
assert os.path.getsize(sys.argv[2]) > 20_000, "the picture is as good as empty"
PY
}
shot light 1000 2600 light
shot dark 1000 2600 dark
shot phone 390 4200 light
grep -qE '<script|<link[^>]+stylesheet|<[^>]+ src=|@import|url\(' "$page" && { echo "the page loads something" >&2; exit 1; }
echo "shot-report: light, dark and narrow pictures, nothing on the console, nothing from the network"
