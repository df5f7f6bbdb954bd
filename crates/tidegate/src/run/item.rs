//! One request on its way through a run, and what is to be kept of it while it is asked.

use std::sync::Arc;
use std::time::Duration;

use crate::ask::Begun;
use crate::ask::cache::Key;
use crate::dispatch::admission::{RouteId, Urgency};
use crate::dispatch::balance::Labels;
use crate::request::Request;

/// One request on its way through a run, with whatever the user wants back with the outcome.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Item<C> {
    /// What is asked.
    pub request: Request,
    /// Comes back with the outcome.
    pub context: C,
    /// Its class: those of a lower number go first, 0 before all, wherever requests wait for the same limits. Nobody
    /// waits for ever: a class counts for as much as ten minutes of waiting. Default 0.
    pub priority: u8,
    /// The time for it with everything, in place of [`RetryPolicy::deadline`]; within a class, those whose time is over
    /// sooner go first.
    pub deadline: Option<Duration>,
    /// What a [`Policy`](crate::Policy) of the user's own sees of it.
    pub labels: Labels,
    /// The models to ask, by their names, the first preferred; those that the client asks otherwise if empty.
    pub models: Vec<Arc<str>>,
}

impl<C> Item<C> {
    /// Makes an item.
    pub fn new(request: Request, context: C) -> Item<C> {
        Item { request, context, models: Vec::new(), priority: 0, deadline: None, labels: Labels::default() }
    }

    /// Asks one model only.
    #[must_use]
    pub fn for_model(self, model: Arc<str>) -> Item<C> {
        self.for_models(vec![model])
    }

    /// Asks these models only, the first preferred.
    #[must_use]
    pub fn for_models(mut self, models: Vec<Arc<str>>) -> Item<C> {
        self.models = models;
        self
    }

    /// Sets its class; 0 goes first.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Item<C> {
        self.priority = priority;
        self
    }

    /// Sets the time for it with everything: waiting, backoffs, all attempts.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Item<C> {
        self.deadline = Some(deadline);
        self
    }

    /// Adds a label for a policy to see.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Item<C> {
        self.labels.set(name, value);
        self
    }
}

impl From<Request> for Item<()> {
    fn from(request: Request) -> Item<()> {
        Item::new(request, ())
    }
}

/// An item under way: it has arrived, and where and how urgently it is to be asked is known.
pub(super) struct Member<C> {
    pub(super) index: u64,
    pub(super) request: Request,
    pub(super) context: C,
    pub(super) route: RouteId,
    pub(super) urgency: Urgency,
    pub(super) labels: Labels,
    /// About how many bytes the request holds.
    pub(super) bytes: usize,
    /// What identical ones are known by, if they are to be asked once.
    pub(super) twin: Option<Box<Key>>,
    /// What was done for it together with others.
    pub(super) begun: Begun,
}

/// What is kept of a member once its request has been answered.
pub(super) struct Kept<C> {
    pub(super) context: C,
    pub(super) bytes: usize,
    pub(super) twin: Option<Box<Key>>,
}

impl<C> Member<C> {
    /// Lets the request go.
    pub(super) fn keep(self) -> Kept<C> {
        Kept { context: self.context, bytes: self.bytes, twin: self.twin }
    }
}
