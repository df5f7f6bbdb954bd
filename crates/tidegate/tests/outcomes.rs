//! What outcomes and batches carry, what a run may be told of its own, and their form in JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::stream;
use serde_json::json;
use tidegate::call::aws::{Account, Credentials};
use tidegate::sim::{Mock, Scenario, SimTransport, Simulator};
use tidegate::{
    AskPolicy, Batch, Bedrock, Check, Client, Ended, Error, Failure, Item, Kind, Limits, Money, Outcome, Params, Price,
    Request, Response, RetryPolicy, Schema, Target, Usage, caller,
};

const S: Duration = Duration::from_secs(1);

/// A caller that takes a second and says what `answer` says to each of its calls, from 0.
fn answering<F>(answer: F) -> Target
where
    F: Fn(u32) -> Result<Response, Failure> + Send + Sync + 'static,
{
    let (calls, answer) = (AtomicU32::new(0), Arc::new(answer));
    let caller = caller(move |_| {
        let (call, answer) = (calls.fetch_add(1, Ordering::SeqCst), answer.clone());
        async move {
            tokio::time::sleep(S).await;
            answer(call)
        }
    });
    Target::caller("m", caller).limits(Limits { concurrency: Some(1), ..Limits::default() })
}

#[tokio::test(start_paused = true)]
async fn an_attempts_time_is_split_into_what_it_was_spent_on() {
    let usage = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
    let target = answering(move |call| match call {
        0 => Err(Failure::rate_limited(10 * S)),
        1 => Err(Failure::new(Kind::ServerError, "no").with_usage(Some(usage))),
        2 => Ok(Response::text("wrong").with_usage(usage)),
        _ => Ok(Response::text("right").with_usage(usage)),
    });
    let client = Client::builder()
        .target(target.price(Price::new(1.0, 2.0)))
        .ask_policy(AskPolicy { checks: vec![Check::regex("right").unwrap()], delay: 7 * S, ..AskPolicy::default() })
        .build()
        .unwrap();
    let batch = client.run([Request::prompt("?")]).in_input_order().await;
    let outcome = &batch.outcomes[0].0;
    let [limited, broken, wrong, right] = &outcome.attempts[..] else { panic!("{:?}", outcome.attempts) };
    assert!(outcome.attempts.iter().all(|attempt| attempt.took == S));
    assert_eq!((limited.waited, limited.cooled, limited.backoff), (Duration::ZERO, Duration::ZERO, Duration::ZERO));
    assert!((10 * S..11 * S).contains(&broken.cooled) && broken.waited >= broken.cooled, "{broken:?}");
    assert!(broken.backoff.is_zero() && !wrong.backoff.is_zero() && wrong.waited < S, "{wrong:?}");
    assert_eq!((wrong.cooled, right.cooled, right.backoff), (Duration::ZERO, Duration::ZERO, 7 * S));
    assert!((batch.took.as_secs_f64() - outcome.total_time().as_secs_f64()).abs() < 0.1, "{:?}", batch.took);
    assert_eq!(outcome.usage().unwrap().total(), 45, "all attempts count");
    assert_eq!(outcome.cost(), Some(Money::from_usd(60e-6)));
}

#[tokio::test(start_paused = true)]
async fn outcomes_and_batches_go_to_json_and_back() {
    let schema = Arc::new(Schema::new(json!({"type": "object", "properties": {"a": {"type": "integer"}}})).unwrap());
    let scenario = Scenario::from_yaml("script: [{contains: unlucky, status: 500}, {contains: wrong, status: 400}]");
    let client = Client::builder()
        .target(Target::new("sim/echo").unwrap().price(Price::new(1.0, 2.0)))
        .scenario(scenario.unwrap())
        .build()
        .unwrap();
    let texts = ["plain", "unlucky", "wrong", "with a schema"];
    let items = texts.map(|text| {
        let request = Request::prompt(text);
        let request = if text.contains("schema") { request.schema(schema.clone()) } else { request };
        Item::new(request, text.to_owned()).id(text)
    });
    let batch = client.run_items(stream::iter(items)).in_input_order().await;
    assert_eq!((batch.outputs().count(), batch.failures().count()), (2, 2));
    let stripped = Batch::from(batch.outcomes.clone().into_iter().map(without_bytes).collect::<Vec<_>>());

    let again: Batch<String> = serde_json::from_str(&serde_json::to_string(&batch).unwrap()).unwrap();
    assert_eq!((&again.outcomes, again.took), (&stripped.outcomes, batch.took));
    let mut file = Vec::new();
    batch.write_jsonl(&mut file).unwrap();
    assert_eq!(Batch::<String>::read_jsonl(&*file).unwrap(), stripped);
    file.extend_from_slice(b"{\"outcome\": 5}\n");
    let wrong = Batch::<String>::read_jsonl(&*file).unwrap_err().to_string();
    assert!(wrong.starts_with("line 5: "), "{wrong}");
}

