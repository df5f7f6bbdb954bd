//! Bedrock's endpoints (models x regions x accounts x ways) against the simulated provider, under paused time.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use tidegate::call::aws::{Account, Credentials};
use tidegate::catalog::bedrock::Preference;
use tidegate::sim::{Scenario, SimTransport, Simulator};
use tidegate::{Bedrock, Client, ClientBuilder, Kind, Outcome, RegionOrder, Request, RetryPolicy, Target};

const HAIKU: &str = "anthropic.claude-3-5-haiku-20241022-v1:0";
const SONNET: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

fn account(label: &str) -> Account {
    Account::new(Some(label), Arc::new(Credentials::new(&format!("AKIA{label}"), "secret", None)))
}

fn regions(names: &[&str]) -> Bedrock {
    let regions = names.iter().map(|name| (*name).to_owned()).collect();
    Bedrock { regions, accounts: vec![account("one")], ..Bedrock::default() }
}

fn client(yaml: &str, models: &[&str], bedrock: &Bedrock) -> (ClientBuilder, Simulator) {
    let transport = SimTransport::new(Scenario::from_yaml(yaml).unwrap());
    let simulator = transport.simulator().clone();
    // Of several attempts only what costs none can be seen.
    let retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let targets = models.iter().map(|model| Target::new(&format!("bedrock/{model}")).unwrap().bedrock(bedrock.clone()));
    let builder = Client::builder().transport(Arc::new(transport)).retry(retry);
    (targets.fold(builder, ClientBuilder::target), simulator)
}

async fn ask(client: &Client, rows: usize) -> Vec<Outcome> {
    let requests = (0..rows).map(|row| Request::prompt(format!("row {row}")));
    client.run(requests).map(|(outcome, ())| outcome).collect().await
}

