//! Which of several ready endpoints gets the next request.
//!
//! A policy looks at the candidates, all of which may be sent to right now; adding one is adding a name to [`Balance`] and
//! an arm to [`Chooser`], or, outside of this crate, a closure. `order` is special only in that it waits for its first
//! choice: with it the others are asked when the first is cooling down, out of service, or has failed this request.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What the user says about a request, for a policy to see: a tenant, a kind of work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Labels(Option<Arc<BTreeMap<String, String>>>);

impl Labels {
    /// Returns a label's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name).map(String::as_str)
    }

    /// Sets a label.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        Arc::make_mut(self.0.get_or_insert_default()).insert(name.into(), value.into());
    }
}

/// A request that a policy finds a place for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Ask<'a> {
    /// Its class; 0 is the most urgent.
    pub priority: u8,
    /// When its time is over, if ever.
    pub deadline: Option<Instant>,
    /// What the user says about it.
    pub labels: &'a Labels,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(priority: u8, deadline: Option<Instant>, labels: &'a Labels) -> Ask<'a> {
        Ask { priority, deadline, labels }
    }
}

/// One endpoint that could take the request now.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// Its name in records: the model, with `#2` and so on for further keys.
    pub endpoint: &'a str,
    /// The model as the user named it.
    pub model: &'a str,
    /// The model's place in the user's list.
    pub order: usize,
    /// Requests in flight there.
    pub in_flight: usize,
    /// The share of its concurrency that is free, 0 to 1.
    pub headroom: f64,
    /// The smoothed latency of its calls, in seconds; 0 before the first.
    pub latency: f64,
    /// Input plus output price, in US dollars per million tokens; infinite where unknown.
    pub price: f64,
    /// Its share among the others: as given, else the calls a second that it was seen to be good for.
    pub weight: f64,
    /// How many requests it was given so far.
    pub sent: u64,
    /// Whether this request has already failed there.
    pub tried: bool,
    /// Its number among all endpoints.
    pub(crate) place: usize,
}

/// Picks the endpoint of each request; any closure of that form is one.
///
/// ```
/// use tidegate::{Ask, Candidate, Client, Target};
/// // Each tenant stays with one model, and the count is the policy's own state.
/// let mut asked = 0;
/// let by_tenant = move |ask: &Ask, ready: &[Candidate]| {
///     asked += 1;
///     let model = if ask.labels.get("tenant") == Some("acme") { "sim/a" } else { "sim/b" };
///     ready.iter().position(|candidate| candidate.model == model)
/// };
/// let client = Client::builder().target(Target::new("sim/a")?).target(Target::new("sim/b")?).policy(by_tenant).build()?;
/// # let _ = client;
/// # Ok::<(), tidegate::Error>(())
/// ```
pub trait Policy: Send {
    /// Picks one of the candidates: an index into them.
    ///
    /// # Behavior
    ///
    /// - `ready` holds at least one candidate, and only endpoints that could be sent to at once.
    /// - Without a pick the request waits, and those behind it too; it is asked about again when anything has changed, and
    ///   after a tenth of a second at the latest.
    /// - Must not block: it runs inside the queue.
    fn pick(&mut self, ask: &Ask<'_>, ready: &[Candidate<'_>]) -> Option<usize>;
}

impl<F: FnMut(&Ask<'_>, &[Candidate<'_>]) -> Option<usize> + Send> Policy for F {
    fn pick(&mut self, ask: &Ask<'_>, ready: &[Candidate<'_>]) -> Option<usize> {
        self(ask, ready)
    }
}

