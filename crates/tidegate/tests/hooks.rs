//! What users hang on a run: observers, middleware, post-processors and reports, of which none can stall or kill it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt, StreamExt, stream};
use tidegate::run::metrics::Metrics;
use tidegate::sim::Mock;
use tidegate::{
    Budget, Client, ClientBuilder, Ended, Event, Failure, Item, Kind, Limits, Middleware, Money, Observer, Outcome,
    Request, Response, StopOn, Target, caller,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);

fn prompts(n: usize) -> impl Iterator<Item = Request> {
    (0..n).map(|i| Request::prompt(format!("prompt {i}")))
}

/// A client of one caller that says what `answer` says to each of its calls, from 0, after a second.
fn client<F>(answer: F) -> ClientBuilder
where
    F: Fn(u32) -> Result<Response, Failure> + Send + Sync + 'static,
{
    let (calls, answer) = (AtomicU32::new(0), Arc::new(answer));
    let limits = Limits { concurrency: Some(100), ..Limits::default() };
    let caller = caller(move |_| {
        let (call, answer) = (calls.fetch_add(1, Ordering::SeqCst), answer.clone());
        async move {
            tokio::time::sleep(S).await;
            answer(call)
        }
    });
    Client::builder().target(Target::caller("m", caller).limits(limits))
}

fn ok(_: u32) -> Result<Response, Failure> {
    Ok(Response::text("ok"))
}

/// Collects the names of events.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<String>>>);

impl Names {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn of_items(&self) -> Vec<String> {
        let about = |name: &String| name.starts_with("run") || name.starts_with("item") || name.starts_with("limit");
        self.all().into_iter().filter(about).collect()
    }
}

