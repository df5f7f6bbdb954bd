//! The frame of a picture: axes with round numbers, in HTML, around shapes, in SVG.
//!
//! The shapes stretch to whatever width there is, and the words do not: so that the same picture is readable on a wide
//! screen and on a phone.

use std::fmt::Write;

use super::Plain;

/// The width of every picture in units of its own.
pub(super) const WIDE: f64 = 1000.0;
/// The height of every picture in units of its own.
pub(super) const HIGH: f64 = 100.0;

/// A mark on an axis: where, as a share of its length, and what it says.
pub(super) type Mark = (f64, String);

/// A picture with its axes.
pub(super) struct Plot<'a> {
    /// What it shows, for those who cannot see it too.
    pub(super) label: &'a str,
    /// Its height in pixels.
    pub(super) pixels: u32,
    /// The marks at its left, from the bottom.
    pub(super) left: Vec<Mark>,
    /// The marks below it, from the left; none to leave that axis to a picture below.
    pub(super) below: Vec<Mark>,
    /// The SVG.
    pub(super) shapes: String,
}

impl Plot<'_> {
    pub(super) fn html(&self) -> String {
        let mut grid = String::new();
        for (at, _) in &self.left {
            let y = HIGH * (1.0 - at);
            let _ = write!(grid, r#"<line class="grid" x1="0" x2="{WIDE}" y1="{y:.2}" y2="{y:.2}"/>"#);
        }
        let marks = |marks: &[Mark], side: &str| {
            let mark = |(at, text): &Mark| format!(r#"<span style="{side}:{:.2}%">{}</span>"#, at * 100.0, Plain(text));
            marks.iter().map(mark).collect::<String>()
        };
        let below = match self.below.is_empty() {
            true => String::new(),
            false => format!(r#"<div class="below">{}</div>"#, marks(&self.below, "left")),
        };
        format!(
            r#"<div class="plot"><div class="left">{}</div><svg viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" style="height:{}px" role="img" aria-label="{}">{grid}{}</svg>{below}</div>"#,
            marks(&self.left, "bottom"),
            self.pixels,
            Plain(self.label),
            self.shapes,
        )
    }
}

/// Returns the end of an axis that reaches `most`, and the round numbers on it, three to five of them.
pub(super) fn axis(most: f64) -> (f64, Vec<f64>) {
    if most <= 0.0 || !most.is_finite() {
        return (1.0, vec![0.0, 1.0]);
    }
    let rough = most / 3.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(rough);
    let steps = (most / step).ceil();
    (steps * step, (0..=steps as u32).map(|n| f64::from(n) * step).collect())
}

/// Returns round times from 0 to `seconds` or a little less, at most seven.
pub(super) fn times(seconds: f64) -> Vec<f64> {
    const STEPS: [f64; 20] = [
        0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
        14_400.0, 28_800.0, 86_400.0,
    ];
    let step =
        STEPS.into_iter().find(|step| seconds / step <= 6.0).unwrap_or((seconds / 6.0 / 86_400.0).ceil() * 86_400.0);
    (0..=(seconds / step) as u32).map(|n| f64::from(n) * step).collect()
}

/// Writes a time on an axis: `0`, `2.5s`, `30s`, `5m`, `1h 30m`, `2d`.
pub(super) fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let with = |big: u64, unit: &str, small: u64, of: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit} {small}{of}"),
    };
    match whole {
        _ if seconds == 0.0 => "0".to_owned(),
        _ if seconds < 10.0 => format!("{}s", (seconds * 100.0).round() / 100.0),
        0..60 => format!("{whole}s"),
        60..3600 => with(whole / 60, "m", whole % 60, "s"),
        3600..86_400 => with(whole / 3600, "h", whole % 3600 / 60, "m"),
        _ => with(whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_few_and_round_numbers() {
        for most in [0.003, 0.9, 1.0, 7.0, 42.0, 99.0, 101.0, 12_345.0] {
            let (end, marks) = axis(most);
            assert!(end >= most && (3..=5).contains(&marks.len()), "{most}: {marks:?}");
        }
        assert_eq!(axis(42.0).1, [0.0, 20.0, 40.0, 60.0]);
        assert_eq!(axis(0.0), (1.0, vec![0.0, 1.0]));
        for seconds in [0.3, 1.0, 17.9, 61.0, 4000.0, 90_000.0, 9e6] {
            let marks = times(seconds);
            assert!(
                (2..=7).contains(&marks.len()) && marks.iter().all(|mark| *mark <= seconds),
                "{seconds}: {marks:?}"
            );
        }
        assert_eq!([0.0, 2.5, 45.0, 90.0, 300.0, 5400.0].map(time), ["0", "2.5s", "45s", "1m 30s", "5m", "1h 30m"]);
    }
}
