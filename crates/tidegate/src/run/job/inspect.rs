//! A look at the whole job without sending anything: what `--dry-run` and `--check-input` show.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::Job;
use super::intake::Taken;
use crate::ask::Begun;
use crate::client::Client;
use crate::client::preview::Sent;
use crate::dispatch::admission::Urgency;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::request::{Params, Request, TaskKind};
use crate::run::Item;
use crate::run::asker::Asker;
use crate::run::item::{Member, Place};
use crate::run::pack::{Load, Packer};
use crate::run::progress::Progress;
use crate::run::prompt::fingerprint;

/// How many requests, and how many faults, are shown.
const SHOWN: usize = 3;
/// The fewest output tokens that an estimate assumes per request.
const FEW_TOKENS: u64 = 16;
/// The most where neither `max_tokens` nor the catalog says any.
const MANY_TOKENS: u64 = 1024;

/// What a job would do.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Rows in the input.
    pub rows: u64,
    /// Rows that would be asked about.
    pub to_send: u64,
    /// The calls that would be made for them: fewer where rows are packed.
    pub calls: u64,
    /// Records that are there already.
    pub done_before: u64,
    /// Requests that are the same as an earlier one.
    pub duplicates: u64,
    /// Rows that cannot be turned into requests.
    pub bad_rows: u64,
    /// The first of them, with their place.
    pub faults: Vec<String>,
    /// What would stop the intake, such as a repeated id.
    pub stopped_by: Option<String>,
    /// Input tokens, from few to many.
    pub input_tokens: (u64, u64),
    /// Output tokens, from few to many.
    pub output_tokens: (u64, u64),
    /// Whether the upper bound of the output is assumed, because no limit is set: the most that the model writes.
    pub output_assumed: bool,
    /// The most output tokens that are assumed per request then; 1,024 for a model that the catalog does not know.
    pub assumed_output_tokens: Option<u64>,
    /// Whether that is a guess, because the catalog does not know the model.
    pub output_unknown: bool,
    /// The price in US dollars, from low to high, where known.
    pub cost_usd: Option<(f64, f64)>,
    /// The requests that the model which would be asked first cannot be sent; another one of the list may take them.
    pub refused: u64,
    /// Why not, of the first few.
    pub refusals: Vec<String>,
    /// The first requests.
    pub samples: Vec<Sample>,
}

/// A request as it would be sent.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// The model.
    pub model: String,
    /// The headers that belong to this request alone, mostly none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: serde_json::Value,
}

impl Inspection {
    /// Returns whether the input can be used as it is.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.bad_rows == 0 && self.stopped_by.is_none()
    }
}

