//! `--metrics-listen`: the numbers of a run, or of the simulated provider, for Prometheus and for programs.
//!
//! Names are those of OpenTelemetry's conventions for generative AI where they have one; the rest begins with `tidegate.`.
//! Everything but the calls is read when somebody asks. No label holds anything of a prompt, an
//! answer or a key.

mod calls;
pub(crate) mod family;
mod serve;
pub(crate) mod sim;

use tidegate::run::progress::{Numbers, Progress};
use tidegate::{Client, EndpointSnapshot, Money, Snapshot};

pub(crate) use self::calls::Calls;
#[cfg(feature = "otlp")]
pub(crate) use self::calls::{operation, provider_and_model};
use self::family::{Family, Type, Unit};
pub(crate) use self::serve::{listen, serve};

/// Where the numbers come from.
#[derive(Clone)]
pub(crate) struct Metrics {
    client: Client,
    progress: Progress,
    calls: Calls,
}

impl Metrics {
    pub(crate) fn new(client: Client, progress: Progress, calls: Calls) -> Metrics {
        Metrics { client, progress, calls }
    }

    /// Returns the numbers of this moment.
    pub(crate) fn families(&self) -> Vec<Family> {
        let (numbers, snapshot) = (self.progress.numbers(), self.client.snapshot());
        let mut families = self.calls.families().to_vec();
        families.extend(rows(&numbers));
        families.extend(queue(&snapshot));
        families.extend(endpoints(&snapshot.endpoints));
        families
    }
}

fn rows(numbers: &Numbers) -> Vec<Family> {
    let known = numbers.unpriced < numbers.succeeded || numbers.cost > Money::ZERO;
    let gauge = |name, help, value: f64| Family::new(name, help, Type::Gauge).with(&[], value);
    let counter = |name, help, value: f64| Family::new(name, help, Type::Counter).with(&[], value);
    let mut families = vec![
        Family::new("tidegate.rows", "Rows finished by this run.", Type::Counter)
            .with(&[("state", "answered")], numbers.succeeded as f64)
            .with(&[("state", "failed")], numbers.failed as f64),
        gauge("tidegate.rows.done_before", "Records that were there already.", numbers.done_before as f64),
        gauge("tidegate.rows.wanted", "Records to be made of the rows read so far.", numbers.wanted as f64),
        counter("tidegate.rows.read", "Rows read from the input.", numbers.read as f64),
        counter("tidegate.rows.unpriced", "Answered rows whose cost is not known.", numbers.unpriced as f64),
        gauge("tidegate.unstored", "Bytes that wait to be stored.", numbers.unstored as f64).in_unit(Unit::Bytes),
        gauge("tidegate.stopping", "1 once the run sends nothing more.", f64::from(u8::from(numbers.stopping))),
    ];
    // What is not known is not there: a zero would be a guess.
    families.extend(numbers.expected().map(|rows| {
        gauge(
            "tidegate.rows.expected",
            "Records that the whole job will make, projected until the input is read.",
            rows,
        )
    }));
    families.extend(known.then(|| counter("tidegate.cost_usd", "What is known of the cost.", numbers.cost.usd())));
    families
}

fn queue(snapshot: &Snapshot) -> Vec<Family> {
    let waiting = Family::new("tidegate.requests.waiting", "Requests that wait to be admitted.", Type::Gauge);
    let mut families = vec![waiting.with(&[], snapshot.waiting as f64)];
    families.extend(snapshot.limited_by.map(|limit| {
        let name =
            serde_json::to_value(limit).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        let family =
            Family::new("tidegate.limited_by", "1 for the limit that the first of them waits for.", Type::Gauge);
        family.with(&[("limit", &name)], 1.0)
    }));
    families
}

fn endpoints(endpoints: &[EndpointSnapshot]) -> Vec<Family> {
    let each = |name, help, kind, of: &dyn Fn(&EndpointSnapshot) -> f64| {
        let family = Family::new(name, help, kind);
        endpoints.iter().fold(family, |family, endpoint| family.with(&[("endpoint", &endpoint.name)], of(endpoint)))
    };
    let mut calls = Family::new("tidegate.endpoint.calls", "Calls that have ended, by how.", Type::Counter);
    let mut limits = Family::new("tidegate.endpoint.limit", "Limits that were stated, per minute.", Type::Gauge);
    for endpoint in endpoints {
        let EndpointSnapshot { name, succeeded, rejected, failed, .. } = endpoint;
        for (result, count) in [("answered", succeeded), ("rejected", rejected), ("failed", failed)] {
            calls = calls.with(&[("endpoint", name), ("result", result)], *count as f64);
        }
        let stated = [("requests", endpoint.limits.rpm), ("tokens", endpoint.limits.tpm)];
        for (limit, rate) in stated.into_iter().filter_map(|(limit, rate)| Some((limit, rate?))) {
            limits = limits.with(&[("endpoint", name), ("limit", limit)], rate);
        }
    }
    vec![
        calls,
        limits,
        each("tidegate.endpoint.in_flight", "Requests in flight.", Type::Gauge, &|at| at.in_flight as f64),
        each("tidegate.endpoint.concurrency", "How many may be.", Type::Gauge, &|at| at.concurrency as f64),
        each("tidegate.endpoint.tokens", "Tokens used.", Type::Counter, &|at| at.tokens as f64),
        each("tidegate.endpoint.cooldown", "Pauses after rejections.", Type::Counter, &|at| at.cooled.as_secs_f64())
            .in_unit(Unit::Seconds),
        each("tidegate.endpoint.cooling", "How much longer the present pause lasts.", Type::Gauge, &|at| {
            at.cooling.unwrap_or_default().as_secs_f64()
        })
        .in_unit(Unit::Seconds),
        each("tidegate.endpoint.out_of_service", "1 for an endpoint that is out of service.", Type::Gauge, &|at| {
            f64::from(u8::from(at.aside.is_some()))
        }),
    ]
}
