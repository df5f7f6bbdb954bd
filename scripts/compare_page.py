"""Writes docs/design/comparison.md and its plots from the numbers that `scripts/compare.py` measured."""

import math
import pathlib
import statistics

from compare_cases import CASES, Case
from compare_plot import Panel, draw

PAGE = pathlib.Path("docs/design/comparison.md")
# No plot shows more than so many times the ideal time, or twice Tidegate's.
LONGEST = 2.2

INTRO = """# Beside two simple clients

<!-- Written by scripts/compare.sh from comparison/results.json and findings.md; the rest is in
     scripts/compare_page.py. -->

What [scheduling](scheduling.md) is worth, over real HTTP: `tidegate run` beside two clients as people write them in an
afternoon, against the same `tidegate sim`.

```sh
COMMAND
```

- **Tidegate** is timed as a process, from its start to its end, with its journal.
- **N in flight** keeps that many rows going over kept-alive connections. A rejected row waits as the providers' SDKs do: for
  Retry-After, else 0.5 s doubling to 8 s, with jitter.
- **Sleeps 10 s on 429** is the same, but the whole client pauses for 10 s, which several well-known tools do, with 10 or 15 s.

Both simple clients (`scripts/compare_clients.py`) try a row ten times, are timed without the start of Python, and write no results. *Ideal*
is when the last reply could come to somebody who knows the provider and sends each row the moment it may pass. Rejected calls
are what the simulator counted; a row is lost if its client has no answer in the end. Times are the best and the median of
the rounds, other numbers those of the median one, which is also the one that is drawn.
"""

# What the numbers mean is written by hand, and read again whenever they are measured anew.
FINDINGS = pathlib.Path("docs/design/comparison/findings.md")


def write(results: dict) -> None:
    PAGE.parent.joinpath("comparison").mkdir(parents=True, exist_ok=True)
    parts = [INTRO.replace("COMMAND", command(results)), machine(results), targets(results["runs"])]
    for case in CASES:
        if case.name in results["runs"]:
            parts.append(section(case, results["runs"][case.name]))
            PAGE.parent.joinpath("comparison", f"{case.name}.svg").write_text(plot(case, results["runs"][case.name]))
    PAGE.write_text("\n".join(parts))


def command(results: dict) -> str:
    rounds = max(len(runs) for subjects in results["runs"].values() for runs in subjects.values())
    return f"scripts/compare.sh --rounds {rounds} --parallel {results['parallel']}"


def machine(results: dict) -> str:
    loads = [run["load"] for subjects in results["runs"].values() for runs in subjects.values() for run in runs]
    busy = ", which costs everybody time that no limit asks for" if max(loads) > results["cores"] else ""
    return (
        f"Measured on {results['date']}, {results['cores']} cores, {results['parallel']} clients at once, each with its own "
        f"simulator.\nThe machine's load was {min(loads):.1f} to {max(loads):.1f}{busy}.\n"
    )


def middle(runs: list[dict]) -> dict:
    """The run of median time."""
    return sorted(runs, key=lambda run: run["seconds"])[(len(runs) - 1) // 2]


def share(run: dict) -> float:
    return run["rejected"] / max(run["accepted"] + run["rejected"], 1)


def targets(runs: dict) -> str:
    lines = ["| case | target | best | median | reached |", "|---|---|---|---|---|"]
    for case in CASES:
        if case.target is None or case.name not in runs:
            continue
        ours, ideal = runs[case.name]["tidegate"], case.ideal_s()
        best, median = (of(run["seconds"] for run in ours) / ideal for of in (min, statistics.median))
        most = statistics.median(share(run) for run in ours)
        lost = sum(case.rows - run["answered"] for run in ours)
        good, kept = best <= case.target, most <= case.rejected and lost == 0
        reached = "yes" if median <= case.target and kept else "best run only" if good and kept else "**no**"
        lines.append(
            f"| {case.title} | {case.target} × ideal, {case.rejected:.0%} rejected, no row lost | {best:.3f} × | "
            f"{median:.3f} ×, {most:.2%} rejected, {lost} lost | {reached} |"
        )
    return "## Targets\n\n" + "\n".join(lines) + "\n\n" + FINDINGS.read_text()


def section(case: Case, subjects: dict) -> str:
    ideal = case.ideal_s()
    lines = [
        f"## {case.title}",
        f"\n{case.about} Ideal: {ideal:.1f} s.\n",
        f"![{case.title}](comparison/{case.name}.svg)\n",
        "| client | time, best | median | × ideal, best | median | calls rejected | rows lost | a call's p50, p99 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in subjects.items():
        run = middle(runs)
        times = [min(r["seconds"] for r in runs), statistics.median(r["seconds"] for r in runs)]
        cells = [
            f"{name} ({len(runs)} {'round' if len(runs) == 1 else 'rounds'})",
            *(f"{seconds:.1f} s" for seconds in times),
            *(f"{seconds / ideal:.3f}" for seconds in times),
            f"{run['rejected']:,} ({share(run):.1%})",
            f"{max(case.rows - r['answered'] for r in runs)}",
            f"{run['p50_ms']:.0f}, {run['p99_ms']:.0f} ms",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    twice = sum(run["twice"] for runs in subjects.values() for run in runs)
    lines.append(f"\nRows that were answered more than once, over all runs: {twice}.\n" if twice else "")
    return "\n".join(lines)


def plot(case: Case, subjects: dict) -> str:
    ideal, ours = case.ideal_s(), middle(subjects["tidegate"])["seconds"]
    seconds = math.ceil(max(ours, min(LONGEST * ideal, max(middle(runs)["seconds"] for runs in subjects.values()))))
    panels = []
    for name, runs in subjects.items():
        run = middle(runs)
        title = f"{name}: {run['seconds']:.1f} s, {run['seconds'] / ideal:.2f} × ideal, {run['rejected']:,} rejected"
        lost = case.rows - run["answered"]
        panels.append(Panel(title + (f", {lost} rows lost" if lost else ""), *per_second(run["samples"]), run["seconds"]))
    top = 2 * case.limit.rates[0][1]
    return draw(case.title, case.line, list(case.limit.rates), panels, seconds, 10 * math.ceil(top / 10))


def per_second(samples: list[list[float]]) -> tuple[list[float], list[float]]:
    """Answers and rejections in each second since the first call, between samples in a straight line."""
    end = math.ceil(samples[-1][0])
    marks = [[at_time(samples, second, column) for second in range(end + 1)] for column in (1, 2)]
    return tuple([after - before for before, after in zip(mark, mark[1:])] for mark in marks)


def at_time(samples: list[list[float]], second: float, column: int) -> float:
    before = [0.0, 0, 0]
    for sample in samples:
        if sample[0] >= second:
            part = (second - before[0]) / (sample[0] - before[0]) if sample[0] > before[0] else 1.0
            return before[column] + part * (sample[column] - before[column])
        before = sample
    return before[column]
