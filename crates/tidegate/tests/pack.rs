//! Rows that are asked together: each gets its own answer and its part of the price, and none is lost.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use serde_json::json;
use tidegate::run::summary::{Summary, Tally};
use tidegate::sim::{Faults, Scenario, SimTransport, Simulator};
use tidegate::{
    AskPolicy, Check, Client, ClientBuilder, Failure, Finish, Kind, Outcome, Output, Price, Request, Response,
    RetryPolicy, Schema, Target, Usage,
};

/// Makes a client of a simulated model, and the simulator that sees its calls.
fn simulated(scenario: Scenario, policy: AskPolicy) -> (Client, Simulator) {
    let simulator = Simulator::new(scenario);
    let client = Client::builder()
        .target(Target::new("sim/model").unwrap().price(Price::new(1.0, 10.0)))
        .transport(Arc::new(SimTransport::to(simulator.clone())))
        .ask_policy(policy)
        .build()
        .unwrap();
    (client, simulator)
}

fn requests(count: usize) -> Vec<Request> {
    (0..count).map(|row| Request::prompt(format!("question {row}")).system("Be brief.")).collect()
}

fn schema() -> Arc<Schema> {
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["name", "total"],
        "properties": {"name": {"type": "string"}, "total": {"type": "integer", "minimum": 0}}});
    Arc::new(Schema::new(schema).unwrap())
}

async fn run(client: &Client, requests: Vec<Request>, pack: usize) -> Vec<Outcome> {
    let batch = client.run(requests).pack(pack).in_input_order().await;
    batch.outcomes.into_iter().map(|(outcome, ())| outcome).collect()
}

fn outputs(outcomes: &[Outcome]) -> Vec<Output> {
    outcomes.iter().map(|outcome| outcome.result.as_ref().unwrap().output.clone()).collect()
}

fn calls(outcomes: &[Outcome]) -> f64 {
    outcomes.iter().map(|outcome| outcome.part_of_calls().unwrap_or(f64::from(outcome.calls()))).sum()
}

#[tokio::test(start_paused = true)]
async fn thirty_rows_at_ten_are_three_calls_and_the_same_answers() {
    for requests in [requests(30), requests(30).into_iter().map(|request| request.schema(schema())).collect()] {
        let (client, simulator) = simulated(Scenario::fixed(50.0), AskPolicy::default());
        let packed = run(&client, requests.clone(), 10).await;
        assert_eq!(simulator.stats().arrivals, 3);
        let alone = run(&client, requests, 1).await;
        assert_eq!(outputs(&packed), outputs(&alone));
        assert!(packed.iter().all(|outcome| outcome.calls() == 1 && outcome.attempts[0].packed == 10));
        assert!((calls(&packed) - 3.0).abs() < 1e-9);
        let mut tally = Tally::default();
        packed.iter().for_each(|outcome| tally.add(&outcome.into()));
        let packing = Summary::of(&tally).packing;
        assert_eq!((packing.rows, packing.calls, packing.saved_calls), (30, 3, 27));
    }
}

#[tokio::test(start_paused = true)]
async fn parts_of_usage_and_cost_sum_up_to_the_calls() {
    let (client, simulator) = simulated(Scenario::fixed(50.0), AskPolicy::default());
    let packed = run(&client, requests(23), 10).await;
    let mut tally = Tally::default();
    packed.iter().for_each(|outcome| tally.add(&outcome.into()));
    let stats = simulator.stats();
    assert_eq!((tally.usage.input_tokens, tally.usage.output_tokens), (stats.input_tokens, stats.output_tokens));
    let whole = Price::new(1.0, 10.0).cost(&tally.usage);
    assert_eq!(tally.cost, whole);
    assert!(packed.iter().all(|outcome| outcome.cost().unwrap().usd() > 0.0));
}

