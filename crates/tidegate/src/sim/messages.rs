//! The simulated model behind Anthropic's Messages: the same answers, with that format's blocks, tools and events.

use serde_json::value::{RawValue, to_raw_value};

use super::answer::{self, Asked, Body, Draft, EVENT, Fate, Form, THOUGHT};
use super::prefixes::CacheUse;
use super::scenario::Scenario;
use crate::call::wire::anthropic::server::{MessagesRequest, Reply, Said, Tool};

/// Writes the reply to a request for Messages.
///
/// # Errors
///
/// A message about what is wrong with the request.
pub(super) fn reply(
    scenario: &Scenario,
    request: &MessagesRequest<'_>,
    fate: Fate<'_>,
    cached: CacheUse,
) -> Result<Draft, String> {
    if request.messages.iter().all(|message| message.role == "system") {
        return Err("messages: at least one message is required".to_owned());
    }
    let Some(max_tokens) = request.max_tokens else { return Err("max_tokens: Field required".to_owned()) };
    let form = request.schema().map_or(Form::Text, Form::Schema);
    let asked = Asked { messages: &request.messages, max_tokens: Some(max_tokens), form };
    let prompt = answer::prompt_hash(asked.messages);
    let id = format!("msg_{prompt:016x}");
    let input_tokens = asked.input_tokens();
    let thought = request.thinks().then_some(THOUGHT);
    let draft = |said: Option<Said<'_>>, stop_reason, length| {
        let output_tokens = answer::tokens(length) + answer::tokens(thought.map_or(0, str::len));
        let reply = Reply {
            id: &id,
            model: &request.model,
            thought,
            said,
            stop_reason,
            input_tokens,
            cached_tokens: cached.read,
            cache_write_tokens: cached.written,
            output_tokens,
        };
        let body = if request.streams() { Body::Events(events(&reply)) } else { Body::Json(reply.whole()) };
        Draft::good(body, answer::usage(input_tokens, output_tokens))
    };
    match request.forced_tool().filter(|_| answer::calls_tools(fate)) {
        Some(tool) => {
            let input = tool_input(tool, fate, prompt)?;
            Ok(draft(Some(Said::ToolUse(&tool.name, &input)), "tool_use", input.get().len()))
        }
        None => {
            let answer = answer::answer(scenario, &asked, fate, prompt)?;
            let said = Some(Said::Text(&answer.text)).filter(|_| !answer.text.is_empty());
            Ok(draft(said, stop_reason(answer.finish), answer.text.len()))
        }
    }
}

/// Makes what a tool is called with.
fn tool_input(tool: &Tool<'_>, fate: Fate<'_>, hash: u64) -> Result<Box<RawValue>, String> {
    let wrong = |error: String| format!("tools.{}.input_schema: {error}", tool.name);
    let schema = tool.input_schema.ok_or_else(|| wrong("Field required".to_owned()))?;
    let input = answer::tool_input(schema.get(), fate, hash).map_err(wrong)?;
    to_raw_value(&input).map_err(|error| error.to_string())
}

/// Returns this format's word for why an answer ended.
fn stop_reason(finish: &str) -> &'static str {
    match finish {
        "length" => "max_tokens",
        "content_filter" => "refusal",
        _ => "end_turn",
    }
}

/// Writes the events of a streamed reply, with the output tokens that each carries.
fn events(reply: &Reply<'_>) -> Vec<(bytes::Bytes, u64)> {
    let mut events = vec![(reply.first_events(), 0)];
    let text = match reply.said {
        Some(Said::Text(text)) => text,
        Some(Said::ToolUse(_, input)) => input.get(),
        None => "",
    };
    events.extend(answer::split(text, EVENT).map(|piece| (reply.delta_event(piece), answer::tokens(piece.len()))));
    events.push((reply.last_events(), 0));
    events
}

#[cfg(test)]
mod tests;
