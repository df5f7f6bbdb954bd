//! Questions about packages, errors and hardware, each kind made of a list and a template and sent to models of its own.
//!
//! Against the simulated provider in this process, where one of the models does not exist, so that its questions go to the
//! next: `cargo run -p tidegate --example task_router`

#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde_json::json;
use tidegate::run::summary::Tally;
use tidegate::sim::Scenario;
use tidegate::{Client, Item, Limits, Price, RetryPolicy, Target, Template};

/// A kind of question: what is asked about each subject, and the models for it, the first preferred. A list leads to no
/// other, so whatever is down, each model is asked at most until it is known to be.
struct Kind {
    name: &'static str,
    template: &'static str,
    models: &'static [&'static str],
    subjects: &'static [&'static str],
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "package",
        template: "What does the package {{ subject }} do, and what does it need?",
        models: &["sim/claude", "sim/kimi"],
        subjects: &["nginx", "postgresql", "redis", "memcached", "mysql-server"],
    },
    Kind {
        name: "error",
        template: "Diagnose this error and say what to do: {{ subject }}",
        models: &["sim/retired", "sim/kimi"],
        subjects: &["E: Unable to locate package", "dpkg was interrupted", "No space left on device"],
    },
    Kind {
        name: "hardware",
        template: "Which driver does this need: {{ subject }}?",
        models: &["sim/local"],
        subjects: &["GPU", "CPU", "RAM", "storage"],
    },
];

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = client()?;
    let items = items()?;
    let asked = items.len();
    let mut answers = client.run_items(stream::iter(items)).max_parallel(5);
    let mut tally = Tally::default();
    // Outcomes come as they are done: this loop is the progress callback.
    while let Some((outcome, (kind, subject))) = answers.next().await {
        let took = outcome.last().map(|attempt| attempt.took).unwrap_or_default();
        match outcome.text() {
            Ok(answer) => println!("ok     {kind:<8} {subject}: {answer:.40} ({took:?})"),
            Err(failure) => println!("failed {kind:<8} {subject}: {failure}"),
        }
        tally.add(&(&outcome).into());
    }
    println!("{} of {asked} answered, ${:.6} in all", tally.succeeded, tally.cost.usd());
    for (model, totals) in &tally.models {
        println!("  {model}: {} answered, ${:.6}", totals.succeeded, totals.cost_usd.unwrap_or_default());
    }

    let answered = |model: &str| tally.models.get(model).map_or(0, |totals| totals.succeeded);
    assert_eq!(["sim/claude", "sim/kimi", "sim/local", "sim/retired"].map(answered), [5, 3, 4, 0]);
    assert_eq!(tally.failed, 0);
    Ok(())
}

/// Makes all questions, each with its kind and subject as context.
fn items() -> tidegate::Result<Vec<Item<(&'static str, &'static str)>>> {
    let mut items = Vec::new();
    for kind in KINDS {
        let template = Template::new(kind.template)?;
        let models: Vec<Arc<str>> = kind.models.iter().map(|model| Arc::from(*model)).collect();
        for subject in kind.subjects {
            let request = template.request(&json!({"subject": subject}))?.max_tokens(200);
            items.push(Item::new(request, (kind.name, *subject)).for_models(models.clone()).label("kind", kind.name));
        }
    }
    Ok(items)
}

/// A client with a rate of five requests a second for each model.
fn client() -> tidegate::Result<Client> {
    let limits = Limits { rps: Some(5.0), ..Limits::default() };
    let target = |name, price| Ok::<_, tidegate::Error>(Target::new(name)?.limits(limits).price(price));
    Client::builder()
        .target(target("sim/claude", Price::new(3.0, 15.0))?)
        .target(target("sim/kimi", Price::new(0.6, 2.5))?)
        .target(target("sim/local", Price::new(0.0, 0.0))?)
        .target(target("sim/retired", Price::new(1.0, 5.0))?)
        .retry(RetryPolicy { max_attempts: 3, ..RetryPolicy::default() })
        .scenario(Scenario::from_yaml("latency: {fixed: {ms: 400}}\nmodels: [claude, kimi, local]")?)
        .build()
}
