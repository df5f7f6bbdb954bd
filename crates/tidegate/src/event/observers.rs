//! All observers of a client as one: each is told what it wants to know, and harms nobody.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Event, Observer};

/// Events that wait for a slow observer; what comes when there are so many is not told to it.
const QUEUE: usize = 10_000;

/// Tells several observers.
#[derive(Default)]
pub(crate) struct Observers {
    all: Vec<(Arc<dyn Observer>, bool)>,
}

impl Observers {
    pub(crate) fn add(&mut self, observer: Arc<dyn Observer>) {
        let follows = observer.follows_items();
        self.all.push((observer, follows));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Observer for Observers {
    fn event(&self, event: &Event) {
        let of_item = event.is_of_item();
        for (observer, _) in self.all.iter().filter(|(_, follows)| *follows || !of_item) {
            tell(&**observer, event);
        }
    }

    fn follows_items(&self) -> bool {
        self.all.iter().any(|(_, follows)| *follows)
    }
}

fn tell(observer: &dyn Observer, event: &Event) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| observer.event(event))).is_err() {
        tracing::warn!("an observer panicked");
    }
}

/// An observer on a thread of its own, which may take its time.
pub(crate) struct Background {
    queue: SyncSender<Event>,
    follows: bool,
}

impl Background {
    /// Starts the thread. It ends when the client is gone and everything that was queued has been told.
    pub(crate) fn start(observer: Arc<dyn Observer>) -> std::io::Result<Background> {
        let (queue, events) = sync_channel(QUEUE);
        let follows = observer.follows_items();
        std::thread::Builder::new()
            .name("tidegate-observer".to_owned())
            .spawn(move || tell_all(&*observer, &events))?;
        Ok(Background { queue, follows })
    }
}

fn tell_all(observer: &dyn Observer, events: &Receiver<Event>) {
    for event in events {
        tell(observer, &event);
    }
}

impl Observer for Background {
    fn event(&self, event: &Event) {
        // An observer that falls behind must not hold up the run.
        if self.queue.try_send(event.clone()).is_err() {
            tracing::warn!("an observer is more than {QUEUE} events behind: one was not told to it");
        }
    }

    fn follows_items(&self) -> bool {
        self.follows
    }
}
