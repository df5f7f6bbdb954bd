//! Limits of a client at work, under paused time: that none is exceeded, that nothing is sent during a pause, and that a
//! change is obeyed at once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use proptest::prelude::*;
use tidegate::{Client, Failure, Limits, Pace, Pacing, Request, Response, RetryPolicy, SlowStart, Target};
use tokio::time::Instant;

use self::support::{MS, Server, client, ok, prompts};

/// Makes a target of a server that always answers.
fn target(name: &str, server: &Server, latency: Duration) -> Target {
    Target::caller(name, server.caller(latency, ok))
}

/// Returns how many calls came in a stretch of time.
fn calls_within(server: &Server, from: Instant, to: Instant) -> usize {
    server.log.lock().unwrap().iter().filter(|at| (from..to).contains(*at)).count()
}

/// Runs a future under paused time.
fn paused<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Neither an endpoint, nor its account, nor the whole gets more than rate x t + burst, or more in flight than stated.
    #[test]
    fn endpoint_account_and_total_all_hold(
        rates in (5.0f64..60.0, 5.0f64..60.0, 5.0f64..60.0),
        (burst, concurrency, spacing_ms) in (1u32..20, 1u32..30, 1u64..100),
        latency_ms in 1u64..500,
    ) {
        let one = Limits { rps: Some(rates.0), spacing: Some(spacing_ms as u32 * MS), ..Limits::default() };
        let account = Limits { rps: Some(rates.1), burst: Some(burst), ..Limits::default() };
        let total = Limits { rps: Some(rates.2), concurrency: Some(concurrency), ..Limits::default() };
        let (a, b) = (Server::default(), Server::default());
        let latency = latency_ms as u32 * MS;
        paused(async {
            let targets = [target("a", &a, latency), target("b", &b, latency)];
            let builder = targets.into_iter().fold(Client::builder(), |builder, target| {
                builder.target(target.limits(one).account("shared", account))
            });
            let client = builder.total(total).balance(tidegate::Balance::RoundRobin).build().unwrap();
            assert_eq!(client.run(prompts(150)).count().await, 150);
        });
        let mut all = [a.log.lock().unwrap().clone(), b.log.lock().unwrap().clone()].concat();
        all.sort();
        holds(&all, rates.1, f64::from(burst))?;
        holds(&all, rates.2, (0.1 * rates.2).max(1.0))?;
        for server in [&a, &b] {
            let log = server.log.lock().unwrap().clone();
            holds(&log, rates.0, (0.1 * rates.0).max(1.0))?;
            holds(&log, 1000.0 / spacing_ms as f64, 1.0)?;
            prop_assert!(server.peak.load(Ordering::SeqCst) <= concurrency as usize);
        }
    }

    /// After a rejection was heard, nothing is sent until the pause is over, retries included.
    #[test]
    fn nothing_is_sent_during_a_pause(
        every in 3usize..40,
        hint_ms in 50u64..5000,
        (rps, latency_ms) in (5.0f64..200.0, 1u64..300),
    ) {
        let (server, latency, hint) = (Server::default(), latency_ms as u32 * MS, hint_ms as u32 * MS);
        let heard: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let told = heard.clone();
        let target = Target::caller("m", server.caller(latency, move |number, _| {
            if number % every != 0 {
                return Ok(Response::text("ok"));
            }
            told.lock().unwrap().push(Instant::now());
            Err(Failure::rate_limited(hint))
        }));
        paused(async {
            let client = client([target.limits(Limits { rps: Some(rps), ..Limits::default() })]);
            let answered = client.run(prompts(120)).filter(|(outcome, ())| std::future::ready(outcome.result.is_ok()));
            assert_eq!(answered.count().await, 120);
        });
        for at in heard.lock().unwrap().iter() {
            prop_assert_eq!(calls_within(&server, *at + MS / 1000, *at + hint.saturating_sub(latency)), 0);
        }
    }
}

