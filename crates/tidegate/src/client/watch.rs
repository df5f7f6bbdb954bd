//! Who is told what happens, and who says what failures mean.

use std::sync::Arc;

use super::ClientBuilder;
use crate::event::Observer;
use crate::failure::{Diagnosis, Failure};

impl ClientBuilder {
    /// Tells this observer what happens.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> ClientBuilder {
        self.observer = Some(observer);
        self
    }

    /// Names the causes of failures that this function knows better than the built-in classification, and how long to
    /// wait because of them, if it knows that too.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidegate::{Client, Diagnosis, Failure, Kind};
    /// // A gateway of ours says 418 when it is busy, and 420 when it is for a minute.
    /// let builder = Client::builder().classify(|failure: &Failure| match failure.status? {
    ///     418 => Some(Kind::Overloaded.into()),
    ///     420 => Some(Diagnosis { kind: Kind::RateLimited, wait: Some(Duration::from_secs(60)) }),
    ///     _ => None,
    /// });
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn classify<F, D>(mut self, classify: F) -> ClientBuilder
    where
        F: Fn(&Failure) -> Option<D> + Send + Sync + 'static,
        D: Into<Diagnosis>,
    {
        self.classify = Some(Arc::new(move |failure| classify(failure).map(Into::into)));
        self
    }
}
