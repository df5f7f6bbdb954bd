//! A server in this process, and requests for it: what the tests of the engine and of its limits share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::{Caller, Client, Failure, Request, Response, Target, caller};
use tokio::time::Instant;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A server that answers after a latency, and knows when each call came and how many were there at a time.
#[derive(Clone, Default)]
pub(crate) struct Server {
    pub(crate) log: Arc<Mutex<Vec<Instant>>>,
    pub(crate) in_flight: Arc<AtomicUsize>,
    pub(crate) peak: Arc<AtomicUsize>,
}

impl Server {
    /// Answers with whatever `answer` says to the call of that number, counted from 1.
    pub(crate) fn caller<F>(&self, latency: Duration, answer: F) -> Arc<dyn Caller>
    where
        F: Fn(usize, &Request) -> Result<Response, Failure> + Send + Sync + 'static,
    {
        let (server, answer) = (self.clone(), Arc::new(answer));
        caller(move |request| {
            let (server, answer) = (server.clone(), answer.clone());
            async move {
                let number = {
                    let mut log = server.log.lock().unwrap();
                    log.push(Instant::now());
                    log.len()
                };
                let now = server.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                server.peak.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(latency).await;
                server.in_flight.fetch_sub(1, Ordering::SeqCst);
                answer(number, &request)
            }
        })
    }

    pub(crate) fn calls(&self) -> usize {
        self.log.lock().unwrap().len()
    }
}

pub(crate) fn ok(_: usize, _: &Request) -> Result<Response, Failure> {
    Ok(Response::text("ok"))
}

pub(crate) fn prompts(n: usize) -> impl Iterator<Item = Request> {
    (0..n).map(|i| Request::prompt(format!("prompt {i}")))
}

pub(crate) fn client(targets: impl IntoIterator<Item = Target>) -> Client {
    targets.into_iter().fold(Client::builder(), tidegate::ClientBuilder::target).build().unwrap()
}
