//! LOOP 2: over answers. Dispatch, check, ask again with the complaint, escalate.
//!
//! Without a schema, a check or a ladder every reply that decodes is an answer. With one of them a reply is an answer once
//! it has passed; one that has not is refused, and its model is asked again with what was wrong, or the ladder's next
//! rung is asked. A refused reply is paid for like any other: its usage, its cost and the reason stay with its attempt.
//!
//! With a cache all of that comes after a look into it: see [`cache`].
//!
//! | what came | what then |
//! |---|---|
//! | a reply that passes | the answer |
//! | one that does not | `rejected`: again with the complaint, as the last two messages |
//! | one cut off by the output limit, where a schema is asked for | `truncated`: again with twice the limit, if the request has one |
//! | a failure that the ladder advances on | the next rung; another model starts from the bare request |
//! | any other failure | the outcome: retries for its sake are the dispatch's business, and over |

pub(crate) mod cache;
pub(crate) mod check;
mod complaint;
pub(crate) mod json;
pub(crate) mod piece;
pub(crate) mod policy;
#[cfg(feature = "schemars")]
pub(crate) mod typed;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use self::cache::Answers;
use self::policy::{AskPolicy, Rung};
use crate::dispatch::{Dispatcher, Order};
use crate::event::Event;
use crate::failure::{Failure, Kind};
use crate::money::Money;
use crate::outcome::{Attempt, Checked, Fault, Outcome};
use crate::request::Request;
use crate::response::{Finish, Output, Response, Usage};

/// What was done for a request before it is asked on its own; mostly nothing.
#[derive(Default)]
pub(crate) struct Begun {
    /// The calls that were made.
    pub(crate) attempts: Vec<Attempt>,
    checked: Checked,
    /// Why the answer of the last one was refused.
    refused: Option<Box<Refused>>,
}

/// Asks until there is an answer, and says how that went.
pub(crate) async fn ask<G>(
    dispatcher: &Dispatcher,
    policy: &AskPolicy,
    answers: Option<&Answers>,
    order: &Order<'_>,
    index: u64,
    begun: &mut Begun,
    admitted: G,
) -> Outcome {
    let item = order.item;
    dispatcher.follow(|| Event::ItemStarted { item });
    let outcome = settle(dispatcher, policy, answers, order, index, begun, admitted).await;
    dispatcher.follow(|| Event::ended(item, &outcome));
    outcome
}

async fn settle<G>(
    dispatcher: &Dispatcher,
    policy: &AskPolicy,
    answers: Option<&Answers>,
    order: &Order<'_>,
    index: u64,
    begun: &mut Begun,
    admitted: G,
) -> Outcome {
    let plain = policy.is_plain() && order.request.schema.is_none();
    // Who wants the pieces of a reply wants a reply.
    let answers = answers.filter(|_| order.outlet.is_none());
    let Begun { mut attempts, checked, refused } = std::mem::take(begun);
    attempts.reserve_exact(1);
    let mut asking = Asking { checked, ..Asking::new(dispatcher, policy, answers, order, attempts) };
    // Boxed, like the way to checked answers below: few requests take these ways, and all would have to hold them.
    if answers.is_some()
        && asking.attempts.is_empty()
        && let Some((response, model)) = Box::pin(asking.find()).await
    {
        return Outcome { cached: Some(model), ..Outcome::new(index, Ok(response)) };
    }
    let result = if plain { asking.dispatch(admitted).await } else { Box::pin(asking.answer(refused, admitted)).await };
    if let Ok(response) = &result {
        asking.keep(response);
    }
    asking.end(index, result, plain)
}

/// One request on its way to an answer that passes.
struct Asking<'a> {
    dispatcher: &'a Dispatcher,
    policy: &'a AskPolicy,
    /// Where an answer may be found, and is kept.
    answers: Option<&'a Answers>,
    order: &'a Order<'a>,
    attempts: Vec<Attempt>,
    checked: Checked,
    /// The request with the last complaint.
    edited: Option<Box<Request>>,
    /// The output limit after an answer that was cut off.
    max_tokens: Option<u32>,
}

/// Why there is no answer yet.
struct Refused {
    failure: Failure,
    /// The reply that was refused, and its value if it has one; nothing where no reply came.
    reply: Option<(Response, Option<Value>)>,
    faults: Vec<Fault>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        Refused { failure, reply: None, faults: Vec::new() }
    }
}

