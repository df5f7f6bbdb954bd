//! What observers, and callers, are told of attempts and endpoints.

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::{Endpoint, Settled};
use super::health::Verdict;
use super::{Dispatcher, Order, Sent};
use crate::call::caller::Tries;
use crate::event::{self, Event};
use crate::failure::Failure;

impl Dispatcher {
    /// Tells an event of an item, which is only made if somebody wants to know.
    pub(crate) fn follow(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.follower {
            observer.event(&event());
        }
    }

    /// Tells the caller of an endpoint that its answer was refused.
    pub(crate) fn refused(&self, endpoint: &str, failure: &Failure, tries: &Tries) {
        if let Some(endpoint) = self.endpoints.iter().find(|known| &*known.name == endpoint) {
            tries.failed(&*endpoint.caller, failure);
        }
    }

    /// Tells that a call may be sent, and that it is the first after a pause.
    pub(super) fn admitted(&self, order: &Order<'_>, sent: &Sent<'_>) {
        let endpoint = || self.endpoints[sent.lease.place].name.clone();
        if let Some(pause) = sent.lease.ends_pause() {
            event::tell(self.observer.as_ref(), || Event::CooldownEnded { endpoint: endpoint(), pause });
        }
        self.follow(|| Event::ItemAdmitted { item: order.item, endpoint: endpoint(), waited: sent.waited });
    }

    /// Tells that a call was rejected for load, if it was.
    pub(super) fn limited(&self, order: &Order<'_>, place: usize, failure: &Failure) {
        if failure.kind.advice().slow_down {
            let endpoint = || self.endpoints[place].name.clone();
            let retry_after = failure.retry_after;
            self.follow(|| Event::LimitHit { item: order.item, endpoint: endpoint(), retry_after });
        }
    }

    /// Tells that an item is tried again.
    pub(super) fn retried(&self, order: &Order<'_>, place: usize, failure: &Failure, backoff: Duration) {
        let endpoint = || self.endpoints[place].name.clone();
        self.follow(|| Event::ItemRetried { item: order.item, endpoint: endpoint(), kind: failure.kind, backoff });
    }

    /// Tells what a settled call means for its endpoint.
    pub(super) fn tell(&self, endpoint: &Arc<Endpoint>, failure: Option<&Failure>, settled: Settled) {
        let tell = |event: &dyn Fn(Arc<str>) -> Event| {
            event::tell(self.observer.as_ref(), || event(endpoint.name.clone()));
        };
        if let Some(failure) = failure {
            tell(&|endpoint| Event::AttemptFailed { endpoint, failure: failure.clone() });
            let endpoints = settled.set_aside;
            if endpoints > 0 {
                tell(&|endpoint| Event::SetAside { endpoint, endpoints, failure: failure.clone() });
            }
        }
        if let Some(pause) = settled.cooldown {
            tell(&|endpoint| Event::CooldownStarted { endpoint, pause });
        }
        match settled.health {
            Some(Verdict::Ejected(pause)) => tell(&|endpoint| Event::Ejected { endpoint, pause }),
            Some(Verdict::Readmitted) => tell(&|endpoint| Event::Readmitted { endpoint }),
            None => {}
        }
    }
}
