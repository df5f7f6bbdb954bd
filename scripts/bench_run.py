"""The benchmarks of `scripts/bench.sh`, each a function; docs/benchmarks.md says what they show."""

import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from bench_tools import Cost, alternate, measure, median, median_ratio, simulator, table, verdict, write_rows

ROWS = 20_000
MILLION = 1_000_000
# The simulated provider in the same process: no latency, and no memory of its callers, which would be counted as ours.
QUIET_SCENARIO = "latency: {fixed: {ms: 0}}\nremember_ids: 0\n"


class Bench:
    """The binaries, a directory to work in, and how to call what is measured."""

    def __init__(self, options: argparse.Namespace, work: pathlib.Path) -> None:
        self.tidegate, self.sim, self.floor = options.tidegate, options.sim, options.floor
        self.rounds = options.rounds
        self.work = work
        self.log = work / "log"
        self.out = work / "out.jsonl"

    def clear(self) -> None:
        """Removes the results of the run before, so that nothing is resumed."""
        self.out.unlink(missing_ok=True)
        shutil.rmtree(f"{self.out}.tidegate", ignore_errors=True)

    def rows(self, count: int) -> pathlib.Path:
        return write_rows(self.work / f"rows-{count}.jsonl", count)

    def run_tidegate(self, rows: pathlib.Path, *options: object, env: dict[str, str] | None = None) -> Cost:
        """Runs the program over the rows into a new output, with a template and its journal."""
        self.clear()
        return self.resume_tidegate(rows, *options, env=env)

    def resume_tidegate(self, rows: pathlib.Path, *options: object, env: dict[str, str] | None = None) -> Cost:
        return measure(self.tidegate_command(rows, *options), self.log, {**os.environ, **(env or {})})

    def tidegate_command(self, rows: pathlib.Path, *options: object) -> list[object]:
        return [self.tidegate, "run", rows, "-p", "{{ prompt }}", "-o", self.out, "--no-config", *options]

    def run_floor(self, rows: pathlib.Path, url: str, concurrency: int) -> Cost:
        return measure(self.floor_command(rows, url, concurrency), self.log)

    def floor_command(self, rows: pathlib.Path, url: str, concurrency: int) -> list[object]:
        address = f"{url}/v1/chat/completions"
        command = [self.floor, "--url", address, "--rows", rows, "--out", self.work / "floor.jsonl"]
        return [*command, "--concurrency", concurrency]

    def check(self, rows: int) -> None:
        """A run that lost a row would be fast."""
        with self.out.open("rb") as file:
            found = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
        if found != rows:
            sys.exit(f"bench: {found} results of {rows} rows")


def server(url: str, concurrency: int) -> list[object]:
    return ["--base-url", f"{url}/v1", "-m", "sim", "--concurrency", concurrency]


def e2e(bench: Bench) -> None:
    """CPU per request against the floor, at zero latency."""
    concurrency = 256
    rows, one = bench.rows(ROWS), bench.rows(1)
    with simulator(bench.sim, "--latency-ms", 0) as url:
        starts = alternate(
            bench.rounds,
            lambda: bench.run_tidegate(one, *server(url, concurrency)),
            lambda: bench.run_floor(one, url, 1),
        )
        ours, floors = alternate(
            bench.rounds,
            lambda: bench.run_tidegate(rows, *server(url, concurrency)),
            lambda: bench.run_floor(rows, url, concurrency),
        )
        bench.check(ROWS)
    start = [median(costs, lambda cost: cost.cpu_s) for costs in starts]
    lines = []
    for name, costs, begun in (("tidegate", ours, start[0]), ("floor", floors, start[1])):
        each = (median(costs, lambda cost: cost.cpu_s) - begun) / ROWS * 1e6
        wall, peak = median(costs, lambda cost: cost.wall_s), median(costs, lambda cost: cost.peak_mb)
        lines.append([name, f"{each:.1f} µs", f"{begun * 1e3:.0f} ms", f"{wall:.2f} s", f"{peak:.0f} MB"])
    ratios = [(a.cpu_s - start[0]) / (b.cpu_s - start[1]) for a, b in zip(ours, floors, strict=True)]
    ratio = statistics.median(ratios)
    wall = median_ratio(ours, floors, lambda cost: cost.wall_s)
    lines.append(["ratio", f"{ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})", "", f"{wall:.2f}", ""])
    title = f"e2e: {ROWS} rows, {concurrency} in flight, no latency; at most 1.5 times the floor's CPU: "
    table(title + verdict(ratio, 1.5), ["", "CPU per request", "start-up CPU", "wall", "peak memory"], lines)


