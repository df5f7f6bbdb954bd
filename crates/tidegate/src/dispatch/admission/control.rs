//! Control of a client at work: pauses, and limits that change. What is in flight goes on; nothing new starts beyond.

use super::Admission;
use crate::dispatch::endpoint::Endpoint;
use crate::limits::Limits;

impl Admission {
    /// Sends nothing more until it is resumed.
    pub(crate) fn pause(&self) {
        self.change(|scheduler, _| scheduler.paused = true);
    }

    /// Goes on after a pause.
    pub(crate) fn resume(&self) {
        self.change(|scheduler, _| scheduler.paused = false);
    }

    /// Puts other limits in force at the endpoints that are meant. Returns how many that were.
    pub(crate) fn set_limits(&self, limits: Limits, meant: impl Fn(&Endpoint) -> bool) -> usize {
        self.change(|scheduler, now| {
            let states = scheduler.places.states.iter_mut().filter(|state| meant(&state.endpoint));
            states.map(|state| state.change(limits, now)).count()
        })
    }

    /// Puts other limits in force for all endpoints together.
    pub(crate) fn set_total(&self, limits: Limits) {
        self.change(|scheduler, now| scheduler.places.shared.change_total(&limits, now));
    }

    /// Puts other limits in force for an account, if there is one of that name.
    pub(crate) fn set_account(&self, name: &str, limits: Limits) -> Option<()> {
        self.change(|scheduler, now| scheduler.places.shared.change_account(name, &limits, now))
    }
}
