//! Which of several ready endpoints gets the next request.
//!
//! A policy is a function of the candidates, all of which may be sent to right now; adding one is adding a function and
//! its name to [`Balance`]. `order` is special only in that it waits for its first choice: with it the others are asked
//! when the first is cooling down, out of service, or has failed this request.

use serde::{Deserialize, Serialize};

/// One endpoint that could take the request now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Its place in the user's list.
    pub(crate) order: usize,
    /// Requests in flight there.
    pub(crate) in_flight: usize,
    /// The share of its concurrency that is free, 0 to 1.
    pub(crate) headroom: f64,
    /// The smoothed latency of its calls, in seconds; 0 before the first.
    pub(crate) latency: f64,
    /// Input plus output price, in US dollars per million tokens; infinite where unknown.
    pub(crate) price: f64,
    /// How many requests it was given so far.
    pub(crate) sent: u64,
    /// Whether this request has already failed there.
    pub(crate) tried: bool,
}

/// The policies by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Balance {
    /// The first model as long as it can be used, then the next: a fallback list.
    #[default]
    Order,
    /// The one with the largest share of free quota.
    WaterFill,
    /// Each in turn.
    RoundRobin,
    /// Any.
    Random,
    /// The one with the fewest requests in flight.
    LeastLoaded,
    /// The quicker of two chosen at random.
    Latency,
    /// The cheapest.
    Cost,
}

impl Balance {
    /// Every policy.
    pub const ALL: [Balance; 7] = [
        Balance::Order,
        Balance::WaterFill,
        Balance::RoundRobin,
        Balance::Random,
        Balance::LeastLoaded,
        Balance::Latency,
        Balance::Cost,
    ];

    /// Returns the name used in configuration and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Balance::Order => "order",
            Balance::WaterFill => "water-fill",
            Balance::RoundRobin => "round-robin",
            Balance::Random => "random",
            Balance::LeastLoaded => "least-loaded",
            Balance::Latency => "latency",
            Balance::Cost => "cost",
        }
    }

    /// Returns the policy of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Balance> {
        Balance::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Picks one of the candidates: an index into them, none only if there are none.
    ///
    /// Endpoints where the request has not failed yet come first whatever the policy.
    pub(crate) fn pick(self, candidates: &[Candidate], rng: &mut fastrand::Rng) -> Option<usize> {
        let fresh = candidates.iter().any(|c| !c.tried);
        let of = candidates.iter().enumerate().filter(|(_, c)| !fresh || !c.tried);
        let least = |key: fn(&Candidate) -> f64| {
            of.clone().min_by(|(_, a), (_, b)| key(a).total_cmp(&key(b)).then(a.sent.cmp(&b.sent))).map(|(i, _)| i)
        };
        match self {
            // Keys of one model share its place in the list and take turns.
            Balance::Order => least(|c| c.order as f64),
            Balance::WaterFill => least(|c| -c.headroom),
            Balance::RoundRobin => least(|c| c.sent as f64),
            Balance::LeastLoaded => least(|c| c.in_flight as f64),
            Balance::Cost => least(|c| c.price),
            Balance::Random => of.clone().nth(rng.usize(..of.clone().count().max(1))).map(|(i, _)| i),
            Balance::Latency => two_choices(&of.collect::<Vec<_>>(), rng),
        }
    }
}

/// Compares two candidates by the time a request would take there: smoothed latency, stretched by what is in flight.
fn two_choices(of: &[(usize, &Candidate)], rng: &mut fastrand::Rng) -> Option<usize> {
    if of.is_empty() {
        return None;
    }
    let load = |c: &Candidate| c.latency * (c.in_flight + 1) as f64;
    let (a, b) = (of[rng.usize(..of.len())], of[rng.usize(..of.len())]);
    Some(if load(a.1) <= load(b.1) { a.0 } else { b.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(order: usize) -> Candidate {
        Candidate { order, in_flight: 0, headroom: 1.0, latency: 1.0, price: 1.0, sent: 0, tried: false }
    }

    fn pick(policy: Balance, candidates: &[Candidate]) -> Option<usize> {
        policy.pick(candidates, &mut fastrand::Rng::with_seed(1))
    }

    #[test]
    fn each_policy_picks_by_its_own_measure() {
        let a = Candidate { in_flight: 3, headroom: 0.2, price: 2.0, sent: 9, ..candidate(0) };
        let b = Candidate { in_flight: 1, headroom: 0.7, price: 1.0, sent: 7, ..candidate(1) };
        let both = [a, b];
        assert_eq!(pick(Balance::Order, &both), Some(0));
        for policy in [Balance::WaterFill, Balance::RoundRobin, Balance::LeastLoaded, Balance::Cost] {
            assert_eq!(pick(policy, &both), Some(1), "{}", policy.name());
        }
    }

    #[test]
    fn keys_of_one_model_take_turns() {
        let used = Candidate { sent: 1, ..candidate(0) };
        assert_eq!(pick(Balance::Order, &[used, candidate(0), candidate(1)]), Some(1));
    }

    #[test]
    fn an_endpoint_that_failed_this_request_comes_last() {
        let tried = Candidate { tried: true, ..candidate(0) };
        for policy in Balance::ALL {
            assert_eq!(pick(policy, &[tried, candidate(1)]), Some(1), "{}", policy.name());
            assert_eq!(pick(policy, &[tried]), Some(0));
            assert_eq!(pick(policy, &[]), None);
        }
    }

    #[test]
    fn latency_prefers_the_quicker_one() {
        let slow = Candidate { latency: 9.0, ..candidate(0) };
        let mut rng = fastrand::Rng::with_seed(7);
        let quick = (0..1000).filter(|_| Balance::Latency.pick(&[slow, candidate(1)], &mut rng) == Some(1)).count();
        assert!((700..800).contains(&quick), "{quick}");
    }
}
