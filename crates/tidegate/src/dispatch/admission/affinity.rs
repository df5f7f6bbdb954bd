//! Where requests go that begin alike, while not every endpoint keeps what they begin with.
//!
//! A provider's cache of prompts belongs to one key and one region. So what begins alike stays with the endpoints that keep
//! it as long as these have room, and each further endpoint is first sent one request alone, whose reply makes it keep the
//! beginning too: as few pay for writing it as there are endpoints in use.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Admission, Ask, RouteId};
use crate::dispatch::limit::Ready;

/// How long the one request is waited for that makes a further endpoint keep a beginning.
const LONGEST: Duration = Duration::from_secs(30);
/// Routes above which no more are made for this.
const MOST_ROUTES: usize = 64;

/// Where one beginning is kept.
#[derive(Debug, Default)]
pub(crate) struct Warmth(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    places: Vec<usize>,
    /// Until when a request is under way that makes one more endpoint keep it.
    spreading: Option<Instant>,
}

impl Warmth {
    /// Notes that an endpoint has answered a request with this beginning.
    pub(crate) fn kept_at(&self, place: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.places.contains(&place) {
            kept.places.push(place);
            kept.spreading = None;
        }
    }
}

impl Admission {
    /// Returns the part of a request's route that it gets for the sake of its beginning; all of it where that is kept
    /// everywhere, nowhere, or only where nothing serves just now.
    pub(crate) fn beside(&self, ask: &Ask, warmth: &Warmth) -> RouteId {
        let (mut scheduler, now) = (self.lock(), Instant::now());
        let mut kept = warmth.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = &scheduler.routes[ask.route.0].endpoints;
        if all.len() == 1 || kept.places.is_empty() || scheduler.routes.len() > MOST_ROUTES {
            return ask.route;
        }
        let places = &scheduler.places;
        let warm = |place: &&usize| kept.places.contains(place);
        let model = |place: usize| &*places.states[place].endpoint.model;
        let cold = |place: &usize| !warm(&place) && kept.places.iter().any(|&other| model(other) == model(*place));
        let serves = |place: &usize| places.states[*place].serves(now);
        if !all.iter().any(cold) || !all.iter().filter(warm).any(serves) {
            return ask.route;
        }
        let waited_for = |place: usize| scheduler.routes.iter().any(|route| route.is_waited_for(place));
        let has_room = |place: &usize| places.ready_at(*place, ask, now) == Ready::Now && !waited_for(*place);
        let spreads = kept.spreading.is_none_or(|until| until <= now)
            && !all.iter().filter(warm).any(has_room)
            && all.iter().any(|place| cold(place) && has_room(place));
        let set = match spreads {
            true => all.iter().filter(|place| !warm(place)).copied().collect(),
            false => all.iter().filter(|place| !cold(place)).copied().collect(),
        };
        if spreads {
            kept.spreading = Some(now + LONGEST);
        }
        scheduler.route(set)
    }
}
