//! The last resort: what stands in the place of an answer when every attempt has failed.

use std::fmt;
use std::sync::Arc;

use crate::failure::{Failure, Kind};
use crate::request::Request;
use crate::response::Output;

/// Makes what stands in the place of an answer. The outcome stays a failure, and is counted as one.
///
/// ```
/// use tidegate::run::fallback::Fallback;
/// use tidegate::{Kind, Output};
/// let constant = Fallback::text("n/a");
/// let mine = Fallback::new(|_request, failure| {
///     (failure.kind == Kind::ContentFilter).then(|| Output::Text("withheld".to_owned()))
/// });
/// # let _ = (constant, mine);
/// ```
#[derive(Clone)]
pub struct Fallback(Arc<Resort>);

type Resort = dyn Fn(&Request, &Failure) -> Option<Output> + Send + Sync;

impl Fallback {
    /// Puts the same text everywhere.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Fallback {
        let text = text.into();
        Fallback::new(move |_, _| Some(Output::Text(text.clone())))
    }

    /// Asks a function, which may also have nothing to say.
    #[must_use]
    pub fn new(resort: impl Fn(&Request, &Failure) -> Option<Output> + Send + Sync + 'static) -> Fallback {
        Fallback(Arc::new(resort))
    }

    /// Returns what stands in the place of the answer to a request that failed. One that was never to be answered, such as
    /// after a stop, gets nothing.
    pub(crate) fn answer(&self, request: &Request, failure: &Failure) -> Option<Output> {
        let stopped = matches!(failure.kind, Kind::Budget | Kind::Cancelled);
        if stopped { None } else { (self.0)(request, failure) }
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fallback(…)")
    }
}
