//! One request on its way through a run, and what is to be kept of it while it is asked.

use std::sync::Arc;
use std::time::Duration;

use crate::ask::Begun;
use crate::ask::cache::Key;
use crate::dispatch::RetryPolicy;
use crate::dispatch::admission::{RouteId, Urgency, Warmth};
use crate::dispatch::balance::Labels;
use crate::outcome::Outcome;
use crate::request::Request;

/// One request on its way through a run, with whatever the user wants back with the outcome.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Item, Request};
/// let item = Item::new(Request::prompt("What is the tide?"), 17)
///     .id("row-17")
///     .priority(1)
///     .deadline(Duration::from_secs(60))
///     .for_models(vec!["sim/cheap".into(), "sim/strong".into()]);
/// # let _ = item;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Item<C> {
    /// What is asked.
    pub request: Request,
    /// Comes back with the outcome.
    pub context: C,
    /// What the outcome is called; [`Outcome::id`] makes one up where there is none. Nothing is known by it: ids may repeat.
    pub id: Option<Arc<str>>,
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
    /// The regions of Bedrock's in which alone it is asked, in place of the run's; those of the run, or all of the
    /// client's, if empty. An item whose regions the client does not have fails with
    /// [`Kind::NotFound`](crate::Kind::NotFound).
    pub regions: Vec<String>,
    /// How often and how patiently it is tried, in place of the run's or the client's way.
    pub retry: Option<Box<RetryPolicy>>,
}

impl<C> Item<C> {
    /// Makes an item.
    pub fn new(request: Request, context: C) -> Item<C> {
        Item {
            request,
            context,
            id: None,
            models: Vec::new(),
            priority: 0,
            deadline: None,
            labels: Labels::default(),
            regions: Vec::new(),
            retry: None,
        }
    }

    /// Exchanges the context, and returns the one before too.
    pub(super) fn with<D>(self, context: D) -> (Item<D>, C) {
        let Item { request, context: before, id, priority, deadline, labels, models, regions, retry } = self;
        (Item { request, context, id, priority, deadline, labels, models, regions, retry }, before)
    }

    /// Sets what the outcome is called.
    #[must_use]
    pub fn id(mut self, id: impl Into<Arc<str>>) -> Item<C> {
        self.id = Some(id.into());
        self
    }

    /// Sets how often and how patiently it is tried.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Item<C> {
        self.retry = Some(Box::new(retry));
        self
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

    /// Asks models of Bedrock in these regions only, and no others at all.
    #[must_use]
    pub fn regions<R: Into<String>>(mut self, regions: impl IntoIterator<Item = R>) -> Item<C> {
        self.regions = regions.into_iter().map(Into::into).collect();
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

/// Where and how urgently an item under way is asked.
pub(super) struct Place {
    pub(super) index: u64,
    pub(super) route: RouteId,
    /// The regions in which alone it is asked, if they are not the run's.
    pub(super) regions: Option<Box<[String]>>,
    pub(super) urgency: Urgency,
    /// How it is tried, if otherwise than the run's others.
    pub(super) retry: Option<Box<RetryPolicy>>,
    /// Where what it begins with is kept, if that matters.
    pub(super) warmth: Option<Arc<Warmth>>,
}

/// An item under way: it has arrived, and where and how urgently it is to be asked is known. Boxed wherever it goes: a way
/// of ten moves would cost more.
pub(super) struct Member<C> {
    pub(super) place: Place,
    pub(super) request: Request,
    pub(super) context: C,
    pub(super) id: Option<Arc<str>>,
    pub(super) labels: Labels,
    /// About how many bytes the request holds.
    pub(super) bytes: usize,
    /// What identical ones are known by, if they are to be asked once.
    pub(super) twin: Option<Box<Key>>,
    /// What was done for it together with others.
    pub(super) begun: Begun,
    /// What the run's hooks want to see of it at its end, if there are any.
    pub(super) hooked: Option<Box<Hooked>>,
}

/// An item as middleware has left it, and how many of them let it through.
pub(super) struct Hooked {
    pub(super) passed: usize,
    pub(super) item: Item<()>,
}

/// What is kept of a member once its request has been answered.
pub(super) struct Kept<C> {
    pub(super) context: C,
    pub(super) id: Option<Arc<str>>,
    pub(super) bytes: usize,
    pub(super) twin: Option<Box<Key>>,
    pub(super) hooked: Option<Box<Hooked>>,
}

impl<C> Member<C> {
    /// Lets the request go.
    #[expect(clippy::boxed_local, reason = "otherwise all of it would be moved to keep a part")]
    pub(super) fn keep(self: Box<Self>) -> Kept<C> {
        let Member { context, id, bytes, twin, hooked, .. } = *self;
        Kept { context, id, bytes, twin, hooked }
    }
}

/// An outcome, with what is kept of the member that it is of.
pub(super) type Answered<C> = (Outcome, Kept<C>);
