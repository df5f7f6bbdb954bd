#!/usr/bin/env bash
# Holds the library's shape: run -> ask -> dispatch -> call, a vocabulary that knows nobody, and files that stay readable.
# Tests and comments don't count. A name that lib.rs re-exports counts as its module.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}/crates"
mapfile -t files < <(find tidegate/src tidegate-cli/src -name '*.rs' ! -path tidegate/src/lib.rs ! -name tests.rs | sort)

awk -v longest=500 '
function forbidden(file, module, path) {
    if (file ~ /^(request|response|outcome|failure|event|limits|money)\.rs$/)
        return module !~ /^(request|response|outcome|failure|event|limits|money|schema)$/ && !(file == "request.rs" && path == "call::wire::WireId")
    if (file ~ /^call(\.rs|\/)/) return module ~ /^(dispatch|ask|run|client)$/
    if (file ~ /^dispatch(\.rs|\/)/) return module ~ /^(ask|run)$/
    if (file ~ /^ask(\.rs|\/)/) return module == "run"
    return 0
}
function look(path, at,    module) {
    module = path; sub(/[^A-Za-z0-9_].*/, "", module)
    if (module in home) module = home[module]
    if (module != "" && forbidden(file, module, path)) { print file ":" at ": must not use crate::" path; bad = 1 }
}
# `use crate::{a::{b, c}, d};` names a and d.
function look_in_group(text, at,    parts, n, i) {
    sub(/.*crate::\{/, "", text); sub(/\};.*/, "", text); gsub(/[ \t]/, "", text)
    while (gsub(/::\{[^{}]*\}/, "", text)) {}
    n = split(text, parts, ","); for (i = 1; i <= n; i++) look(parts[i], at)
}
function measure() { if (lines > longest) { print file ": " lines " lines without its tests; at most " longest; bad = 1 } }

FNR == 1 { measure(); file = FILENAME; sub(/^tidegate\/src\//, "", file); lines = group = testing = pending = 0 }
/^#\[cfg\(test\)\]$/ { pending = 1; next }
pending && /^#\[/ { next }
pending { pending = 0; testing = /\{$/; next }
testing { if (/^}/) testing = 0; next }
{ lines++; code = $0; sub(/\/\/.*/, "", code) }
file == "lib.rs" && code ~ /^pub use / { source = code; sub(/^pub use /, "", source); sub(/::.*/, "", source) }
source != "" {
    n = split(code, names, /[^A-Za-z0-9_]+/); for (i = 1; i <= n; i++) if (names[i] ~ /^[A-Z]/) home[names[i]] = source
    if (code ~ /;/) source = ""
}
group == 0 && code ~ /use crate::\{/ { group = FNR; text = "" }
group { text = text code; if (code ~ /;/) { look_in_group(text, group); group = 0 }; next }
{ while (match(code, /(^|[^A-Za-z0-9_])crate::[A-Za-z0-9_:]+/)) {
    path = substr(code, RSTART, RLENGTH); sub(/.*crate::/, "", path); look(path, FNR); code = substr(code, RSTART + RLENGTH) } }
END { measure(); exit bad }
' tidegate/src/lib.rs "${files[@]}"
