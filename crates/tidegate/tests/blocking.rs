//! The client for programs without an async runtime.

#![cfg(feature = "blocking")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate::blocking::Client;
use tidegate::{Caller, ClientBuilder, Error, Failure, Item, Request, Response, Target, Try};

fn sim() -> ClientBuilder {
    tidegate::Client::builder().target(Target::new("sim/echo").unwrap())
}

#[test]
fn a_run_and_single_requests_block_until_they_are_done() {
    let client = Client::new(sim()).unwrap();
    assert!(client.send(Request::prompt("one")).unwrap().text().unwrap().ends_with("one"));
    let items = (0..50).map(|n| Item::new(Request::prompt(format!("item {n}")), n));
    let batch = client.run_items(items, |run| Ok(run.max_parallel(4))).unwrap();
    assert!(batch.outcomes.iter().all(|(outcome, n)| outcome.text().unwrap().ends_with(&format!("item {n}"))));
    let unknown = client.run_items([Item::from(Request::prompt("?"))], |run| run.regions(["nowhere"]));
    assert!(matches!(unknown, Err(Error::Usage(_))));
}

#[test]
fn outcomes_come_as_they_are_done_and_may_be_left() {
    let client = Client::new(sim()).unwrap();
    let items = |many| (0..many).map(|n| Item::new(Request::prompt(format!("item {n}")), n));
    let mut contexts: Vec<_> = client.outcomes(items(100), Ok).unwrap().map(|(_, n)| n).collect();
    contexts.sort_unstable();
    assert!(contexts.into_iter().eq(0..100));
    assert_eq!(client.outcomes(items(100_000), Ok).unwrap().take(5).count(), 5);
    let last = client.outcomes(items(10), Ok).unwrap();
    drop(client);
    assert_eq!(last.count(), 10, "the iterator keeps the thread");
}

#[test]
fn several_threads_share_it() {
    let client = Client::new(sim()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert_eq!(client.run((0..20).map(|n| Request::prompt(n.to_string()))).unwrap().tally().succeeded, 20)
            });
        }
    });
    assert_eq!(client.inner().snapshot().endpoints[0].succeeded, 160);
}

#[test]
fn it_is_refused_within_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = runtime.block_on(async { Client::new(sim()) }).unwrap_err().to_string();
    assert!(refused.contains("would block the async runtime"), "{refused}");
    let client = Client::new(sim()).unwrap();
    assert!(runtime.block_on(async { client.send(Request::prompt("?")) }).is_err());
}

#[derive(Default)]
struct Closing(AtomicU32);

impl Caller for Closing {
    fn call<'a>(&'a self, _: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        async { Ok(Response::text("ok")) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        .boxed()
    }
}

#[test]
fn dropping_it_clears_up() {
    let caller = Arc::new(Closing::default());
    let client = Client::new(tidegate::Client::builder().target(Target::caller("m", caller.clone()))).unwrap();
    client.clone().send(Request::prompt("?")).unwrap();
    assert_eq!(caller.0.load(Ordering::SeqCst), 0);
    drop(client);
    assert_eq!(caller.0.load(Ordering::SeqCst), 1);
}