impl Job {
    /// Reads the whole input, renders every request that would be sent, and sends nothing.
    ///
    /// # Errors
    ///
    /// As [`Job::run`] before its first request.
    pub fn inspect(&self, client: &Client) -> Result<Inspection> {
        self.check_budget(client)?;
        let progress = Progress::default();
        // Bad rows are counted here whatever the run would do about them.
        // A look leaves no trace: a journal is only opened where one may be.
        let out = self.out.clone().filter(|out| out.exists() || self.home().is_some_and(|home| home.exists()));
        let lenient = Job { skip_bad_rows: true, out, ..self.clone() };
        let mut intake = lenient.prepare(client, &progress)?.intake;
        let mut found = Inspection::default();
        let mut seen = HashSet::new();
        let mut packs = Packs::new(self, client);
        loop {
            match intake.next() {
                Ok(Some(Taken::Send(item))) => {
                    let (a, b) = (fingerprint(&item.request, 1), fingerprint(&item.request, 2));
                    found.duplicates += u64::from(!seen.insert(u64::from(a) << 32 | u64::from(b)));
                    found.to_send += 1;
                    packs.add(item).iter().for_each(|item| found.count(client, item));
                }
                Ok(Some(Taken::Bad(bad))) => {
                    found.bad_rows += 1;
                    if found.faults.len() < SHOWN {
                        found.faults.push(bad.message);
                    }
                }
                Ok(Some(Taken::Gone(_))) => {}
                Ok(None) => break,
                Err(error @ (Error::Input { .. } | Error::Changed(_))) => {
                    found.stopped_by = Some(error.to_string());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        packs.finish().iter().for_each(|item| found.count(client, item));
        let numbers = progress.numbers();
        (found.rows, found.done_before) = (numbers.read, numbers.done_before);
        Ok(found)
    }
}

/// Puts rows together as the run would.
struct Packs<'a> {
    packer: Option<Packer<Vec<Arc<str>>>>,
    asker: Asker,
    client: &'a Client,
}

impl<'a> Packs<'a> {
    fn new(job: &Job, client: &'a Client) -> Packs<'a> {
        let packer = (job.pack > 1).then(|| Packer::new(job.pack));
        Packs { packer, asker: Asker::of(client.clone(), 0), client }
    }

    /// Takes a row, and returns the requests that are whole.
    fn add<C>(&mut self, item: Item<C>) -> Vec<Item<Option<u32>>> {
        let Item { request, models, priority, labels, .. } = item;
        let Some(packer) = &mut self.packer else { return vec![Item::new(request, None).for_models(models)] };
        let route = self.client.route(&models);
        let urgency = Urgency::new(priority, None);
        let place = Place { index: 0, route, regions: None, urgency, retry: None, warmth: None };
        let (context, begun) = (models, Begun::default());
        let member = Member { place, request, context, id: None, labels, bytes: 0, twin: None, begun, hooked: None };
        let asker = &self.asker;
        packer.add(Box::new(member), || asker.room(route), Instant::now()).into_iter().map(whole).collect()
    }

    fn finish(&mut self) -> Vec<Item<Option<u32>>> {
        self.packer.iter_mut().flat_map(Packer::finish).map(whole).collect()
    }
}

/// Returns the one request of a load, with the output limit that it has for all its rows, if they are several.
fn whole(load: Load<Vec<Arc<str>>>) -> Item<Option<u32>> {
    match load {
        Load::One(member) => Item::new(member.request, None).for_models(member.context),
        Load::Many(pack) => {
            let models = pack.members.first().map(|first| first.context.clone()).unwrap_or_default();
            let request = pack.request();
            let max_tokens = request.params.max_tokens;
            Item::new(request, max_tokens).for_models(models)
        }
    }
}

impl Inspection {
    fn count(&mut self, client: &Client, item: &Item<Option<u32>>) {
        let rung = client.ask_policy.ladder.first();
        let models =
            [rung.and_then(|rung| rung.model.clone()), item.models.first().cloned(), client.models().first().cloned()];
        let model = models.into_iter().flatten().next();
        let mut request = std::borrow::Cow::Borrowed(&item.request);
        if let Some(rung) = rung.filter(|rung| !rung.params.is_empty()) {
            let params = rung.params.clone().over(item.request.params.clone());
            // What a pack may write is that of all its rows, of which each has the rung's.
            let max_tokens = item.context.or(params.max_tokens);
            request.to_mut().params = Params { max_tokens, ..params };
        }
        let size = request.text_size() as u64;
        let input = (size / 5 + 1, size / 3 + 4);
        let most = self.most_output(client, &request, model.as_deref());
        let output = (FEW_TOKENS.min(most), most);
        self.calls += 1;
        self.input_tokens = (self.input_tokens.0 + input.0, self.input_tokens.1 + input.1);
        self.output_tokens = (self.output_tokens.0 + output.0, self.output_tokens.1 + output.1);
        let Some(model) = model else { return };
        self.add_cost(client.price(&model), input, output);
        match client.preview(&model, &request) {
            Ok(Some(Sent { headers, body })) if self.samples.len() < SHOWN => {
                self.samples.push(Sample { model: model.to_string(), headers, body });
            }
            Ok(_) => {}
            Err(failure) => self.refuse(&model, &failure),
        }
    }

    fn refuse(&mut self, model: &str, failure: &Failure) {
        self.refused += 1;
        let refusal = format!("{model}: {}", failure.message);
        if self.refusals.len() < SHOWN && !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    /// Returns the most output tokens of a request, and notes where that is only assumed.
    fn most_output(&mut self, client: &Client, request: &Request, model: Option<&str>) -> u64 {
        if request.kind() == TaskKind::Embed {
            return 0;
        }
        if let Some(most) = model.and_then(|model| client.stated_output(model, request)) {
            return most;
        }
        let known = model.and_then(|model| client.max_output(model));
        let most = known.map_or(MANY_TOKENS, u64::from);
        self.output_assumed = true;
        self.output_unknown |= known.is_none();
        self.assumed_output_tokens = self.assumed_output_tokens.max(Some(most));
        most
    }

    /// Adds one request's price; one unknown price makes the sum unknown.
    fn add_cost(&mut self, price: Option<crate::Price>, input: (u64, u64), output: (u64, u64)) {
        let cost = |input_tokens, output_tokens| {
            let usage = crate::Usage { input_tokens, output_tokens, ..crate::Usage::default() };
            price.map(|price| price.cost(&usage).usd())
        };
        let sum = if self.calls == 1 { Some((0.0, 0.0)) } else { self.cost_usd };
        self.cost_usd = sum
            .zip(cost(input.0, output.0).zip(cost(input.1, output.1)))
            .map(|((low, high), (less, more))| (low + less, high + more));
    }
}
