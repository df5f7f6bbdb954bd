//! Metrics of one name, in the two forms in which they are given away.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// What a number means over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts what lies in ranges.
    Histogram,
}

/// Metrics of one name.
#[derive(Debug, Clone)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: Type,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    /// Behind the family's name: `_bucket`, `_sum`, `_count` of a histogram.
    suffix: &'static str,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Family {
    pub(super) fn new(name: &'static str, help: &'static str, kind: Type) -> Family {
        Family { name, help, kind, samples: Vec::new() }
    }

    /// Adds a number with its labels.
    pub(super) fn with(mut self, labels: &[(&str, &str)], value: f64) -> Family {
        self.push("", labels, value);
        self
    }

    /// Adds a histogram: each bound with how many were at most that, then how many in all, and their sum.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], below: &[(f64, u64)], count: u64, sum: f64) {
        for (bound, within) in below {
            let bound = bound.to_string();
            self.push("_bucket", &[labels, &[("le", bound.as_str())]].concat(), *within as f64);
        }
        self.push("_bucket", &[labels, &[("le", "+Inf")]].concat(), count as f64);
        self.push("_sum", labels, sum);
        self.push("_count", labels, count as f64);
    }

    fn push(&mut self, suffix: &'static str, labels: &[(&str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.push(Sample { suffix, labels, value });
    }

    fn kind(&self) -> &'static str {
        match self.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        }
    }
}

/// Writes families as Prometheus reads them.
pub(super) fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let (name, kind) = (family.name, family.kind());
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
        for Sample { suffix, labels, value } in &family.samples {
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
    let sample = |family: &Family, sample: &Sample| {
        let labels: Map<String, Value> =
            sample.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        json!({"name": format!("{}{}", family.name, sample.suffix), "labels": labels, "value": sample.value})
    };
    let family = |family: &Family| {
        let samples: Vec<Value> = family.samples.iter().map(|one| sample(family, one)).collect();
        json!({"name": family.name, "type": family.kind(), "help": family.help, "samples": samples})
    };
    json!({"metrics": families.iter().map(family).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let mut time = Family::new("time_seconds", "How long.", Type::Histogram);
        time.histogram(&[("model", "a\"b\\")], &[(0.5, 1), (1.0, 3)], 4, 7.25);
        let families = [Family::new("rows_total", "Rows.", Type::Counter).with(&[], 3.0), time];
        let expected = "# HELP rows_total Rows.\n# TYPE rows_total counter\nrows_total 3\n\
            # HELP time_seconds How long.\n# TYPE time_seconds histogram\n\
            time_seconds_bucket{model=\"a\\\"b\\\\\",le=\"0.5\"} 1\ntime_seconds_bucket{model=\"a\\\"b\\\\\",le=\"1\"} 3\n\
            time_seconds_bucket{model=\"a\\\"b\\\\\",le=\"+Inf\"} 4\ntime_seconds_sum{model=\"a\\\"b\\\\\"} 7.25\n\
            time_seconds_count{model=\"a\\\"b\\\\\"} 4\n";
        assert_eq!(text(&families), expected);
        let samples = &json(&families)["metrics"][1]["samples"];
        assert_eq!((&samples[1]["labels"]["le"], &samples[1]["value"]), (&json!("1"), &json!(3.0)));
    }
}
