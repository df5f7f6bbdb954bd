//! Providers' own caches of prompts: where points are placed, and that the first request of a prefix goes ahead.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use tidegate::call::aws::{Account, Credentials};
use tidegate::run::summary::{Summary, Tally};
use tidegate::sim::{Scenario, SimTransport, Simulator};
use tidegate::{Bedrock, Client, Message, Outcome, PromptCache, Request, Target};

/// Makes a client of a simulated Claude, at Anthropic's or on Bedrock, where 32 calls may be in flight.
fn client(model: &str, strategy: PromptCache) -> (Client, Simulator) {
    let simulator = Simulator::new(Scenario::fixed(500.0));
    let limits = tidegate::Limits { concurrency: Some(32), ..tidegate::Limits::default() };
    let target = Target::new(model).unwrap().base_url("http://sim.invalid").key("k").limits(limits);
    let builder = Client::builder().target(target.prompt_cache(strategy));
    (builder.transport(Arc::new(SimTransport::to(simulator.clone()))).build().unwrap(), simulator)
}

fn requests(prefixes: usize, each: usize) -> Vec<Request> {
    let system = |prefix: usize| format!("{prefix:4}").repeat(2000);
    (0..prefixes * each)
        .map(|row| Request::prompt(format!("row {row}")).system(system(row % prefixes)).max_tokens(50))
        .collect()
}

async fn run(client: &Client, requests: Vec<Request>) -> (Vec<Outcome>, Summary) {
    let batch = client.run(requests).in_input_order().await;
    let outcomes: Vec<Outcome> = batch.outcomes.into_iter().map(|(outcome, ())| outcome).collect();
    let mut tally = Tally::default();
    outcomes.iter().for_each(|outcome| tally.add(&outcome.into()));
    (outcomes, Summary::of(&tally))
}

fn writes(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.usage().unwrap().cache_write_tokens > 0).count()
}

/// Sends requests whose cache points are the caller's own, so that nobody goes ahead of the others.
fn with_points(requests: Vec<Request>) -> Vec<Request> {
    let pointed = |request: Request| {
        let tidegate::request::Task::Chat(mut messages) = request.task.clone() else { panic!() };
        let system = std::mem::replace(&mut messages[0], Message::user());
        messages[0] = system.cache_point();
        let mut pointed = Request::chat(messages);
        pointed.params = request.params;
        pointed
    };
    requests.into_iter().map(pointed).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_of_each_prefix_writes_it_and_all_others_read_it() {
    let (client, _) = client("anthropic/claude-haiku-4-5", PromptCache::Conservative);
    let (outcomes, summary) = run(&client, requests(3, 40)).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(writes(&outcomes), 3);
    let caching = summary.prompt_cache;
    assert_eq!((caching.hits, caching.read_tokens, caching.written_tokens), (117, 117 * 2000, 3 * 2000));
}

#[tokio::test(start_paused = true)]
async fn on_bedrock_too() {
    let simulator = Simulator::new(Scenario::fixed(500.0));
    let account = Account::new(Some("one"), Arc::new(Credentials::new("AKIAone", "secret", None)));
    let bedrock = Bedrock { regions: vec!["us-east-1".to_owned()], accounts: vec![account], ..Bedrock::default() };
    let limits = tidegate::Limits { concurrency: Some(32), ..tidegate::Limits::default() };
    let target =
        Target::new("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0").unwrap().bedrock(bedrock).limits(limits);
    let client = Client::builder()
        .target(target.prompt_cache(PromptCache::Aggressive))
        .transport(Arc::new(SimTransport::to(simulator)))
        .build()
        .unwrap();
    let (outcomes, summary) = run(&client, requests(1, 50)).await;
    assert_eq!((writes(&outcomes), summary.prompt_cache.hits), (1, 49));
}

#[tokio::test(start_paused = true)]
async fn without_a_first_one_a_whole_fan_out_writes() {
    let (client, _) = client("anthropic/claude-haiku-4-5", PromptCache::Off);
    let (outcomes, _) = run(&client, with_points(requests(1, 100))).await;
    assert_eq!(writes(&outcomes), 32);
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_has_no_points_is_paid_for_each_time() {
    let (client, _) = client("anthropic/claude-haiku-4-5", PromptCache::Off);
    let (outcomes, summary) = run(&client, requests(1, 20)).await;
    assert_eq!((writes(&outcomes), summary.prompt_cache.hits), (0, 0));
}

/// Makes a client of a simulated Claude with these keys, of which each has 16 calls at once and a cache of its own.
fn with_keys(keys: &[&str]) -> Client {
    let scenario = Scenario { per_key: true, ..Scenario::fixed(500.0) };
    let limits = tidegate::Limits { concurrency: Some(16), ..tidegate::Limits::default() };
    let target = Target::new("anthropic/claude-haiku-4-5").unwrap().base_url("http://sim.invalid").limits(limits);
    let target = keys.iter().fold(target.prompt_cache(PromptCache::Conservative), |target, key| target.key(*key));
    let transport = SimTransport::to(Simulator::new(scenario));
    Client::builder()
        .target(target)
        .balance(tidegate::Balance::RoundRobin)
        .transport(Arc::new(transport))
        .build()
        .unwrap()
}

fn endpoints(outcomes: &[Outcome]) -> usize {
    let used = outcomes.iter().filter_map(Outcome::last).map(|attempt| attempt.endpoint.clone());
    used.collect::<std::collections::BTreeSet<_>>().len()
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_writes_a_prefix_once_and_all_are_used() {
    let client = with_keys(&["a", "b", "c"]);
    let began = tokio::time::Instant::now();
    let (outcomes, summary) = run(&client, requests(1, 480)).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!((writes(&outcomes), summary.prompt_cache.hits, endpoints(&outcomes)), (3, 477, 3));
    // 48 at once after two round trips and a half, where one endpoint alone would have taken 31.
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_one_endpoint_has_room_for_stays_there() {
    let client = with_keys(&["a", "b", "c"]);
    let (outcomes, _) = run(&client, requests(1, 12)).await;
    assert_eq!((writes(&outcomes), endpoints(&outcomes)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_keeps_a_prefix_and_fails_holds_nobody_back() {
    let scenario = Scenario { keys: vec!["b".to_owned()], per_key: true, ..Scenario::fixed(500.0) };
    let limits = tidegate::Limits { concurrency: Some(16), ..tidegate::Limits::default() };
    let target = Target::new("anthropic/claude-haiku-4-5").unwrap().base_url("http://sim.invalid").limits(limits);
    let target = target.prompt_cache(PromptCache::Conservative).key("a").key("b");
    let transport = Arc::new(SimTransport::to(Simulator::new(scenario)));
    let client = Client::builder().target(target).transport(transport).build().unwrap();
    let (outcomes, _) = run(&client, requests(1, 100)).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(writes(&outcomes), 1);
}
