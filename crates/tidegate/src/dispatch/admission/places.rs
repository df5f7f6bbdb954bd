//! The endpoints as the queue sees them: where a request could go now, and what became of it there.

use std::sync::Arc;

use tokio::time::Instant;

use super::Ask;
use crate::dispatch::balance::{self, Balance, Chooser};
use crate::dispatch::endpoint::{Call, Endpoint, Settled, State};
use crate::dispatch::gate::{Shared, SharedLimits};
use crate::dispatch::limit::{Cost, Ready};
use crate::failure::{Aside, Failure};
use crate::limits::Limit;

/// All endpoints, what they may be sent together, and who chooses among them.
pub(super) struct Places {
    pub(super) states: Vec<State>,
    /// The limits of accounts and of the whole.
    pub(super) shared: Shared,
    pub(super) chooser: Chooser,
    rng: fastrand::Rng,
}

impl Places {
    pub(super) fn new(
        endpoints: Vec<Arc<Endpoint>>,
        shared: SharedLimits,
        chooser: Chooser,
        seed: u64,
        now: Instant,
    ) -> Places {
        Places {
            states: endpoints.into_iter().map(|endpoint| State::new(endpoint, now)).collect(),
            shared: Shared::new(shared, now),
            chooser,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        let serving = self.states.iter().filter(|state| state.aside.is_none());
        serving.map(State::limit).fold(0, usize::saturating_add).min(self.shared.most())
    }

    /// Returns when a request may go to one of these endpoints, and leaves those that could take it now in `candidates`.
    pub(super) fn ready(&self, of: &[usize], ask: &Ask, now: Instant, candidates: &mut Vec<usize>) -> Ready {
        candidates.clear();
        let preferred = self.preferred(of, ask, now);
        // Where none is fit, health is ignored: requests must be able to fail. Only who was there just now is waited for.
        let heed = of.iter().any(|&place| self.states[place].fit(now));
        let mut ready = Ready::Never;
        for &place in of {
            let state = &self.states[place];
            let heed = heed || state.health.is_awaited(now);
            if let Some(at) = state.health.wait(now).filter(|_| heed && state.aside.is_none()) {
                ready = ready.or(Ready::At(at, Limit::Cooldown));
                continue;
            }
            if preferred.is_some_and(|order| state.endpoint.order != order) {
                continue;
            }
            let here = self.ready_at(place, ask, now);
            if here == Ready::Now {
                candidates.push(place);
            }
            ready = ready.or(here);
        }
        ready
    }

    /// Returns the only model that `order` would send to now.
    fn preferred(&self, of: &[usize], ask: &Ask, now: Instant) -> Option<usize> {
        if self.chooser.balance != Balance::Order {
            return None;
        }
        let done = |state: &State| self.shared.is_done_for_the_day(state.endpoint.account, now);
        let serves = |state: &State| state.serves(now) && !done(state);
        let serving = || of.iter().filter(|&&place| serves(&self.states[place]));
        let fresh = serving().find(|place| !ask.tried.contains(place));
        let first = fresh.or_else(|| serving().next());
        first.map(|&place| self.states[self.due(place, serving())].endpoint.order)
    }

    /// Returns the endpoint whose turn it is, where the first that serves divides its requests with others.
    fn due<'a>(&self, first: usize, serving: impl IntoIterator<Item = &'a usize>) -> usize {
        let Some(split) = self.states[first].endpoint.split else { return first };
        let (mut inside, mut outside) = (1, 1);
        for (gets_share, sent) in self.states.iter().filter_map(|state| state.sent_in(split.group)) {
            *(if gets_share { &mut inside } else { &mut outside }) += sent;
        }
        let due = inside as f64 * (1.0 - split.share) <= outside as f64 * split.share;
        let fits = |place: &usize| self.states[*place].sent_in(split.group).is_some_and(|(inside, _)| inside == due);
        serving.into_iter().copied().find(fits).unwrap_or(first)
    }

    /// Returns when a request may go to an endpoint, whatever others are preferred.
    pub(super) fn ready_at(&self, place: usize, ask: &Ask, now: Instant) -> Ready {
        let state = &self.states[place];
        let cost = state.cost(ask.bytes, ask.max_tokens);
        state.ready(now, cost).and(self.shared.ready(state.endpoint.account, now, cost))
    }

    /// Picks one of the candidates; none only if the user's own policy wants none of them.
    pub(super) fn pick(&mut self, ask: &Ask, candidates: &[usize]) -> Option<usize> {
        if let ([only], false) = (candidates, self.chooser.may_refuse()) {
            return Some(*only);
        }
        let seen = |&place: &usize| self.states[place].candidate(place, ask.tried.contains(&place));
        let seen: Vec<_> = candidates.iter().map(seen).collect();
        let ask = balance::Ask::new(ask.priority, ask.deadline, &ask.labels);
        self.chooser.pick(&ask, &seen).map(|chosen| candidates[chosen])
    }

    /// Notes that a request is sent, and returns what it takes.
    pub(super) fn admit(&mut self, now: Instant, place: usize, ask: &Ask) -> Cost {
        let mut cost = self.states[place].cost(ask.bytes, ask.max_tokens);
        self.states[place].admit(now, &mut cost);
        self.shared.admit(self.states[place].endpoint.account, now, cost);
        cost
    }

    /// Notes that a request which was admitted was never sent.
    pub(super) fn withdraw(&mut self, now: Instant, place: usize, cost: Cost) {
        self.states[place].withdraw(now, cost);
        let account = self.states[place].endpoint.account;
        self.shared.release(account);
        self.shared.give_back(account, now, now, cost.all());
    }

    /// Notes that nobody waits for a call any more.
    pub(super) fn abandon(&mut self, place: usize, cost: Cost) {
        self.states[place].abandon(cost);
        self.shared.release(self.states[place].endpoint.account);
    }

    pub(super) fn settle(&mut self, now: Instant, place: usize, call: &Call<'_>) -> Settled {
        let jitter = self.rng.f64();
        let settled = self.states[place].settle(now, call, jitter);
        let account = self.states[place].endpoint.account;
        self.shared.release(account);
        self.shared.give_back(account, now, call.sent, call.unused());
        let set_aside = call.failure.map_or(0, |failure| self.set_aside(place, failure));
        Settled { set_aside, ..settled }
    }

    fn set_aside(&mut self, place: usize, failure: &Failure) -> usize {
        let Some(aside) = failure.kind.advice().aside else { return 0 };
        let key = self.states[place].endpoint.key;
        let mut count = 0;
        for (i, state) in self.states.iter_mut().enumerate() {
            let meant = match aside {
                Aside::Key => state.endpoint.key == key,
                Aside::Model => i == place,
            };
            if meant && state.aside.is_none() {
                state.aside = Some(failure.clone());
                count += 1;
            }
        }
        count
    }
}
