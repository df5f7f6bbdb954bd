"""What the checks with the providers' SDKs share: a simulated provider on a free port, and a way to fail."""

import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile


def check(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"{pathlib.Path(sys.argv[0]).stem}: FAILED: {message}")


@contextlib.contextmanager
def simulator(binary: str, scenario: dict | str):
    """Starts `tidegate sim`, and yields its address; a scenario is YAML, or a dictionary."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        # JSON is YAML.
        file.write(scenario if isinstance(scenario, str) else json.dumps(scenario))
        file.flush()
        command = [binary, "sim", "--listen", "127.0.0.1:0", "--scenario", file.name]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            line = server.stdout.readline()
            check(line.startswith("listening on "), f"the simulator did not start: {line!r}")
            yield line.removeprefix("listening on ").strip()
        finally:
            server.terminate()
            server.wait(10)
