//! Metrics of one name, which OpenTelemetry and Prometheus write in ways of their own.
//!
//! Names and labels are OpenTelemetry's (`gen_ai.client.operation.duration`); Prometheus' are made from them by the rules
//! that OpenTelemetry has for that, so that a number has the same name whichever way it took.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::{Map, Value, json};

/// What a number means over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts what lies in ranges.
    Histogram,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things, as the name says.
    Number,
    /// Tokens.
    Tokens,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// Metrics of one name.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) help: &'static str,
    pub(crate) kind: Type,
    pub(crate) points: Vec<Point>,
}

/// One number, or one histogram, with its labels.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: Measured,
}

#[derive(Debug, Clone)]
pub(crate) enum Measured {
    Number(f64),
    Ranges(Ranges),
}

/// How many values lie in each range.
#[derive(Debug, Clone)]
pub(crate) struct Ranges {
    pub(crate) bounds: &'static [f64],
    /// At most each bound but more than the one before; the last is for those beyond all.
    pub(crate) within: Vec<u64>,
    pub(crate) sum: f64,
}

impl Ranges {
    pub(super) fn new(bounds: &'static [f64]) -> Ranges {
        Ranges { bounds, within: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(super) fn note(&mut self, value: f64, times: u64) {
        self.within[self.bounds.partition_point(|bound| *bound < value)] += times;
        self.sum += value * times as f64;
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> u64 {
        self.within.iter().sum()
    }
}

impl Family {
    pub(super) fn new(name: &'static str, help: &'static str, kind: Type) -> Family {
        Family { name, unit: Unit::Number, help, kind, points: Vec::new() }
    }

    pub(super) fn in_unit(self, unit: Unit) -> Family {
        Family { unit, ..self }
    }

    /// Adds a number with its labels.
    pub(super) fn with(mut self, labels: &[(&'static str, &str)], value: f64) -> Family {
        self.push(labels, Measured::Number(value));
        self
    }

    pub(super) fn push(&mut self, labels: &[(&'static str, &str)], value: Measured) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.points.push(Point { labels, value });
    }

    /// Returns the name as Prometheus has it: with its unit, and with what says that it only grows.
    fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            Unit::Number | Unit::Tokens => "",
            Unit::Seconds => "_seconds",
            Unit::Bytes => "_bytes",
        };
        let total = if self.kind == Type::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }

    fn prometheus_type(&self) -> &'static str {
        match self.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        }
    }

    /// Returns the samples as Prometheus has them: a histogram is one for each bound, and its sum and count.
    fn samples(&self) -> Vec<Sample> {
        self.points.iter().flat_map(Point::samples).collect()
    }
}

struct Sample {
    /// Behind the family's name.
    suffix: &'static str,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Point {
    fn samples(&self) -> Vec<Sample> {
        let own = self.labels.iter().map(|(name, value)| (name.replace('.', "_"), value.clone())).collect::<Vec<_>>();
        let ranges = match &self.value {
            Measured::Number(value) => return vec![Sample { suffix: "", labels: own, value: *value }],
            Measured::Ranges(ranges) => ranges,
        };
        let mut below = 0;
        let bounds = ranges.bounds.iter().map(|bound| Cow::Owned(bound.to_string())).chain([Cow::Borrowed("+Inf")]);
        let mut samples: Vec<_> = bounds
            .zip(&ranges.within)
            .map(|(bound, within)| {
                below += within;
                let labels = own.iter().cloned().chain([("le".to_owned(), bound.into_owned())]).collect();
                Sample { suffix: "_bucket", labels, value: below as f64 }
            })
            .collect();
        samples.push(Sample { suffix: "_sum", labels: own.clone(), value: ranges.sum });
        samples.push(Sample { suffix: "_count", labels: own, value: ranges.count() as f64 });
        samples
    }
}

/// Writes families as Prometheus reads them.
pub(super) fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.points.is_empty()) {
        let (name, kind) = (family.prometheus_name(), family.prometheus_type());
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
        for Sample { suffix, labels, value } in family.samples() {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{name}{suffix}{labels} {value}");
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes families for programs that are no Prometheus.
pub(super) fn json(families: &[Family]) -> Value {
    let family = |family: &Family| {
        let name = family.prometheus_name();
        let sample = |Sample { suffix, labels, value }: Sample| {
            let labels: Map<String, Value> = labels.into_iter().map(|(name, value)| (name, value.into())).collect();
            json!({"name": format!("{name}{suffix}"), "labels": labels, "value": value})
        };
        let samples: Vec<Value> = family.samples().into_iter().map(sample).collect();
        json!({"name": name, "type": family.prometheus_type(), "help": family.help, "samples": samples})
    };
    json!({"metrics": families.iter().map(family).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let mut ranges = Ranges::new(&[0.5, 1.0]);
        [0.5, 0.75, 1.0, 5.0].iter().for_each(|value| ranges.note(*value, 1));
        let mut time = Family::new("a.time", "How long.", Type::Histogram).in_unit(Unit::Seconds);
        time.push(&[("a.model", "a\"b\\")], Measured::Ranges(ranges));
        let families = [Family::new("rows", "Rows.", Type::Counter).with(&[], 3.0), time];
        let expected = "# HELP rows_total Rows.\n# TYPE rows_total counter\nrows_total 3\n\
            # HELP a_time_seconds How long.\n# TYPE a_time_seconds histogram\n\
            a_time_seconds_bucket{a_model=\"a\\\"b\\\\\",le=\"0.5\"} 1\na_time_seconds_bucket{a_model=\"a\\\"b\\\\\",le=\"1\"} 3\n\
            a_time_seconds_bucket{a_model=\"a\\\"b\\\\\",le=\"+Inf\"} 4\na_time_seconds_sum{a_model=\"a\\\"b\\\\\"} 7.25\n\
            a_time_seconds_count{a_model=\"a\\\"b\\\\\"} 4\n";
        assert_eq!(text(&families), expected);
        let samples = &json(&families)["metrics"][1]["samples"];
        assert_eq!((&samples[1]["labels"]["le"], &samples[1]["value"]), (&json!("1"), &json!(3.0)));
    }
}
