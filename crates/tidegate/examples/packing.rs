//! Measures what it saves to ask rows together: `cargo run -p tidegate --example packing`.
//!
//! First the template with fields of a form filler: for each field a set of questions is wanted, and then its value. One
//! by one that is two calls a field; packed, one call for all the questions and one for each pack of values. Then 2,000
//! rows with a schema at a model of whose replies to several questions half are damaged: answers missing, of another
//! form, doubled, or under an id in another spelling.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use std::sync::Arc;

use serde_json::json;
use tidegate::run::summary::Tally;
use tidegate::sim::{Faults, Scenario, SimTransport, Simulator};
use tidegate::{Client, Request, Schema, Target};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    for (fields, pack) in [(12, 12), (10, 10), (20, 10), (30, 10), (30, 15)] {
        let (questions, values) = (fill(fields, fields).await, fill(fields, pack).await);
        let (calls, alone) = (questions + values, 2 * fields as u64);
        let saved = 1.0 - calls as f64 / alone as f64;
        println!("{fields} fields at {pack}: {calls} calls in place of {alone}, {:.1} % saved", 100.0 * saved);
    }
    println!("30 rows at 10: {} calls", fill(30, 10).await);
    damaged().await;
}

/// Asks about so many fields, and returns how many calls that took.
async fn fill(fields: usize, pack: usize) -> u64 {
    let simulator = Simulator::new(Scenario::fixed(50.0));
    let requests = (0..fields).map(|field| Request::prompt(format!("Field {field}: what goes there?")).max_tokens(60));
    let batch = client(&simulator).run(requests.collect::<Vec<_>>()).pack(pack).in_input_order().await;
    assert_eq!(batch.tally().succeeded, fields as u64);
    simulator.stats().arrivals
}

fn client(simulator: &Simulator) -> Client {
    let transport = Arc::new(SimTransport::to(simulator.clone()));
    Client::builder().target(Target::new("sim/model").unwrap()).transport(transport).build().unwrap()
}

async fn damaged() {
    const ROWS: usize = 2000;
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["name", "total"],
        "properties": {"name": {"type": "string"}, "total": {"type": "integer"}}});
    let schema = Arc::new(Schema::new(schema).unwrap());
    let faults = Faults { damaged_members: 0.5, ..Faults::default() };
    let simulator = Simulator::new(Scenario { faults, ..Scenario::fixed(50.0) });
    let requests = (0..ROWS).map(|row| Request::prompt(format!("Invoice {row}")).schema(schema.clone()));
    let batch = client(&simulator).run(requests.collect::<Vec<_>>()).pack(10).in_input_order().await;
    let tally: Tally = batch.tally();
    let calls = simulator.stats().arrivals;
    println!(
        "half of the replies damaged: {ROWS} rows, {} without an answer, {calls} calls, {:.1} % saved",
        tally.failed,
        100.0 * (1.0 - calls as f64 / ROWS as f64)
    );
}
