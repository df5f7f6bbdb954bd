//! Identical requests of one run: asked once, answered as often as they came.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tidegate::run::summary::Tally;
use tidegate::{
    Client, ClientBuilder, Dedupe, Failure, Item, Kind, Outcome, Price, Request, Response, RetryPolicy, Target, Usage,
};

/// Makes a model that takes a second, answers with the number of the call, or fails; and a count of its calls.
fn model(fails: Option<Kind>) -> (ClientBuilder, Arc<AtomicU32>) {
    let calls = Arc::<AtomicU32>::default();
    let number = calls.clone();
    let caller = tidegate::caller(move |_| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match fails {
                Some(kind) => Err(Failure::new(kind, "no")),
                None => {
                    Ok(Response::text(number.to_string()).with_usage(Usage { input_tokens: 7, ..Usage::default() }))
                }
            }
        }
    });
    (Client::builder().target(Target::caller("m", caller).price(Price::new(1.0, 1.0))), calls)
}

fn asked(prompt: &str) -> Request {
    Request::prompt(prompt).temperature(0.0)
}

async fn run(client: &Client, requests: impl IntoIterator<Item = Request>) -> Vec<Outcome> {
    let requests: Vec<Request> = requests.into_iter().collect();
    client.run(requests).in_input_order().await.outcomes.into_iter().map(|(outcome, ())| outcome).collect()
}

fn texts(outcomes: &[Outcome]) -> Vec<&str> {
    outcomes.iter().map(|outcome| outcome.text().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn identical_requests_are_asked_once_and_paid_for_once() {
    let (builder, calls) = model(None);
    let client = builder.build().unwrap();
    let outcomes = run(&client, ["a", "b", "a", "a"].map(asked)).await;
    assert_eq!((texts(&outcomes), calls.load(Ordering::Relaxed)), (vec!["0", "1", "0", "0"], 2));
    assert_eq!(outcomes[0].shared, None);
    let twin = &outcomes[2];
    assert_eq!((twin.shared.as_deref(), twin.calls(), twin.usage()), (Some("m"), 0, None));
    let mut tally = Tally::default();
    outcomes.iter().for_each(|outcome| tally.add(&outcome.into()));
    assert_eq!((tally.succeeded, tally.shared, tally.usage.input_tokens, tally.unpriced), (4, 2, 14, 0));
    assert!((tally.cost.usd() - 14e-6).abs() < 1e-12);
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_after_the_answer_finds_it() {
    let (builder, calls) = model(None);
    let client = builder.build().unwrap();
    let items = stream::iter(0..3).then(|number| async move {
        tokio::time::sleep(Duration::from_secs(5 * number)).await;
        Item::from(asked("a"))
    });
    let outcomes: Vec<_> = client.run_items(items).collect().await;
    assert_eq!(outcomes.iter().filter(|(outcome, ())| outcome.shared.is_some()).count(), 2);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_answered_in_another_way_is_asked_each_time_unless_told_otherwise() {
    let plain = || ["a", "a"].map(Request::prompt);
    let other = |dedupe| {
        let (builder, calls) = model(None);
        (builder.dedupe(dedupe).build().unwrap(), calls)
    };
    for (dedupe, requests, expected) in [
        (Dedupe::AtTemperatureZero, plain(), 2),
        (Dedupe::Always, plain(), 1),
        (Dedupe::Never, ["a", "a"].map(asked), 2),
        (Dedupe::Always, [Request::prompt("a"), Request::prompt("a").max_tokens(9)], 2),
    ] {
        let (client, calls) = other(dedupe);
        run(&client, requests).await;
        assert_eq!(calls.load(Ordering::Relaxed), expected, "{dedupe:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_to_other_models_or_with_other_labels_are_others() {
    let (builder, calls) = model(None);
    let second = tidegate::caller(|_| async { Ok(Response::text("n")) });
    let client = builder.target(Target::caller("n", second)).build().unwrap();
    let to = |model: &str| Item::new(asked("a"), ()).for_model(model.into());
    let items = vec![to("m"), to("n"), to("m").label("tenant", "x"), to("m")];
    let outcomes: Vec<_> = client.run_items(stream::iter(items)).collect().await;
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(outcomes.iter().filter(|(outcome, ())| outcome.shared.is_some()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_but_not_remembered() {
    let (builder, calls) = model(Some(Kind::BadRequest));
    let client = builder.build().unwrap();
    let outcomes = run(&client, ["a", "a"].map(asked)).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.as_ref().unwrap_err().kind == Kind::BadRequest));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let later = stream::iter(0..2).then(|number| async move {
        tokio::time::sleep(Duration::from_secs(5 * number)).await;
        Item::from(asked("a"))
    });
    client.run_items(later).collect::<Vec<_>>().await;
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn one_whose_own_time_is_over_leaves_the_others_theirs() {
    let (builder, calls) = model(None);
    let client = builder.build().unwrap();
    let short = Item::from(asked("a")).deadline(Duration::from_millis(500));
    let mut run = client.run_items(stream::iter([short, asked("a").into()]));
    let (first, second) = (run.next().await.unwrap().0, run.next().await.unwrap().0);
    assert_eq!(first.result.unwrap_err().kind, Kind::Deadline);
    assert_eq!((second.text(), calls.load(Ordering::Relaxed)), (Ok("1"), 2));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_bounded_and_nobody_is_lost() {
    let (builder, calls) = model(None);
    let client = builder.retry(RetryPolicy::default()).build().unwrap();
    let taken = Arc::<AtomicU32>::default();
    let counted = taken.clone();
    let mut run = client.run(std::iter::repeat_with(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        asked("a")
    }));
    assert_eq!(run.next().await.unwrap().0.text(), Ok("0"));
    assert_eq!((taken.load(Ordering::Relaxed), calls.load(Ordering::Relaxed)), (16_385, 1));
    let rest: Vec<_> = run.by_ref().take(50_000).collect().await;
    assert!(rest.iter().all(|(outcome, ())| outcome.shared.is_some()));
    let mut indices: Vec<u64> = rest.iter().map(|(outcome, ())| outcome.index).collect();
    indices.sort_unstable();
    assert!(indices.into_iter().eq(1..=50_000));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
