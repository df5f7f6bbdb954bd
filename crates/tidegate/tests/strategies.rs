//! Callers of the user's own: told what they need to know, prepared once, heard when they fail, cleared up on every path.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tidegate::sim::Mock;
use tidegate::{
    Caller, Check, Client, Diagnosis, Failure, Item, ItemState, Kind, Limits, Request, Response, RetryPolicy, Target,
    Try,
};
use tokio::time::Instant;

const S: Duration = Duration::from_secs(1);

/// Counts what is done to it, and fails as often as it is told.
#[derive(Default)]
struct Counting {
    prepared: AtomicU32,
    called: AtomicU32,
    closed: AtomicU32,
    unready: u32,
}

impl Counting {
    fn counts(&self) -> [u32; 3] {
        [&self.prepared, &self.called, &self.closed].map(|count| count.load(Ordering::SeqCst))
    }
}

impl Caller for Counting {
    fn call<'a>(&'a self, _: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        self.called.fetch_add(1, Ordering::SeqCst);
        async { Ok(Response::text("ok")) }.boxed()
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), Failure>> {
        let tries = self.prepared.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(S).await;
            if tries < self.unready { Err(Failure::new(Kind::Connect, "not yet")) } else { Ok(()) }
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.closed.fetch_add(1, Ordering::SeqCst);
        }
        .boxed()
    }
}

fn prompts(n: usize) -> impl Iterator<Item = Request> {
    (0..n).map(|i| Request::prompt(format!("prompt {i}")))
}

