//! The numbers of a simulated provider.

use tidegate::sim::Stats;

use super::family::{Family, Type};

/// Returns what has arrived and what became of it.
pub(crate) fn families(stats: &Stats) -> Vec<Family> {
    let counter = |name, help| Family::new(name, help, Type::Counter);
    let gauge = |name, help, value: u64| Family::new(name, help, Type::Gauge).with(&[], value as f64);
    let replies = stats.by_status.iter().map(|(status, count)| (status.to_string(), *count));
    let replies = replies.fold(
        counter("tidegate.sim.replies", "Calls that got everything that was planned for them."),
        |family, (status, count)| family.with(&[("http.response.status_code", &status)], count as f64),
    );
    let faults = stats.faults.iter().filter_map(|(fault, count)| Some((serde_json::to_value(fault).ok()?, *count)));
    let faults = faults
        .fold(counter("tidegate.sim.faults", "Calls that a fault was planned for."), |family, (fault, count)| {
            family.with(&[("fault", fault.as_str().unwrap_or_default())], count as f64)
        });
    vec![
        counter("tidegate.sim.arrivals", "Calls that arrived.").with(&[], stats.arrivals as f64),
        replies,
        counter("tidegate.sim.abandoned", "Calls whose client left earlier.").with(&[], stats.abandoned as f64),
        faults,
        counter("tidegate.sim.tokens", "Tokens of good replies.")
            .with(&[("gen_ai.token.type", "input")], stats.input_tokens as f64)
            .with(&[("gen_ai.token.type", "output")], stats.output_tokens as f64),
        gauge("tidegate.sim.in_flight", "Calls being served.", stats.in_flight),
        gauge("tidegate.sim.peak_in_flight", "The most calls that were being served at once.", stats.peak_in_flight),
        gauge("tidegate.sim.distinct_ids", "Distinct ids, or bodies, that arrived.", stats.distinct_ids),
        gauge(
            "tidegate.sim.answered_more_than_once",
            "Ids that got more than one good and whole reply.",
            stats.answered_more_than_once,
        ),
    ]
}
