//! A large list in chunks; afterwards what failed for a passing cause is asked again, slowly, and merged in its place.
//!
//! Chunks bound what is held at a time and give an occasion to store it. A run without chunks takes its requests only as
//! they can be sent and hands out each outcome as it is done, which bounds memory too and has no pause between chunks.
//!
//! Against the simulated provider in this process, which fails three calls in ten and refuses some questions for good:
//! `cargo run -p tidegate --example chunked_list`

#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;

use futures_util::stream;
use tidegate::sim::{Faults, Scenario, Script};
use tidegate::{Batch, Client, Item, Kind, Request, RetryPolicy, Target};

const LIST: u64 = 2000;
const CHUNK: usize = 500;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = client()?;
    let list: Vec<u64> = (0..LIST).collect();
    let hasty = RetryPolicy { max_attempts: 2, ..RetryPolicy::default() };
    let mut answered = 0;
    let mut refused = 0;
    for (number, chunk) in list.chunks(CHUNK).enumerate() {
        let items: Vec<_> = chunk.iter().map(|point| Item::new(question(*point), *point)).collect();
        let mut batch = client.run_items(stream::iter(items)).retry(hasty).max_parallel(20).in_input_order().await;
        let before = batch.failures().count();
        ask_again(&client, &mut batch).await;
        let tally = batch.tally();
        println!("chunk {number}: {} answered, {before} failed at first, {} in the end", tally.succeeded, tally.failed);
        assert!(before as u64 > tally.failed, "some causes have passed");
        assert!(batch.outcomes.iter().zip(chunk).all(|((outcome, point), listed)| {
            point == listed
                && outcome.text().is_ok_and(|text| text.ends_with(&format!("point {point}."))) == outcome.result.is_ok()
        }));
        answered += tally.succeeded;
        refused += tally.causes.get(&Kind::BadRequest).map_or(0, |cause| cause.rows);
    }
    println!("{answered} of {LIST} answered, {refused} refused for good");
    assert_eq!((answered, refused), (LIST - 2, 2));
    Ok(())
}

/// Asks again what has failed, except for what will never succeed.
async fn ask_again(client: &Client, batch: &mut Batch<u64>) {
    let passing = batch.failures().filter(|(_, failure, _)| failure.kind.is_transient());
    let items: Vec<_> = passing.map(|(index, _, point)| Item::new(question(*point), index)).collect();
    let patient = RetryPolicy { max_attempts: 20, ..RetryPolicy::default() };
    let second = client.run_items(stream::iter(items)).retry(patient).max_parallel(2).in_input_order().await;
    batch.merge(second);
}

fn question(point: u64) -> Request {
    Request::prompt(format!("Analyse data point {point}."))
}

fn client() -> tidegate::Result<Client> {
    let refuse = |point| Script { contains: format!("point {point}."), status: Some(400), ..Script::default() };
    let scenario = Scenario {
        faults: Faults { status_500: 0.3, ..Faults::default() },
        script: [13, 1313].map(refuse).to_vec(),
        ..Scenario::fixed(100.0)
    };
    Client::builder().target(Target::new("sim/echo")?).scenario(scenario).build()
}
