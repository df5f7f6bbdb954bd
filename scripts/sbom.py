#!/usr/bin/env python3
"""Writes what the program is made of, as a CycloneDX 1.6 software bill of materials: scripts/sbom.py [--features full] > sbom.json.

It reads `cargo metadata` and Cargo.lock: every crate that a build for this machine's platform takes in, with version, licence and
checksum, build dependencies included and those of tests not.
"""

import argparse
import json
import subprocess
import tomllib


def run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def metadata(features: list) -> dict:
    host = next(line.split()[1] for line in run("rustc", "-vV").splitlines() if line.startswith("host:"))
    chosen = ["--features", ",".join(f"tidegate-cli/{feature}" for feature in features)] if features else []
    return json.loads(run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host, *chosen))


def shipped(data: dict) -> dict:
    """Returns for each package that the program needs the packages that it needs itself."""
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    root = next(package["id"] for package in data["packages"] if package["name"] == "tidegate-cli")
    found, open_ids = {}, [root]
    while open_ids:
        package = open_ids.pop()
        if package not in found:
            needs = nodes[package]["deps"]
            found[package] = sorted(need["pkg"] for need in needs if any(kind["kind"] != "dev" for kind in need["dep_kinds"]))
            open_ids += found[package]
    return found


def component(package: dict, checksums: dict) -> dict:
    name, version = package["name"], package["version"]
    described = {"type": "library", "bom-ref": package["id"], "name": name, "version": version, "purl": f"pkg:cargo/{name}@{version}"}
    if package["license"]:
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := checksums.get((name, version)):
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return described


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--features", action="append", default=[])
    data = metadata(parser.parse_args().features)
    with open("Cargo.lock", "rb") as lock:
        checksums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in tomllib.load(lock)["package"]}
    packages = {package["id"]: package for package in data["packages"]}
    needs = shipped(data)
    components = {package: component(packages[package], checksums) for package in sorted(needs)}
    root = next(package for package in needs if packages[package]["name"] == "tidegate-cli")
    program = components.pop(root) | {"type": "application", "name": "tidegate"}
    dependencies = [{"ref": package, "dependsOn": needs[package]} for package in sorted(needs)]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": program},
            "components": list(components.values()), "dependencies": dependencies}  # fmt: skip
    print(json.dumps(bill, indent=1))


main()