fn endpoints(outcomes: &[Outcome]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        outcome.result.as_ref().unwrap();
        *counts.entry(outcome.attempts.last().unwrap().endpoint.to_string()).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_is_demanded_is_learned_and_costs_no_attempt() {
    let keys = "keys: ['AKIAone:secret']\n";
    let (builder, simulator) = client(&format!("{keys}models: ['us.{HAIKU}']"), &[HAIKU], &regions(&["us-west-2"]));
    let client = builder.build().unwrap();
    let outcomes = ask(&client, 200).await;
    assert_eq!(endpoints(&outcomes), BTreeMap::from([(format!("bedrock/us.{HAIKU}@us-west-2#one"), 200)]));
    let wasted = simulator.stats().arrivals - 200;
    assert!((1..=16).contains(&wasted), "{wasted} requests went to the plain id");
    let response = outcomes[0].result.as_ref().unwrap();
    assert_eq!(response.model, format!("us.{HAIKU}"));
}

#[tokio::test(start_paused = true)]
async fn look_alikes_are_the_rows_own_fault() {
    let yaml = "script: [{contains: row, status: 400, body: '{\"message\":\"The provided region isn''t supported\"}'}]";
    let (builder, _) = client(yaml, &[HAIKU], &regions(&["us-west-2"]));
    let client = builder.build().unwrap();
    let outcomes = ask(&client, 3).await;
    for outcome in &outcomes {
        assert_eq!(outcome.result.as_ref().unwrap_err().kind, Kind::BadRequest);
        assert_eq!(outcome.attempts.len(), 1);
    }
    assert!(client.snapshot().endpoints.iter().all(|endpoint| endpoint.aside.is_none()));
}

#[tokio::test(start_paused = true)]
async fn the_global_fraction_is_that_fraction() {
    for share in [0.0, 0.1, 0.25, 0.5, 1.0] {
        let preference = Preference { allow_global: true, ..Preference::default() };
        let bedrock = Bedrock { preference, global_fraction: Some(share), ..regions(&["us-east-1"]) };
        let (builder, _) = client("", &[SONNET], &bedrock);
        let counts = endpoints(&ask(&builder.build().unwrap(), 400).await);
        let global = counts.get(&format!("bedrock/global.{SONNET}@us-east-1#one")).copied().unwrap_or(0);
        assert_eq!(global, (share * 400.0) as usize, "{share}: {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_region_and_account_is_an_endpoint_and_may_take_turns() {
    let places = regions(&["us-east-1", "eu-west-1"]);
    let two = Bedrock { accounts: vec![account("one"), account("two")], ..places };
    let nova = "amazon.nova-lite-v1:0";
    let names = |client: &Client| client.snapshot().endpoints.iter().map(|e| e.name.clone()).collect::<Vec<_>>();
    let (builder, _) = client("", &["mistral.mistral-large-2407-v1:0"], &two);
    let name = |place: &str| format!("bedrock/mistral.mistral-large-2407-v1:0@{place}");
    let all = ["us-east-1#one", "us-east-1#two", "eu-west-1#one", "eu-west-1#two"].map(name);
    assert_eq!(names(&builder.build().unwrap()), all);

    let rotating = Bedrock { region_order: RegionOrder::Rotate, ..two.clone() };
    let (builder, _) = client("", &[nova], &rotating);
    // As long as all have room: behind that, whoever is free first takes the next.
    let counts = endpoints(&ask(&builder.build().unwrap(), 40).await);
    assert_eq!((counts.len(), counts.values().all(|count| *count == 10)), (4, true), "{counts:?}");

    let models = ["mistral.mistral-large-2402-v1:0", "mistral.mistral-large-2407-v1:0"];
    let one = regions(&["us-east-1", "eu-west-1"]);
    let order =
        |names: Vec<String>| names.iter().map(|name| (name.contains("2402"), name.contains("us-"))).collect::<Vec<_>>();
    let (builder, _) = client("", &models, &one);
    assert_eq!(order(names(&builder.build().unwrap())), [(true, true), (true, false), (false, true), (false, false)]);
    let (builder, _) = client("", &models, &one);
    let first = builder.regions_first().build().unwrap();
    assert_eq!(order(names(&first)), [(true, true), (false, true), (true, false), (false, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_used_up_leaves_its_rows_to_the_next() {
    let yaml = "per_key: true\nlimits: [{of: requests, limit: 5, per_s: 86400}]";
    let (builder, _) = client(yaml, &["mistral.mistral-large-2407-v1:0"], &regions(&["us-east-1", "eu-west-1"]));
    let counts = endpoints(&ask(&builder.build().unwrap(), 10).await);
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [5, 5], "{counts:?}");
}

#[test]
fn what_leaves_the_geography_is_refused_before_anything_is_sent() {
    let refusal = |model: &str, bedrock: &Bedrock| client("", &[model], bedrock).0.build().err().unwrap().to_string();
    assert!(refusal(SONNET, &regions(&["sa-east-1"])).contains("nothing in the geography of sa-east-1 serves it"));
    assert!(refusal(&format!("eu.{SONNET}"), &regions(&["us-east-1"])).contains("--allow-global"));
    let share = Bedrock { global_fraction: Some(0.5), ..regions(&["us-east-1"]) };
    assert!(refusal(SONNET, &share).contains("allow it with --allow-global"));
    assert!(refusal(SONNET, &Bedrock::default()).contains("at least one region"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_account_leaves_the_others() {
    let two = Bedrock { accounts: vec![account("one"), account("two")], ..regions(&["us-east-1"]) };
    let (builder, _) = client("keys: ['AKIAtwo:secret']", &["mistral.mistral-large-2407-v1:0"], &two);
    let counts = endpoints(&ask(&builder.build().unwrap(), 20).await);
    assert_eq!(counts.into_keys().collect::<Vec<_>>(), ["bedrock/mistral.mistral-large-2407-v1:0@us-east-1#two"]);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_reply_says_what_the_whole_one_says() {
    let answers = async |stream| {
        let (builder, _) = client("keys: ['AKIAone:secret']", &[HAIKU], &regions(&["us-east-1"]));
        let retry = RetryPolicy { stream, ..RetryPolicy::default() };
        let mut outcomes = ask(&builder.retry(retry).build().unwrap(), 20).await;
        outcomes.sort_by_key(|outcome| outcome.index);
        let told = |outcome: Outcome| outcome.result.map(|r| (r.output, r.finish, r.usage, r.model)).unwrap();
        outcomes.into_iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(answers(true).await, answers(false).await);
}
