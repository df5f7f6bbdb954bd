//! Three ways to ask again after an answer that does not fit: hotter, with what was wrong, or a stronger model.
//!
//! Against the simulated provider in this process, whose answers do not fit their schema three times in ten and which
//! fails one call in five: `cargo run -p tidegate --example progressive_temperature`

#![expect(clippy::print_stdout, reason = "an example")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tidegate::call::transport::{HttpReply, HttpRequest, Transport};
use tidegate::run::summary::Tally;
use tidegate::sim::{Faults, Scenario, SimTransport};
use tidegate::{AskPolicy, Client, Failure, Params, Price, Request, Rung, Schema, Target};

const ROWS: u64 = 300;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let hotter = [0.0, 0.5, 1.0].map(|t| Rung { params: temperature(t), ..Rung::default() }).to_vec();
    let (tally, sent) = extract(AskPolicy { ladder: hotter, retries: Some(9), ..AskPolicy::default() }).await?;
    println!("progressive temperature: {} answered; sent by temperature {:?}", tally.succeeded, sent.by("temperature"));
    let heat = sent.by("temperature");
    assert!(heat["0.0"] >= ROWS && heat["0.5"] > 0 && heat["1.0"] > 0 && heat["0.0"] > heat["0.5"]);
    assert_eq!(tally.succeeded, ROWS);

    // Without a ladder the model sees its own answer and what was wrong with it, field by field.
    let (tally, sent) = extract(AskPolicy { retries: Some(9), ..AskPolicy::default() }).await?;
    let complaints = sent.0.iter().filter(|body| body.to_string().contains("Your answer was refused")).count() as u64;
    println!("smart retry: {} answered; {complaints} calls said what was wrong", tally.succeeded);
    assert!(complaints >= tally.answers.refused && tally.succeeded == ROWS);

    let models = ["sim/cheap", "sim/strong"].map(|m| Rung { model: Some(m.into()), ..Rung::default() }).to_vec();
    let (tally, sent) = extract(AskPolicy { ladder: models, retries: Some(9), ..AskPolicy::default() }).await?;
    println!(
        "escalation: {} answered, ${:.4}; sent by model {:?}",
        tally.succeeded,
        tally.cost.usd(),
        sent.by("model")
    );
    // One row in three or so goes up. What failed in the network was tried again where it was.
    assert!(tally.answers.escalated > 0 && tally.answers.escalated < ROWS / 2 && tally.succeeded == ROWS);
    assert!(sent.by("model")["cheap"] > ROWS && tally.retries > tally.answers.refused);
    Ok(())
}

/// Asks for a person's data in many texts. Returns what came of it, and what was sent.
async fn extract(policy: AskPolicy) -> tidegate::Result<(Tally, Sent)> {
    let recorder = Arc::new(Recorder::new());
    let client = Client::builder()
        .target(Target::new("sim/cheap")?.price(Price::new(0.05, 0.4)))
        .target(Target::new("sim/strong")?.price(Price::new(1.25, 10.0)).by_name())
        .ask_policy(policy)
        .transport(recorder.clone())
        .build()?;
    let person =
        Arc::new(Schema::new(json!({"type": "object", "required": ["name", "age"], "additionalProperties": false,
        "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "maximum": 150}}}))?);
    let ask = |row| Request::prompt(format!("{row}: John Smith is 32 years old. Extract.")).schema(person.clone());
    let batch = client.run((0..ROWS).map(ask)).in_input_order().await;
    let sent = std::mem::take(&mut *recorder.sent.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((batch.tally(), Sent(sent)))
}

fn temperature(temperature: f64) -> Params {
    let mut params = Params::default();
    params.temperature = Some(temperature);
    params
}

/// The bodies of what was sent.
struct Sent(Vec<Value>);

impl Sent {
    fn by(&self, field: &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for body in &self.0 {
            let value = body[field].as_str().map_or_else(|| body[field].to_string(), str::to_owned);
            *counts.entry(value).or_default() += 1;
        }
        counts
    }
}

/// The simulated provider, with a look at what is sent to it.
struct Recorder {
    provider: SimTransport,
    sent: Mutex<Vec<Value>>,
}

impl Recorder {
    fn new() -> Recorder {
        let faults = Faults { schema_violation: 0.3, status_500: 0.2, ..Faults::default() };
        let provider = SimTransport::new(Scenario { faults, ..Scenario::fixed(50.0) });
        Recorder { provider, sent: Mutex::default() }
    }
}

impl Transport for Recorder {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        let body = serde_json::from_slice(request.body()).unwrap_or_default();
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        self.provider.send(request)
    }
}