#[tokio::test(start_paused = true)]
async fn rows_that_differ_in_more_than_their_text_do_not_go_together() {
    let (client, simulator) = simulated(Scenario::fixed(50.0), AskPolicy::default());
    let mut rows = requests(8);
    rows[1] = Request::prompt("other").system("Be long.");
    rows[2] = rows[2].clone().temperature(0.7);
    rows[3] = Request::embed("a vector");
    let outcomes = run(&client, rows, 10).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(simulator.stats().arrivals, 4);
    assert_eq!(outcomes[0].attempts[0].packed, 5);
}

#[tokio::test(start_paused = true)]
async fn damaged_members_and_replies_cost_more_calls_and_no_row() {
    for faults in [
        Faults { damaged_members: 0.5, ..Faults::default() },
        Faults { damaged_json: 0.3, fenced_json: 0.2, ..Faults::default() },
        Faults { damaged_members: 0.2, schema_violation: 0.1, status_500: 0.1, damaged_json: 0.1, ..Faults::default() },
    ] {
        let policy = AskPolicy { retries: Some(9), ..AskPolicy::default() };
        let rows = || requests(300).into_iter().map(|request| request.schema(schema())).collect();
        let (client, simulator) = simulated(Scenario { faults, ..Scenario::fixed(50.0) }, policy);
        let packed = run(&client, rows(), 10).await;
        let (whole, _) = simulated(Scenario::fixed(50.0), AskPolicy::default());
        let asked_again = |outcome: &&Outcome| outcome.checked.as_ref().is_some_and(|checked| checked.refused > 0);
        let alone = run(&whole, rows(), 1).await;
        // Who was refused was asked another question: with the complaint.
        for (packed, alone) in packed.iter().zip(&alone).filter(|(packed, _)| !asked_again(packed)) {
            assert_eq!(packed.result.as_ref().unwrap().output, alone.result.as_ref().unwrap().output);
        }
        assert!(packed.iter().all(|outcome| outcome.result.is_ok()));
        assert!((calls(&packed) - simulator.stats().arrivals as f64).abs() < 1e-6, "{faults:?}");
        assert!(simulator.stats().arrivals < 250, "{}", simulator.stats().arrivals);
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_row_is_found_and_fails_alone() {
    let text = "script: [{contains: poison, status: 400}]\nlatency: {fixed: {ms: 5}}";
    let (client, simulator) = simulated(Scenario::from_yaml(text).unwrap(), AskPolicy::default());
    let mut rows = requests(16);
    rows[5] = Request::prompt("poison").system("Be brief.");
    let outcomes = run(&client, rows, 16).await;
    assert_eq!(outcomes[5].result.as_ref().unwrap_err().kind, Kind::BadRequest);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.result.is_ok()).count(), 15);
    assert_eq!(simulator.stats().arrivals, 1 + 2 + 2 + 2 + 2);
}

/// Makes a model of a closure that gets the number of the call and the request.
fn model<F>(reply: F) -> ClientBuilder
where
    F: Fn(u32, &Request) -> Result<Response, Failure> + Send + Sync + 'static,
{
    let number = std::sync::atomic::AtomicU32::new(0);
    let caller = tidegate::caller(move |request: Request| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let usage = Usage { input_tokens: 100, output_tokens: 40, ..Usage::default() };
        let reply = reply(number, &request).map(|response| response.with_usage(usage));
        async move { reply }
    });
    Client::builder().target(Target::caller("m", caller).price(Price::new(1.0, 10.0)))
}

