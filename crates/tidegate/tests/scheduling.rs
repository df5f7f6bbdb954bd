//! Who is sent to, in which order, until when, and how often: choices that are the user's, by what the servers saw.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tidegate::call::transport::{HttpReply, HttpRequest, Transport};
use tidegate::sim::{Scenario, SimTransport};
use tidegate::{
    Ask, Balance, Caller, Candidate, Client, ClientBuilder, Event, Failure, Item, Kind, Limits, Money, Price, Request,
    Response, RetryPolicy, Target, caller,
};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// A simulated provider for each host, `http://p0/v1` and so on.
#[derive(Clone)]
struct Hosts(Vec<SimTransport>);

impl Hosts {
    fn new(count: usize) -> Hosts {
        Hosts((0..count).map(|_| SimTransport::new(Scenario::default())).collect())
    }

    fn arrivals(&self) -> Vec<u64> {
        self.0.iter().map(|host| host.simulator().stats().arrivals).collect()
    }

    /// Makes a client with one target a host; `weights` may be shorter than the list of hosts.
    fn client(&self, weights: &[f64]) -> ClientBuilder {
        let target = |i: usize| {
            let target = Target::new(&format!("sim/m{i}")).unwrap().base_url(&format!("http://p{i}/v1"));
            let target = target.limits(Limits { concurrency: Some(1000), ..Limits::default() });
            weights.get(i).map_or(target.clone(), |weight| target.weight(*weight))
        };
        (0..self.0.len()).map(target).fold(Client::builder(), ClientBuilder::target).transport(Arc::new(self.clone()))
    }
}

impl Transport for Hosts {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        let host: usize = request.uri().host().and_then(|host| host.strip_prefix('p')?.parse().ok()).unwrap();
        self.0[host].send(request)
    }
}

fn prompts(n: usize) -> impl Iterator<Item = Request> {
    (0..n).map(|i| Request::prompt(format!("prompt {i}")))
}

/// A server that answers after as many milliseconds as its closure says; never, for `None`.
fn server(
    latency: impl Fn(usize) -> Option<u64> + Send + Sync + 'static,
) -> (Arc<dyn Caller>, Arc<Mutex<Vec<Instant>>>) {
    let log: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = log.clone();
    let caller = caller(move |_| {
        let number = {
            let mut log = seen.lock().unwrap();
            log.push(Instant::now());
            log.len() - 1
        };
        let latency = latency(number);
        async move {
            match latency {
                Some(latency) => tokio::time::sleep(Duration::from_millis(latency)).await,
                None => std::future::pending().await,
            }
            Ok(Response::text("ok"))
        }
    });
    (caller, log)
}

