//! Several models in several regions of Bedrock, balanced; answers of a form that is validated here, asked for again if wrong.
//!
//! Against the simulated provider in this process, which refuses one call in ten for load and damages one answer in five:
//! `cargo run -p tidegate --example bedrock_batch`

#![expect(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::sync::Arc;

use serde::Deserialize;
use tidegate::call::aws::{Account, Credentials};
use tidegate::sim::{Scenario, SimTransport};
use tidegate::{
    AskPolicy, Balance, Bedrock, Check, Client, Output, RegionOrder, Request, Response, RetryPolicy, Schema, Target,
};

const ROWS: u64 = 200;
const REGIONS: [&str; 3] = ["us-east-1", "us-west-2", "eu-west-1"];
const UNRELIABLE: &str = "latency: {fixed: {ms: 200}}
faults: {status_429: 0.1, damaged_json: 0.2}";

/// What is wanted of each piece of feedback.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Feedback {
    mood: Mood,
    topic: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Happy,
    Angry,
    Mixed,
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = client()?;
    let form = Arc::new(Schema::of::<Feedback>()?);
    let ask = |row| Request::prompt(format!("Judge feedback {row}: 'Great boat, bad tea.'")).schema(form.clone());
    let batch = client.run((0..ROWS).map(ask)).max_parallel(20).in_input_order().await;

    for (index, failure, ()) in batch.failures() {
        println!("{index} has failed: {failure}");
    }
    let tally = batch.tally();
    println!(
        "{} of {ROWS} answered, {} replies refused, p95 {:?}, ${:.4}",
        tally.succeeded,
        tally.answers.refused,
        tally.latency(95.0),
        tally.cost.usd()
    );
    for (endpoint, answers) in batch.by_endpoint() {
        println!("  {answers:>3} by {endpoint}");
    }

    assert_eq!(tally.succeeded, ROWS);
    assert!(tally.answers.refused > 0, "the simulated provider damages answers");
    for region in REGIONS {
        let here = |(endpoint, _): &(&str, u64)| endpoint.contains(&format!("@{region}"));
        let answers: u64 = batch.by_endpoint().into_iter().filter(here).map(|(_, answers)| answers).sum();
        assert!(answers > ROWS / 5, "{region} answered {answers} only");
    }
    let angry = batch.successes().filter_map(|(_, response, ())| parse(response).ok());
    let angry = angry.filter(|feedback| matches!(feedback.mood, Mood::Angry)).count();
    println!("{angry} are angry");
    assert!(angry > 0);
    Ok(())
}

/// A client that takes the regions in turn, with a second model for when the first cannot be had.
fn client() -> tidegate::Result<Client> {
    let credentials = Credentials::new("AKIAEXAMPLE", "secret", None);
    let bedrock = Bedrock {
        regions: REGIONS.map(str::to_owned).to_vec(),
        accounts: vec![Account::new(None, Arc::new(credentials))],
        region_order: RegionOrder::Rotate,
        ..Bedrock::default()
    };
    let simulated = SimTransport::new(Scenario::from_yaml(UNRELIABLE)?);
    Client::builder()
        .target(Target::new("bedrock/Claude 3.5 Sonnet")?.bedrock(bedrock.clone()))
        .target(Target::new("bedrock/Claude 3 Haiku")?.bedrock(bedrock))
        .balance(Balance::RoundRobin)
        .retry(RetryPolicy { max_attempts: 4, ..RetryPolicy::default() })
        // Beyond the form: what no schema can say.
        .ask_policy(AskPolicy { retries: Some(9), ..AskPolicy::default() })
        .check(Check::new("a topic", |_, response| match parse(response)?.topic.as_str() {
            "" => Err("the topic is empty".to_owned()),
            _ => Ok(()),
        }))
        .transport(Arc::new(simulated))
        .build()
}

fn parse(response: &Response) -> Result<Feedback, String> {
    match &response.output {
        Output::Json(value) => Feedback::deserialize(value).map_err(|error| error.to_string()),
        _ => Err("not a value".to_owned()),
    }
}
