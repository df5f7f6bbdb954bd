"""Measures what a cold release build costs, in CPU seconds, in a target directory of its own that is removed again."""

import os
import resource
import subprocess
import sys
import tempfile
import time

LIMIT_S = 1800
TARGET_CPU_S = 500


def main() -> None:
    command = ["cargo", "build", "--locked", "--release", "-p", "tidegate-cli"]
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as target:
        started = time.monotonic()
        done = subprocess.run(command, env={**os.environ, "CARGO_TARGET_DIR": target}, timeout=LIMIT_S)
    if done.returncode:
        sys.exit(done.returncode)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(f"cold `{' '.join(command)}`: {cpu:.0f} CPU seconds (at most {TARGET_CPU_S}), {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
