//! From an outcome to its trace: a span for the row, and in it one for each of its calls.
//!
//! The calls' spans are those of OpenTelemetry's conventions for generative AI (`chat MODEL`, kind client), so that tokens count
//! once for each call; the row's own has only attributes that begin with `tidegate.`. Times are those that the attempts have, one
//! behind the other, counted back from the moment at which the outcome was there.

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind, status::StatusCode};
use tidegate::{Attempt, Failure, Kind, Outcome};

use crate::metrics::provider_and_model;

/// What is kept of an outcome until its spans are made.
pub(super) struct Seen {
    at: SystemTime,
    /// The row's id as JSON.
    id: Option<String>,
    attempts: Vec<Attempt>,
    failure: Option<Kind>,
    cost_usd: Option<f64>,
    /// Whether nobody was asked: `cached` or `shared`.
    replayed: Option<&'static str>,
    answer: Option<Answered>,
}

/// What the reply said of itself.
struct Answered {
    model: String,
    request_id: Option<String>,
    finish: Option<String>,
}

impl Seen {
    /// Keeps what spans are made of; nothing of a row that was never sent.
    pub(super) fn of(outcome: &Outcome, id: Option<&str>) -> Option<Seen> {
        let failure = outcome.result.as_ref().err().map(|failure| failure.kind);
        if failure.is_some() && outcome.attempts.is_empty() {
            return None;
        }
        let replayed = outcome.cached.as_ref().map(|_| "cached").or(outcome.shared.as_ref().map(|_| "shared"));
        let answer = outcome.result.as_ref().ok().filter(|_| replayed.is_none()).map(|response| Answered {
            model: response.model.clone(),
            request_id: response.request_id.clone(),
            finish: response.finish.name().map(str::to_owned),
        });
        Some(Seen {
            at: SystemTime::now(),
            id: id.map(str::to_owned),
            attempts: outcome.attempts.clone(),
            failure,
            cost_usd: outcome.cost().map(tidegate::Money::usd),
            replayed,
            answer,
        })
    }

    /// Returns how many spans it makes.
    pub(super) fn count(&self) -> u64 {
        1 + self.attempts.len() as u64
    }

    /// Makes the spans of one trace: the row's first, then its calls' in their order.
    pub(super) fn spans(&self, operation: &str) -> Vec<Span> {
        let trace = fastrand::u128(1..).to_be_bytes().to_vec();
        let total: Duration = self.attempts.iter().map(|at| at.backoff + at.waited + at.took).sum();
        let begun = self.at.checked_sub(total).unwrap_or(self.at);
        let mut row = span(&trace, "tidegate.row", SpanKind::Internal, (begun, self.at));
        row.attributes = self.attributes();
        row.status = self.failure.map(failed);
        let mut spans = vec![row];
        let mut now = begun;
        for (place, attempt) in self.attempts.iter().enumerate() {
            let start = now + attempt.backoff + attempt.waited;
            now = start + attempt.took;
            let answer = self.answer.as_ref().filter(|_| place + 1 == self.attempts.len());
            let (_, model) = provider_and_model(&attempt.model);
            let mut call = span(&trace, &format!("{operation} {model}"), SpanKind::Client, (start, now));
            call.parent_span_id.clone_from(&spans[0].span_id);
            call.attributes = call_attributes(attempt, answer, operation);
            call.status = attempt.failure.as_ref().map(|failure| failed(failure.kind));
            spans.push(call);
        }
        spans
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let calls: u32 = self.attempts.iter().map(|attempt| attempt.times).sum();
        let mut all = vec![number("tidegate.row.calls", calls.into())];
        // As in the record, but for the quotes of a text.
        let id = self.id.as_deref().map(|id| serde_json::from_str(id).unwrap_or_else(|_| id.to_owned()));
        all.extend(id.map(|id| text("tidegate.row.id", &id)));
        all.extend(self.cost_usd.map(|usd| real("tidegate.cost_usd", usd)));
        all.extend(self.replayed.map(|how| text("tidegate.row.replayed", how)));
        all.extend(self.failure.map(|kind| text("error.type", kind.name())));
        all
    }
}

fn call_attributes(attempt: &Attempt, answer: Option<&Answered>, operation: &str) -> Vec<KeyValue> {
    let (provider, model) = provider_and_model(&attempt.model);
    let mut all = vec![
        text("gen_ai.operation.name", operation),
        text("gen_ai.provider.name", provider),
        text("gen_ai.request.model", model),
        text("tidegate.endpoint", &attempt.endpoint),
        real("tidegate.waited_s", attempt.waited.as_secs_f64()),
    ];
    if let Some(Answered { model, request_id, finish }) = answer {
        all.extend((!model.is_empty()).then(|| text("gen_ai.response.model", model)));
        all.extend(request_id.as_ref().map(|id| text("gen_ai.response.id", id)));
        all.extend(finish.as_ref().map(|reason| texts("gen_ai.response.finish_reasons", reason)));
    }
    if let Some(usage) = &attempt.usage {
        let kinds = [
            ("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
            ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
        ];
        all.push(number("gen_ai.usage.input_tokens", usage.input_tokens));
        all.push(number("gen_ai.usage.output_tokens", usage.output_tokens));
        all.extend(kinds.into_iter().filter(|(_, tokens)| *tokens > 0).map(|(name, tokens)| number(name, tokens)));
    }
    all.extend(attempt.cost.map(|cost| real("tidegate.cost_usd", cost.usd())));
    all.extend((attempt.times > 1).then(|| number("tidegate.times", attempt.times.into())));
    all.extend((attempt.packed > 1).then(|| number("tidegate.packed", attempt.packed.into())));
    if let Some(Failure { kind, status, request_id, .. }) = &attempt.failure {
        all.push(text("error.type", kind.name()));
        all.extend(status.map(|status| number("http.response.status_code", status.into())));
        all.extend(request_id.as_ref().map(|id| text("gen_ai.response.id", id)));
    }
    all
}

/// The cause alone: what providers say about a failure may quote the prompt.
fn failed(kind: Kind) -> Status {
    Status { message: kind.name().to_owned(), code: StatusCode::Error.into() }
}

fn span(trace: &[u8], name: &str, kind: SpanKind, (start, end): (SystemTime, SystemTime)) -> Span {
    Span {
        trace_id: trace.to_vec(),
        span_id: fastrand::u64(1..).to_be_bytes().to_vec(),
        name: name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(start),
        end_time_unix_nano: nanoseconds(end),
        // Sampled, as all that is sent is.
        flags: 1,
        ..Span::default()
    }
}

pub(super) fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn text(name: &str, value: &str) -> KeyValue {
    attribute(name, any_value::Value::StringValue(value.to_owned()))
}

fn texts(name: &str, value: &str) -> KeyValue {
    let one = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    attribute(name, any_value::Value::ArrayValue(ArrayValue { values: vec![one] }))
}

fn number(name: &str, value: u64) -> KeyValue {
    attribute(name, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn real(name: &str, value: f64) -> KeyValue {
    attribute(name, any_value::Value::DoubleValue(value))
}

fn attribute(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