/// Takes off what JSON does not hold.
fn without_bytes((mut outcome, context): (Outcome, String)) -> (Outcome, String) {
    if let Ok(response) = &mut outcome.result {
        response.raw = Default::default();
    }
    (outcome, context)
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_asked_by_id_and_counted() {
    let mock = Mock::new(|_| Response::text("ok")).latency(S).usage(Usage {
        input_tokens: 100,
        cached_tokens: 25,
        ..Usage::default()
    });
    let client = Client::builder().target(Target::caller("m", Arc::new(mock))).build().unwrap();
    let items = (0..8).map(|i| {
        let item = Item::new(Request::prompt("?"), i);
        if i % 2 == 0 { item.id(format!("doc_{i}")) } else { item }
    });
    let batch = client.run_items(stream::iter(items)).in_input_order().await;
    assert_eq!(batch.by_id("doc_4").unwrap().1, 4);
    assert_eq!(batch.by_id("item_5").unwrap().1, 5, "an id is made up");
    assert!(batch.by_id("doc_5").is_none());
    let tally = batch.tally();
    let latency = tally.latencies();
    assert_eq!((latency.p50, latency.p99), (tally.latency(50.0), tally.latency(99.0)));
    let known = [latency.min, latency.mean, latency.max].map(|time| (time.as_secs_f64() - 1.0).abs());
    assert!(known.iter().all(|off| *off < 0.001), "{latency:?}");
    assert_eq!(
        (tally.success_rate(), tally.failure_rate(), tally.cached_token_rate()),
        (Some(1.0), Some(0.0), Some(0.25))
    );
    assert_eq!((batch.ended, batch.took, batch.rate()), (Ended::Completed, S, 8.0));
    let none = client.run([]).in_input_order().await;
    assert_eq!((none.tally().success_rate(), none.tally().latencies().min, none.rate()), (None, Duration::ZERO, 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_run_asks_in_its_own_regions() {
    let simulator = Simulator::new(Scenario::default());
    let bedrock = Bedrock {
        regions: ["us-east-1", "us-west-2", "eu-west-1"].map(str::to_owned).to_vec(),
        accounts: vec![Account::new(None, Arc::new(Credentials::new("AKIAEXAMPLE", "secret", None)))],
        ..Bedrock::default()
    };
    let client = Client::builder()
        .target(Target::new("bedrock/Claude 3 Haiku").unwrap().bedrock(bedrock))
        .transport(Arc::new(SimTransport::to(simulator)))
        .build()
        .unwrap();
    let requests = || (0..30).map(|n| Request::prompt(n.to_string()).max_tokens(9));
    let batch = client.run(requests()).regions(["us-west-2"]).unwrap().in_input_order().await;
    assert_eq!(batch.by_region().into_iter().collect::<Vec<_>>(), [("us-west-2", 30)]);
    let all = client.run(requests()).in_input_order().await;
    assert_eq!(all.by_region().values().sum::<u64>(), 30);
    match client.run(requests()).regions(["us-west-3"]).map(|_| ()) {
        Err(Error::Usage(message)) => assert!(message.contains("'us-west-3'; did you mean 'us-west-2'?"), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_and_an_item_have_times_and_retries_of_their_own() {
    let mock = Arc::new(Mock::new(|_| Response::text("ok")).latency(10 * S));
    let client = Client::builder().target(Target::caller("m", mock.clone())).build().unwrap();
    let once = RetryPolicy { max_attempts: 1, timeout: S, ..RetryPolicy::default() };
    let items = stream::iter([Item::new(Request::prompt("?"), ()).retry(once), Item::new(Request::prompt("?"), ())]);
    let batch = client.run_items(items).timeout(5 * S).in_input_order().await;
    let calls: Vec<_> =
        batch.outcomes.iter().map(|(outcome, ())| (outcome.calls(), outcome.attempts[0].took)).collect();
    assert_eq!(calls, [(1, S), (5, 5 * S)]);
    assert_eq!(client.send_item(&Item::from(Request::prompt("?")).retry(once)).await.calls(), 1);
    assert!(client.send(&Request::prompt("?")).await.result.is_ok(), "the client's own way is as it was");
}

#[tokio::test(start_paused = true)]
async fn requests_say_what_the_client_does_not() {
    let caller = caller(|request: Request| async move {
        Ok(Response::text(format!("{:?} {:?}", request.params.temperature, request.params.max_tokens)))
    });
    let mut params = Params::default();
    (params.temperature, params.max_tokens) = (Some(0.5), Some(100));
    let client = Client::builder().target(Target::caller("m", caller)).defaults(params).build().unwrap();
    assert_eq!(client.send(&Request::prompt("?")).await.text(), Ok("Some(0.5) Some(100)"));
    let batch = client.run([Request::prompt("?").temperature(1.0)]).in_input_order().await;
    assert_eq!(batch.outcomes[0].0.text(), Ok("Some(1.0) Some(100)"));
}

/// Whatever a user may hand on with `?`, box or send to another thread.
#[test]
fn errors_are_errors_everywhere() {
    fn is_error<E: std::error::Error + Send + Sync + 'static>() {}
    is_error::<tidegate::Error>();
    is_error::<tidegate::Failure>();
    is_error::<tidegate::Unanswered>();
}