/// The policies by name.
///
/// ```
/// use tidegate::{Balance, Client, Target};
/// let client = Client::builder()
///     .target(Target::new("sim/a")?.weight(3.0))
///     .target(Target::new("sim/b")?.weight(1.0))
///     .balance(Balance::Weighted)
///     .build()?;
/// # let _ = client;
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Balance {
    /// The first model as long as it can be used, then the next: a fallback list.
    #[default]
    Order,
    /// The one with the largest share of free quota.
    WaterFill,
    /// Each in turn. One that is at a limit is passed over, and saves up no turns: nobody waits for it.
    RoundRobin,
    /// Each as often as its weight says: as given, else by the throughput that it has shown. One at a limit is passed over.
    Weighted,
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
    pub const ALL: [Balance; 8] = [
        Balance::Order,
        Balance::WaterFill,
        Balance::RoundRobin,
        Balance::Weighted,
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
            Balance::Weighted => "weighted",
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
}

/// A policy with its state.
pub(crate) struct Chooser {
    pub(crate) balance: Balance,
    /// The user's own, in place of one by name.
    own: Option<Box<dyn Policy>>,
    /// Whether chance decides where `order` has several first ones.
    shuffles: bool,
    rng: fastrand::Rng,
    turns: Turns,
}

impl Chooser {
    pub(crate) fn new(balance: Balance, seed: u64) -> Chooser {
        Chooser { balance, own: None, shuffles: false, rng: fastrand::Rng::with_seed(seed), turns: Turns::default() }
    }

    /// Lets chance decide where the policy `order` has several first ones.
    pub(crate) fn shuffling(self, shuffles: bool) -> Chooser {
        Chooser { shuffles, ..self }
    }

    /// Returns which of several in a ring is to come first for the next request, where load does not decide it.
    pub(crate) fn first_of(&mut self, turn: usize, count: usize) -> usize {
        let by_chance = self.shuffles || self.balance == Balance::Random;
        if by_chance { self.rng.usize(..count.max(1)) } else { turn % count.max(1) }
    }

    /// Lets the user's own policy choose among whatever is ready.
    pub(crate) fn with_policy(self, policy: Box<dyn Policy>) -> Chooser {
        Chooser { balance: Balance::Random, own: Some(policy), ..self }
    }

    /// Returns whether it wants to be asked although there is no choice.
    pub(crate) fn may_refuse(&self) -> bool {
        self.own.is_some()
    }

    /// Picks one of the candidates: an index into them, none only if there are none or the user's own policy wants none.
    ///
    /// Endpoints where the request has not failed yet come first whatever the policy by name.
    pub(crate) fn pick(&mut self, ask: &Ask<'_>, candidates: &[Candidate<'_>]) -> Option<usize> {
        if let Some(own) = &mut self.own {
            return own.pick(ask, candidates).filter(|chosen| *chosen < candidates.len());
        }
        let fresh = candidates.iter().any(|c| !c.tried);
        let of = candidates.iter().enumerate().filter(|(_, c)| !fresh || !c.tried);
        let least = |key: fn(&Candidate<'_>) -> f64| {
            of.clone().min_by(|(_, a), (_, b)| key(a).total_cmp(&key(b)).then(a.sent.cmp(&b.sent))).map(|(i, _)| i)
        };
        match self.balance {
            // Keys of one model share its place in the list and take turns.
            Balance::Order if self.shuffles => {
                let first = of.clone().map(|(_, c)| c.order).min()?;
                any(of.filter(|(_, c)| c.order == first), &mut self.rng)
            }
            Balance::Order => least(|c| c.order as f64),
            Balance::WaterFill => least(|c| -c.headroom),
            Balance::LeastLoaded => least(|c| c.in_flight as f64),
            Balance::Cost => least(|c| c.price),
            Balance::RoundRobin => self.turns.next(of, |_| 1.0),
            Balance::Weighted => self.turns.next(of, |c| c.weight),
            Balance::Random => any(of, &mut self.rng),
            Balance::Latency => two_choices(&of.collect::<Vec<_>>(), &mut self.rng),
        }
    }
}

/// Whose turn it is: each endpoint's next turn is the later, the smaller its weight (stride scheduling). One that was away
/// comes back without turns saved up.
#[derive(Debug, Default)]
struct Turns {
    next: Vec<f64>,
    now: f64,
}

impl Turns {
    fn next<'a>(
        &mut self,
        of: impl Iterator<Item = (usize, &'a Candidate<'a>)>,
        weight: fn(&Candidate<'_>) -> f64,
    ) -> Option<usize> {
        let turn = |c: &Candidate<'_>| self.next.get(c.place).copied().unwrap_or_default().max(self.now);
        let (at, i, chosen) = of.map(|(i, c)| (turn(c), i, c)).min_by(|a, b| a.0.total_cmp(&b.0))?;
        if self.next.len() <= chosen.place {
            self.next.resize(chosen.place + 1, 0.0);
        }
        self.now = at;
        self.next[chosen.place] = at + 1.0 / weight(chosen).max(1e-9);
        Some(i)
    }
}