impl Observer for Names {
    fn event(&self, event: &Event) {
        let json = serde_json::to_value(event).unwrap();
        self.0.lock().unwrap().push(json["event"].as_str().unwrap().to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn everything_that_happens_to_an_item_is_told_in_its_order() {
    let names = Names::default();
    let answer = |call| match call {
        0 => Err(Failure::rate_limited(3 * S)),
        1 => Err(Failure::new(Kind::ServerError, "no")),
        2 => ok(call),
        _ => Err(Failure::new(Kind::BadRequest, "no")),
    };
    let client = client(answer).observer(Arc::new(names.clone())).build().unwrap();
    client.run(prompts(1)).in_input_order().await;
    let expected = [
        "run_started",
        "item_started",
        "item_admitted",
        "attempt_failed",
        "cooldown_started",
        "limit_hit",
        "item_retried",
        "cooldown_ended",
        "item_admitted",
        "attempt_failed",
        "item_retried",
        "item_admitted",
        "item_completed",
        "run_completed",
    ];
    assert_eq!(names.all(), expected);
    names.0.lock().unwrap().clear();
    client.run(prompts(1)).in_input_order().await;
    assert_eq!(names.of_items(), ["run_started", "item_started", "item_admitted", "item_failed", "run_completed"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_early_says_why() {
    let told: Arc<Mutex<Vec<(u64, Ended)>>> = Arc::default();
    let hear = told.clone();
    let observer = move |event: &Event| {
        if let Event::RunStopped { run, reason } = event {
            hear.lock().unwrap().push((*run, *reason));
        }
    };
    let client = client(ok).observer(Arc::new(observer)).build().unwrap();
    let stop = CancellationToken::new();
    let mut run = client.run(prompts(1000)).stop_on(stop.clone());
    run.next().await;
    stop.cancel();
    assert_eq!(run.in_input_order().await.ended, Ended::Stopped);
    let mut run = client.run(prompts(1000));
    run.next().await;
    drop(run);
    let none = Budget { usd: Some(Money::ZERO), ..Budget::default() };
    assert_eq!(client.run(prompts(1000)).budget(none).in_input_order().await.ended, Ended::Budget);
    assert_eq!(client.run(prompts(10)).in_input_order().await.ended, Ended::Completed);
    assert_eq!(*told.lock().unwrap(), [(1, Ended::Stopped), (2, Ended::Dropped), (3, Ended::Budget)]);
}

struct EndpointsOnly(Names);

impl Observer for EndpointsOnly {
    fn event(&self, event: &Event) {
        self.0.event(event);
    }

    fn follows_items(&self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_harms_nobody_and_each_hears_what_it_wants() {
    let (first, last) = (Names::default(), Names::default());
    let client = client(|call| if call == 0 { Err(Failure::new(Kind::Cut, "no")) } else { ok(call) })
        .observer(Arc::new(EndpointsOnly(first.clone())))
        .observer(Arc::new(|_: &Event| panic!("it always does")))
        .observer(Arc::new(last.clone()))
        .build()
        .unwrap();
    assert_eq!(client.run(prompts(3)).in_input_order().await.tally().succeeded, 3);
    assert_eq!(first.all(), ["attempt_failed"]);
    let run_and_starts_and_admissions_and_the_retry_and_ends = 2 + 3 + 4 + 1 + 3;
    assert_eq!(last.of_items().len(), run_and_starts_and_admissions_and_the_retry_and_ends);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_blocks_has_a_thread_of_its_own() {
    let (release, blocked) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let blocked = Mutex::new(blocked);
    let observer = move |event: &Event| {
        if let Event::ItemCompleted { item, .. } = event {
            // Blocks until the test lets it go on, or is over.
            _ = blocked.lock().unwrap().recv();
            _ = tell.send(item.index);
        }
    };
    let client = client(ok).background_observer(Arc::new(observer)).build().unwrap();
    assert_eq!(client.run(prompts(50)).in_input_order().await.tally().succeeded, 50);
    assert!(told.try_recv().is_err(), "it is blocked");
    drop(release);
    drop(client);
    assert_eq!(told.iter().count(), 50);
}

#[tokio::test(start_paused = true)]
async fn metrics_count_all_runs_of_a_client() {
    let metrics = Metrics::default();
    let answer = |call| match call {
        3 => Err(Failure::rate_limited(3 * S)),
        5 | 7 => Err(Failure::new(Kind::ServerError, "no")),
        9 => Err(Failure::new(Kind::BadRequest, "no")),
        _ => ok(call),
    };
    let client = client(answer).observer(Arc::new(metrics.clone())).build().unwrap();
    client.run(prompts(10)).in_input_order().await;
    client.run(prompts(10)).in_input_order().await;
    let counted = metrics.counted();
    assert_eq!((counted.runs, counted.started, counted.succeeded, counted.failed), (2, 20, 19, 1));
    assert_eq!((counted.limits_hit, counted.cooldowns, counted.retried, counted.admitted), (1, 1, 3, 23));
    assert_eq!(counted.attempts_failed[&Kind::ServerError], 2);
    assert_eq!((counted.latency.p50.as_secs_f64().round(), counted.models["m"].succeeded), (1.0, 19));
}

/// Writes down when it is called.
struct Noting(&'static str, Arc<Mutex<Vec<String>>>);

impl Noting {
    fn note(&self, what: &str) {
        self.1.lock().unwrap().push(format!("{} {what}", self.0));
    }
}

impl Middleware<u32> for Noting {
    fn before<'a>(&'a self, item: &'a mut Item<u32>) -> BoxFuture<'a, ControlFlow<Result<Response, Failure>>> {
        self.note("before");
        if item.context == 1 && self.0 == "inner" {
            return ready(ControlFlow::Break(Ok(Response::text("skipped")))).boxed();
        }
        ready(ControlFlow::Continue(())).boxed()
    }

    fn on_error<'a>(&'a self, _: &'a mut Item<u32>, failure: &'a Failure) -> BoxFuture<'a, Option<Response>> {
        self.note("on_error");
        let mended = (self.0 == "outer").then(|| Response::text(format!("mended: {}", failure.message)));
        ready(mended).boxed()
    }

    fn after<'a>(&'a self, item: &'a mut Item<u32>, _: &'a mut Outcome) -> BoxFuture<'a, ()> {
        self.note("after");
        item.context += 10;
        ready(()).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn middleware_is_an_onion() {
    let answer = |call| if call == 0 { ok(call) } else { Err(Failure::new(Kind::BadRequest, "no")) };
    let client = client(answer).build().unwrap();
    let notes: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut texts = Vec::new();
    for context in [0, 1, 2] {
        let items = stream::iter([Item::new(Request::prompt("?"), context)]);
        let (outer, inner) = (Noting("outer", notes.clone()), Noting("inner", notes.clone()));
        let batch = client.run_items(items).middleware(outer).middleware(inner).in_input_order().await;
        let (outcome, context) = &batch.outcomes[0];
        texts.push((outcome.text().unwrap().to_owned(), *context, outcome.calls()));
        notes.lock().unwrap().push("-".to_owned());
    }
    let expected = [("ok", 20, 1), ("skipped", 11, 0), ("mended: no", 22, 1)];
    assert_eq!(texts, expected.map(|(text, context, calls)| (text.to_owned(), context, calls)));
    let notes = notes.lock().unwrap().join(", ");
    let asked = "outer before, inner before, inner after, outer after";
    let mended = "outer before, inner before, inner on_error, outer on_error, inner after, outer after";
    assert_eq!(notes, format!("{asked}, -, outer before, inner before, outer after, -, {mended}, -"));
}

/// Hangs or panics in everything it does, for items whose context says so.
struct Bad;

impl Bad {
    async fn act(context: &str) {
        match context {
            "hangs" => std::future::pending().await,
            "panics" => panic!("a hook of the user's"),
            _ => {}
        }
    }
}

impl Middleware<&'static str> for Bad {
    fn before<'a>(&'a self, item: &'a mut Item<&'static str>) -> BoxFuture<'a, ControlFlow<Result<Response, Failure>>> {
        Bad::act(item.context).map(ControlFlow::Continue).boxed()
    }

    fn after<'a>(&'a self, item: &'a mut Item<&'static str>, _: &'a mut Outcome) -> BoxFuture<'a, ()> {
        assert_ne!(item.context, "panics", "before it makes a future");
        Bad::act(item.context).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_that_hang_or_panic_cost_their_own_item_some_time_and_nothing_else() {
    let client = client(ok).build().unwrap();
    let start = Instant::now();
    let contexts = ["hangs", "panics", "is fine"];
    let items = contexts.into_iter().cycle().take(300).map(|context| Item::new(Request::prompt("?"), context));
    let run = client.run_items(stream::iter(items)).middleware(Bad).hook_timeout(5 * S);
    let run = run.post_process(|_, context| Bad::act(context).boxed());
    let mut done = Vec::new();
    let mut run = std::pin::pin!(run);
    while let Some((outcome, context)) = run.next().await {
        assert!(outcome.result.is_ok());
        done.push((context, start.elapsed()));
    }
    let last = |wanted| done.iter().filter(|(context, _)| *context == wanted).map(|(_, at)| *at).max().unwrap();
    assert_eq!(done.len(), 300);
    assert!(last("hangs") >= 16 * S, "before, after and post_process had five seconds each");
    assert!(last("hangs") < 60 * S, "{:?}", last("hangs"));
}

#[tokio::test(start_paused = true)]
async fn post_processors_see_every_outcome_at_the_same_time_and_fail_none() {
    let answer = |call| if call % 2 == 0 { ok(call) } else { Err(Failure::new(Kind::BadRequest, "no")) };
    let client = client(answer).build().unwrap();
    let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
    let saved = seen.clone();
    let start = Instant::now();
    let run = client.run(prompts(100)).post_process(move |outcome, ()| {
        let saved = saved.clone();
        async move {
            tokio::time::sleep(10 * S).await; // A slow database.
            saved.lock().unwrap().push(outcome.result.is_ok());
            panic!("it is full");
        }
        .boxed()
    });
    let tally = run.in_input_order().await.tally();
    assert_eq!((tally.succeeded, tally.failed), (50, 50));
    assert_eq!(seen.lock().unwrap().iter().filter(|answered| **answered).count(), 50);
    assert!(start.elapsed() < 20 * S, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_report_is_made_less_often_and_the_last_one_tells_of_the_end() {
    let limits = Limits { concurrency: Some(1), ..Limits::default() };
    let mock = Arc::new(Mock::new(|_| Response::text("ok")).latency(S));
    let client = Client::builder().target(Target::caller("m", mock).limits(limits)).build().unwrap();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let told = reports.clone();
    let start = Instant::now();
    let run = client.run(prompts(100)).on_progress(move |progress| {
        told.lock().unwrap().push((progress.succeeded, progress.total, progress.last));
        tokio::time::sleep(10 * S)
    });
    assert_eq!(run.in_input_order().await.tally().succeeded, 100);
    let reports = reports.lock().unwrap();
    assert!((10..=12).contains(&reports.len()), "{}", reports.len());
    assert_eq!(*reports.last().unwrap(), (100, Some(100), "item_99".to_owned()));
    assert!(start.elapsed() <= 121 * S, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn reports_that_hang_or_panic_stop_nothing() {
    let client = client(ok).build().unwrap();
    let start = Instant::now();
    let hanging = client.run(prompts(10)).on_progress(|_| std::future::pending()).progress_timeout(5 * S);
    assert_eq!(hanging.in_input_order().await.tally().succeeded, 10);
    assert!(start.elapsed() <= 12 * S, "{:?}", start.elapsed());
    let panicking = client.run(prompts(10)).on_progress(|_| async { panic!("no screen") });
    assert_eq!(panicking.in_input_order().await.tally().succeeded, 10);
}

/// Asks in a mannerly way, and skips what is not a question.
struct Polite;

impl Middleware<u64> for Polite {
    fn before<'a>(&'a self, item: &'a mut Item<u64>) -> BoxFuture<'a, ControlFlow<Result<Response, Failure>>> {
        let slow = Duration::from_millis(item.context * 100);
        async move {
            tokio::time::sleep(slow).await;
            if item.context % 10 == 3 {
                return ControlFlow::Break(Ok(Response::text("skipped")));
            }
            item.request = item.request.clone().system("You are a harbour master.");
            ControlFlow::Continue(())
        }
        .boxed()
    }

    fn after<'a>(&'a self, item: &'a mut Item<u64>, outcome: &'a mut Outcome) -> BoxFuture<'a, ()> {
        let seen = outcome.text().is_ok_and(|text| text.ends_with(&format!("prompt {}", item.context)));
        item.context += if seen { 1000 } else { 0 };
        ready(()).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_middleware_has_changed_is_packed_and_each_row_comes_back_through_it() {
    let client = Client::builder().target(Target::new("sim/echo").unwrap()).build().unwrap();
    let posted = Arc::new(AtomicU32::new(0));
    let count = posted.clone();
    let items = (0..40).map(|i| Item::new(Request::prompt(format!("prompt {i}")), i));
    let run = client.run_items(stream::iter(items)).middleware(Polite).pack(12).post_process(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        ready(()).boxed()
    });
    let batch = run.in_input_order().await;
    // `after` does not run for what was broken off.
    let came_back = |index: u64| if index % 10 == 3 { index } else { index + 1000 };
    let good = |(outcome, context): &(Outcome, u64)| outcome.result.is_ok() && *context == came_back(outcome.index);
    assert!(batch.outcomes.iter().all(good));
    let calls: f64 = batch.outcomes.iter().filter_map(|(outcome, _)| outcome.part_of_calls()).sum();
    assert_eq!((calls.round(), posted.load(Ordering::SeqCst)), (3.0, 40), "36 rows at 12, however slow middleware is");
}

#[tokio::test(start_paused = true)]
async fn what_middleware_makes_alike_is_asked_once() {
    let mock = Arc::new(Mock::new(|_| Response::text("ok")).latency(S));
    let client = Client::builder().target(Target::caller("m", mock.clone())).build().unwrap();
    let items = (0..30_u32).map(|_| Item::new(Request::prompt("?").temperature(0.0), 0));
    let notes: Arc<Mutex<Vec<String>>> = Arc::default();
    let batch = client.run_items(stream::iter(items)).middleware(Noting("m", notes.clone())).in_input_order().await;
    assert_eq!((batch.tally().succeeded, batch.tally().shared, mock.calls()), (30, 29, 1));
    assert_eq!(notes.lock().unwrap().iter().filter(|note| *note == "m after").count(), 30);
}

#[tokio::test(start_paused = true)]
async fn too_many_failures_stop_a_run_and_no_other() {
    let bad = |call: u32| if call % 5 == 4 { Err(Failure::new(Kind::BadRequest, "no")) } else { ok(call) };
    let client = client(bad).build().unwrap();
    let stop = CancellationToken::new();
    let rules = StopOn { failure_rate: Some(0.1), min_sample: 50, ..StopOn::default() };
    let run = client.run(prompts(100_000)).stop_on(stop.clone()).stop_on_failures(rules);
    let batch = run.in_input_order().await;
    let tally = batch.tally();
    assert_eq!((batch.ended, stop.is_cancelled()), (Ended::Failures, false));
    assert!(tally.causes[&Kind::BadRequest].rows >= 10 && tally.finished() < 500, "{tally:?}");
    let first = StopOn { first_failure: true, ..StopOn::default() };
    let batch = client.run(prompts(100_000)).stop_on_failures(first).in_input_order().await;
    assert!(batch.ended == Ended::Failures && batch.tally().succeeded > 0);
    assert_eq!(client.run(prompts(100)).stop_on(stop).in_input_order().await.ended, Ended::Completed);
}
