//! Identical requests of one run: asked once, answered as often as they came.
//!
//! The first of them is asked. Those that come while it is under way wait for its outcome, and those that come later find
//! its answer among the last ones. A failure is shared as well: the same request was just tried as often as any other,
//! and a second one would fail for the same cause. Only one that failed because *its* time was over says nothing about
//! the others, which are then asked.
//!
//! Memory is bounded: those who wait by number (and by the bytes that a run may hold), what was answered by
//! [`MOST_BYTES`], the oldest forgotten first. So identical rows that are far apart are asked more than once; a cache on
//! disk is for those.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use super::item::{Answered, Kept, Member};
use crate::ask::cache::{self, Key};
use crate::ask::policy::AskPolicy;
use crate::failure::Kind;
use crate::outcome::Outcome;
use crate::request::{Params, Part, Request};
use crate::response::{Output, Response};

/// Requests that may wait for identical ones under way.
const MOST_WAITING: usize = 16_384;
/// Bytes of answers that are remembered.
const MOST_BYTES: usize = 64 << 20;
/// About what an answer takes beside its text and body: its key twice, its fields, its place in the table.
const BESIDE: usize = 400;

/// When identical requests of one run are asked once and all have the one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dedupe {
    /// Never: each is asked.
    Never,
    /// If their temperature is 0: the answer would be the same but for noise.
    #[default]
    AtTemperatureZero,
    /// Always.
    Always,
}

impl Dedupe {
    /// Returns whether identical requests with these parameters are asked once.
    pub(crate) fn applies_to(self, params: &Params) -> bool {
        match self {
            Dedupe::Never => false,
            Dedupe::AtTemperatureZero => params.temperature == Some(0.0),
            Dedupe::Always => true,
        }
    }
}

/// What became of a request that has arrived.
pub(super) enum Met<C> {
    /// It is to be asked.
    Alone(Box<Member<C>>),
    /// It waits for an identical one.
    Waits,
    /// It was answered already.
    Known(Box<Answered<C>>),
}

/// What an outcome means for those who waited for it.
pub(super) struct Over<C> {
    /// Who has the same.
    pub(super) have: Vec<(Outcome, Kept<C>)>,
    /// Who is to be asked after all.
    pub(super) ask: Vec<Box<Member<C>>>,
}

/// Those under way, those who wait for them, and the last answers.
pub(super) struct Twins<C> {
    pub(super) rule: Dedupe,
    under_way: HashMap<Key, Vec<Box<Member<C>>>>,
    waiting: usize,
    known: Known,
}

/// The last answers.
#[derive(Default)]
struct Known {
    answers: HashMap<Key, Outcome>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl<C> Twins<C> {
    pub(super) fn new(rule: Dedupe) -> Twins<C> {
        Twins { rule, under_way: HashMap::new(), waiting: 0, known: Known::default() }
    }

    /// Returns whether more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting < MOST_WAITING
    }

    /// Returns what identical requests are known by, if this one is to be asked once; `whom` tells whom it asks.
    pub(super) fn key(&self, whom: impl Serialize, request: &Request, policy: &AskPolicy) -> Option<Box<Key>> {
        let first = policy.ladder.first().map(|rung| &rung.params);
        let once = match first.filter(|params| params.temperature.is_some()) {
            Some(params) => self.rule.applies_to(params),
            // What a body of the user's own says is not looked at.
            None => self.rule.applies_to(&request.params),
        };
        if once { cache::key(whom, request).map(Box::new) } else { None }
    }

    /// Decides what becomes of a request.
    pub(super) fn meet(&mut self, member: Box<Member<C>>) -> Met<C> {
        let Some(key) = member.twin.as_deref() else { return Met::Alone(member) };
        if let Some(known) = self.known.answers.get(key) {
            return Met::Known(Box::new((shared(known, member.place.index), member.keep())));
        }
        match self.under_way.get_mut(key) {
            Some(waiting) => {
                self.waiting += 1;
                waiting.push(member);
                Met::Waits
            }
            None => {
                self.under_way.insert(*key, Vec::new());
                Met::Alone(member)
            }
        }
    }

    /// Ends the wait for a request that has its outcome.
    pub(super) fn end(&mut self, key: &Key, outcome: &Outcome) -> Over<C> {
        let waited = self.under_way.remove(key).unwrap_or_default();
        self.waiting -= waited.len();
        match &outcome.result {
            Ok(response) => self.known.keep(*key, outcome, size(response)),
            Err(failure) if failure.kind == Kind::Deadline => return Over { have: Vec::new(), ask: waited },
            Err(_) => {}
        }
        let have = waited.into_iter().map(|member| (shared(outcome, member.place.index), member.keep()));
        Over { have: have.collect(), ask: Vec::new() }
    }
}

impl Known {
    fn keep(&mut self, key: Key, outcome: &Outcome, bytes: usize) {
        if bytes > MOST_BYTES / 16 || self.answers.contains_key(&key) {
            return;
        }
        self.answers.insert(key, shared(outcome, outcome.index));
        self.order.push_back(key);
        self.bytes += bytes;
        while self.bytes > MOST_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            let gone = self.answers.remove(&oldest);
            self.bytes -= gone.and_then(|gone| gone.result.ok()).map_or(0, |response| size(&response));
        }
    }
}

/// Makes an identical request's outcome of one: nothing was done for it. What came from the cache is in there for both.
fn shared(outcome: &Outcome, index: u64) -> Outcome {
    let mut twin = Outcome::new(index, outcome.result.clone());
    if let Ok(response) = &mut twin.result {
        response.usage = None;
    }
    twin.cached.clone_from(&outcome.cached);
    if twin.cached.is_none() {
        twin.shared = Some(outcome.model().cloned().unwrap_or_default());
    }
    twin
}

fn size(response: &Response) -> usize {
    let output = match &response.output {
        Output::Text(text) => text.len(),
        Output::Embedding(vector) => vector.len() * size_of::<f32>(),
        // A tree takes a few times its text.
        Output::Json(_) => 4 * response.raw.len(),
    };
    BESIDE + output + response.raw.len() + response.parts.iter().map(Part::size).sum::<usize>()
}
