"""Measures `tidegate` beside two simple clients over HTTP, for `scripts/compare.sh`, and writes docs/design/comparison.md."""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import compare_page
from bench_tools import measure, simulator, write_rows
from compare_cases import CASES, Case, Subject

RESULTS = pathlib.Path("docs/design/comparison/results.json")
CLIENTS = pathlib.Path(__file__).with_name("compare_clients.py")
# How often the simulator is asked what it has seen, in seconds.
SAMPLE_S = 0.25


@dataclasses.dataclass
class Run:
    """What one client reached in one case."""

    seconds: float
    answered: int
    accepted: int
    rejected: int
    twice: int
    p50_ms: float
    p99_ms: float
    load: float
    # Answers and rejections until each sample, with its time since the first call.
    samples: list[tuple[float, int, int]]


class Watch:
    """Reads the simulator's statistics while a client works."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/__sim/stats"
        self.samples: list[tuple[float, int, int]] = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def stats(self) -> dict:
        with urllib.request.urlopen(self.url) as reply:
            return json.load(reply)

    def watch(self) -> None:
        while not self.stopped.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> dict:
        asked = time.monotonic()
        stats = self.stats()
        if stats["arrivals"]:
            by_status = stats["by_status"]
            self.samples.append((asked, by_status.get("200", 0), by_status.get("429", 0)))
        return stats

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def since_first(self) -> list[tuple[float, int, int]]:
        start = self.samples[0][0] - SAMPLE_S / 2 if self.samples else 0.0
        return [(round(at - start, 2), good, bad) for at, good, bad in self.samples]


def run(tidegate: pathlib.Path, case: Case, subject: Subject) -> Run:
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        work = pathlib.Path(folder)
        scenario = work / "scenario.yaml"
        scenario.write_text(case.scenario)
        with simulator(tidegate, "--scenario", scenario) as url, Watch(url) as watch:
            ask = run_tidegate if subject.config is not None else run_client
            reached = ask(tidegate, case, subject, url, work)
            stats = watch.sample()
            by_status = stats["by_status"]
            return Run(
                accepted=by_status.get("200", 0),
                rejected=by_status.get("429", 0),
                twice=stats["answered_more_than_once"],
                load=os.getloadavg()[0],
                samples=watch.since_first(),
                **reached,
            )


def run_tidegate(tidegate: pathlib.Path, case: Case, subject: Subject, url: str, work: pathlib.Path) -> dict:
    """The whole process, from its start to its end."""
    config, out, summary = work / "tidegate.toml", work / "out.jsonl", work / "summary.json"
    config.write_text(subject.config)
    rows = write_rows(work / "rows.jsonl", case.rows)
    command = [tidegate, "run", rows, "-c", config, "-p", "{{ prompt }}", "-o", out, "--summary", summary, "--quiet"]
    cost = measure([*command, "--base-url", f"{url}/v1", "-m", "sim"], work / "log")
    latency = json.loads(summary.read_text())["latency_ms"]
    records = [json.loads(line) for line in out.read_text().splitlines()]
    answered = len({record["id"] for record in records if record["error"] is None})
    return {"seconds": cost.wall_s, "answered": answered, "p50_ms": latency["p50"], "p99_ms": latency["p99"]}


def run_client(_: pathlib.Path, case: Case, subject: Subject, url: str, work: pathlib.Path) -> dict:
    """What the client itself measured, without the start of Python."""
    log = work / "log"
    measure([sys.executable, CLIENTS, url, case.rows, subject.in_flight, "--sleep", subject.sleep], log)
    return json.loads(log.read_text())


def collect(options: argparse.Namespace) -> dict:
    """Runs everything, the rounds one after the other, so that slow changes of the machine meet every client."""
    cases = [case for case in CASES if not options.only or case.name in options.only]
    pairs = [(case, subject) for case in cases for subject in case.subjects]
    jobs = [pair for number in range(options.rounds) for pair in pairs if number < pair[1].rounds]
    results = json.loads(RESULTS.read_text())["runs"] if options.only and RESULTS.exists() else {}
    for case in cases:
        results[case.name] = {subject.name: [] for subject in case.subjects}
    # The long ones first, so that none is left over alone.
    jobs.sort(key=lambda job: job[1].rounds)
    with concurrent.futures.ThreadPoolExecutor(options.parallel) as pool:
        for (case, subject), done in [(job, pool.submit(run, options.tidegate, *job)) for job in jobs]:
            reached = done.result()
            results[case.name][subject.name].append(dataclasses.asdict(reached))
            print(f"{case.name}: {subject.name}: {reached.seconds:.2f} s, {reached.rejected} rejected", flush=True)
    return {"cores": os.cpu_count(), "parallel": options.parallel, "date": time.strftime("%Y-%m-%d"), "runs": thin(results)}


def thin(results: dict) -> dict:
    """Keeps the samples of the median run only, which is the one that is drawn."""
    for subjects in results.values():
        for runs in subjects.values():
            middle = statistics.median_low(run["seconds"] for run in runs)
            for run in runs:
                if run["seconds"] != middle:
                    run["samples"] = []
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tidegate", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parallel", type=int, default=1, help="clients that run at once, each with its own simulator")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of cases; the others keep their numbers")
    parser.add_argument("--render", action="store_true", help="only write the page again")
    options = parser.parse_args()
    if not options.render:
        measured = collect(options)
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(measured, separators=(",", ":")).replace('{"seconds"', '\n{"seconds"') + "\n")
    compare_page.write(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()
