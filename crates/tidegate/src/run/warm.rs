//! Requests that begin alike, at providers that keep what they begin with: the first one goes ahead.
//!
//! A provider's cache holds a prefix once the first reply to it has begun. Whatever is sent before pays for writing the
//! prefix again, so the first request of a prefix goes alone, and those that follow wait for its reply: not those of
//! other prefixes, at most [`LONGEST`], and at most [`MOST_HELD`] of them. A prefix that was not used for [`KEPT`] is
//! cold again. At which of several endpoints those that follow find it is the business of the admission.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use futures_util::Stream;
use tokio::time::Instant;

use super::pack::Load;
use super::{Item, Run, is_due};
use crate::dispatch::admission::Warmth;

/// How long a request waits for the first one of its prefix.
const LONGEST: Duration = Duration::from_secs(30);
/// How long providers keep a prefix that is not used.
const KEPT: Duration = Duration::from_mins(5);
/// Requests that may wait.
const MOST_HELD: usize = 4096;
/// Prefixes that are remembered; where each row has one of its own none is worth it.
const MOST_PREFIXES: usize = 4096;

/// The prefixes, and what waits for them.
pub(super) struct Prefixes<T> {
    prefixes: HashMap<u64, State<T>>,
    held: usize,
    /// Those that have waited and may go, with where their prefix is kept.
    free: VecDeque<(T, Arc<Warmth>)>,
}

enum State<T> {
    /// The first request is under way.
    Cold { waiting: Vec<T>, until: Instant, warmth: Arc<Warmth> },
    /// It has been answered.
    Warm { until: Instant, warmth: Arc<Warmth> },
}

/// What a request is to do.
pub(super) enum Turn<T> {
    /// Go, as the first of its prefix.
    First(T, Arc<Warmth>),
    /// Go; where its prefix is kept, if that is known.
    Next(T, Option<Arc<Warmth>>),
    /// Wait; it is kept here.
    Held,
}

impl<T> Prefixes<T> {
    pub(super) fn new() -> Prefixes<T> {
        Prefixes { prefixes: HashMap::new(), held: 0, free: VecDeque::new() }
    }

    /// Returns whether more may come: those that have waited go first.
    pub(super) fn has_room(&self) -> bool {
        self.held < MOST_HELD && self.free.is_empty()
    }

    /// Returns the next that has waited and may go.
    pub(super) fn next(&mut self) -> Option<(T, Arc<Warmth>)> {
        self.free.pop_front()
    }

    /// Decides about a request that begins with a prefix.
    pub(super) fn meet(&mut self, prefix: u64, request: T, now: Instant) -> Turn<T> {
        match self.prefixes.get_mut(&prefix) {
            Some(State::Cold { waiting, .. }) => {
                waiting.push(request);
                self.held += 1;
                return Turn::Held;
            }
            Some(State::Warm { until, warmth }) if now < *until => {
                *until = now + KEPT;
                return Turn::Next(request, Some(warmth.clone()));
            }
            _ => {}
        }
        if self.prefixes.len() >= MOST_PREFIXES {
            self.prefixes.retain(|_, state| matches!(state, State::Cold { .. }));
        }
        if self.prefixes.len() >= MOST_PREFIXES {
            return Turn::Next(request, None);
        }
        let warmth = Arc::new(Warmth::default());
        let cold = State::Cold { waiting: Vec::new(), until: now + LONGEST, warmth: warmth.clone() };
        self.prefixes.insert(prefix, cold);
        Turn::First(request, warmth)
    }

    /// Notes that the first request of a prefix has been answered: those that have waited for it may go.
    pub(super) fn warmed(&mut self, prefix: u64, now: Instant) {
        let Some(State::Cold { waiting, warmth, .. }) = self.prefixes.get_mut(&prefix) else { return };
        let (waiting, warmth) = (std::mem::take(waiting), warmth.clone());
        self.prefixes.insert(prefix, State::Warm { until: now + KEPT, warmth: warmth.clone() });
        self.held -= waiting.len();
        self.free.extend(waiting.into_iter().map(|request| (request, warmth.clone())));
    }

