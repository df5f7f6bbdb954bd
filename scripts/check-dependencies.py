#!/usr/bin/env python3
"""Checks what the project depends on: licences that it may ship, one registry, one TLS stack, a library without a terminal,
and no
cloud's own crates; with all features, so that what is optional keeps to it too.

It reads `cargo metadata` and `cargo tree` for this machine's platform, so it needs nothing but cargo.
"""

import json
import subprocess
import sys

LICENCES = {
    "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CDLA-Permissive-2.0",
    "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}  # fmt: skip
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
BANNED = {
    "openssl-sys": "TLS is rustls",
    "native-tls": "TLS is rustls",
    "aws-lc-sys": "rustls uses ring, which builds in a fraction of the time",
    "reqwest": "the transport is our own pool over httparse and h2",
}
# Signatures of AWS and tokens of Google are a few hundred lines of our own over ring; their crates would double the build.
CLOUDS = ("aws-", "azure", "google", "gcp", "gcloud", "yup-oauth2", "oauth2", "jsonwebtoken", "rusoto")
NOT_IN_THE_LIBRARY = {"clap", "axum", "indicatif", "anyhow", "ratatui", "tracing-subscriber"}


def metadata() -> dict:
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = next(line.removeprefix("host: ") for line in version.splitlines() if line.startswith("host: "))
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1", "--filter-platform", host]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def built(*features: str) -> set[str]:
    """Names what is compiled into the program, without what only tests need."""
    command = ["cargo", "tree", "--locked", "-p", "tidegate-cli", "-e", "normal,build", "--prefix", "none", *features]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[0] for line in lines if line}


def clouds():
    for build, features in [("default build", []), ("build with all features", ["--all-features"])]:
        for name in sorted(built(*features)):
            if name.startswith(CLOUDS):
                yield f"{name}: is in the {build}, which needs no cloud's own crates"


def allowed(expression: str) -> bool:
    """`A/B` and `A OR B` need one, `A AND B` and `(A OR B) AND C` need every clause."""
    if "/" in expression:
        expression = " OR ".join(part.strip() for part in expression.split("/"))
    if "(" in expression:
        return all(allowed(clause.strip(" ()")) for clause in expression.split(" AND "))
    return any(all(name in LICENCES for name in choice.split(" AND ")) for choice in expression.split(" OR "))


def problems(data: dict):
    for package in data["packages"]:
        name, source = package["name"], package["source"]
        if name in BANNED:
            yield f"{name}: {BANNED[name]}"
        if source not in (None, REGISTRY):
            yield f"{name}: comes from {source}, not from crates.io"
        if source and not allowed(package["license"] or ""):
            yield f"{name}: its licence {package['license']!r} is not one that we may ship"
        if name == "tidegate":
            for dependency in package["dependencies"]:
                if dependency["kind"] is None and dependency["name"] in NOT_IN_THE_LIBRARY:
                    yield f"tidegate: depends on {dependency['name']}, which belongs to the program"


found = [*problems(metadata()), *clouds()]
if found:
    sys.exit("check-dependencies:\n  " + "\n  ".join(found))
