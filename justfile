# What there is to do.
list:
    @just --list --unsorted

# Everything that CI runs, or only some steps of it: `just check fmt clippy`.
check *steps:
    .ci/run {{ steps }}

# The tests of the library and the program.
test *filter:
    cargo test --workspace {{ filter }}

# The example of the README: a question about every element, asked of the simulated provider.
demo:
    cargo build --workspace
    scripts/check-readme.sh --keep

# The program against a floor client, side by side.
bench *arguments:
    scripts/bench.sh {{ arguments }}

# A real llama.cpp server on 127.0.0.1, until Ctrl-C.
llama *arguments:
    scripts/llama-server.sh {{ arguments }}

# The program beside two simple clients under the same limits: docs/design/comparison.md.
compare *arguments:
    scripts/compare.sh {{ arguments }}