fn client(targets: impl IntoIterator<Item = Target>) -> Client {
    targets.into_iter().fold(Client::builder(), tidegate::ClientBuilder::target).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_shared_caller_is_prepared_once_and_closed_once() {
    let shared = Arc::new(Counting::default());
    let client = client(["a", "b"].map(|name| Target::caller(name, shared.clone())));
    assert_eq!(client.run(prompts(40)).count().await, 40);
    assert_eq!(shared.counts(), [1, 40, 0]);
    client.close().await;
    client.close().await;
    drop(client);
    tokio::time::sleep(S).await;
    assert_eq!(shared.counts(), [1, 40, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_closed_when_its_client_is_dropped_or_its_run_cancelled() {
    let caller = Arc::new(Counting::default());
    let client = client([Target::caller("a", caller.clone())]);
    let mut run = client.run(prompts(1000));
    assert!(run.next().await.is_some());
    drop(client);
    tokio::time::sleep(S).await;
    assert_eq!(caller.counts()[2], 0, "the run still needs it");
    drop(run);
    tokio::time::sleep(S).await;
    assert_eq!(caller.counts()[2], 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_preparation_is_tried_again_and_never_closed() {
    let caller = Arc::new(Counting { unready: 1, ..Counting::default() });
    let one = client([Target::caller("a", caller.clone())]);
    let outcome = one.send(&Request::prompt("?")).await;
    assert_eq!((outcome.attempts.len(), caller.counts()), (2, [2, 1, 0]));

    let never = Arc::new(Counting { unready: u32::MAX, ..Counting::default() });
    let other = client([Target::caller("a", never.clone())]);
    assert_eq!(other.send(&Request::prompt("?")).await.result.unwrap_err().kind, Kind::Connect);
    other.close().await;
    assert_eq!(never.counts(), [5, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_numbered_and_rejections_do_not_count() {
    let seen: Arc<Mutex<Vec<(u32, Duration, usize)>>> = Arc::default();
    let told = seen.clone();
    let caller = tidegate::strategy(move |_, attempt, timeout, state| {
        let calls = state.with(|calls: &mut usize| {
            *calls += 1;
            *calls
        });
        told.lock().unwrap().push((attempt, timeout, calls));
        async move {
            match calls {
                1 => Err(Failure::rate_limited(S)),
                2 => Err(Failure::new(Kind::ServerError, "no")),
                3 => Ok(Response::text("wrong")),
                _ => Ok(Response::text("right")),
            }
        }
    });
    let client = Client::builder()
        .target(Target::caller("m", caller))
        .check(Check::regex("right").unwrap())
        .retry(RetryPolicy { timeout: 9 * S, ..RetryPolicy::default() })
        .build()
        .unwrap();
    let outcome = client.send(&Request::prompt("?")).await;
    assert_eq!(outcome.text(), Ok("right"));
    assert_eq!(*seen.lock().unwrap(), [(1, 9 * S, 1), (1, 9 * S, 2), (2, 9 * S, 3), (3, 9 * S, 4)]);
    client.send(&Request::prompt("another")).await;
    assert_eq!(seen.lock().unwrap()[4].2, 1, "its state is its own");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_is_left_of_a_deadline_is_told() {
    let seen = Arc::new(Mutex::new(Duration::ZERO));
    let told = seen.clone();
    let caller = tidegate::strategy(move |_, _, timeout, _| {
        *told.lock().unwrap() = timeout;
        async { Ok(Response::text("ok")) }
    });
    let client = client([Target::caller("m", caller)]);
    client.send_item(&Item::from(Request::prompt("?")).deadline(4 * S)).await;
    assert_eq!(*seen.lock().unwrap(), 4 * S);
}

/// Escalates by the answers that were refused, not by failures of the network.
#[derive(Default)]
struct Escalating(AtomicU32);

impl Caller for Escalating {
    fn call<'a>(&'a self, _: &'a Request, this: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        let refused = this.state().with(|refused: &mut u32| *refused);
        let call = self.0.fetch_add(1, Ordering::SeqCst);
        async move {
            if call == 0 {
                return Err(Failure::new(Kind::Cut, "no"));
            }
            Ok(Response::text(["cheap", "better", "best"][refused as usize]))
        }
        .boxed()
    }

    fn on_error(&self, failure: &Failure, _: u32, state: &ItemState) {
        state.with(|refused: &mut u32| *refused += u32::from(failure.kind == Kind::Rejected));
        assert_ne!(failure.kind, Kind::Cut, "what it panics of is its own business");
    }
}

#[tokio::test(start_paused = true)]
async fn on_error_hears_of_refused_answers_and_may_panic() {
    let client = Client::builder()
        .target(Target::caller("m", Arc::new(Escalating::default())))
        .check(Check::regex("best").unwrap())
        .build()
        .unwrap();
    let outcome = client.send(&Request::prompt("?")).await;
    assert_eq!((outcome.text(), outcome.calls()), (Ok("best"), 4));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_panics_fails_its_own_item_only() {
    let caller = tidegate::caller(|request: Request| async move {
        assert!(request.size() > 1, "too short");
        Ok(Response::text("ok"))
    });
    let batch =
        client([Target::caller("m", caller)]).run(["ab", "c", "de"].map(Request::prompt)).in_input_order().await;
    let failures: Vec<_> = batch.failures().map(|(index, failure, ())| (index, failure.to_string())).collect();
    assert_eq!(failures, [(1, "bad_request: the caller panicked: too short".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn items_name_their_own_callers() {
    let say = |word: &'static str| tidegate::caller(move |_| async move { Ok(Response::text(word)) });
    let client = client([Target::caller("usual", say("usual")), Target::caller("strong", say("strong")).by_name()]);
    let items = [None, Some("strong"), None].map(|model| {
        let item = Item::new(Request::prompt("?"), ());
        if let Some(model) = model { item.for_model(model.into()) } else { item }
    });
    let batch = client.run_items(stream::iter(items)).in_input_order().await;
    let texts: Vec<_> = batch.outcomes.iter().map(|(outcome, ())| outcome.text().unwrap()).collect();
    assert_eq!(texts, ["usual", "strong", "usual"]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_calls_nobody() {
    let own = Arc::new(Counting::default());
    let hosted = Target::new("anthropic/claude-sonnet-4-5").unwrap().key("sk-none").by_name();
    let client = Client::builder().target(Target::caller("own", own.clone())).target(hosted).dry_run().build().unwrap();
    assert_eq!(client.send(&Request::prompt("?")).await.text(), Ok("dry run"));
    let item = Item::from(Request::prompt("Really?").max_tokens(9)).for_model("anthropic/claude-sonnet-4-5".into());
    assert!(client.send_item(&item).await.text().unwrap().contains("Really?"));
    client.close().await;
    assert_eq!(own.counts(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_mock_fails_as_it_is_told() {
    let mock = Arc::new(Mock::new(|_| Response::text("ok")).latency(S).failure_rate(0.25));
    let target = Target::caller("mock", mock.clone()).limits(Limits { concurrency: Some(10), ..Limits::default() });
    let once = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let client = Client::builder().target(target).retry(once).build().unwrap();
    let start = Instant::now();
    let tally = client.run(prompts(400)).in_input_order().await.tally();
    assert!((80..=120).contains(&tally.failed), "{}", tally.failed);
    assert_eq!((mock.calls(), mock.most_in_flight()), (400, 10));
    assert!(start.elapsed() >= 40 * S);
}

#[tokio::test(start_paused = true)]
async fn a_user_may_say_how_long_to_wait() {
    let calls = AtomicU32::new(0);
    let caller = tidegate::caller(move |_| {
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { Err(Failure::new(Kind::BadRequest, "busy")) } else { Ok(Response::text("ok")) } }
    });
    let client = Client::builder()
        .target(Target::caller("m", caller))
        .classify(|failure: &Failure| {
            (failure.message == "busy").then_some(Diagnosis { kind: Kind::ServerError, wait: Some(60 * S) })
        })
        .build()
        .unwrap();
    let start = Instant::now();
    assert!(client.send(&Request::prompt("?")).await.result.is_ok());
    assert!(start.elapsed() >= 60 * S, "{:?}", start.elapsed());
}
