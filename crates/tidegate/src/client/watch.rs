//! Who is told what happens, and who says what failures mean.

use std::sync::Arc;

use super::ClientBuilder;
use crate::error::{Error, Result};
use crate::event::{Background, Observer};
use crate::failure::{Diagnosis, Failure};

impl ClientBuilder {
    /// Tells this observer what happens, as it happens: it must not block. May be called several times.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> ClientBuilder {
        self.observers.add(observer);
        self
    }

    /// Tells this observer what happens on a thread of its own, which it may block: events queue up for it. Should it be
    /// more than 10,000 events behind, further ones are not told to it; the log says so.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidegate::{Client, Event, Target};
    /// let client = Client::builder()
    ///     .target(Target::new("sim/echo")?)
    ///     .background_observer(Arc::new(|event: &Event| println!("{event:?}"))) // Such as a slow database.
    ///     .build()?;
    /// # let _ = client;
    /// # Ok::<(), tidegate::Error>(())
    /// ```
    #[must_use]
    pub fn background_observer(mut self, observer: Arc<dyn Observer>) -> ClientBuilder {
        self.background.push(observer);
        self
    }

    /// Returns all observers as one, if there are any, and starts the threads of the slow ones.
    pub(super) fn watchers(&mut self) -> Result<Option<Arc<dyn Observer>>> {
        let mut observers = std::mem::take(&mut self.observers);
        for observer in self.background.drain(..) {
            let started = Background::start(observer);
            observers.add(Arc::new(
                started.map_err(|cause| Error::storage("observer".as_ref(), "cannot start its thread", cause))?,
            ));
        }
        Ok((!observers.is_empty()).then(|| Arc::new(observers) as Arc<dyn Observer>))
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
