//! What users do around every item of a run: middleware, post-processors, and a report of how far it has come.
//!
//! A hook belongs to its item: it is awaited in a future of its own, beside all others, with no place at an endpoint. What
//! comes before stands in front of everything else, so that an item goes its way as middleware has left it: it may be packed
//! with others, or answered by an identical one; what comes at the end stands behind all that. So a slow one delays its own item and nobody else's, one that takes longer than [`hook_timeout`](Run::hook_timeout) is given
//! up, and one that panics is logged and passed over. What would block the thread belongs in `spawn_blocking`.
//!
//! A run without hooks does not come here.

use std::fmt;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join, join_all, ready};
use futures_util::{FutureExt, Stream};

use super::item::{Answered, Hooked, Kept};
use super::{Arrival, Came, Done, Item, Run, Waiting};
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::response::Response;

/// The time for one hook, if nothing is said.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Stands around the asking of every item: the first added is the outermost.
///
/// ```
/// use std::ops::ControlFlow;
/// use futures_util::FutureExt;
/// use futures_util::future::{BoxFuture, join, join_all, ready};
/// use tidegate::{Client, Failure, Item, Middleware, Request, Response, Target};
///
/// /// Sends nothing for empty rows, and says who asks in all others.
/// struct Polite;
///
/// impl Middleware<&'static str> for Polite {
///     fn before<'a>(
///         &'a self,
///         item: &'a mut Item<&'static str>,
///     ) -> BoxFuture<'a, ControlFlow<Result<Response, Failure>>> {
///         if item.context.is_empty() {
///             return ready(ControlFlow::Break(Ok(Response::text("nothing to say")))).boxed();
///         }
///         item.request = item.request.clone().system("You are asked by the harbour master.");
///         ready(ControlFlow::Continue(())).boxed()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tidegate::Result<()> {
/// # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
/// let items = ["high tide", ""].map(|text| Item::new(Request::prompt(text), text));
/// let batch = client.run_items(futures_util::stream::iter(items)).middleware(Polite).in_input_order().await;
/// assert_eq!(batch.outcomes[1].0.text(), Ok("nothing to say"));
/// assert_eq!(batch.outcomes[1].0.calls(), 0);
/// # Ok(())
/// # }
/// ```
pub trait Middleware<C>: Send + Sync {
    /// Runs before an item is asked, once for all its attempts, and may change it; what breaks off is its result at once.
    fn before<'a>(&'a self, item: &'a mut Item<C>) -> BoxFuture<'a, ControlFlow<Result<Response, Failure>>> {
        let _ = item;
        ready(ControlFlow::Continue(())).boxed()
    }

    /// Runs when an item has failed for good, before [`after`](Middleware::after), and may have an answer all the same: the
    /// innermost one that has one wins. Observers have been told of the failure by then.
    fn on_error<'a>(&'a self, item: &'a mut Item<C>, failure: &'a Failure) -> BoxFuture<'a, Option<Response>> {
        let _ = (item, failure);
        ready(None).boxed()
    }

    /// Runs when an item is done, answered or not, and may change its outcome; the innermost first. It does not run where
    /// [`before`](Middleware::before) broke off, nor further inside.
    fn after<'a>(&'a self, item: &'a mut Item<C>, outcome: &'a mut Outcome) -> BoxFuture<'a, ()> {
        let _ = (item, outcome);
        ready(()).boxed()
    }
}

type Post<C> = dyn for<'a> Fn(&'a Outcome, &'a mut C) -> BoxFuture<'a, ()> + Send + Sync;

/// All hooks of a run.
pub(super) struct Hooks<C> {
    around: Vec<Arc<dyn Middleware<C>>>,
    post: Vec<Arc<Post<C>>>,
    patience: Duration,
}

impl<C> Clone for Hooks<C> {
    fn clone(&self) -> Hooks<C> {
        Hooks { around: self.around.clone(), post: self.post.clone(), patience: self.patience }
    }
}

impl<C> Default for Hooks<C> {
    fn default() -> Hooks<C> {
        Hooks { around: Vec::new(), post: Vec::new(), patience: PATIENCE }
    }
}

impl<C> fmt::Debug for Hooks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hooks({} around, {} after)", self.around.len(), self.post.len())
    }
}

impl<S, C> Run<S, C> {
    /// Puts middleware around every item, inside what was added before.
    pub fn middleware(mut self, middleware: impl Middleware<C> + 'static) -> Run<S, C> {
        self.hooks().around.push(Arc::new(middleware));
        self
    }

    /// Does something with every outcome before it is handed out: answers, failures, and what the cache had. Those of
    /// several items run at the same time; none can fail its item.
    ///
    /// ```
    /// # use tidegate::{Client, Request, Target};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tidegate::Result<()> {
    /// # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
    /// let run = client.run(["ebb", "flow"].map(Request::prompt)).post_process(|outcome, _context| {
    ///     Box::pin(async move {
    ///         // Such as: database.save(outcome).await
    ///         println!("{}: {:?}", outcome.index, outcome.text());
    ///     })
    /// });
    /// assert_eq!(run.in_input_order().await.tally().succeeded, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn post_process<F>(mut self, process: F) -> Run<S, C>
    where
        F: for<'a> Fn(&'a Outcome, &'a mut C) -> BoxFuture<'a, ()> + Send + Sync + 'static,
    {
        self.hooks().post.push(Arc::new(process));
        self
    }

