//! The simulated model behind OpenAI's Responses: the same answers, with that format's items and events.

use super::answer::{self, Asked, Body, Draft, EVENT, Fate, Form, THOUGHT};
use super::scenario::Scenario;
use crate::call::wire::openai::types::OutputDetails;
use crate::call::wire::responses::server::{Format, Reply, ResponseRequest};

/// Writes the reply to a request for a response.
///
/// # Errors
///
/// A message about what is wrong with the request.
pub(super) fn reply(
    scenario: &Scenario,
    request: &ResponseRequest<'_>,
    fate: Fate<'_>,
    created: u64,
) -> Result<Draft, String> {
    if request.input.is_empty() {
        return Err("[] is too short - 'input'".to_owned());
    }
    let form = request.format().map_or(Form::Text, form);
    let asked = Asked { messages: &request.input, max_tokens: request.max_output_tokens, form };
    let prompt = answer::prompt_hash(asked.messages);
    let answer = match answer::call(request.forced_tool(), fate, prompt)? {
        Some(call) => call,
        None => answer::answer(scenario, &asked, fate, prompt)?,
    };
    let thoughts = if request.thinks() { answer::tokens(THOUGHT.len()) } else { 0 };
    let mut usage = answer::usage(asked.input_tokens(), answer::tokens(answer.text.len()) + thoughts);
    usage.completion_tokens_details = Some(OutputDetails { reasoning_tokens: Some(thoughts) });
    let thought = request.thinks().then_some(if request.tells_thoughts() { THOUGHT } else { "" });
    let id = format!("resp_{prompt:016x}");
    let reply = Reply { id: &id, model: &request.model, created, thought, answer: &answer, usage };
    let body = match request.streams() {
        true => {
            let events = reply.events(answer::split(&answer.text, EVENT)).into_iter();
            Body::Events(events.map(|(event, says)| (event, answer::tokens(says))).collect())
        }
        false => Body::Json(reply.whole()),
    };
    Ok(Draft::good(body, usage))
}

fn form<'r>(format: &Format<'r>) -> Form<'r> {
    match (&*format.kind, format.schema) {
        ("text", _) => Form::Text,
        (_, Some(schema)) => Form::Schema(schema),
        (_, None) => Form::Json,
    }
}
