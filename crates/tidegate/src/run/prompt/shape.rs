//! Rows that say themselves what is asked.
//!
//! | the row has | the request |
//! |---|---|
//! | `method`, `url`, `body` | a line of an OpenAI batch file: `body` as it is, in the format that `url` names |
//! | `body`, an object | `body` as it is, in OpenAI's format or Anthropic's |
//! | `messages` | a conversation |
//! | `prompt` or `text` | one user message |

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{list_of_row, with_system};
use crate::call::wire::{self, WireId, openai};
use crate::request::{Request, TaskKind};
use crate::run::key;

/// The columns that are looked at.
pub(super) const COLUMNS: [&str; 6] = ["method", "url", "body", "messages", "prompt", "text"];
/// Those of them that are enough by themselves.
pub(super) const ASKS: [&str; 4] = ["body", "messages", "prompt", "text"];

/// Makes the request of a row, and says whether the row is a line of a batch file. `json` is the text's bytes, which a
/// body is cut out of without a copy.
pub(super) fn request(json: &Bytes, text: &str, system: Option<String>) -> Result<(Request, bool), String> {
    let [method, url, body, messages, prompt, plain] = values(text, COLUMNS)?;
    let body = body.filter(|body| body.get().starts_with('{'));
    match (method, url, body, messages, prompt.or(plain)) {
        (Some(method), Some(url), Some(body), _, _) => {
            let kind = batch_kind(method, url)?;
            Ok((original(json, body, Some(kind), system)?, true))
        }
        (_, _, Some(body), _, _) => Ok((original(json, body, None, system)?, false)),
        (_, _, None, Some(messages), _) => {
            let messages = serde_json::from_str(messages.get()).map_err(|e| key::json_fault(&e))?;
            Ok((with_system(Request::chat(openai::read_messages(messages)?), system), false))
        }
        (_, _, None, None, Some(raw)) => {
            let name = if prompt.is_some() { "prompt" } else { "text" };
            Ok((with_system(Request::prompt(string(name, raw)?), system), false))
        }
        (_, _, None, None, None) => {
            Err(format!("the row has neither messages, a body object, prompt nor text; {}", list_of_row(text)))
        }
    }
}

/// Returns the text of one column.
pub(super) fn text_column(json: &str, column: &str) -> Result<String, String> {
    match values(json, [column])? {
        [Some(raw)] => string(column, raw),
        [None] => Err(format!("column `{column}` is missing; {}", list_of_row(json))),
    }
}

fn values<'a, const N: usize>(json: &'a str, names: [&str; N]) -> Result<[Option<&'a RawValue>; N], String> {
    let mut found = [None; N];
    key::pick(json, |name| names.iter().position(|wanted| *wanted == name), &mut found)?;
    Ok(found)
}

fn string(column: &str, raw: &RawValue) -> Result<String, String> {
    serde_json::from_str(raw.get()).map_err(|_| format!("`{column}` is not a text"))
}

fn batch_kind(method: &RawValue, url: &RawValue) -> Result<(WireId, TaskKind), String> {
    if string("method", method)? != "POST" {
        return Err("`method` is not POST".to_owned());
    }
    let url = string("url", url)?;
    wire::batch_url(&url).ok_or_else(|| {
        let shown: String = url.chars().take(80).collect();
        format!("the url `{shown}` is not supported; /v1/chat/completions, /v1/responses, /v1/embeddings and /v1/messages are")
    })
}

/// Makes a request of a body that goes out as it is. Its format is the one that the url names, or else Anthropic's if it
/// has a field that only Anthropic's bodies have, or Gemini's if it has that format's `contents` or `content`.
fn original(
    json: &Bytes,
    body: &RawValue,
    named: Option<(WireId, TaskKind)>,
    system: Option<String>,
) -> Result<Request, String> {
    if system.is_some() {
        return Err("a system message cannot be put into a row's own `body`; leave --system out".to_owned());
    }
    let [stream, messages, input, own, stop, contents, content] =
        values(body.get(), ["stream", "messages", "input", "system", "stop_sequences", "contents", "content"])?;
    if stream.is_some_and(|stream| stream.get() == "true") {
        return Err("`body` asks for a stream; leave `stream` out".to_owned());
    }
    let (wire, kind) = match named {
        Some(named) => named,
        None if messages.is_some() && own.or(stop).is_some() => (WireId::Anthropic, TaskKind::Chat),
        None if messages.is_some() => (WireId::Openai, TaskKind::Chat),
        None if input.is_some() => (WireId::Openai, TaskKind::Embed),
        None if contents.is_some() => (WireId::Gemini, TaskKind::Chat),
        None if content.is_some() => (WireId::Gemini, TaskKind::Embed),
        None => return Err("`body` has neither `messages`, `input`, `contents` nor `content`".to_owned()),
    };
    Ok(Request::original(wire, kind, json.slice_ref(body.get().as_bytes())))
}
