//! The engine under paused time: what is sent when, where, how often, and that nothing is lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tidegate::run::fallback::Fallback;
use tidegate::{
    Balance, Budget, Client, Failure, Kind, Limits, Money, Output, Price, Request, Response, RetryPolicy, Target,
    Usage, caller,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::support::{MS, Server, client, ok, prompts};

fn fail(kind: Kind) -> impl Fn(usize, &Request) -> Result<Response, Failure> {
    move |_, _| Err(Failure::new(kind, "no"))
}

fn limits(rpm: Option<f64>, concurrency: Option<u32>) -> Limits {
    Limits { rpm, concurrency, ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn a_known_rate_is_used_fully_and_never_exceeded() {
    let server = Server::default();
    let client = client([Target::caller("m", server.caller(100 * MS, ok)).limits(limits(Some(6000.0), Some(500)))]);
    let start = Instant::now();
    let outcomes: Vec<_> = client.run(prompts(3000)).collect().await;
    assert_eq!(outcomes.iter().filter(|(outcome, ())| outcome.result.is_ok()).count(), 3000);
    let makespan = start.elapsed().as_secs_f64();
    assert!((29.9..=30.2).contains(&makespan), "{makespan}");
    let log = server.log.lock().unwrap();
    for window in log.windows(101) {
        assert!(window[100] - window[0] >= 899 * MS, "more than 100 + a burst of 10 within a second");
    }
}

#[tokio::test(start_paused = true)]
async fn concurrency_grows_from_sixteen_while_it_helps() {
    let server = Server::default();
    let client = client([Target::caller("m", server.caller(1000 * MS, ok))]);
    let start = Instant::now();
    assert_eq!(client.run(prompts(5000)).count().await, 5000);
    let peak = server.peak.load(Ordering::SeqCst);
    assert!(peak > 500, "peak {peak}");
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
}

/// A server that answers but for a time, in which nobody is there.
fn gone(from: u64, until: u64) -> impl Fn(usize, &Request) -> Result<Response, Failure> {
    let start = Instant::now();
    move |_, _| match (from..until).contains(&start.elapsed().as_secs()) {
        true => Err(Failure::new(Kind::Connect, "refused")),
        false => Ok(Response::text("ok")),
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_there_is_waited_for() {
    for (from, until, all) in [(1, 500, true), (1, 1000, false), (0, 500, false)] {
        let server = Server::default();
        let client = client([
            Target::caller("m", server.caller(100 * MS, gone(from, until))).limits(limits(Some(600.0), Some(50)))
        ]);
        let start = Instant::now();
        let outcomes: Vec<_> = client.run(prompts(100)).collect().await;
        let failures: Vec<_> = outcomes.iter().filter_map(|(outcome, ())| outcome.result.as_ref().err()).collect();
        assert!(failures.iter().all(|failure| failure.kind == Kind::Connect));
        assert_eq!(failures.is_empty(), all, "{} of 100 failed", failures.len());
        let late = start.elapsed().saturating_sub(Duration::from_secs(until));
        assert!(!all || late <= Duration::from_secs(15), "{late:?} late");
        assert!(server.calls() <= if all { 400 } else { 1000 }, "{} calls", server.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn a_given_concurrency_is_used_at_once() {
    let server = Server::default();
    let client = client([Target::caller("m", server.caller(1000 * MS, ok)).limits(limits(None, Some(250)))]);
    let start = Instant::now();
    assert_eq!(client.run(prompts(1000)).count().await, 1000);
    assert_eq!(server.peak.load(Ordering::SeqCst), 250);
    assert!(start.elapsed() <= 4010 * MS, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_rejection_pauses_everyone_and_costs_no_attempt() {
    let server = Server::default();
    let answer =
        |count, request: &Request| if count <= 50 { Err(Failure::rate_limited(3000 * MS)) } else { ok(count, request) };
    let target = Target::caller("m", server.caller(100 * MS, answer)).limits(limits(None, Some(50)));
    let retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let client = Client::builder().target(target).retry(retry).build().unwrap();
    let start = Instant::now();
    let outcomes: Vec<_> = client.run(prompts(100)).collect().await;
    assert!(outcomes.iter().all(|(outcome, ())| outcome.result.is_ok()));
    let log = server.log.lock().unwrap();
    let during = log.iter().filter(|at| (101 * MS..3099 * MS).contains(&(**at - start))).count();
    assert_eq!(during, 0, "nothing may be sent during the pause");
    assert_eq!(log.len(), 150);
}

#[tokio::test(start_paused = true)]
async fn a_server_error_is_retried_with_backoff_up_to_the_attempts() {
    let server = Server::default();
    let client = client([Target::caller("m", server.caller(MS, fail(Kind::ServerError)))]);
    let outcome = client.send(&Request::prompt("x")).await;
    assert_eq!(outcome.result.unwrap_err().kind, Kind::ServerError);
    assert_eq!((outcome.attempts.len(), server.calls()), (5, 5));
    let log = server.log.lock().unwrap();
    let waits: Vec<_> = log.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[0] >= 250 * MS && waits[3] >= 2000 * MS, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bad_request_is_never_sent_twice() {
    let (first, second) = (Server::default(), Server::default());
    let client = client([
        Target::caller("a", first.caller(MS, fail(Kind::BadRequest))),
        Target::caller("b", second.caller(MS, ok)),
    ]);
    assert!(client.send(&Request::prompt("x")).await.result.is_err());
    assert_eq!((first.calls(), second.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dead_key_is_set_aside_and_the_others_go_on() {
    let (dead, alive) = (Server::default(), Server::default());
    let client = client([
        Target::caller("dead", dead.caller(10 * MS, fail(Kind::Auth))).limits(limits(None, Some(4))),
        Target::caller("alive", alive.caller(10 * MS, ok)).limits(limits(None, Some(4))),
    ]);
    let outcomes: Vec<_> = client.run(prompts(100)).collect().await;
    assert!(outcomes.iter().all(|(outcome, ())| outcome.result.is_ok()));
    assert_eq!(dead.calls(), 4, "only what was in flight when the key was refused");
    assert_eq!(alive.calls(), 100);
    assert!(client.exhausted().is_none());
}

#[tokio::test(start_paused = true)]
async fn when_no_endpoint_is_left_nobody_waits_for_ever() {
    let dead = Server::default();
    let client = client([Target::caller("dead", dead.caller(10 * MS, fail(Kind::OutOfCredit)))]);
    let outcomes: Vec<_> = client.run(prompts(200)).collect().await;
    assert_eq!(outcomes.len(), 200);
    assert!(outcomes.iter().all(|(outcome, ())| outcome.result.as_ref().is_err_and(|f| f.kind == Kind::OutOfCredit)));
    assert_eq!(dead.calls(), 16);
    assert_eq!(client.exhausted().unwrap().kind, Kind::OutOfCredit);
}

#[tokio::test(start_paused = true)]
async fn a_cooling_model_does_not_block_the_next_one() {
    let (first, second) = (Server::default(), Server::default());
    let limited = |_, _: &Request| Err(Failure::rate_limited(Duration::from_secs(60)));
    let client = client([
        Target::caller("first", first.caller(10 * MS, limited)).limits(limits(None, Some(10))),
        Target::caller("second", second.caller(10 * MS, ok)).limits(limits(None, Some(10))),
    ]);
    let start = Instant::now();
    let outcomes: Vec<_> = client.run(prompts(200)).collect().await;
    assert!(outcomes.iter().all(|(outcome, ())| outcome.result.is_ok()));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((first.calls(), second.calls()), (10, 200));
}

#[tokio::test(start_paused = true)]
async fn a_too_long_request_goes_on_to_another_model() {
    let (small, large) = (Server::default(), Server::default());
    let client = client([
        Target::caller("small", small.caller(MS, fail(Kind::TooLong))),
        Target::caller("large", large.caller(MS, ok)),
    ]);
    let outcome = client.send(&Request::prompt("x")).await;
    assert_eq!(&*outcome.last().unwrap().model, "large");
    assert_eq!((small.calls(), large.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn round_robin_shares_evenly_by_the_servers_own_count() {
    let servers = [Server::default(), Server::default(), Server::default()];
    let mut builder = Client::builder().balance(Balance::RoundRobin);
    for (i, server) in servers.iter().enumerate() {
        let target = Target::caller(&format!("m{i}"), server.caller(10 * MS, ok));
        builder = builder.target(target.limits(limits(None, Some(1000))));
    }
    assert_eq!(builder.build().unwrap().run(prompts(900)).count().await, 900);
    assert_eq!(servers.map(|server| server.calls()), [300, 300, 300]);
}

#[tokio::test(start_paused = true)]
async fn the_run_takes_no_more_from_its_source_than_it_can_use() {
    let server = Server::default();
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let source = prompts(1_000_000).inspect(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let client = client([Target::caller("m", server.caller(1000 * MS, ok)).limits(limits(None, Some(8)))]);
    let mut run = client.run(source);
    for _ in 0..80 {
        run.next().await.unwrap();
    }
    let ahead = taken.load(Ordering::SeqCst) - 80;
    assert!(ahead <= 8 + 17, "{ahead} ahead");
}

#[tokio::test(start_paused = true)]
async fn requests_in_backoff_do_not_idle_the_quota() {
    // Every request fails once and then sleeps for 30 s: the others must keep the server busy meanwhile.
    let server = Server::default();
    let seen: Mutex<std::collections::HashSet<String>> = Mutex::default();
    let answer = move |count, request: &Request| {
        if seen.lock().unwrap().insert(format!("{request:?}")) {
            return Err(Failure::new(Kind::ServerError, "once").with_retry_after(Some(Duration::from_secs(30))));
        }
        ok(count, request)
    };
    let client = client([Target::caller("m", server.caller(100 * MS, answer)).limits(limits(None, Some(10)))]);
    let start = Instant::now();
    assert_eq!(client.run(prompts(1000)).count().await, 1000);
    assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_calls_in_flight_end_and_sends_nothing_more() {
    let server = Server::default();
    let client = client([Target::caller("m", server.caller(1000 * MS, ok)).limits(limits(None, Some(10)))]);
    let stop = CancellationToken::new();
    let mut run = client.run(prompts(1000)).stop_on(stop.clone());
    for _ in 0..10 {
        run.next().await.unwrap();
    }
    stop.cancel();
    let rest: Vec<_> = run.collect().await;
    let answered = rest.iter().filter(|(outcome, ())| outcome.result.is_ok()).count();
    let unsent = rest.iter().filter(|(o, ())| o.result.as_ref().is_err_and(|f| f.kind == Kind::Cancelled)).count();
    assert_eq!(answered + unsent, rest.len());
    assert_eq!(server.calls(), 10 + answered);
    assert!(answered <= 10, "{answered}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_cut_and_retried() {
    let calls = Arc::new(AtomicU32::new(0));
    let counter = calls.clone();
    let hangs_once = caller(move |_| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            Ok(Response::text("ok"))
        }
    });
    let retry = RetryPolicy { timeout: Duration::from_secs(5), ..RetryPolicy::default() };
    let client = Client::builder().target(Target::caller("m", hangs_once)).retry(retry).build().unwrap();
    let outcome = client.send(&Request::prompt("x")).await;
    assert_eq!(outcome.text(), Ok("ok"));
    assert_eq!(outcome.attempts[0].failure.as_ref().map(|f| f.kind), Some(Kind::Timeout));
    assert_eq!(client.snapshot().endpoints[0].in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn tokens_per_minute_are_settled_with_the_real_usage() {
    let server = Server::default();
    let usage = Usage { input_tokens: 90, output_tokens: 10, ..Usage::default() };
    let answer = move |_, _: &Request| Ok(Response::text("ok").with_usage(usage));
    let limits = Limits { tpm: Some(60_000.0), concurrency: Some(100), ..Limits::default() };
    let client = client([Target::caller("m", server.caller(100 * MS, answer)).limits(limits)]);
    let start = Instant::now();
    assert_eq!(client.run(prompts(1000)).count().await, 1000);
    // 100,000 tokens at 1,000 a second.
    let took = start.elapsed().as_secs_f64();
    assert!((95.0..=103.0).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_run_frees_every_place() {
    let server = Server::default();
    let client = client([Target::caller("m", server.caller(1000 * MS, ok)).limits(limits(None, Some(10)))]);
    let mut run = client.run(prompts(100));
    run.next().await.unwrap();
    drop(run);
    let snapshot = client.snapshot();
    assert_eq!((snapshot.endpoints[0].in_flight, snapshot.waiting), (0, 0));
    assert_eq!(client.send(&Request::prompt("still works")).await.text(), Ok("ok"));
}

#[tokio::test(start_paused = true)]
async fn rejections_are_counted_and_not_listed() {
    let server = Server::default();
    let limited =
        |count, request: &Request| if count <= 40 { Err(Failure::rate_limited(MS)) } else { ok(count, request) };
    let client = client([Target::caller("m", server.caller(MS, limited))]);
    let outcome = client.send(&Request::prompt("x")).await;
    assert_eq!((outcome.text(), outcome.calls(), outcome.attempts.len()), (Ok("ok"), 41, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_in_backoff_stays_unsent_when_the_key_dies_meanwhile() {
    let server = Server::default();
    let answer = |count, _: &Request| {
        let kind = if count == 1 { Kind::ServerError } else { Kind::Auth };
        Err(Failure::new(kind, "no"))
    };
    let client = client([Target::caller("m", server.caller(MS, answer)).limits(limits(None, Some(1)))]);
    let outcomes: Vec<_> = client.run(prompts(2)).collect().await;
    assert!(outcomes.iter().all(|(outcome, ())| outcome.result.as_ref().is_err_and(|f| f.kind == Kind::Auth)));
}

/// Every third call fails; the others use just what they may.
fn costly(count: usize, request: &Request) -> Result<Response, Failure> {
    if count.is_multiple_of(3) {
        return Err(Failure::new(Kind::ServerError, "no"));
    }
    let mut response = Response::text("ok");
    response.usage = Some(Usage { input_tokens: request.size() as u64, output_tokens: 10, ..Usage::default() });
    Ok(response)
}

#[tokio::test(start_paused = true)]
async fn a_run_with_a_budget_ends_when_it_is_spent() {
    let server = Server::default();
    // A dollar for an output token: each answer costs ten.
    let target = Target::caller("m", server.caller(100 * MS, costly)).price(Price::new(0.0, 1e6));
    let endless = (0..).map(|i| Request::prompt(format!("prompt {i}")).max_tokens(15));
    let budget = Budget { usd: Some(Money::from_usd(1000.0)), tokens: None };
    let outcomes: Vec<_> = client([target]).run(endless).budget(budget).collect().await;
    let spent: Money = outcomes.iter().filter_map(|(outcome, ())| outcome.cost()).sum();
    // What is left would not pay for an answer of 15 tokens.
    assert_eq!(spent, Money::from_usd(990.0));
    let refused = outcomes.iter().filter_map(|(outcome, ())| outcome.result.as_ref().err());
    let kinds: Vec<_> = refused.map(|failure| failure.kind).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == Kind::Budget), "{kinds:?}");
    assert!(outcomes.len() < 250, "it went on taking requests: {}", outcomes.len());
}

#[tokio::test(start_paused = true)]
async fn without_a_price_or_a_bound_nothing_is_sent_under_a_budget() {
    let server = Server::default();
    let client = client([Target::caller("m", server.caller(MS, ok))]);
    let budgets = [
        (
            Budget { usd: Some(Money::from_usd(1.0)), tokens: None },
            Request::prompt("x").max_tokens(5),
            "needs the price",
        ),
        (Budget { usd: None, tokens: Some(100) }, Request::prompt("x"), "the most output tokens"),
    ];
    for (budget, request, why) in budgets {
        let outcomes: Vec<_> = client.run([request]).budget(budget).collect().await;
        let failure = outcomes[0].0.result.as_ref().unwrap_err();
        assert!(failure.kind == Kind::Budget && failure.message.contains(why), "{failure}");
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_stands_in_without_being_an_answer() {
    let client = client([Target::caller("m", Server::default().caller(MS, fail(Kind::BadRequest)))]);
    let fallback = Fallback::new(|request, failure| Some(Output::Text(format!("{} {}", request.size(), failure.kind))));
    let outcomes: Vec<_> = client.run(prompts(1)).fallback(fallback).collect().await;
    let outcome = &outcomes[0].0;
    assert!(outcome.result.is_err());
    assert_eq!(outcome.fallback, Some(Output::Text("8 bad_request".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn copies_of_slow_calls_are_paid_for_too() {
    let server = Server::default();
    let calls = server.clone();
    let slow = caller(move |_: Request| {
        let number = calls.log.lock().unwrap().len();
        calls.log.lock().unwrap().push(Instant::now());
        async move {
            // Every tenth call hangs.
            tokio::time::sleep(if number % 10 == 9 { 500_000 * MS } else { 100 * MS }).await;
            let mut response = Response::text("ok");
            response.usage = Some(Usage { output_tokens: 1, ..Usage::default() });
            Ok(response)
        }
    });
    let target = Target::caller("m", slow).price(Price::new(0.0, 1e6)).limits(limits(None, Some(20)));
    let retry = RetryPolicy { hedge: Some(0.1), ..RetryPolicy::default() };
    let client = Client::builder().target(target).retry(retry).build().unwrap();
    let endless = (0..).map(|i| Request::prompt(format!("prompt {i}")).max_tokens(1));
    let budget = Budget { usd: Some(Money::from_usd(300.0)), tokens: None };
    let outcomes: Vec<_> = client.run(endless).budget(budget).collect().await;
    assert_eq!(server.calls(), 300, "each call, a copy or not, costs a dollar");
    assert!(outcomes.iter().any(|(outcome, ())| outcome.attempts.len() > 1), "no copy was made");
}