fn entries(ids: impl IntoIterator<Item = usize>) -> String {
    let entry = |id: usize| json!({"id": id.to_string(), "answer": format!("answer {id}")});
    json!({"results": ids.into_iter().map(entry).collect::<Vec<_>>()}).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_cut_off_loses_nothing_that_was_whole() {
    let client = model(|number, request| match number {
        0 => {
            assert_eq!(request.params.max_tokens, Some(4 * (50 + 16)));
            let whole = entries(1..=4);
            let cut = whole.find("\"3\"").unwrap();
            let mut response = Response::text(&whole[..cut]);
            response.finish = Finish::Length;
            Ok(response)
        }
        _ => Ok(Response::text(entries(1..=2))),
    });
    let rows = requests(4).into_iter().map(|request| request.max_tokens(50)).collect();
    let outcomes = run(&client.build().unwrap(), rows, 4).await;
    let texts: Vec<_> = outcomes.iter().map(|outcome| outcome.text().unwrap()).collect();
    assert_eq!(texts, ["answer 1", "answer 2", "answer 1", "answer 2"]);
    let kinds = outcomes[2].attempts.iter().map(|attempt| attempt.failure.as_ref().map(|failure| failure.kind));
    assert_eq!(kinds.collect::<Vec<_>>(), [Some(Kind::Truncated), None]);
    let used: u64 = outcomes.iter().map(|outcome| outcome.usage().unwrap().total()).sum();
    assert_eq!((used, calls(&outcomes)), (280, 2.0));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_for_load_is_one_and_never_an_empty_answer() {
    let busy = std::time::Duration::from_secs(2);
    let client = model(move |number, _| match number {
        0 => Err(Failure::rate_limited(busy)),
        _ => Ok(Response::text(entries(1..=5))),
    });
    let outcomes = run(&client.build().unwrap(), requests(5), 5).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok() && outcome.calls() == 2));
    assert_eq!(outcomes[0].attempts[0].failure.as_ref().unwrap().kind, Kind::RateLimited);
    let always = model(move |_, _| Err(Failure::rate_limited(busy)));
    let once = RetryPolicy { max_rate_limit_retries: Some(1), ..RetryPolicy::default() };
    let outcomes = run(&always.retry(once).build().unwrap(), requests(5), 5).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.as_ref().unwrap_err().kind == Kind::RateLimited));
    assert_eq!(outcomes.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_refused_answer_is_asked_for_alone_with_the_complaint() {
    let client = model(|number, request| match number {
        0 => Ok(Response::text(
            json!({"results": [{"id": "1", "answer": "good"}, {"id": "2", "answer": "bad"}]}).to_string(),
        )),
        _ => {
            let said = serde_json::to_string(request).unwrap();
            assert!(said.contains("question 1") && said.contains("Your answer was refused"), "{said}");
            Ok(Response::text("good at last"))
        }
    });
    let client = client.check(Check::regex("^good").unwrap()).build().unwrap();
    let outcomes = run(&client, requests(2), 2).await;
    assert_eq!((outcomes[0].text(), outcomes[1].text()), (Ok("good"), Ok("good at last")));
    assert_eq!(outcomes[1].attempts.iter().map(|attempt| attempt.packed).collect::<Vec<_>>(), [2, 1]);
    let checked = outcomes[1].checked.as_ref().unwrap();
    assert_eq!((checked.asks, checked.refused), (2, 1));
    let cost: f64 = outcomes.iter().map(|outcome| outcome.cost().unwrap().usd()).sum();
    assert!((cost - 2.0 * (100e-6 + 400e-6)).abs() < 1e-12, "{cost}");
}

#[tokio::test(start_paused = true)]
async fn identical_rows_are_in_a_pack_once() {
    let (client, simulator) = simulated(Scenario::fixed(50.0), AskPolicy::default());
    let rows: Vec<Request> = (0..40).map(|row| Request::prompt(format!("question {}", row % 10))).collect();
    let batch = client.run(rows).dedupe(tidegate::Dedupe::Always).pack(10).in_input_order().await;
    assert_eq!((simulator.stats().arrivals, batch.successes().count()), (1, 40));
    for (outcome, ()) in &batch.outcomes {
        assert!(outcome.text().unwrap().ends_with(&format!("question {}", outcome.index % 10)));
    }
    assert_eq!(batch.tally().shared, 30);
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_for_company_go_after_a_while() {
    use futures_util::StreamExt;
    let (client, simulator) = simulated(Scenario::fixed(50.0), AskPolicy::default());
    let items =
        futures_util::stream::iter(requests(5)).map(tidegate::Item::from).chain(futures_util::stream::pending());
    let first: Vec<_> = client.run_items(items).pack(10).take(5).collect().await;
    assert_eq!((first.len(), simulator.stats().arrivals), (5, 1));
}
