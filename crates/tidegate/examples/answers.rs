//! Measures what checked answers cost: `cargo run -p tidegate --example answers`.
//!
//! First, 2,000 rows whose replies are damaged JSON one time in five: how many rows end without a value, and how many
//! tokens it takes beyond asking again. Then 1,000 rows on a ladder from a cheap model, which is wrong one time in five,
//! to a strong one: what that saves against the strong model alone, and whether the answers are as good.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tidegate::request::Task;
use tidegate::run::summary::Tally;
use tidegate::sim::{Faults, Scenario};
use tidegate::{AskPolicy, Check, Client, Output, Part, Price, Request, Response, Rung, Schema, Target, Usage};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    damaged().await;
    ladder().await;
}

/// A schema as extraction tasks have it.
fn schema() -> Arc<Schema> {
    let line = json!({"type": "object", "additionalProperties": false, "required": ["name", "price"],
        "properties": {"name": {"type": "string"}, "price": {"type": "integer"}}});
    let invoice = json!({"type": "object", "additionalProperties": false, "required": ["lines", "total"],
        "properties": {"lines": {"type": "array", "items": line, "maxItems": 3}, "total": {"type": "integer"}}});
    Arc::new(Schema::new(invoice).unwrap())
}

async fn damaged() {
    const ROWS: u64 = 2000;
    let whole = run_damaged(ROWS, 0.0).await;
    let damaged = run_damaged(ROWS, 0.2).await;
    let asks = ROWS + damaged.answers.asked_again;
    let expected = whole.usage.total() as f64 / ROWS as f64 * asks as f64;
    let extra = damaged.usage.total() as f64 / expected - 1.0;
    println!(
        "20 % damaged JSON: {ROWS} rows, {} replies refused, {} rows without a value",
        damaged.answers.refused, damaged.failed
    );
    println!(
        "tokens: {} in {asks} answers, {:.1} % more than the same number of first ones",
        damaged.usage.total(),
        extra * 100.0
    );
}

/// Asks about documents of 2,400 bytes and counts what came.
async fn run_damaged(rows: u64, damaged_json: f64) -> Tally {
    let scenario = Scenario { faults: Faults { damaged_json, ..Faults::default() }, ..Scenario::fixed(50.0) };
    let client = Client::builder()
        .target(Target::new("sim/model").unwrap())
        .scenario(scenario)
        .ask_policy(AskPolicy { retries: Some(9), ..AskPolicy::default() })
        .build()
        .unwrap();
    let schema = schema();
    let request = |row| Request::prompt(format!("{row:2400}: what does this invoice say?")).schema(schema.clone());
    tally(client.run((0..rows).map(request)).map(|(outcome, ())| outcome).collect().await)
}

fn tally(outcomes: Vec<tidegate::Outcome>) -> Tally {
    let mut tally = Tally::default();
    outcomes.iter().for_each(|outcome| tally.add(&outcome.into()));
    tally
}

async fn ladder() {
    let strong_rung = Rung { model: Some("strong".into()), ..Rung::default() };
    let always = measure(AskPolicy { ladder: vec![strong_rung.clone()], ..policy() }).await;
    let climbed = measure(AskPolicy { ladder: vec![Rung::default(), strong_rung], ..policy() }).await;
    let saved = 1.0 - climbed.0.cost.usd() / always.0.cost.usd();
    println!("always the strong model: ${:.4}, {} of 1000 right", always.0.cost.usd(), always.1);
    println!(
        "the ladder: ${:.4}, {} of 1000 right, {} rows went up, {:.1} % saved",
        climbed.0.cost.usd(),
        climbed.1,
        climbed.0.answers.escalated,
        saved * 100.0
    );
}

/// An invoice whose lines do not add up has been misread.
fn policy() -> AskPolicy {
    AskPolicy {
        checks: vec![Check::expression("output.lines | sum(attribute='price') == output.total").unwrap()],
        ..AskPolicy::default()
    }
}

/// Runs 1,000 invoices, and returns how many answers are right.
async fn measure(policy: AskPolicy) -> (Tally, usize) {
    // The prices of gpt-5-nano and gpt-5.
    let cheap = scripted("cheap", |row| row % 5 == 0).price(Price::new(0.05, 0.4));
    let strong = scripted("strong", |_| false).price(Price::new(1.25, 10.0)).by_name();
    let client = Client::builder().target(cheap).target(strong).ask_policy(policy).build().unwrap();
    let schema = schema();
    let rows = (0..1000_u64).map(|row| Request::prompt(row.to_string()).schema(schema.clone()));
    let outcomes: Vec<_> = client.run(rows).map(|(outcome, ())| outcome).collect().await;
    let right = |outcome: &&tidegate::Outcome| match &outcome.result {
        Ok(Response { output: Output::Json(value), .. }) => *value == truth(outcome.index),
        _ => false,
    };
    let right = outcomes.iter().filter(right).count();
    (tally(outcomes), right)
}

fn truth(row: u64) -> Value {
    json!({"lines": [{"name": "tea", "price": row}, {"name": "rope", "price": 7}], "total": row + 7})
}

/// Makes a model that misreads the total of some rows; 600 tokens in, 60 out.
fn scripted(name: &str, misreads: fn(u64) -> bool) -> Target {
    let caller = tidegate::caller(move |request: Request| async move {
        let Task::Chat(messages) = &request.task else { return Ok(Response::text("")) };
        let Some(Part::Text(text)) = messages[0].parts.first() else { return Ok(Response::text("")) };
        let row: u64 = text.parse().unwrap_or_default();
        let mut answer = truth(row);
        if misreads(row) {
            answer["total"] = json!(row + 8);
        }
        Ok(Response::text(answer.to_string()).with_usage(Usage {
            input_tokens: 600,
            output_tokens: 60,
            ..Usage::default()
        }))
    });
    Target::caller(name, caller)
}
