//! Rows that are asked together, in one call: fewer calls where calls are what is scarce.
//!
//! It stands between rendering and asking. Rows that are alike but for their text (system message, parameters, schema,
//! models, priority, labels) gather in a *bin*; a full one becomes one request, whose reply is taken apart again. Each row
//! keeps its own outcome, with its part of usage and cost. What a call did not answer is asked again: rows without an
//! answer in packs of half the size, down to alone, and an answer that was refused alone, with the complaint.
//!
//! A pack is as large as the user allows, as long as its text and its output fit into the model; and smaller for a while
//! after calls that left rows without an answer: each that leaves more than a quarter of them halves the size, each that
//! answers all adds one.

mod asking;
pub(crate) mod form;
mod reply;
mod share;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use self::asking::{Unpacked, ask_together};
use super::asker::Asker;
use super::item::Member;
use crate::dispatch::admission::Warmth;
use crate::request::Request;
use crate::schema::Schema;

/// The fewest rows that are worth a pack.
const FEWEST: usize = 2;
/// How long an unfinished pack waits for more rows while nothing else waits to be sent.
const LINGER: Duration = Duration::from_millis(250);
/// Bins that are open at once; the oldest goes as it is if there would be more.
const MOST_BINS: usize = 64;
/// Bytes of text in one pack: longer ones are answered worse.
const MOST_TEXT: usize = 200_000;
/// Forms of answers whose packed form is remembered.
const MOST_FORMS: usize = 16;

/// What a future of the run is to ask.
pub(super) enum Load<C> {
    One(Box<Member<C>>),
    Many(Pack<C>),
}

impl<C> Load<C> {
    /// Notes where what it begins with is kept.
    pub(super) fn set_warmth(&mut self, warmth: Arc<Warmth>) {
        let first = match self {
            Load::One(member) => Some(member),
            Load::Many(pack) => pack.members.first_mut(),
        };
        first.into_iter().for_each(|first| first.place.warmth = Some(warmth.clone()));
    }

    /// Returns the prefix that the model keeps of what is asked.
    pub(super) fn prefix(&self, asker: &Asker) -> Option<u64> {
        match self {
            Load::One(member) => asker.prefix(&member.request, member.place.route),
            Load::Many(pack) => asker.prefix(&pack.request(), pack.members.first()?.place.route),
        }
    }
}

/// Rows that go together, and how.
pub(super) struct Pack<C> {
    pub(super) members: Vec<Box<Member<C>>>,
    schema: Arc<Schema>,
    room: Room,
}

/// What a model leaves room for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    /// Input tokens at the most.
    pub(super) input: Option<u32>,
    /// Output tokens at the most.
    pub(super) output: Option<u32>,
    /// The output limit that the first try has, in place of the request's.
    pub(super) max_tokens: Option<u32>,
}

struct Bin<C> {
    pack: Pack<C>,
    bytes: usize,
    since: Instant,
}

/// The form of one answer, and that of a pack of them if there can be one.
type KnownForm = (Option<Arc<Schema>>, Option<Arc<Schema>>);

/// Gathers rows.
pub(super) struct Packer<C> {
    most: usize,
    size: usize,
    bins: Vec<Bin<C>>,
    forms: Vec<KnownForm>,
}

impl<C> Pack<C> {
    /// Returns the one request for all of them.
    pub(super) fn request(&self) -> Request {
        let requests: Vec<&Request> = self.members.iter().map(|member| &member.request).collect();
        let each = requests.first().and_then(|first| self.room.max_tokens.or(first.params.max_tokens));
        form::together(&requests, self.schema.clone(), each, self.room.output)
    }

    /// Divides rows of a call about `asked` ones into packs of half its size.
    fn halves(&self, asked: usize, members: Vec<Box<Member<C>>>) -> impl Iterator<Item = Load<C>> + use<C> {
        let (schema, room) = (self.schema.clone(), self.room);
        let size = asked.div_ceil(2);
        let mut rest = members.into_iter().peekable();
        std::iter::from_fn(move || {
            rest.peek()?;
            let mut members: Vec<_> = rest.by_ref().take(size).collect();
            Some(match members.len() {
                1 => Load::One(members.pop()?),
                _ => Load::Many(Pack { members, schema: schema.clone(), room }),
            })
        })
    }
}

impl<C> Packer<C> {
    pub(super) fn new(most: usize) -> Packer<C> {
        Packer { most, size: most, bins: Vec::new(), forms: Vec::new() }
    }

