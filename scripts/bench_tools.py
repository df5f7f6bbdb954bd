"""What the benchmarks are made of: processes that are measured, a simulated provider, rows, tables."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

# No process of a benchmark may live longer.
LIMIT_S = 900.0


@dataclasses.dataclass
class Cost:
    """What one process used until it ended."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(command: Sequence[object], log: pathlib.Path, env: dict[str, str] | None = None) -> Cost:
    """Runs a command to its end. CPU and memory are the kernel's count for this one process, all its threads included."""
    with log.open("wb") as output:
        started = time.monotonic()
        words = [str(word) for word in command]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        watchdog.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench: {' '.join(words)}\nended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


@contextlib.contextmanager
def simulator(binary: pathlib.Path, *options: object) -> Iterator[str]:
    """Serves a simulated provider on a free port of the loopback interface, and yields its URL."""
    command = [str(word) for word in (binary, "sim", "--listen", "127.0.0.1:0", *options)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline().strip()
        if not line.startswith("listening on "):
            sys.exit(f"bench: the simulator did not start: {line}")
        yield line.removeprefix("listening on ")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def write_rows(path: pathlib.Path, count: int) -> pathlib.Path:
    """Writes rows with an id and a short prompt, unless they are there."""
    if not path.exists():
        with path.open("w") as file:
            for n in range(count):
                file.write(f'{{"id":"row-{n:08}","prompt":"Say in one sentence what the number {n} is good for."}}\n')
    return path


def alternate(rounds: int, *subjects: Callable[[], Cost]) -> list[list[Cost]]:
    """Measures the subjects in turn, the order reversed every other round, so that slow changes of the machine cancel out."""
    costs: list[list[Cost]] = [[] for _ in subjects]
    order = list(range(len(subjects)))
    for _ in range(rounds):
        for n in order:
            costs[n].append(subjects[n]())
        order.reverse()
    return costs


def median(costs: Sequence[Cost], of: Callable[[Cost], float]) -> float:
    return statistics.median(of(cost) for cost in costs)


def median_ratio(these: Sequence[Cost], those: Sequence[Cost], of: Callable[[Cost], float]) -> float:
    """The median of each round's ratio: both sides of a round met the same machine."""
    return statistics.median(of(this) / of(that) for this, that in zip(these, those, strict=True))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table in Markdown, as docs/benchmarks.md shows it."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    print(f"\n{title}\n")
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


def verdict(value: float, target: float, *, at_least: bool = False) -> str:
    """Says whether a number reaches its target."""
    good = value >= target if at_least else value <= target
    return "yes" if good else "NO"
