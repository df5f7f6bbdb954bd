//! Answers that are not paid for twice: what is kept, what is found again, and for whom.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt;
use serde_json::json;
use tidegate::{
    AskPolicy, Budget, Cache, CacheOptions, Check, Client, ClientBuilder, Failure, Finish, Money, Outcome, Output,
    Price, Request, Response, Rung, Schema, Target, Usage,
};

type Reply = Result<Response, Failure>;

/// Makes a model that gives these replies in turn, the last one for ever, and a count of its calls.
fn model(name: &str, replies: impl IntoIterator<Item = Reply>) -> (Target, Arc<AtomicU32>) {
    let (replies, calls): (Vec<_>, _) = (replies.into_iter().collect(), Arc::<AtomicU32>::default());
    let number = calls.clone();
    let caller = tidegate::caller(move |_| {
        let place = number.fetch_add(1, Ordering::Relaxed) as usize;
        let reply = replies[place.min(replies.len() - 1)].clone();
        let usage = Usage { input_tokens: 1000, output_tokens: 100, ..Usage::default() };
        async move { reply.map(|response| response.with_usage(usage)) }
    });
    (Target::caller(name, caller).price(Price::new(1.0, 10.0)), calls)
}

fn texts(texts: &[&str]) -> Vec<Reply> {
    texts.iter().map(|text| Ok(Response::text(*text))).collect()
}

fn builder(path: &Path, targets: impl IntoIterator<Item = Target>) -> ClientBuilder {
    let cache = Cache::open(path, CacheOptions::default()).unwrap();
    targets.into_iter().fold(Client::builder(), ClientBuilder::target).cache(cache)
}

/// Sends one request with a client of its own, which stores what it keeps before it goes.
async fn send(path: &Path, target: &Target, request: &Request) -> Outcome {
    builder(path, [target.clone()]).build().unwrap().send(request).await
}

async fn send_with(path: &Path, targets: &[Target], policy: AskPolicy, request: &Request) -> Outcome {
    builder(path, targets.to_vec()).ask_policy(policy).build().unwrap().send(request).await
}

fn check(pattern: &str) -> AskPolicy {
    AskPolicy { checks: vec![Check::regex(pattern).unwrap()], ..AskPolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_paid_for_once() {
    let folder = tempfile::tempdir().unwrap();
    let (target, calls) = model("m", texts(&["high", "other"]));
    let first = send(folder.path(), &target, &Request::prompt("a")).await;
    assert_eq!((first.text(), first.cached.as_deref(), first.calls()), (Ok("high"), None, 1));
    let second = send(folder.path(), &target, &Request::prompt("a")).await;
    assert_eq!((second.text(), second.cached.as_deref(), second.calls()), (Ok("high"), Some("m"), 0));
    assert_eq!((second.cost(), second.usage()), (Some(Money::ZERO), None));
    let another = send(folder.path(), &target, &Request::prompt("b")).await;
    assert_eq!((another.text(), calls.load(Ordering::Relaxed)), (Ok("other"), 2));
}

#[tokio::test(start_paused = true)]
async fn failures_and_what_was_cut_off_are_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut cut = Response::text("hi");
    cut.finish = Finish::Length;
    let refused = Failure::new(tidegate::Kind::BadRequest, "no");
    let (target, calls) = model("m", [Err(refused), Ok(cut), Ok(Response::text("high"))]);
    for expected in [1, 2, 3, 3] {
        send(folder.path(), &target, &Request::prompt("a")).await;
        assert_eq!(calls.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_once_it_passes_and_judged_again() {
    let folder = tempfile::tempdir().unwrap();
    let (target, calls) = model("m", texts(&["bad", "good", "better"]));
    let (targets, request) = ([target], Request::prompt("a"));
    let first = send_with(folder.path(), &targets, check("good"), &request).await;
    assert_eq!((first.text(), first.calls()), (Ok("good"), 2));
    let second = send_with(folder.path(), &targets, check("good"), &request).await;
    assert_eq!((second.text(), second.calls()), (Ok("good"), 0));
    let stricter = send_with(folder.path(), &targets, check("better"), &request).await;
    assert_eq!((stricter.text(), stricter.calls(), calls.load(Ordering::Relaxed)), (Ok("better"), 1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_structured_answer_comes_back_as_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let (target, _) = model("m", texts(&["```json\n{\"b\": 1, \"a\": 0.1}\n```"]));
    let schema = Schema::new(json!({"type": "object", "required": ["a"]})).unwrap();
    let request = Request::prompt("a").schema(Arc::new(schema));
    for calls in [1, 0] {
        let outcome = send(folder.path(), &target, &request).await;
        assert_eq!(outcome.calls(), calls);
        assert_eq!(outcome.result.unwrap().output, Output::Json(json!({"b": 1, "a": 0.1})));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ladder_finds_what_its_last_rung_answered() {
    let folder = tempfile::tempdir().unwrap();
    let ((weak, _), (strong, calls)) = (model("weak", texts(&["bad"])), model("strong", texts(&["good"])));
    let up = Rung { model: Some("strong".into()), ..Rung::default() };
    let policy = AskPolicy { ladder: vec![Rung::default(), up], ..check("good") };
    let (targets, request) = ([weak, strong], Request::prompt("a"));
    for expected in [None, Some("strong")] {
        let outcome = send_with(folder.path(), &targets, policy.clone(), &request).await;
        assert_eq!((outcome.text(), outcome.cached.as_deref()), (Ok("good"), expected));
    }
    // The strong model alone has answered that too.
    let alone = send(folder.path(), &targets[1], &request).await;
    assert_eq!((alone.cached.as_deref(), calls.load(Ordering::Relaxed)), (Some("strong"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_budget_reserves_nothing_for_a_hit() {
    let folder = tempfile::tempdir().unwrap();
    let (target, calls) = model("m", texts(&["high"]));
    let request = Request::prompt("a").max_tokens(100);
    send(folder.path(), &target, &request).await;
    let client = builder(folder.path(), [target]).build().unwrap();
    let nothing = Budget { usd: Some(Money::from_usd(1e-12)), ..Budget::default() };
    let run = client.run(vec![request; 3]).budget(nothing);
    let outcomes: Vec<_> = run.map(|(outcome, ())| outcome).collect().await;
    assert!(outcomes.iter().all(|outcome| outcome.text() == Ok("high")), "{outcomes:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn streams_and_samples_are_always_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (target, calls) = model("m", texts(&["high"]));
    let request = Request::prompt("a");
    send(folder.path(), &target, &request).await;
    let client = builder(folder.path(), [target]).build().unwrap();
    assert_eq!(client.stream(&request).outcome().await.text(), Ok("high"));
    let outcomes: Vec<_> = client.run(vec![request; 3]).no_cache().collect().await;
    assert!(outcomes.iter().all(|(outcome, ())| outcome.cached.is_none()));
    assert_eq!(calls.load(Ordering::Relaxed), 5);
}
