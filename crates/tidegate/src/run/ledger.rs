//! What a run has come to so far, and what observers are told of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::Client;
use crate::dispatch::Dispatcher;
use crate::event::{Ended, Event};
use crate::outcome::Outcome;

/// The count of one run.
pub(super) struct Ledger {
    dispatcher: Arc<Dispatcher>,
    /// The run's number among the client's.
    pub(super) run: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    /// Why it takes nothing more, once that is so.
    pub(super) ended: Ended,
    began: bool,
    over: bool,
}

impl Ledger {
    pub(super) fn new(client: &Client) -> Ledger {
        let dispatcher = client.dispatcher.clone();
        let run = dispatcher.runs.fetch_add(1, Ordering::Relaxed) + 1;
        Ledger { dispatcher, run, succeeded: 0, failed: 0, ended: Ended::Completed, began: false, over: false }
    }

    /// Notes that the run looks at its input.
    pub(super) fn began(&mut self) {
        if !std::mem::replace(&mut self.began, true) {
            self.dispatcher.follow(|| Event::RunStarted { run: self.run });
        }
    }

    /// Notes that it takes nothing more before its input has ended; the first reason counts.
    pub(super) fn stopped(&mut self, reason: Ended) {
        if self.ended == Ended::Completed {
            self.ended = reason;
            self.dispatcher.follow(|| Event::RunStopped { run: self.run, reason });
        }
    }

    /// Notes an outcome that is handed out.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        match outcome.result {
            Ok(_) => self.succeeded += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// Notes that the last outcome was handed out.
    pub(super) fn completed(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            let (run, succeeded, failed) = (self.run, self.succeeded, self.failed);
            self.dispatcher.follow(|| Event::RunCompleted { run, succeeded, failed });
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if self.began && !self.over {
            self.stopped(Ended::Dropped);
        }
    }
}
