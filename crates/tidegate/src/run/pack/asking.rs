//! One call about several rows, and what each of them has of it.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::share::Sizes;
use super::{Load, Pack, reply, share};
use crate::ask::piece;
use crate::call::caller::Tries;
use crate::failure::{Failure, Kind};
use crate::outcome::{Attempt, Outcome};
use crate::response::{Finish, Output, Response};
use crate::run::asker::Asker;
use crate::run::item::{Kept, Place};

/// What became of a pack.
pub(in crate::run) struct Unpacked<C> {
    /// Rows that have their outcome.
    pub(in crate::run) done: Vec<(Outcome, Kept<C>)>,
    /// What is to be asked about the others.
    pub(in crate::run) again: Vec<Load<C>>,
    /// How many rows a reply came for.
    pub(in crate::run) asked: usize,
    /// How many of them it answered.
    pub(in crate::run) answered: usize,
}

/// Asks a pack once.
pub(in crate::run) async fn ask_together<C: Send, G: Send>(
    asker: Arc<Asker>,
    mut pack: Pack<C>,
    admitted: G,
) -> Unpacked<C> {
    let mut unpacked = Unpacked { done: Vec::new(), again: Vec::new(), asked: 0, answered: 0 };
    take_known(&asker, &mut pack, &mut unpacked).await;
    if pack.members.len() < super::FEWEST {
        unpacked.again.extend(pack.load());
        return unpacked;
    }
    let request = pack.request();
    let first = &pack.members[0];
    let (regions, warmth) = (first.place.regions.clone(), first.place.warmth.clone());
    let mut place = Place { retry: None, regions, warmth, ..first.place };
    place.urgency.deadline = pack.members.iter().filter_map(|member| member.place.urgency.deadline).min();
    let tries = Tries::default();
    let order = asker.order(&place, (&request, &first.labels), &tries);
    let mut attempts = Vec::with_capacity(1);
    let asked = piece::whole(&asker.client.dispatcher, &asker.policy, &order, &mut attempts, admitted);
    match asked.await {
        Ok(response) => take_apart(&asker, pack, &response, &attempts, &mut unpacked).await,
        Err(failure) => fail(&asker, pack, &failure, &attempts, &mut unpacked),
    }
    unpacked
}

/// Takes out the rows whose answers are in the cache; one that was asked already has been looked for.
async fn take_known<C>(asker: &Asker, pack: &mut Pack<C>, unpacked: &mut Unpacked<C>) {
    let Some(answers) = &asker.answers else { return };
    for member in std::mem::take(&mut pack.members) {
        if !member.begun.attempts.is_empty() {
            pack.members.push(member);
            continue;
        }
        let tries = Tries::default();
        let order = asker.order(&member.place, (&member.request, &member.labels), &tries);
        match piece::known(&asker.client.dispatcher, &asker.policy, answers, &order, member.place.index).await {
            Some(outcome) => unpacked.done.push((outcome, member.keep())),
            None => pack.members.push(member),
        }
    }
}