    /// Returns when somebody will have waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        let cold = self.prefixes.values().filter_map(|state| match state {
            State::Cold { waiting, until, .. } if !waiting.is_empty() => Some(*until),
            _ => None,
        });
        if self.held == 0 { None } else { cold.min() }
    }

    /// Lets those go that have waited long enough. Returns whether there were any.
    pub(super) fn overdue(&mut self, now: Instant) -> bool {
        let late = |(prefix, state): (&u64, &State<T>)| match state {
            State::Cold { until, .. } if now >= *until => Some(*prefix),
            _ => None,
        };
        let late: Vec<u64> = self.prefixes.iter().filter_map(late).collect();
        let before = self.held;
        late.into_iter().for_each(|prefix| self.warmed(prefix, now));
        self.held != before
    }
}

impl<S, C> Run<S, C>
where
    S: Stream<Item = Item<C>>,
    C: Send + 'static,
{
    /// Starts to ask what begins like others, at the endpoints that keep that where they have room.
    pub(super) fn begin_beside(&self, mut load: Load<C>, warmth: Arc<Warmth>, first: Option<u64>) {
        load.set_warmth(warmth);
        self.begin(load, first);
    }

    /// Starts to ask those that have waited for the first request that begins like them, while there is use for them: all
    /// at once, they would queue at the one endpoint that keeps what they begin with. Returns whether there were any.
    pub(super) fn begin_free(&mut self) -> bool {
        let mut some = false;
        while self.has_use()
            && let Some((load, warmth)) = self.prefixes.as_mut().and_then(Prefixes::next)
        {
            self.begin_beside(load, warmth, None);
            some = true;
        }
        some
    }

    /// Lets those go that have waited long enough for the first request that begins like them.
    pub(super) fn hurry_prefixes(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(due) = self.prefixes.as_ref().and_then(Prefixes::due) else { return false };
        is_due(&mut self.patience, due, cx)
            && self.prefixes.as_mut().is_some_and(|prefixes| prefixes.overdue(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn went<T>(turn: Turn<T>) -> Option<T> {
        match turn {
            Turn::First(it, _) | Turn::Next(it, _) => Some(it),
            Turn::Held => None,
        }
    }

    fn free<T>(prefixes: &mut Prefixes<T>) -> Vec<T> {
        std::iter::from_fn(|| prefixes.next()).map(|(request, _)| request).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_prefix_goes_and_the_others_wait_for_it_alone() {
        let (mut prefixes, now) = (Prefixes::new(), Instant::now());
        assert_eq!(went(prefixes.meet(1, "a", now)), Some("a"));
        assert_eq!(went(prefixes.meet(1, "b", now)), None);
        assert_eq!(went(prefixes.meet(2, "c", now)), Some("c"));
        assert_eq!(prefixes.due(), Some(now + LONGEST));
        prefixes.warmed(1, now);
        assert!(!prefixes.has_room());
        assert_eq!(free(&mut prefixes), ["b"]);
        assert!(matches!(prefixes.meet(1, "d", now), Turn::Next("d", Some(_))));
        assert_eq!(prefixes.due(), None);
        assert!(matches!(prefixes.meet(1, "e", now + KEPT * 2), Turn::First("e", _)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_rows_with_prefixes_of_their_own_do_not_wait() {
        let (mut prefixes, now) = (Prefixes::new(), Instant::now());
        went(prefixes.meet(1, 0, now));
        went(prefixes.meet(1, 7, now));
        assert!(!prefixes.overdue(now + LONGEST / 2));
        assert!(prefixes.overdue(now + LONGEST));
        assert_eq!(free(&mut prefixes), [7]);
        assert!((2..20_000).all(|row| went(prefixes.meet(row, row, now)) == Some(row)));
        assert!(prefixes.prefixes.len() <= MOST_PREFIXES);
    }
}
