//! `--metrics-listen`: the numbers of a run, for Prometheus and for programs.
//!
//! Names are those of OpenTelemetry's conventions for generative AI where they have one, as Prometheus writes them; the rest
//! begins with `tidegate_`. Everything but the calls is read when somebody asks. No label holds anything of a prompt, an
//! answer or a key.

mod calls;
mod family;
mod serve;

use tidegate::run::progress::{Numbers, Progress};
use tidegate::{Client, EndpointSnapshot, Money, Snapshot};

pub(crate) use self::calls::Calls;
use self::family::{Family, Type};
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
    fn families(&self) -> Vec<Family> {
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
        Family::new("tidegate_rows_total", "Rows finished by this run.", Type::Counter)
            .with(&[("state", "answered")], numbers.succeeded as f64)
            .with(&[("state", "failed")], numbers.failed as f64),
        gauge("tidegate_rows_done_before", "Records that were there already.", numbers.done_before as f64),
        gauge("tidegate_rows_wanted", "Records to be made of the rows read so far.", numbers.wanted as f64),
        counter("tidegate_rows_read_total", "Rows read from the input.", numbers.read as f64),
        counter("tidegate_rows_unpriced_total", "Answered rows whose cost is not known.", numbers.unpriced as f64),
        gauge("tidegate_unstored_bytes", "Bytes that wait to be stored.", numbers.unstored as f64),
        gauge("tidegate_stopping", "1 once the run sends nothing more.", f64::from(u8::from(numbers.stopping))),
    ];
    // What is not known is not there: a zero would be a guess.
    families.extend(numbers.expected().map(|rows| {
        gauge(
            "tidegate_rows_expected",
            "Records that the whole job will make, projected until the input is read.",
            rows,
        )
    }));
    families
        .extend(known.then(|| counter("tidegate_cost_usd_total", "What is known of the cost.", numbers.cost.usd())));
    families
}

fn queue(snapshot: &Snapshot) -> Vec<Family> {
    let waiting = Family::new("tidegate_requests_waiting", "Requests that wait to be admitted.", Type::Gauge);
    let mut families = vec![waiting.with(&[], snapshot.waiting as f64)];
    families.extend(snapshot.limited_by.map(|limit| {
        let name =
            serde_json::to_value(limit).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        let family =
            Family::new("tidegate_limited_by", "1 for the limit that the first of them waits for.", Type::Gauge);
        family.with(&[("limit", &name)], 1.0)
    }));
    families
}

fn endpoints(endpoints: &[EndpointSnapshot]) -> Vec<Family> {
    let each = |name, help, kind, of: &dyn Fn(&EndpointSnapshot) -> f64| {
        let family = Family::new(name, help, kind);
        endpoints.iter().fold(family, |family, endpoint| family.with(&[("endpoint", &endpoint.name)], of(endpoint)))
    };
    let mut calls = Family::new("tidegate_endpoint_calls_total", "Calls that have ended, by how.", Type::Counter);
    let mut limits = Family::new("tidegate_endpoint_limit", "Limits that were stated, per minute.", Type::Gauge);
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
    let seconds = |time: Option<std::time::Duration>| time.unwrap_or_default().as_secs_f64();
    vec![
        calls,
        limits,
        each("tidegate_endpoint_in_flight", "Requests in flight.", Type::Gauge, &|at| at.in_flight as f64),
        each("tidegate_endpoint_concurrency", "How many may be.", Type::Gauge, &|at| at.concurrency as f64),
        each("tidegate_endpoint_tokens_total", "Tokens used.", Type::Counter, &|at| at.tokens as f64),
        each("tidegate_endpoint_cooldown_seconds_total", "Pauses after rejections.", Type::Counter, &|at| {
            at.cooled.as_secs_f64()
        }),
        each("tidegate_endpoint_cooling_seconds", "How much longer the present pause lasts.", Type::Gauge, &|at| {
            seconds(at.cooling)
        }),
        each("tidegate_endpoint_out_of_service", "1 for an endpoint that is out of service.", Type::Gauge, &|at| {
            f64::from(u8::from(at.aside.is_some()))
        }),
    ]
}
