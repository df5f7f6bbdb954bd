//! Requests that begin alike, at providers that keep what they begin with: the first one goes ahead.
//!
//! A provider's cache holds a prefix once the first reply to it has begun. Whatever is sent before pays for writing the
//! prefix again, so the first request of a prefix goes alone, and those that follow wait for its reply: not those of
//! other prefixes, at most [`LONGEST`], and at most [`MOST_HELD`] of them. A prefix that was not used for [`KEPT`] is
//! cold again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

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
}

enum State<T> {
    /// The first request is under way.
    Cold { waiting: Vec<T>, until: Instant },
    /// It has been answered.
    Warm { until: Instant },
}

/// What a request is to do.
pub(super) enum Turn<T> {
    /// Go, as the first of its prefix.
    First(T),
    /// Go.
    Next(T),
    /// Wait; it is kept here.
    Held,
}

impl<T> Prefixes<T> {
    pub(super) fn new() -> Prefixes<T> {
        Prefixes { prefixes: HashMap::new(), held: 0 }
    }

    /// Returns whether more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.held < MOST_HELD
    }

    /// Decides about a request that begins with a prefix.
    pub(super) fn meet(&mut self, prefix: u64, request: T, now: Instant) -> Turn<T> {
        match self.prefixes.get_mut(&prefix) {
            Some(State::Cold { waiting, .. }) => {
                waiting.push(request);
                self.held += 1;
                return Turn::Held;
            }
            Some(State::Warm { until }) if now < *until => {
                *until = now + KEPT;
                return Turn::Next(request);
            }
            _ => {}
        }
        if self.prefixes.len() >= MOST_PREFIXES {
            self.prefixes.retain(|_, state| matches!(state, State::Cold { .. }));
        }
        if self.prefixes.len() >= MOST_PREFIXES {
            return Turn::Next(request);
        }
        self.prefixes.insert(prefix, State::Cold { waiting: Vec::new(), until: now + LONGEST });
        Turn::First(request)
    }

    /// Notes that the first request of a prefix has been answered. Returns those that have waited for it.
    pub(super) fn warmed(&mut self, prefix: u64, now: Instant) -> Vec<T> {
        let before = self.prefixes.insert(prefix, State::Warm { until: now + KEPT });
        let Some(State::Cold { waiting, .. }) = before else { return Vec::new() };
        self.held -= waiting.len();
        waiting
    }

    /// Returns when somebody will have waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        let cold = self.prefixes.values().filter_map(|state| match state {
            State::Cold { waiting, until } if !waiting.is_empty() => Some(*until),
            _ => None,
        });
        if self.held == 0 { None } else { cold.min() }
    }

    /// Returns those that have waited long enough.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<T> {
        let late = |(prefix, state): (&u64, &State<T>)| match state {
            State::Cold { until, .. } if now >= *until => Some(*prefix),
            _ => None,
        };
        let late: Vec<u64> = self.prefixes.iter().filter_map(late).collect();
        late.into_iter().flat_map(|prefix| self.warmed(prefix, now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn went<T>(turn: Turn<T>) -> Option<T> {
        match turn {
            Turn::First(it) | Turn::Next(it) => Some(it),
            Turn::Held => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_prefix_goes_and_the_others_wait_for_it_alone() {
        let (mut prefixes, now) = (Prefixes::new(), Instant::now());
        assert_eq!(went(prefixes.meet(1, "a", now)), Some("a"));
        assert_eq!(went(prefixes.meet(1, "b", now)), None);
        assert_eq!(went(prefixes.meet(2, "c", now)), Some("c"));
        assert_eq!(prefixes.due(), Some(now + LONGEST));
        assert_eq!(prefixes.warmed(1, now), ["b"]);
        assert!(matches!(prefixes.meet(1, "d", now), Turn::Next("d")));
        assert_eq!(prefixes.due(), None);
        assert!(matches!(prefixes.meet(1, "e", now + KEPT * 2), Turn::First("e")));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_rows_with_prefixes_of_their_own_do_not_wait() {
        let (mut prefixes, now) = (Prefixes::new(), Instant::now());
        went(prefixes.meet(1, 0, now));
        went(prefixes.meet(1, 7, now));
        assert_eq!(prefixes.overdue(now + LONGEST / 2), [0_u64; 0]);
        assert_eq!(prefixes.overdue(now + LONGEST), [7]);
        assert!((2..20_000).all(|row| went(prefixes.meet(row, row, now)) == Some(row)));
        assert!(prefixes.prefixes.len() <= MOST_PREFIXES);
    }
}
