//! A limit that holds in every stretch of time of one length, such as any minute or any 24 hours.
//!
//! What was sent is remembered in slots of a 600th of the period, each of which counts until its last moment is a period
//! ago. So no stretch of that length ever holds more than the limit, and at most 601 numbers are kept, however much is sent.
//! It does not spread anything: what is left may be sent at once.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::dispatch::limit::Ready;
use crate::limits::Limit;

/// The slots of a period.
const SLOTS: u32 = 600;

/// One such limit.
#[derive(Debug)]
pub(crate) struct Window {
    period: Duration,
    most: f64,
    limit: Limit,
    /// When each slot began, and what was sent in it.
    slots: VecDeque<(Instant, f64)>,
    used: f64,
}

impl Window {
    pub(crate) fn new(period: Duration, most: f64, limit: Limit) -> Window {
        Window { period, most: most.max(0.0), limit, slots: VecDeque::new(), used: 0.0 }
    }

    /// Returns when `cost` may be sent; more than fits in a whole period may be sent once nothing else counts.
    pub(crate) fn ready(&self, now: Instant, cost: f64) -> Ready {
        let room = self.most * (1.0 + 1e-9) - cost.min(self.most);
        let (mut used, mut until) = (self.used, now);
        for (began, sent) in &self.slots {
            let leaves = self.leaves(*began);
            if leaves > now && used <= room {
                break;
            }
            used -= sent;
            until = until.max(leaves);
        }
        if until > now { Ready::At(until, self.limit) } else { Ready::Now }
    }

    /// Notes that `cost` is sent.
    pub(crate) fn take(&mut self, now: Instant, cost: f64) {
        while self.slots.front().is_some_and(|(began, _)| self.leaves(*began) <= now) {
            self.used -= self.slots.pop_front().map_or(0.0, |(_, sent)| sent);
        }
        if self.slots.is_empty() {
            // Nothing is left of what rounding may have added up.
            self.used = 0.0;
        }
        let length = self.period / SLOTS;
        match self.slots.back_mut().filter(|(began, _)| now < *began + length) {
            Some((_, sent)) => *sent += cost,
            None => self.slots.push_back((now, cost)),
        }
        self.used += cost;
    }

    /// Puts back what was taken at `sent` and not used; a negative number takes more.
    pub(crate) fn give_back(&mut self, sent: Instant, units: f64) {
        let slot = self.slots.iter_mut().rev().find(|(began, _)| *began <= sent);
        if let Some((_, taken)) = slot {
            let back = units.min(*taken);
            *taken -= back;
            self.used -= back;
        }
    }

    /// Goes on where another window was.
    pub(crate) fn inherit(&mut self, old: &Window) {
        (self.slots, self.used) = (old.slots.clone(), old.used);
    }

    fn leaves(&self, began: Instant) -> Instant {
        began + self.period + self.period / SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_left_may_be_sent_at_once_and_comes_back_after_the_period() {
        let start = Instant::now();
        let mut window = Window::new(60 * S, 3.0, Limit::Requests);
        for second in 0..3 {
            assert_eq!(window.ready(start + second * S, 1.0), Ready::Now);
            window.take(start + second * S, 1.0);
        }
        let again = start + 60 * S + S / 10;
        assert_eq!(window.ready(start + 5 * S, 1.0), Ready::At(again, Limit::Requests));
        assert_eq!(window.ready(start + 5 * S, 2.0), Ready::At(again + S, Limit::Requests));
        assert_eq!(window.ready(again, 1.0), Ready::Now);
        window.give_back(start + 2 * S, 1.0);
        assert_eq!(window.ready(start + 5 * S, 1.0), Ready::Now);
    }

    #[test]
    fn what_is_larger_than_the_limit_waits_for_an_empty_window() {
        let start = Instant::now();
        let mut window = Window::new(60 * S, 10.0, Limit::Tokens);
        assert_eq!(window.ready(start, 50.0), Ready::Now);
        window.take(start, 50.0);
        assert!(matches!(window.ready(start + S, 1.0), Ready::At(..)));
        assert_eq!(window.ready(start + 61 * S, 50.0), Ready::Now);
    }

    #[test]
    fn it_remembers_no_more_than_its_slots() {
        let start = Instant::now();
        let mut window = Window::new(60 * S, 1e9, Limit::Tokens);
        (0..200_000).for_each(|ms| window.take(start + Duration::from_millis(ms), 1.0));
        assert!(window.slots.len() <= 602 && window.used <= 60_200.0, "{} {}", window.slots.len(), window.used);
    }
}
