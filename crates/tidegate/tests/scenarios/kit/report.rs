//! The judgement on a scenario, and its lines in the table.

use std::fmt;

use super::case::{Case, Sweep, Workload};
use super::measure::Measured;

/// Seconds after which a concurrency is held against the best fixed one.
const CONVERGED: f64 = 20.0;

/// What was measured, and what was missed.
pub(crate) struct Report {
    lines: Vec<String>,
    pub(crate) missed: Vec<String>,
}

impl Report {
    pub(crate) const HEADER: &'static str = "| scenario | part of the run | quota used | rejected | of the whole run | p99 | took |\n|---|---|---|---|---|---|---|";

    fn expect(&mut self, good: bool, message: impl FnOnce() -> String) {
        if !good {
            self.missed.push(message());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Runs a scenario and holds the result against what is expected.
pub(crate) fn judge(name: &str, case: &Case, run: impl Fn(&Case, Option<u32>) -> Measured) -> Report {
    assert!(!case.about.trim().is_empty(), "{name}: say what it shows");
    let measured = run(case, None);
    if std::env::var_os("TIDEGATE_TRACE").is_some() {
        trace(&measured);
    }
    let mut report = Report { lines: Vec::new(), missed: Vec::new() };
    let end = measured.last_sent();
    let whole = measured.shares(case, 0.0, measured.took + 1.0);
    for span in &case.expect.spans {
        let to = span.to_s.unwrap_or(end);
        let shares = measured.shares(case, span.from_s, to);
        let part = format!("{:.0} s to {to:.0} s", span.from_s);
        report.lines.push(format!(
            "| {name} | {part} | {:.2} % | {:.2} % | {:.2} % | {:.2} s | {:.0} s |",
            100.0 * shares.utilisation,
            100.0 * shares.rejected,
            100.0 * whole.rejected,
            measured.p99(span.from_s),
            measured.took
        ));
        report.expect(to > span.from_s, || format!("{name}: the run was over before {part}"));
        report.expect(shares.utilisation >= span.utilisation, || {
            format!("{name}, {part}: used {:.4}, wanted {}", shares.utilisation, span.utilisation)
        });
        let (lost, most) = (measured.lost(case, span.from_s, to), span.lost_s.unwrap_or(f64::INFINITY));
        report.expect(lost <= most, || format!("{name}, {part}: lost {lost:.2} s, at most {most}"));
        report.expect(shares.rejected <= span.rejected, || {
            format!("{name}, {part}: rejected {:.4}, at most {}", shares.rejected, span.rejected)
        });
        share_out(name, case, &measured.per_client(case.workload.clients, span.from_s, to), &mut report);
    }
    let spans = case.expect.spans.iter().map(|span| span.rejected).fold(0.0, f64::max);
    let most = case.expect.rejected.unwrap_or(2.0 * spans);
    report.expect(whole.rejected <= most, || format!("{name}: rejected {:.4} in all, at most {most}", whole.rejected));
    report.expect(measured.failed <= case.expect.failed, || format!("{name}: {} rows failed", measured.failed));
    if let Some(most) = case.expect.in_a_minute {
        let found = (0..case.providers.len()).map(|i| measured.most_in_a_minute(i)).max().unwrap_or(0);
        report.expect(found <= most, || format!("{name}: {found} calls in a minute, at most {most}"));
    }
    if let Some(most) = case.expect.makespan {
        let times = measured.took / measured.ideal(case);
        report.lines.push(format!(
            "| {name} | whole run: {times:.3} times the ideal | – | – | – | – | {:.0} s |",
            measured.took
        ));
        report.expect(times <= most, || format!("{name}: took {times:.3} times the ideal"));
    }
    if let Some(most) = case.expect.tail {
        report.lines.push(format!(
            "| {name} | the last 1 %: {:.3} times the time to 99 % | {:.2} % extra calls | – | – | – | {:.0} s |",
            measured.tail(),
            100.0 * measured.extra(),
            measured.took
        ));
        report.expect(measured.tail() <= most, || format!("{name}: took {:.3} times as long", measured.tail()));
    }
    if let Some(most) = case.expect.extra {
        report.expect(measured.extra() <= most, || format!("{name}: {:.4} extra calls", measured.extra()));
    }
    if let Some(sweep) = &case.expect.sweep {
        compare(name, case, sweep, &measured, &run, &mut report);
    }
    report
}

/// Shows what each of several clients got, and holds it against what is fair.
fn share_out(name: &str, case: &Case, shares: &[f64], report: &mut Report) {
    if shares.len() > 1 {
        let each: Vec<String> = shares.iter().map(|share| format!("{:.1} %", 100.0 * share)).collect();
        report.lines.push(format!("| {name} | of that, each client: {} | – | – | – | – | – |", each.join(", ")));
    }
    for share in shares {
        report.expect(*share >= case.expect.fair.unwrap_or(0.0), || format!("{name}: one client got {share:.3}"));
    }
}

/// Compares with the best fixed concurrency whose calls do not take too long.
fn compare(
    name: &str,
    case: &Case,
    sweep: &Sweep,
    measured: &Measured,
    run: &impl Fn(&Case, Option<u32>) -> Measured,
    report: &mut Report,
) {
    let short = |rows| Case { workload: Workload { rows, ..case.workload.clone() }, ..case.clone() };
    let (alone, sweeps) = (run(&short(50), Some(1)), short(sweep.rows));
    let most = sweep.p99 * alone.p99(0.0);
    let middle = |run: &Measured| (CONVERGED.min(0.5 * run.took), 0.95 * run.last_sent());
    let mut best = (0.0, 0);
    for &concurrency in &sweep.concurrency {
        let fixed = run(&sweeps, Some(concurrency));
        let (from, to) = middle(&fixed);
        let throughput = fixed.throughput(from, to);
        if fixed.p99(0.0) <= most && throughput > best.0 {
            best = (throughput, concurrency);
        }
    }
    let (from, to) = middle(measured);
    let (throughput, p99) = (measured.throughput(from, to), measured.p99(from));
    report.lines.push(format!(
        "| {name} | against {} in flight, {:.1}/s | {:.2} % | – | – | {p99:.2} s of {most:.2} s | {:.0} s |",
        best.1,
        best.0,
        100.0 * throughput / best.0,
        measured.took
    ));
    report.expect(throughput >= sweep.throughput * best.0, || {
        format!("{name}: {throughput:.1}/s, the best fixed concurrency {} has {:.1}/s", best.1, best.0)
    });
    report.expect(p99 <= most, || format!("{name}: p99 {p99:.2} s, at most {most:.2} s"));
}

/// Prints what was accepted and rejected, second by second.
fn trace(measured: &Measured) {
    let mut seconds = vec![(0, 0, 0); measured.took as usize + 1];
    for entry in &measured.log {
        let second = &mut seconds[entry.at as usize];
        match entry.status {
            200 => second.0 += 1,
            429 => second.1 += 1,
            _ => second.2 += 1,
        }
    }
    for (i, (accepted, rejected, failed)) in seconds.iter().enumerate() {
        println!("{i:4} s: {accepted:5} accepted {rejected:5} rejected {failed:5} failed");
    }
}