def instructions(bench: Bench) -> None:
    """Instructions per request in the programs themselves, as valgrind counts them: the same on a busy machine."""
    few, many, concurrency = 1, 5000, 64
    counted = bench.work / "counted"
    lines, each = [], []
    with simulator(bench.sim, "--latency-ms", 0) as url:
        for name in ("tidegate", "floor"):
            totals = []
            for count in (few, many):
                rows = bench.rows(count)
                bench.clear()
                command = bench.tidegate_command(rows, *server(url, concurrency), "--quiet")
                if name == "floor":
                    command = bench.floor_command(rows, url, min(count, concurrency))
                measure(["valgrind", "--tool=callgrind", f"--callgrind-out-file={counted}", *command], bench.log)
                totals.append(int(re.search(r"Collected : (\d+)", bench.log.read_text())[1]))
            each.append((totals[1] - totals[0]) / (many - few))
            lines.append([name, f"{each[-1]:,.0f}"])
    lines.append(["ratio", f"{each[0] / each[1]:.2f}"])
    table(f"instructions: {many} rows, {concurrency} in flight, without the kernel's", ["", "per request"], lines)


def latency(bench: Bench) -> None:
    """Wall time against the floor, where the server is what takes time."""
    concurrency, ms = 1000, 200
    rows = bench.rows(ROWS)
    with simulator(bench.sim, "--latency-ms", ms) as url:
        ours, floors = alternate(
            bench.rounds,
            lambda: bench.run_tidegate(rows, *server(url, concurrency)),
            lambda: bench.run_floor(rows, url, concurrency),
        )
        bench.check(ROWS)
    ideal = ROWS / concurrency * ms / 1000
    ratio = median_ratio(ours, floors, lambda cost: cost.wall_s)
    lines = [
        [name, f"{wall:.2f} s", f"{ideal / wall:.1%}", f"{median(costs, lambda cost: cost.cpu_s) / ROWS * 1e6:.1f} µs"]
        for name, costs in (("tidegate", ours), ("floor", floors))
        for wall in [median(costs, lambda cost: cost.wall_s)]
    ]
    lines.append(["ratio", f"{ratio:.3f}", "", ""])
    title = f"latency: {ROWS} rows, {concurrency} in flight, {ms} ms; at most 1.05 times the floor's wall: "
    table(title + verdict(ratio, 1.05), ["", "wall", "of the ideal", "CPU per request"], lines)


def h2(bench: Bench) -> None:
    """How near HTTP/2 with 100 streams a connection comes to the ideal."""
    concurrency, ms = 1000, 300
    rows, ideal = bench.rows(ROWS), ROWS / concurrency * ms / 1000
    certificate = bench.work / "certificate.pem"
    common = ["--latency-ms", ms, "--max-streams", 100]
    kinds = [
        ("http, prior knowledge", [], ["--http2", "always"], {}),
        ("https, negotiated", ["--tls", "--tls-cert-out", certificate], [], {"SSL_CERT_FILE": str(certificate)}),
    ]
    lines, worst = [], 1.0
    for name, serve, ask, env in kinds:
        with simulator(bench.sim, *common, *serve) as url:
            costs = [
                bench.run_tidegate(rows, *server(url, concurrency), *ask, env=env) for _ in range(min(bench.rounds, 3))
            ]
        bench.check(ROWS)
        wall = median(costs, lambda cost: cost.wall_s)
        worst = min(worst, ideal / wall)
        lines.append([name, f"{wall:.2f} s", f"{ideal:.2f} s", f"{ideal / wall:.1%}"])
    title = f"h2: {ROWS} rows, {concurrency} in flight, {ms} ms; at least 90 % of the ideal: "
    table(title + verdict(worst, 0.9, at_least=True), ["", "wall", "ideal", "of the ideal"], lines)


