//! Which regions a request may go to, where it gets only some of them.
//!
//! The regions of a route stand in a ring, and a request gets neighbours in it: so there are no more routes than regions,
//! and as many requests begin at each. A region where nothing serves any more is not in the ring.

use super::{Admission, RouteId};
use crate::dispatch::balance::Balance;

impl Admission {
    /// Returns the part of a route that lies in `count` of its regions, with whatever has no region.
    pub(crate) fn in_regions(&self, route: RouteId, count: usize) -> RouteId {
        let mut scheduler = self.lock();
        let ring = scheduler.ring(route);
        if ring.len() <= count {
            return route;
        }
        let first = scheduler.first_region(&ring, count);
        let chosen: Vec<usize> = ring.iter().cycle().skip(first).take(count).copied().collect();
        let states = &scheduler.places.states;
        let within = |place: &usize| states[*place].endpoint.region.is_none_or(|region| chosen.contains(&region));
        let set = scheduler.routes[route.0].endpoints.iter().copied().filter(within).collect();
        scheduler.route(set)
    }
}

impl super::Scheduler {
    /// Returns the regions of a route in which something serves.
    fn ring(&self, route: RouteId) -> Vec<usize> {
        let states = self.routes[route.0].endpoints.iter().map(|place| &self.places.states[*place]);
        let serving = states.filter(|state| state.aside.is_none());
        let mut ring: Vec<usize> = serving.filter_map(|state| state.endpoint.region).collect();
        ring.sort_unstable();
        ring.dedup();
        ring
    }

    /// Returns the place in the ring of the first region that the next request gets.
    fn first_region(&mut self, ring: &[usize], count: usize) -> usize {
        self.region_turn = self.region_turn.wrapping_add(1);
        let first = self.places.chooser.first_of(self.region_turn, ring.len());
        if self.places.chooser.balance != Balance::LeastLoaded {
            return first;
        }
        let load = |region: &usize| {
            let here = self.places.states.iter().filter(|state| state.endpoint.region == Some(*region));
            here.map(|state| state.gate.in_flight).sum::<usize>()
        };
        let load: Vec<usize> = ring.iter().map(load).collect();
        let of = |first: usize| load.iter().cycle().skip(first).take(count).sum::<usize>();
        // Of several that are alike the one whose turn it is.
        (first..first + ring.len()).min_by_key(|first| of(first % ring.len())).unwrap_or(first) % ring.len()
    }
}