impl<'a> Asking<'a> {
    fn new(
        dispatcher: &'a Dispatcher,
        policy: &'a AskPolicy,
        answers: Option<&'a Answers>,
        order: &'a Order<'a>,
        attempts: Vec<Attempt>,
    ) -> Asking<'a> {
        let checked = Checked::default();
        Asking { dispatcher, policy, answers, order, attempts, checked, edited: None, max_tokens: None }
    }

    fn end(self, index: u64, result: Result<Response, Failure>, plain: bool) -> Outcome {
        let checked = (!plain).then(|| Box::new(self.checked));
        Outcome { attempts: self.attempts, checked, ..Outcome::new(index, result) }
    }

    /// Returns an answer that was kept and still passes, with the model that gave it. The ladder's rungs are looked for
    /// in their order.
    async fn find(&mut self) -> Option<(Response, Arc<str>)> {
        let answers = self.answers?;
        let policy = self.policy;
        let rungs = policy.ladder.iter().map(Some).chain(policy.ladder.is_empty().then_some(None));
        for rung in rungs {
            let request = self.bare(rung);
            for model in self.models(rung) {
                let Some(response) = answers.find(&model, &request) else { continue };
                if let Ok(response) = self.judge(response).await {
                    return Some((response, model));
                }
            }
        }
        None
    }

    /// Keeps an answer as one to the bare request, whatever complaints led to it.
    fn keep(&self, response: &Response) {
        let answered = self.attempts.iter().rfind(|attempt| attempt.failure.is_none());
        if let (Some(answers), Some(attempt)) = (self.answers, answered) {
            answers.keep(&attempt.model, &self.bare(self.rung()), response);
        }
    }

    /// Returns the request as a rung asks it for the first time.
    fn bare(&self, rung: Option<&Rung>) -> Cow<'a, Request> {
        let mut request = Cow::Borrowed(self.order.request);
        if let Some(rung) = rung.filter(|rung| !rung.params.is_empty()) {
            request.to_mut().params = rung.params.clone().over(request.params.clone());
        }
        request
    }

    /// Returns the models that a rung asks, each once.
    fn models(&self, rung: Option<&Rung>) -> Vec<Arc<str>> {
        match rung.and_then(|rung| rung.model.clone()) {
            Some(model) => vec![model],
            None => self.dispatcher.models(self.order.route),
        }
    }

    /// Asks until an answer passes, from what was `refused` already on.
    async fn answer<G>(&mut self, refused: Option<Box<Refused>>, admitted: G) -> Result<Response, Failure> {
        let (mut refused, mut admitted) = (refused, Some(admitted));
        loop {
            let refused = match refused.take() {
                Some(refused) => *refused,
                None => match self.try_once(admitted.take()).await {
                    Ok(response) => return Ok(response),
                    Err(refused) => refused,
                },
            };
            if !self.prepare_again(&refused)? {
                return Err(self.give_up(refused));
            }
            let pause = tokio::time::sleep(self.policy.delay);
            if !self.policy.delay.is_zero() && self.order.stop.run_until_cancelled(pause).await.is_none() {
                return Err(self.give_up(refused));
            }
        }
    }

    /// Asks once, and judges what comes.
    async fn try_once<G>(&mut self, admitted: G) -> Result<Response, Refused> {
        self.checked.asks += 1;
        let response = self.dispatch(admitted).await?;
        match self.judge(response).await {
            Ok(response) => {
                self.checked.last_rung_cost = self.last_rung_cost();
                Ok(response)
            }
            Err(refused) => Err(self.note(refused)),
        }
    }

    fn rung(&self) -> Option<&Rung> {
        self.policy.ladder.get(self.checked.rung as usize)
    }

    async fn dispatch<G>(&mut self, admitted: G) -> Result<Response, Failure> {
        let given = self.edited.as_deref().unwrap_or(self.order.request);
        // Boxed, because few are changed and all would have to hold it.
        let mut changed: Option<Box<Request>> = None;
        let mut route = self.order.route;
        if let Some(rung) = self.rung() {
            if !rung.params.is_empty() {
                let params = rung.params.clone().over(given.params.clone());
                changed = Some(Box::new(Request { params, ..given.clone() }));
            }
            if let Some(model) = &rung.model {
                route = self.dispatcher.admission.route_in(std::slice::from_ref(model), self.order.regions);
            }
        }
        if self.max_tokens.is_some() {
            changed.get_or_insert_with(|| Box::new(given.clone())).params.max_tokens = self.max_tokens;
        }
        let order = Order { request: changed.as_deref().unwrap_or(given), route, ..*self.order };
        let before = self.attempts.len();
        let result = self.dispatcher.dispatch(&order, &mut self.attempts, admitted).await;
        if let (Some(first), true) = (self.attempts.get_mut(before), self.checked.asks > 1) {
            first.backoff += self.policy.delay;
        }
        result
    }

    /// Decides whether a reply is an answer; one with a schema becomes its value.
    async fn judge(&mut self, mut response: Response) -> Result<Response, Refused> {
        let request = self.order.request;
        if let Some(schema) = &request.schema {
            if response.finish == Finish::Length {
                let failure = Failure::new(Kind::Truncated, "the output limit was reached before the answer was whole");
                return Err(Refused { reply: Some((response, None)), ..failure.into() });
            }
            match value(&response.output) {
                Ok((value, stripped)) => {
                    self.checked.stripped += u32::from(stripped);
                    let faults = schema.faults(&value);
                    if !faults.is_empty() {
                        return Err(rejected(response, Some(value), faults));
                    }
                    response.output = Output::Json(value);
                }
                Err(message) => return Err(rejected(response, None, vec![Fault { path: String::new(), message }])),
            }
        }
        let mut faults = Vec::new();
        for check in &self.policy.checks {
            faults.extend(check.faults(request, &response).await);
        }
        if faults.is_empty() {
            return Ok(response);
        }
        let value = match &response.output {
            Output::Json(value) => Some(value.clone()),
            _ => None,
        };
        Err(rejected(response, value, faults))
    }

    /// Writes the reason to the attempt that brought the reply.
    fn note(&mut self, refused: Refused) -> Refused {
        if let Some(attempt) = self.attempts.iter_mut().rfind(|attempt| attempt.failure.is_none()) {
            attempt.failure = Some(refused.failure.clone());
            self.dispatcher.refused(&attempt.endpoint, &refused.failure, self.order.tries);
        }
        self.checked.refused += 1;
        refused
    }

    /// Decides whether and how to ask again. Returns whether to.
    fn prepare_again(&mut self, refused: &Refused) -> Result<bool, Failure> {
        if self.checked.asks >= self.policy.tries() {
            return Ok(false);
        }
        let kind = refused.failure.kind;
        let next = self.checked.rung as usize + 1;
        if let Some(rung) = self.policy.ladder.get(next).filter(|_| self.policy.advance_on.contains(&kind)) {
            let same = rung.model == self.rung().and_then(|rung| rung.model.clone());
            self.checked.rung += 1;
            if !same {
                (self.edited, self.max_tokens) = (None, None);
                return Ok(true);
            }
            self.edit(refused)?;
            self.max_tokens = self.more_tokens(kind).or(self.max_tokens);
            return Ok(true);
        }
        match kind {
            Kind::Rejected => self.edit(refused).map(|()| true),
            Kind::Truncated => {
                let more = self.more_tokens(kind);
                self.max_tokens = more.or(self.max_tokens);
                Ok(more.is_some())
            }
            _ => Ok(false),
        }
    }

    /// Appends the complaint to the bare request: earlier ones would be paid for again and say little.
    fn edit(&mut self, refused: &Refused) -> Result<(), Failure> {
        if let (Kind::Rejected, Some((response, value))) = (refused.failure.kind, &refused.reply) {
            let reply = text(&response.output);
            let edited = complaint::with_complaint(self.order.request, &reply, &refused.faults, value.as_ref())?;
            self.edited = Some(Box::new(edited));
        }
        Ok(())
    }

    /// Returns twice the output limit that was too small, as far as the model goes; nothing if there is none to raise.
    fn more_tokens(&self, kind: Kind) -> Option<u32> {
        if kind != Kind::Truncated {
            return None;
        }
        let rung = self.rung().and_then(|rung| rung.params.max_tokens);
        let had = self.max_tokens.or(rung).or(self.order.request.params.max_tokens)?;
        let model = &self.attempts.last()?.model;
        let most = self.dispatcher.endpoint(model)?.caller.max_output();
        let more = had.saturating_mul(2).min(most.unwrap_or(u32::MAX));
        (more > had).then_some(more)
    }

    /// Returns the failure that is the outcome, and keeps what was wrong with the last answer.
    fn give_up(&mut self, refused: Refused) -> Failure {
        self.checked.faults = refused.faults;
        match self.checked.asks {
            1 => refused.failure,
            asks if refused.failure.kind == Kind::Rejected => {
                let message = format!("after {asks} answers: {}", refused.failure.message);
                Failure { message: Failure::new(Kind::Rejected, message).message, ..refused.failure }
            }
            _ => refused.failure,
        }
    }

    /// Returns what the last rung's model would have cost if it had been asked at once, where its price is known: the
    /// bare request, and as much output as the answer has.
    fn last_rung_cost(&self) -> Option<Money> {
        let last: &Arc<str> = self.policy.ladder.last()?.model.as_ref()?;
        let price = self.dispatcher.endpoint(last)?.price?;
        let asked = self.attempts.iter().find_map(|attempt| attempt.usage)?;
        let answered = self.attempts.last()?.usage?;
        let usage =
            Usage { output_tokens: answered.output_tokens, reasoning_tokens: answered.reasoning_tokens, ..asked };
        usage.cost(Some(price))
    }
}

fn rejected(response: Response, value: Option<Value>, faults: Vec<Fault>) -> Refused {
    let failure = Failure::new(Kind::Rejected, complaint::summary(&faults))
        .with_request_id(response.request_id.clone())
        .with_usage(response.usage);
    Refused { failure, reply: Some((response, value)), faults }
}

/// Returns the value of a reply that should be JSON, and whether a fence was taken off.
fn value(output: &Output) -> Result<(Value, bool), String> {
    match output {
        Output::Text(text) => json::read(text),
        Output::Json(_) => Err("not one JSON value: tools were called, or there are several answers".to_owned()),
        Output::Embedding(_) => Err("not one JSON value: a vector".to_owned()),
    }
}

fn text(output: &Output) -> Cow<'_, str> {
    match output {
        Output::Text(text) => text.into(),
        other => other.clone().into_value().to_string().into(),
    }
}
