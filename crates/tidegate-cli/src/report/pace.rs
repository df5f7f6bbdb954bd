//! Throughput and requests in flight over the time that all runs worked, with their pauses.

use std::fmt::Write;

use tidegate::run::report::RunReport;

use super::Plain;
use super::plot::{HIGH, Mark, Plot, WIDE, axis, time, times};
use crate::format;

/// Steps from the left to the right.
const BINS: usize = 240;

/// What happened in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    succeeded: f64,
    failed: f64,
    rejected: f64,
    /// Requests in flight, times seconds.
    in_flight: f64,
    /// Pauses, times endpoints.
    paused: f64,
}

/// All runs, one behind the other.
struct Course {
    bins: Vec<Bin>,
    /// Seconds in all.
    seconds: f64,
    /// The most endpoints that a run had.
    endpoints: usize,
    /// When each run but the first began, on the axis, and by the clock.
    borders: Vec<(f64, String)>,
}

/// Returns the pictures; nothing if no run left a timeline.
pub(super) fn over_time(runs: &[RunReport]) -> Option<String> {
    let course = Course::of(runs)?;
    let width = course.seconds / BINS as f64;
    let rates = |of: fn(&Bin) -> f64| course.bins.iter().map(|bin| of(bin) / width).collect::<Vec<_>>();
    let (answered, all) = (rates(|bin| bin.succeeded), rates(|bin| bin.succeeded + bin.failed));
    let in_flight = rates(|bin| bin.in_flight);
    let (rows_top, rows_marks) = axis(most(&all));
    let (flight_top, flight_marks) = axis(most(&in_flight));
    let marks = |top: f64, marks: Vec<f64>| marks.into_iter().map(|mark| (mark / top, format::short(mark))).collect();
    let bands = course.pauses() + &course.lines();
    // A run of one moment ends with nothing in flight, and what was before that is not known.
    let known = in_flight.iter().any(|of| *of > 0.0);
    let below: Vec<Mark> = times(course.seconds).into_iter().map(|at| (at / course.seconds, time(at))).collect();
    let throughput = Plot {
        label: "Rows finished per second, over time",
        pixels: 150,
        left: marks(rows_top, rows_marks),
        below: if known { Vec::new() } else { below.clone() },
        shapes: format!(
            r#"{bands}<path class="failed" d="{}"/><path class="area" d="{}"/><path class="line" d="{}"/>{}{}"#,
            between(&answered, &all, rows_top),
            area(&answered, rows_top),
            line(&answered, rows_top),
            course.rejections(),
            course.tips(),
        ),
    };
    let flight = Plot {
        label: "Requests in flight, over time",
        pixels: 110,
        left: marks(flight_top, flight_marks),
        below,
        shapes: format!(r#"{bands}<path class="line flight" d="{}"/>{}"#, line(&in_flight, flight_top), course.tips()),
    };
    let total = |of: fn(&Bin) -> f64| course.bins.iter().map(of).sum::<f64>();
    let flight = if known { format!("<h3>Requests in flight</h3>{}", flight.html()) } else { String::new() };
    let key = |class: &str, text: &str, there: bool| {
        if there { format!(r#"<li class="{class}">{text}</li>"#) } else { String::new() }
    };
    Some(format!(
        r#"<ul class="key">{}{}{}{}{}</ul><h3>Rows per second</h3>{}{flight}"#,
        key("k-answered", "answered", true),
        key("k-failed", "failed", total(|bin| bin.failed) > 0.0),
        key(
            "k-paused",
            "endpoints pausing after a rejection: the darker, the more of them",
            total(|bin| bin.paused) > 0.0
        ),
        key("k-rejected", "calls rejected for load", total(|bin| bin.rejected) > 0.0),
        key("k-border", "another run begins", !course.borders.is_empty()),
        throughput.html(),
    ))
}

impl Course {
    fn of(runs: &[RunReport]) -> Option<Course> {
        let seconds: f64 = runs.iter().map(RunReport::seconds).sum();
        if seconds <= 0.0 {
            return None;
        }
        let endpoints = runs.iter().map(|run| run.timeline.head.endpoints.len()).max().unwrap_or(0).max(1);
        let mut course = Course { bins: vec![Bin::default(); BINS], seconds, endpoints, borders: Vec::new() };
        let mut began = 0.0;
        for run in runs.iter().filter(|run| run.seconds() > 0.0) {
            if began > 0.0 && run.finished() != (0, 0) {
                course.borders.push((began, run.started.clone()));
            }
            course.add(run, began);
            began += run.seconds();
        }
        Some(course)
    }

    fn add(&mut self, run: &RunReport, began: f64) {
        let mut state = vec![(0_usize, 0_u64, 0.0_f64); run.timeline.head.endpoints.len()];
        let (mut from, mut succeeded, mut failed) = (0.0, 0, 0);
        for moment in &run.timeline.moments {
            let (mut rejected, mut pauses) = (0, Vec::new());
            let before: usize = state.iter().map(|endpoint| endpoint.0).sum();
            for at in &moment.endpoints {
                let Some(known) = state.get_mut(at.place) else { continue };
                rejected += at.rejected.saturating_sub(known.1);
                pauses.push(at.cooled - known.2);
                *known = (at.in_flight, at.rejected, at.cooled);
            }
            let after: usize = state.iter().map(|endpoint| endpoint.0).sum();
            let (start, end) = (began + from, began + moment.t);
            let in_flight = (before + after) as f64 / 2.0 * (end - start);
            let finished = (moment.succeeded.saturating_sub(succeeded), moment.failed.saturating_sub(failed));
            self.spread(start, end, |bin, share| {
                bin.succeeded += share * finished.0 as f64;
                bin.failed += share * finished.1 as f64;
                bin.rejected += share * rejected as f64;
                bin.in_flight += share * in_flight;
            });
            // A pause is counted when it begins.
            for pause in pauses.into_iter().filter(|pause| *pause > 0.0) {
                self.spread(start, start + pause, |bin, share| bin.paused += share * pause);
            }
            (from, succeeded, failed) = (moment.t, moment.succeeded, moment.failed);
        }
    }

    /// Gives each step its share of what happened from one time to another.
    fn spread(&mut self, from: f64, to: f64, mut give: impl FnMut(&mut Bin, f64)) {
        let width = self.seconds / BINS as f64;
        let length = (to - from).max(1e-9);
        let first = ((from / width) as usize).min(BINS - 1);
        for (number, bin) in self.bins.iter_mut().enumerate().skip(first) {
            let (left, right) = (number as f64 * width, (number + 1) as f64 * width);
            if left >= to && number > first {
                break;
            }
            let last = number + 1 == BINS;
            let inside = (if last { to.min(self.seconds) } else { to.min(right) } - from.max(left)).max(0.0);
            give(bin, inside / length);
        }
    }

    /// Returns a band wherever endpoints paused, the darker the more of them did.
    fn pauses(&self) -> String {
        let (width, most) = (self.seconds / BINS as f64, self.endpoints as f64);
        self.each(|bin, x, step| {
            let share = (bin.paused / width / most).min(1.0);
            let band = format!(
                r#"<rect class="paused" x="{x:.1}" y="0" width="{step:.1}" height="{HIGH}" opacity="{:.2}"/>"#,
                0.12 + 0.5 * share
            );
            (share > 0.01).then_some(band)
        })
    }

    fn rejections(&self) -> String {
        let most = self.bins.iter().map(|bin| bin.rejected).fold(0.0, f64::max).max(1.0);
        self.each(|bin, x, step| {
            let opacity = 0.35 + 0.65 * bin.rejected / most;
            let mark = format!(
                r#"<rect class="rejected" x="{x:.1}" y="0" width="{step:.1}" height="4" opacity="{opacity:.2}"/>"#
            );
            (bin.rejected > 0.02).then_some(mark)
        })
    }

    /// Returns a line where another run begins.
    fn lines(&self) -> String {
        let line = |(at, started): &(f64, String)| {
            let x = at / self.seconds * WIDE;
            format!(
                r#"<line class="border" x1="{x:.1}" x2="{x:.1}" y1="0" y2="{HIGH}"><title>{}</title></line>"#,
                Plain(started)
            )
        };
        self.borders.iter().map(line).collect()
    }

    /// Returns what is said when the pointer rests on a step.
    fn tips(&self) -> String {
        let width = self.seconds / BINS as f64;
        let mut number = 0.0;
        self.each(|bin, x, step| {
            let mut tip =
                format!("{}: {} answered", time(number * width), format::rate(bin.succeeded / width, " rows"));
            number += 1.0;
            if bin.failed > 0.05 {
                let _ = write!(tip, ", {} failed", format::rate(bin.failed / width, " rows"));
            }
            let _ = write!(tip, "; {:.0} in flight", bin.in_flight / width);
            if bin.rejected > 0.05 {
                let _ = write!(tip, "; {} rejected", format::short(bin.rejected));
            }
            if bin.paused > 0.01 * width {
                let _ = write!(tip, "; {} of {} endpoints pausing", format::short(bin.paused / width), self.endpoints);
            }
            Some(format!(
                r#"<rect class="tip" x="{x:.1}" y="0" width="{step:.1}" height="{HIGH}"><title>{tip}</title></rect>"#
            ))
        })
    }

    fn each(&self, mut shape: impl FnMut(&Bin, f64, f64) -> Option<String>) -> String {
        let step = WIDE / BINS as f64;
        self.bins.iter().enumerate().filter_map(|(number, bin)| shape(bin, number as f64 * step, step)).collect()
    }
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn points(values: &[f64], top: f64) -> impl Iterator<Item = (f64, f64)> {
    let step = WIDE / values.len() as f64;
    values.iter().enumerate().map(move |(number, value)| ((number as f64 + 0.5) * step, HIGH * (1.0 - value / top)))
}

fn line(values: &[f64], top: f64) -> String {
    let mut path = String::new();
    for (number, (x, y)) in points(values, top).enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if number == 0 { "M" } else { "L" });
    }
    path
}

fn area(values: &[f64], top: f64) -> String {
    let step = WIDE / values.len() as f64;
    format!("{}L{:.1} {HIGH}L{:.1} {HIGH}Z", line(values, top), WIDE - step / 2.0, step / 2.0)
}

/// Returns what lies between two lines; nothing where they are one.
fn between(lower: &[f64], upper: &[f64], top: f64) -> String {
    if lower == upper {
        return String::new();
    }
    let mut path = line(upper, top);
    for (x, y) in points(lower, top).collect::<Vec<_>>().into_iter().rev() {
        let _ = write!(path, "L{x:.1} {y:.1}");
    }
    path + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_spread_over_its_time_and_nothing_gets_lost() {
        let mut course = Course { bins: vec![Bin::default(); BINS], seconds: 24.0, endpoints: 1, borders: Vec::new() };
        for (from, to) in [(0.0, 0.25), (0.25, 7.33), (7.33, 24.0)] {
            course.spread(from, to, |bin, share| bin.succeeded += 100.0 * share);
        }
        let total: f64 = course.bins.iter().map(|bin| bin.succeeded).sum();
        assert!((total - 300.0).abs() < 1e-6, "{total}");
        // 0.1 s a step: the first hundred lie in the first two and a half steps.
        assert!((course.bins[0].succeeded - 40.0).abs() < 1e-6, "{:?}", course.bins[0]);
    }

    #[test]
    fn without_a_timeline_there_is_no_picture() {
        assert!(over_time(&[RunReport::default()]).is_none());
        assert!(over_time(&[]).is_none());
    }
}