def in_process(bench: Bench) -> list[object]:
    scenario = bench.work / "quiet.yaml"
    scenario.write_text(QUIET_SCENARIO)
    return ["-m", "sim/echo", "--scenario", scenario, "--concurrency", 256]


def memory(bench: Bench, count: int, target_mb: float) -> None:
    """Peak memory by the number of rows."""
    lines = []
    for rows in (1, count // 10, count):
        cost = bench.run_tidegate(bench.rows(rows), *in_process(bench))
        bench.check(rows)
        lines.append([f"{rows:,}", f"{cost.peak_mb:.0f} MB", f"{cost.wall_s:.1f} s", f"{cost.cpu_s / rows * 1e6:.1f} µs"])
    title = f"memory: rows with ids, 256 in flight, simulated in the same process; at most {target_mb:.0f} MB: "
    table(title + verdict(cost.peak_mb, target_mb), ["rows", "peak memory", "wall", "CPU per row"], lines)


def resume(bench: Bench) -> None:
    """The second run over a finished output."""
    rows, options = bench.rows(MILLION), in_process(bench)
    bench.run_tidegate(rows, *options)
    costs = [bench.resume_tidegate(rows, *options) for _ in range(bench.rounds)]
    bench.check(MILLION)
    wall, cpu, peak = (median(costs, of) for of in (lambda c: c.wall_s, lambda c: c.cpu_s, lambda c: c.peak_mb))
    line = [f"{MILLION:,}", f"{wall:.2f} s", f"{cpu:.2f} s", f"{peak:.0f} MB"]
    title = "resume: a second run over finished rows, from the page cache; at most 3 s: "
    table(title + verdict(wall, 3.0), ["rows", "wall", "CPU", "peak memory"], [line])


REPLY = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]},
).encode()


class Listener(threading.Thread):
    """A server that notes when the first byte of a request arrives, and answers one request a connection."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.first: float | None = None

    def run(self) -> None:
        head = f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len(REPLY)}\r\n\r\n".encode()
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(1)
                self.first = self.first or time.monotonic()
                connection.recv(65536)
                connection.sendall(head + REPLY)


def startup(bench: Bench) -> None:
    """From the start of the process to the first byte at the server."""
    rows, times = bench.rows(ROWS), []
    for _ in range(4 * bench.rounds):
        bench.clear()
        listener = Listener()
        listener.start()
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        command = bench.tidegate_command(rows, *server(url, 16))
        started = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while listener.first is None and time.monotonic() - started < 10:
            time.sleep(0.001)
        process.kill()
        process.wait()
        listener.socket.close()
        if listener.first is None:
            sys.exit("bench: no request arrived")
        times.append((listener.first - started) * 1e3)
    middle = statistics.median(times)
    title = "startup: from the start of the process to the first request at the server; at most 50 ms: "
    line = [f"{middle:.1f} ms", f"{min(times):.1f}-{max(times):.1f} ms"]
    table(title + verdict(middle, 50), ["median", "range"], [line])


MODES = {
    "e2e": e2e,
    "latency": latency,
    "h2": h2,
    "startup": startup,
    "memory": lambda bench: memory(bench, MILLION, 120),
    "resume": resume,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    extra = {"memory10m": lambda bench: memory(bench, 10 * MILLION, 450), "instructions": instructions}
    parser.add_argument("mode", choices=[*MODES, *extra, "all"])
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured; the median counts")
    for name in ("tidegate", "sim", "floor"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help="the binary")
    options = parser.parse_args()
    modes = {**MODES, **extra}
    # Requests to the loopback interface must not go through somebody's proxy.
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as work:
        bench = Bench(options, pathlib.Path(work))
        for mode in MODES if options.mode == "all" else [options.mode]:
            modes[mode](bench)


if __name__ == "__main__":
    main()