/// Gives each row its part of the reply.
async fn take_apart<C>(
    asker: &Asker,
    pack: Pack<C>,
    response: &Response,
    attempts: &[Attempt],
    unpacked: &mut Unpacked<C>,
) {
    let answers = match &response.output {
        Output::Text(text) => reply::answers(text, pack.members.len()),
        _ => vec![None; pack.members.len()],
    };
    let texts: Vec<Option<String>> = pack
        .members
        .iter()
        .zip(answers)
        .map(|(member, answer)| text(answer?, member.request.schema.is_some()))
        .collect();
    let outputs = texts.iter().map(|text| text.as_ref().map_or(0, |text| text.len() as u64)).collect();
    let shares = divide(asker, &pack, attempts, outputs);
    unpacked.asked = pack.members.len();
    let (mut pack, mut missing) = (pack, Vec::new());
    let members = std::mem::take(&mut pack.members);
    for ((mut member, text), mut attempts) in members.into_iter().zip(texts).zip(shares) {
        let mut all = std::mem::take(&mut member.begun.attempts);
        let Some(text) = text else {
            note_missing(&mut attempts, response, unpacked.asked);
            all.append(&mut attempts);
            member.begun.attempts = all;
            missing.push(member);
            continue;
        };
        all.append(&mut attempts);
        let part = Response {
            output: Output::Text(text),
            finish: Finish::Stop,
            usage: all.last().and_then(|attempt| attempt.usage),
            model: response.model.clone(),
            request_id: response.request_id.clone(),
            warnings: response.warnings.clone(),
            ..Response::default()
        };
        let tries = Tries::default();
        let order = asker.order(&member.place, (&member.request, &member.labels), &tries);
        let judged = piece::judge(&asker.client.dispatcher, &asker.policy, asker.answers.as_ref(), &order, part, all);
        match judged.await {
            Ok(outcome) => {
                unpacked.answered += 1;
                unpacked.done.push((Outcome { index: member.place.index, ..outcome }, member.keep()));
            }
            Err(begun) => {
                member.begun = *begun;
                unpacked.again.push(Load::One(member));
            }
        }
    }
    unpacked.again.extend(pack.halves(unpacked.asked, missing));
}

/// Ends rows whose call has failed, unless one of them may be the cause: then they are asked in halves. What says nothing
/// about them, such as a rejection for load after all attempts, is their failure as it is.
fn fail<C>(asker: &Asker, mut pack: Pack<C>, failure: &Failure, attempts: &[Attempt], unpacked: &mut Unpacked<C>) {
    let shares = divide(asker, &pack, attempts, vec![0; pack.members.len()]);
    let (asked, now) = (pack.members.len(), Instant::now());
    let one_of_them =
        !failure.kind.is_transient() && !failure.kind.is_unsent() && failure.kind.advice().aside.is_none();
    let mut others = Vec::new();
    for (mut member, mut share) in std::mem::take(&mut pack.members).into_iter().zip(shares) {
        member.begun.attempts.append(&mut share);
        let in_time = member.place.urgency.deadline.is_none_or(|deadline| now < deadline);
        let again = if failure.kind == Kind::Deadline { in_time } else { one_of_them };
        if again {
            others.push(member);
            continue;
        }
        let attempts = std::mem::take(&mut member.begun.attempts);
        let mut outcome = Outcome { attempts, ..Outcome::new(member.place.index, Err(failure.clone())) };
        asker.fall_back(&mut outcome, &member.request);
        unpacked.done.push((outcome, member.keep()));
    }
    unpacked.again.extend(pack.halves(asked, others));
}

fn divide<C>(asker: &Asker, pack: &Pack<C>, attempts: &[Attempt], outputs: Vec<u64>) -> Vec<Vec<Attempt>> {
    let inputs = pack.members.iter().map(|member| member.request.text_size() as u64).collect();
    share::divide(attempts, &Sizes { inputs, outputs }, |model| asker.client.price(model))
}

/// Returns an answer as the text that its request alone would have been answered with.
fn text(answer: Value, has_schema: bool) -> Option<String> {
    match answer {
        answer if has_schema => Some(answer.to_string()),
        Value::String(text) => Some(text),
        answer @ (Value::Number(_) | Value::Bool(_)) => Some(answer.to_string()),
        _ => None,
    }
}

/// Writes to a row's last attempt that it was not answered.
fn note_missing(attempts: &mut [Attempt], response: &Response, asked: usize) {
    let Some(last) = attempts.last_mut() else { return };
    let (kind, why) = match response.finish {
        Finish::Length => (Kind::Truncated, "was cut off before the answer to this one"),
        _ => (Kind::Rejected, "has no answer to this one"),
    };
    let failure = Failure::new(kind, format!("the reply to {asked} rows {why}"));
    last.failure = Some(failure.with_request_id(response.request_id.clone()).with_usage(last.usage));
}