    /// Sets how long one call of one hook may take; it is given up then. Default 30 s.
    pub fn hook_timeout(mut self, patience: Duration) -> Run<S, C> {
        self.hooks().patience = patience;
        self
    }

    fn hooks(&mut self) -> &mut Hooks<C> {
        Arc::make_mut(self.hooks.get_or_insert_default())
    }
}

impl<S, C> Run<S, C>
where
    S: Stream<Item = Item<C>>,
    C: Send + 'static,
{
    /// Lets middleware see an item before anything else does.
    pub(super) fn let_through(&mut self, hooks: Arc<Hooks<C>>, arrival: Arrival, item: Item<C>) {
        let (mut item, waiting) = (Box::new(item), Waiting::new(&self.waiting));
        self.arriving += 1;
        self.asked.push(Box::pin(async move {
            let (passed, early) = hooks.before(&mut item).await;
            drop(waiting);
            (Came::Passed(arrival, item, passed, early.map(Box::new)), None)
        }));
    }

    /// Takes an item as middleware has left it.
    pub(super) fn passed(
        &mut self,
        arrival: Arrival,
        item: Item<C>,
        passed: usize,
        early: Option<Result<Response, Failure>>,
    ) {
        self.arriving -= 1;
        let (item, context) = item.with(());
        let hooked = Box::new(Hooked { passed, item: item.clone() });
        let Some(result) = early else { return self.enter(arrival, item.with(context).0, Some(hooked)) };
        let mut outcome = Outcome::new(arrival.index, result);
        self.asker.tell(&outcome);
        self.asker.fall_back(&mut outcome, &item.request);
        self.bytes -= arrival.bytes;
        let kept = Kept { context, id: item.id, bytes: arrival.bytes, twin: None, hooked: Some(hooked) };
        self.deliver(Box::new((outcome, kept)), Vec::new());
    }

    /// Hands on outcomes that belong together, through the hooks if there are any.
    pub(super) fn deliver(&mut self, mut first: Box<Answered<C>>, mut rest: Vec<Answered<C>>) {
        let Some(hooks) = self.hooks.clone() else {
            for (outcome, kept) in std::iter::once(&mut *first).chain(&mut rest) {
                outcome.id = kept.id.take();
            }
            return self.ready.push_back(Done { first, rest });
        };
        self.asked.push(Box::pin(async move {
            let rest = join_all(rest.into_iter().map(|(outcome, kept)| hooks.end(outcome, kept)));
            let (outcome, kept) = *first;
            let (first, rest) = join(hooks.end(outcome, kept), rest).await;
            (Came::Ended(Done { first: Box::new(first), rest }), None)
        }));
    }
}

impl<C> Hooks<C> {
    /// Runs what comes before an item. Returns how many let it through, and the result if one did not.
    pub(super) async fn before(&self, item: &mut Item<C>) -> (usize, Option<Result<Response, Failure>>) {
        for (i, middleware) in self.around.iter().enumerate() {
            let flow = isolated("before", self.patience, || middleware.before(item)).await;
            if let Some(ControlFlow::Break(result)) = flow {
                return (i, Some(result));
            }
        }
        (self.around.len(), None)
    }

    /// Asks those that let an item through for an answer in the place of a failure.
    async fn on_error(&self, passed: usize, item: &mut Item<C>, failure: &Failure) -> Option<Response> {
        for middleware in self.around[..passed].iter().rev() {
            let answer = isolated("on_error", self.patience, || middleware.on_error(item, failure)).await;
            if let Some(Some(response)) = answer {
                return Some(response);
            }
        }
        None
    }

    /// Runs what comes at an item's end, and returns what is to be handed out.
    pub(super) async fn end(&self, mut outcome: Outcome, mut kept: Kept<C>) -> Answered<C> {
        let Some(hooked) = kept.hooked.take() else { return (outcome, kept) };
        let Hooked { passed, item } = *hooked;
        let (mut item, ()) = item.with(kept.context);
        if let Err(failure) = &outcome.result
            && let Some(response) = self.on_error(passed, &mut item, failure).await
        {
            (outcome.result, outcome.fallback) = (Ok(response), None);
        }
        outcome.id.clone_from(&item.id);
        self.after(passed, &mut item, &mut outcome).await;
        (outcome, Kept { context: item.context, ..kept })
    }

    /// Runs what comes after an item.
    async fn after(&self, passed: usize, item: &mut Item<C>, outcome: &mut Outcome) {
        for middleware in self.around[..passed].iter().rev() {
            isolated("after", self.patience, || middleware.after(item, outcome)).await;
        }
        for process in &self.post {
            isolated("post_process", self.patience, || process(outcome, &mut item.context)).await;
        }
    }
}

/// Awaits a hook; nothing comes of one that panics or takes too long.
pub(super) async fn isolated<T, A: Future<Output = T>>(
    name: &str,
    patience: Duration,
    hook: impl FnOnce() -> A,
) -> Option<T> {
    let caught = AssertUnwindSafe(async { hook().await }).catch_unwind();
    match tokio::time::timeout(patience, caught).await {
        Ok(Ok(value)) => Some(value),
        Ok(Err(_)) => {
            tracing::warn!("a hook panicked: {name}");
            None
        }
        Err(_) => {
            tracing::warn!("a hook took longer than {patience:?} and was given up: {name}");
            None
        }
    }
}