fn holds(log: &[Instant], rate: f64, burst: f64) -> Result<(), TestCaseError> {
    for (i, from) in log.iter().enumerate() {
        for (n, at) in log[i..].iter().enumerate() {
            let allowed = rate * at.duration_since(*from).as_secs_f64() + burst;
            prop_assert!((n + 1) as f64 <= allowed + 1e-3, "{} > {allowed}", n + 1);
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_paused_client_sends_nothing_and_goes_on_where_it_was() {
    let server = Server::default();
    let client = client([target("m", &server, 100 * MS).limits(Limits { rps: Some(50.0), ..Limits::default() })]);
    let start = Instant::now();
    let run = client.run(prompts(500)).count();
    let control = async {
        tokio::time::sleep(3000 * MS).await;
        client.pause();
        let before = server.calls();
        tokio::time::sleep(60_000 * MS).await;
        assert_eq!((server.calls(), client.snapshot().limited_by), (before, Some(tidegate::Limit::Paused)));
        client.resume();
    };
    assert_eq!(tokio::join!(run, control).0, 500);
    assert!(start.elapsed() < 71_000 * MS, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_changed_concurrency_is_obeyed_at_once() {
    let server = Server::default();
    let limits = |most| Limits { concurrency: Some(most), ..Limits::default() };
    let client = client([target("m", &server, 1000 * MS).limits(limits(100))]);
    let run = client.run(prompts(1000)).count();
    let control = async {
        tokio::time::sleep(2500 * MS).await;
        assert_eq!(server.in_flight.load(Ordering::SeqCst), 100);
        client.set_limits("m", limits(10)).unwrap();
        let changed = Instant::now();
        tokio::time::sleep(1000 * MS).await;
        server.peak.store(0, Ordering::SeqCst);
        assert_eq!(calls_within(&server, changed, changed + 500 * MS), 0, "the old calls end first");
        tokio::time::sleep(10_000 * MS).await;
        assert_eq!(server.peak.load(Ordering::SeqCst), 10);
        client.set_total(limits(4));
        tokio::time::sleep(1000 * MS).await;
        server.peak.store(0, Ordering::SeqCst);
        tokio::time::sleep(5000 * MS).await;
        assert_eq!(server.peak.load(Ordering::SeqCst), 4);
        client.set_total(Limits::default());
        client.set_limits("m", limits(400)).unwrap();
    };
    assert_eq!(tokio::join!(run, control).0, 1000);
    assert!(server.peak.load(Ordering::SeqCst) > 100);
    let message = client.set_limits("n", limits(1)).unwrap_err().to_string();
    assert!(message.contains("no model 'n'"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn runs_of_one_client_share_its_limits_and_an_accounts_can_be_changed() {
    let server = Server::default();
    let account = Limits { rps: Some(100.0), burst: Some(1), ..Limits::default() };
    let client = client([
        target("a", &server, 20 * MS).account("shared", account),
        target("b", &server, 20 * MS).account("shared", account),
    ]);
    let runs = (0..3).map(|_| client.clone().run(prompts(300)).count());
    let start = Instant::now();
    let counts = futures_util::future::join_all(runs);
    let change = async {
        tokio::time::sleep(4000 * MS).await;
        let half = Limits { rps: Some(50.0), ..account };
        client.set_account("shared", half).unwrap();
        assert!(client.set_account("other", half).is_err());
    };
    let (counts, ()) = tokio::join!(counts, change);
    assert_eq!(counts, [300, 300, 300]);
    assert!((398..=402).contains(&calls_within(&server, start, start + 4000 * MS)));
    assert!((13_900 * MS..14_200 * MS).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_done_for_the_day_hands_over_to_the_next() {
    let (first, second) = (Server::default(), Server::default());
    let client = client([
        target("a", &first, MS).limits(Limits { rpd: Some(30.0), ..Limits::default() }),
        target("b", &second, MS),
    ]);
    let start = Instant::now();
    assert_eq!(client.run(prompts(100)).count().await, 100);
    assert_eq!((first.calls(), second.calls()), (30, 70));
    assert!(start.elapsed() < 1000 * MS);
}

#[tokio::test(start_paused = true)]
async fn rejections_can_be_bounded() {
    let server = Server::default();
    let target = Target::caller("m", server.caller(MS, |_, _| Err(Failure::rate_limited(10 * MS))));
    let retry = RetryPolicy { max_rate_limit_retries: Some(2), ..RetryPolicy::default() };
    let client = Client::builder().target(target).retry(retry).build().unwrap();
    assert!(client.send(&Request::prompt("x")).await.result.is_err());
    assert_eq!(server.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn requests_follow_one_by_one_after_a_pause() {
    let server = Server::default();
    let target = Target::caller(
        "m",
        server.caller(
            10 * MS,
            |n, _| if n == 20 { Err(Failure::rate_limited(1000 * MS)) } else { Ok(Response::text("ok")) },
        ),
    );
    let slow_start = Some(SlowStart { requests: 10, first: 1000 * MS, last: 100 * MS });
    let pacing = Pacing { slow_start, ..Pacing::default() };
    let limits = Limits { concurrency: Some(1), ..Limits::default() };
    let client = Client::builder().target(target.limits(limits)).pacing(pacing).build().unwrap();
    assert_eq!(client.run(prompts(60)).count().await, 60);
    let log = server.log.lock().unwrap();
    let after: Vec<Duration> = log[20..32].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(after[..10].windows(2).all(|pair| pair[1] < pair[0]), "{after:?}");
    assert_eq!(after[0], 1000 * MS);
    // The pace that the rejection taught, still rising, and nothing was saved up for it meanwhile: not the call's 10 ms alone.
    assert!((10 * MS..=12 * MS).contains(&after[10]), "as usual again: {after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_conservative_pace_sends_one_at_a_time_unless_told_otherwise() {
    let server = Server::default();
    let run = async |limits, rows| {
        let target = target("m", &server, 100 * MS).limits(limits);
        let client = Client::builder().target(target).pace(Pace::Conservative).build().unwrap();
        let start = Instant::now();
        assert_eq!(client.run(prompts(rows)).count().await, rows);
        start.elapsed()
    };
    assert_eq!(run(Limits::default(), 10).await, 18_100 * MS);
    let stated = Limits { concurrency: Some(5), spacing: Some(10 * MS), ..Limits::default() };
    assert!(run(stated, 50).await < 1200 * MS);
}
