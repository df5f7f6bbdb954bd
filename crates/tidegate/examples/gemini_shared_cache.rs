//! Sends many requests to Gemini that share a long instruction, which is stored there once, and says what that saves.
//!
//! Against the simulated provider in this process; give `GEMINI_API_KEY` to ask the real one:
//! `GEMINI_API_KEY=… cargo run --example gemini_shared_cache`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tidegate::sim::{Scenario, SimTransport};
use tidegate::{Client, ContextCacheOptions, Request, Target, Usage};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Without `delete_at_end` the cache would serve the next run, too, until its time is over.
    let options = ContextCacheOptions::new(Duration::from_secs(600)).delete_at_end();
    let client = client(Target::new("gemini/gemini-2.5-flash")?.context_cache(options))?;
    let rules = "Answer in one word. The words are: ebb, flow, slack. ".repeat(200);
    let rows =
        (0..100).map(|hour| Request::prompt(format!("What is the tide {hour} hours after low water?")).system(&rules));

    let (mut usage, mut failed) = (Usage::default(), 0);
    let mut run = client.run(rows);
    while let Some((outcome, ())) = run.next().await {
        usage += outcome.usage().unwrap_or_default();
        failed += u32::from(outcome.result.is_err());
    }
    let share = 100.0 * usage.cached_tokens as f64 / usage.input_tokens as f64;
    println!("{} input tokens, {share:.0} % of them from the cache; {failed} of 100 rows failed", usage.input_tokens);
    client.close().await;
    if share < 90.0 { Err("the rows did not share a cache".into()) } else { Ok(()) }
}

/// A client of the real provider if there is a key, else of the simulated one.
fn client(target: Target) -> tidegate::Result<Client> {
    match key() {
        Some(key) => Client::builder().target(target.key(key)).build(),
        None => {
            let simulated = Arc::new(SimTransport::new(Scenario::default()));
            Client::builder().target(target.key("any")).transport(simulated).build()
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "an example is a program, and programs read the environment")]
fn key() -> Option<String> {
    std::env::var("GEMINI_API_KEY").ok()
}