fn any<'a>(of: impl Iterator<Item = (usize, &'a Candidate<'a>)> + Clone, rng: &mut fastrand::Rng) -> Option<usize> {
    let count = of.clone().count();
    of.map(|(i, _)| i).nth(rng.usize(..count.max(1)))
}

/// Compares two candidates by the time a request would take there: smoothed latency, stretched by what is in flight.
fn two_choices(of: &[(usize, &Candidate<'_>)], rng: &mut fastrand::Rng) -> Option<usize> {
    if of.is_empty() {
        return None;
    }
    let load = |c: &Candidate<'_>| c.latency * (c.in_flight + 1) as f64;
    let (a, b) = (of[rng.usize(..of.len())], of[rng.usize(..of.len())]);
    Some(if load(a.1) <= load(b.1) { a.0 } else { b.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(order: usize) -> Candidate<'static> {
        Candidate {
            endpoint: "m",
            model: "m",
            order,
            in_flight: 0,
            headroom: 1.0,
            latency: 1.0,
            price: 1.0,
            weight: 1.0,
            sent: 0,
            tried: false,
            place: order,
        }
    }

    fn pick(chooser: &mut Chooser, candidates: &[Candidate<'_>]) -> Option<usize> {
        chooser.pick(&Ask::new(0, None, &Labels::default()), candidates)
    }

    fn first(policy: Balance, candidates: &[Candidate<'_>]) -> Option<usize> {
        pick(&mut Chooser::new(policy, 1), candidates)
    }

    #[test]
    fn each_policy_picks_by_its_own_measure() {
        let a = Candidate { in_flight: 3, headroom: 0.2, price: 2.0, ..candidate(0) };
        let b = Candidate { in_flight: 1, headroom: 0.7, price: 1.0, ..candidate(1) };
        let both = [a, b];
        assert_eq!(first(Balance::Order, &both), Some(0));
        for policy in [Balance::WaterFill, Balance::LeastLoaded, Balance::Cost] {
            assert_eq!(first(policy, &both), Some(1), "{}", policy.name());
        }
    }

    #[test]
    fn keys_of_one_model_take_turns() {
        let used = Candidate { sent: 1, ..candidate(0) };
        assert_eq!(first(Balance::Order, &[used, candidate(0), candidate(1)]), Some(1));
    }

    #[test]
    fn an_endpoint_that_failed_this_request_comes_last() {
        let tried = Candidate { tried: true, ..candidate(0) };
        for policy in Balance::ALL {
            assert_eq!(first(policy, &[tried, candidate(1)]), Some(1), "{}", policy.name());
            assert_eq!(first(policy, &[tried]), Some(0));
            assert_eq!(first(policy, &[]), None);
        }
    }

    #[test]
    fn latency_prefers_the_quicker_one() {
        let slow = Candidate { latency: 9.0, ..candidate(0) };
        let mut chooser = Chooser::new(Balance::Latency, 7);
        let quick = (0..1000).filter(|_| pick(&mut chooser, &[slow, candidate(1)]) == Some(1)).count();
        assert!((700..800).contains(&quick), "{quick}");
    }

    #[test]
    fn turns_follow_the_weights_and_are_not_saved_up() {
        let heavy = Candidate { weight: 3.0, ..candidate(0) };
        let both = [heavy, candidate(1)];
        let mut chooser = Chooser::new(Balance::Weighted, 1);
        let mut count = |candidates: &[Candidate<'_>], picks: usize| {
            (0..picks).filter(|_| pick(&mut chooser, candidates) == Some(0)).count()
        };
        assert_eq!(count(&both, 400), 300);
        assert_eq!(count(&both[..1], 400), 400, "the other one is away");
        assert_eq!(count(&both, 400), 300);
    }

    #[test]
    fn an_own_policy_sees_labels_and_keeps_state() {
        let mut asked = 0;
        let policy = move |ask: &Ask<'_>, _: &[Candidate<'_>]| {
            asked += usize::from(ask.labels.get("tenant") == Some("acme"));
            [None, Some(0), Some(1)][asked - 1]
        };
        let mut chooser = Chooser::new(Balance::Order, 1).with_policy(Box::new(policy));
        let mut labels = Labels::default();
        labels.set("tenant", "acme");
        let mut pick = || chooser.pick(&Ask::new(0, None, &labels), &[candidate(0)]);
        assert_eq!([pick(), pick(), pick()], [None, Some(0), None], "waits, picks, and picks what is not there");
    }
}
