#!/usr/bin/env bash
# Runs the first command of README.md as it stands there and checks its result: one whole record for each of the elements.
# With --keep the result stays.
set -euo pipefail
cd "$(dirname "$0")/.."
command=$(awk '/^```sh$/ { inside = 1; next } inside && /^```/ { exit } inside' README.md)
[[ -n $command ]] || { echo "check-readme: README.md has no \`\`\`sh block" >&2; exit 1; }
out=$(sed -nE 's/.* (-o|--output)[ =]([^ \\]+).*/\2/p' <<<"$command" | head -1)
[[ -n $out ]] || { echo "check-readme: the first command has no -o: $command" >&2; exit 1; }
# A result that was there before is the user's own, and the command resumes it.
[[ -e $out || ${1:-} == --keep ]] || trap 'rm -rf "$out" "$out.tidegate"' EXIT

# Where the command says `tidegate`, it means the one built here.
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
echo "$command"
PATH="$target/debug:$PATH" bash -euo pipefail -c "$command" </dev/null

python3 - "$out" examples/elements.csv <<'PYTHON'
import csv, json, sys
text = open(sys.argv[1]).read()
rows = list(csv.DictReader(open(sys.argv[2], newline="")))
assert text.endswith("\n"), "the last line is torn"
records = [json.loads(line) for line in text.splitlines()]
assert len(records) == len(rows) == 118, f"{len(records)} records for {len(rows)} rows"
assert all(record["error"] is None for record in records), "a row failed"
assert {record["input"]["symbol"] for record in records} == {row["symbol"] for row in rows}, "an element is missing"
PYTHON
echo "check-readme: $out holds one record for each of the 118 elements"
