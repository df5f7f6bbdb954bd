//! Those who wait for admission, in slots that are used again.

use std::task::Waker;

use tokio::time::Instant;

use super::Ask;
use crate::dispatch::limit::Cost;
use crate::failure::Failure;

/// What became of a waiter.
pub(super) enum Fate {
    Waiting,
    Admitted { place: usize, cost: Cost },
    Refused(Failure),
}

/// One who waits.
pub(super) struct Ticket {
    pub(super) ask: Ask,
    pub(super) waker: Waker,
    pub(super) fate: Fate,
    /// When the timer rings that this waiter keeps, if it keeps one.
    pub(super) armed: Option<Instant>,
}

/// A ticket's slot and how often that slot was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TicketId {
    slot: usize,
    uses: u64,
}

/// The tickets of everyone who waits, in slots that are used again.
#[derive(Default)]
pub(super) struct Tickets {
    slots: Vec<(u64, Option<Ticket>)>,
    free: Vec<usize>,
}

impl Tickets {
    pub(super) fn add(&mut self, ticket: Ticket) -> TicketId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() - 1
        });
        self.slots[slot].1 = Some(ticket);
        TicketId { slot, uses: self.slots[slot].0 }
    }

    pub(super) fn get(&mut self, id: TicketId) -> Option<&mut Ticket> {
        let (uses, ticket) = &mut self.slots[id.slot];
        if *uses == id.uses { ticket.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, id: TicketId) -> Option<Ticket> {
        let (uses, ticket) = &mut self.slots[id.slot];
        if *uses != id.uses {
            return None;
        }
        *uses += 1;
        self.free.push(id.slot);
        ticket.take()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