    /// Returns whether rows wait for others to go with.
    pub(super) fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// Takes a row, and returns what is to be asked now. `room` says what its models leave room for.
    pub(super) fn add(&mut self, member: Box<Member<C>>, room: impl FnOnce() -> Room, now: Instant) -> Vec<Load<C>> {
        let bytes = form::text(&member.request).map(str::len);
        let place = bytes.and_then(|_| self.place_for(&member, room, now));
        let (Some(bytes), Some(place)) = (bytes, place) else { return vec![Load::One(member)] };
        let bin = &mut self.bins[place];
        let before = if bin.bytes + bytes > bin.most_text(&member) { bin.renew(now).load() } else { None };
        let mut loads: Vec<_> = before.into_iter().collect();
        bin.bytes += bytes;
        bin.pack.members.push(member);
        if bin.pack.members.len() >= bin.most(self.size) {
            loads.extend(self.bins.swap_remove(place).pack.load());
        } else if self.bins.len() > MOST_BINS {
            loads.extend(self.bins.remove(0).pack.load());
        }
        loads
    }

    /// Returns the bin that a row goes into, a new one if there is none like it; nothing if the form of its answer cannot
    /// be packed.
    fn place_for(&mut self, member: &Member<C>, room: impl FnOnce() -> Room, now: Instant) -> Option<usize> {
        if let Some(place) = self.bins.iter().position(|bin| bin.takes(member)) {
            return Some(place);
        }
        let schema = self.schema(member.request.schema.as_ref())?;
        let pack = Pack { members: Vec::new(), schema, room: room() };
        self.bins.push(Bin { pack, bytes: 0, since: now });
        Some(self.bins.len() - 1)
    }

    /// Returns all that waits, because nothing more will come.
    pub(super) fn finish(&mut self) -> Vec<Load<C>> {
        self.bins.drain(..).filter_map(|bin| bin.pack.load()).collect()
    }

    /// Returns what has waited long enough.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Load<C>> {
        let due = self.bins.extract_if(.., |bin| now >= bin.since + LINGER);
        due.filter_map(|bin| bin.pack.load()).collect()
    }

    /// Returns when something will have waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.bins.iter().map(|bin| bin.since + LINGER).min()
    }

    /// Learns from a reply about `asked` rows that answered so many of them; none of a call without a reply.
    pub(super) fn learn(&mut self, asked: usize, answered: usize) {
        self.size = match asked - answered {
            _ if asked == 0 => self.size,
            0 => (self.size + 1).min(self.most),
            missing if 4 * missing > asked => (self.size / 2).max(FEWEST),
            _ => self.size,
        };
    }

    /// Returns the packed form of a schema, if it has one.
    fn schema(&mut self, of: Option<&Arc<Schema>>) -> Option<Arc<Schema>> {
        if let Some((_, packed)) = self.forms.iter().find(|(known, _)| same(known.as_ref(), of)) {
            return packed.clone();
        }
        let packed = form::packed_schema(of.map(|schema| &**schema)).map(Arc::new);
        if self.forms.len() == MOST_FORMS {
            self.forms.remove(0);
        }
        self.forms.push((of.cloned(), packed.clone()));
        packed
    }
}

impl<C> Pack<C> {
    fn load(mut self) -> Option<Load<C>> {
        match self.members.len() {
            0 | 1 => self.members.pop().map(Load::One),
            _ => Some(Load::Many(self)),
        }
    }
}

impl<C> Bin<C> {
    /// Returns whether a row may go with those that are here.
    fn takes(&self, member: &Member<C>) -> bool {
        let Some(first) = self.pack.members.first() else { return false };
        let (ours, theirs) = (&first.request, &member.request);
        first.place.route == member.place.route
            && first.place.urgency.priority == member.place.urgency.priority
            && ours.lossy == theirs.lossy
            && ours.params == theirs.params
            && same(ours.schema.as_ref(), theirs.schema.as_ref())
            && form::before(ours) == form::before(theirs)
            && first.labels == member.labels
    }

    /// Returns how many rows go into a call.
    fn most(&self, size: usize) -> usize {
        let first = self.pack.members.first().and_then(|first| first.request.params.max_tokens);
        let room = form::most_members(self.pack.room.max_tokens.or(first), self.pack.room.output);
        size.min(room).max(1)
    }

    /// Returns how many bytes of text go into a call: half of what the model reads, three bytes a token.
    fn most_text(&self, member: &Member<C>) -> usize {
        let before = form::before(&member.request).iter().flat_map(|message| &message.parts);
        let before: usize = before.map(crate::request::Part::text_size).sum();
        let room = self.pack.room.input.map_or(MOST_TEXT, |tokens| (tokens as usize / 2) * 3);
        room.saturating_sub(before).min(MOST_TEXT)
    }

    /// Takes out what is here.
    fn renew(&mut self, now: Instant) -> Pack<C> {
        (self.bytes, self.since) = (0, now);
        let members = std::mem::take(&mut self.pack.members);
        Pack { members, schema: self.pack.schema.clone(), room: self.pack.room }
    }
}

fn same(one: Option<&Arc<Schema>>, other: Option<&Arc<Schema>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    }
}