fn concurrency(most: u32) -> Limits {
    Limits { concurrency: Some(most), ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn weights_are_kept_by_the_servers_own_count() {
    for (balance, weights, expected) in [
        (Balance::RoundRobin, [].as_slice(), [400, 400, 400]),
        (Balance::Weighted, &[3.0, 2.0], [600, 400, 200]),
        (Balance::Weighted, &[], [400, 400, 400]),
    ] {
        let hosts = Hosts::new(3);
        let client = hosts.client(weights).balance(balance).build().unwrap();
        assert_eq!(client.run(prompts(1200)).count().await, 1200);
        for (arrived, expected) in hosts.arrivals().into_iter().zip(expected) {
            assert!(arrived.abs_diff(expected) <= 12, "{balance:?} {weights:?}: {:?}", hosts.arrivals());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn under_load_a_full_endpoint_is_passed_over_and_the_others_go_on_in_turn() {
    let (slow, seen_slow) = server(|_| Some(1000));
    let (quick, seen_quick) = server(|_| Some(100));
    let (other, seen_other) = server(|_| Some(100));
    let target = |name, caller| Target::caller(name, caller).limits(concurrency(10));
    let targets = [target("slow", slow), target("quick", quick), target("other", other)];
    let client = targets.into_iter().fold(Client::builder().balance(Balance::RoundRobin), ClientBuilder::target);
    let start = Instant::now();
    assert_eq!(client.build().unwrap().run(prompts(2100)).count().await, 2100);
    let counts = [seen_slow, seen_quick, seen_other].map(|seen| seen.lock().unwrap().len());
    assert!((95..=115).contains(&counts[0]), "what ten at a time can do in that time: {counts:?}");
    assert!(counts[1].abs_diff(counts[2]) <= 20, "{counts:?}");
    assert!(start.elapsed() < 12 * S, "nobody waits for the slow one: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_weights_the_throughput_seen_decides() {
    let (quick, seen) = server(|_| Some(100));
    let (slow, seen_too) = server(|_| Some(300));
    let target = |name, caller| Target::caller(name, caller).limits(concurrency(100));
    let client =
        Client::builder().target(target("quick", quick)).target(target("slow", slow)).balance(Balance::Weighted);
    assert_eq!(client.build().unwrap().run(prompts(4000)).count().await, 4000);
    let share = seen.lock().unwrap().len() as f64 / seen_too.lock().unwrap().len() as f64;
    assert!((2.7..=3.3).contains(&share), "{share}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_ones_own_sees_labels_and_is_obeyed() {
    let hosts = Hosts::new(2);
    let by_tenant = |ask: &Ask, ready: &[Candidate]| {
        let model = if ask.labels.get("tenant") == Some("acme") { "sim/m0" } else { "sim/m1" };
        ready.iter().position(|candidate| candidate.model == model)
    };
    let client = hosts.client(&[]).policy(by_tenant).build().unwrap();
    let items = (0..100).map(|i| {
        let tenant = if i % 10 == 0 { "acme" } else { "other" };
        Item::from(Request::prompt(format!("{i}"))).label("tenant", tenant)
    });
    assert_eq!(client.run_items(stream::iter(items)).count().await, 100);
    assert_eq!(hosts.arrivals(), [10, 90]);
}

#[tokio::test(start_paused = true)]
async fn urgent_items_overtake_those_that_wait() {
    let (caller, _) = server(|_| Some(100));
    let client = Client::builder().target(Target::caller("m", caller).limits(concurrency(1))).build().unwrap();
    let done: Mutex<Vec<u8>> = Mutex::default();
    let send = |priority: u8| {
        let (client, done) = (&client, &done);
        async move {
            client.send_item(&Item::from(Request::prompt("x")).priority(priority)).await.result.unwrap();
            done.lock().unwrap().push(priority);
        }
    };
    futures_util::future::join_all([5, 9, 9, 3, 0, 3].map(send)).await;
    assert_eq!(*done.lock().unwrap(), [5, 0, 3, 3, 9, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_bounds_waiting_attempts_and_backoffs() {
    let (caller, log) = server(|number| (number > 0).then_some(400));
    let retry = RetryPolicy { deadline: Some(S), ..RetryPolicy::default() };
    let client =
        Client::builder().target(Target::caller("m", caller).limits(concurrency(1))).retry(retry).build().unwrap();
    let start = Instant::now();
    let ends: Vec<_> = client.run(prompts(5)).map(|(outcome, ())| (outcome, start.elapsed())).collect().await;
    for (outcome, at) in &ends {
        assert_eq!(
            outcome.result.as_ref().unwrap_err().kind,
            Kind::Deadline,
            "the first hangs, the others wait behind it"
        );
        assert!((1000..=1002).contains(&at.as_millis()), "{at:?}");
    }
    assert_eq!(ends.iter().map(|(outcome, _)| outcome.attempts.len()).sum::<usize>(), 1);
    assert_eq!(log.lock().unwrap().len(), 1, "no call starts after its deadline");
    let item = Item::from(Request::prompt("x")).deadline(S / 2);
    assert!(client.send_item(&item).await.result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn there_is_no_retry_for_which_no_time_is_left() {
    let broken = caller(|_| async { Err(Failure::new(Kind::ServerError, "no")) });
    let retry = RetryPolicy { deadline: Some(S), backoff: 600 * MS, ..RetryPolicy::default() };
    let client = Client::builder().target(Target::caller("m", broken)).retry(retry).build().unwrap();
    let start = Instant::now();
    let failure = client.send(&Request::prompt("x")).await.result.unwrap_err();
    assert_eq!(failure.kind, Kind::Deadline);
    assert!(failure.message.contains("server_error"), "{failure}");
    assert!(start.elapsed() < S, "there is no point in waiting for the end");
}

#[tokio::test(start_paused = true)]
async fn a_retry_budget_is_a_share_of_the_run() {
    let broken = caller(|_| async { Err(Failure::new(Kind::ServerError, "no")) });
    let retry = RetryPolicy { budget: Some(0.2), ..RetryPolicy::default() };
    let target = Target::caller("m", broken).limits(concurrency(10));
    let client = Client::builder().target(target).retry(retry).build().unwrap();
    let calls: u32 =
        client.run(prompts(1000)).map(|(outcome, ())| outcome.calls()).fold(0, |a, b| async move { a + b }).await;
    assert!((1000..=1210).contains(&calls), "{calls}");
}

/// Makes a client that sends copies of what its first server takes too long for, and lets it learn what is usual.
async fn hedging(first: Arc<dyn Caller>, second: Arc<dyn Caller>, limits: Limits) -> Client {
    let retry = RetryPolicy { hedge: Some(0.02), ..RetryPolicy::default() };
    let target = |name, caller| Target::caller(name, caller).limits(limits).price(Price::new(1.0, 1.0));
    let client = Client::builder().target(target("first", first)).target(target("second", second)).retry(retry);
    let client = client.build().unwrap();
    assert_eq!(client.run(prompts(40)).count().await, 40);
    client
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_answered_elsewhere_and_charged_at_an_estimate() {
    let (first, seen) = server(|number| (number != 40).then_some(100));
    let (second, seen_too) = server(|_| Some(100));
    let client = hedging(first, second, concurrency(40)).await;
    let start = Instant::now();
    let outcome = client.send(&Request::prompt("x")).await;
    assert_eq!(outcome.text(), Ok("ok"));
    assert!(start.elapsed() < 250 * MS, "{:?}", start.elapsed());
    assert_eq!((seen.lock().unwrap().len(), seen_too.lock().unwrap().len()), (41, 1));
    let [lost, won] = &outcome.attempts[..] else { panic!("{:?}", outcome.attempts) };
    assert_eq!((&*lost.endpoint, &*won.endpoint), ("first", "second"));
    assert_eq!(lost.failure.as_ref().map(|failure| failure.kind), Some(Kind::Timeout));
    assert!(lost.estimated && lost.cost.is_some_and(|cost| cost > Money::default()));
    assert!(client.snapshot().endpoints.iter().all(|endpoint| endpoint.in_flight == 0));
}

#[tokio::test(start_paused = true)]
async fn an_older_call_that_is_answered_first_cancels_its_copy() {
    let (first, _) = server(|number| Some(if number == 40 { 150 } else { 100 }));
    let (second, seen) = server(|_| Some(100));
    let client = hedging(first, second, concurrency(40)).await;
    let outcome = client.send(&Request::prompt("x")).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
    let [lost, won] = &outcome.attempts[..] else { panic!("{:?}", outcome.attempts) };
    assert_eq!((&*lost.endpoint, &*won.endpoint), ("second", "first"));
    assert_eq!(lost.failure.as_ref().map(|failure| failure.kind), Some(Kind::Cancelled));
    assert!(client.snapshot().endpoints.iter().all(|endpoint| endpoint.in_flight == 0));
}

#[tokio::test(start_paused = true)]
async fn a_copy_waits_for_quota_that_others_want_until_the_call_must_be_hanging() {
    let (first, seen) = server(|number| (number != 40).then_some(100));
    let (second, seen_too) = server(|_| None);
    let client = hedging(first, second, concurrency(2)).await;
    assert_eq!(seen.lock().unwrap().len(), 40, "the second is a fallback that is not needed");
    let (start, item) = (Instant::now(), Item::from(Request::prompt("x")).for_model("first".into()));
    let sends = (0..30).map(|_| async {
        client.send_item(&item).await.result.unwrap();
        start.elapsed()
    });
    // One of two places hangs; the others are done in the other one, and the copy takes its turn among them.
    let took = futures_util::future::join_all(sends).await;
    assert!((300 * MS..500 * MS).contains(&took[0]), "{:?}", took[0]);
    assert_eq!(seen_too.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_put_aside_and_comes_back_is_told() {
    let up = Instant::now() + 10 * S;
    let flaky = caller(move |_| async move {
        tokio::time::sleep(100 * MS).await;
        if Instant::now() < up { Err(Failure::new(Kind::ServerError, "no")) } else { Ok(Response::text("ok")) }
    });
    let (fallback, _) = server(|_| Some(100));
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let hear = told.clone();
    let observer = move |event: &Event| match event {
        Event::Ejected { endpoint, .. } => hear.lock().unwrap().push(format!("{endpoint} ejected")),
        Event::Readmitted { endpoint } => hear.lock().unwrap().push(format!("{endpoint} readmitted")),
        _ => {}
    };
    let target = |name, caller| Target::caller(name, caller).limits(concurrency(4));
    let builder = Client::builder().target(target("flaky", flaky)).target(target("fallback", fallback));
    let client = builder.observer(Arc::new(observer)).build().unwrap();
    let outcomes: Vec<_> = client.run(prompts(1000)).collect().await;
    assert!(outcomes.iter().all(|(outcome, ())| outcome.result.is_ok()));
    assert_eq!(*told.lock().unwrap(), ["flaky ejected", "flaky readmitted"]);
}
