//! What a whole reply is made of, where that is more than a text: thoughts and calls of tools.
//!
//! Servers agree on no name for the thoughts. Some want them back, under the same name, with the results of the tools that
//! the model called after them (DeepSeek and Kimi refuse the request otherwise, OpenRouter's models lose the thread), and
//! others refuse a name that they do not know. So a turn that calls tools keeps the field as it came, as a part of this
//! wire's own; of any other turn nothing need go back.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::content::read_call;
use super::types::MessageReply;
use crate::call::wire::WireId;
use crate::request::{Part, Reasoning};

/// The fields of a message in which servers tell the model's thoughts, the one with most in it first.
const FIELDS: [&str; 3] = ["reasoning_details", "reasoning_content", "reasoning"];

/// Returns what the answer is made of, if it is more than a text.
pub(super) fn parts(message: &MessageReply<'_>) -> Vec<Part> {
    let read = |call: &&RawValue| read_call(&serde_json::from_str(call.get()).ok()?).ok();
    let calls: Vec<Part> = message.tool_calls.iter().filter_map(read).map(Part::ToolUse).collect();
    let mut parts: Vec<Part> = thoughts(message).map(thought).into_iter().collect();
    if !calls.is_empty() {
        parts.extend(echo(message));
    }
    if calls.is_empty() && parts.is_empty() {
        return parts;
    }
    let text = message.content.as_ref().map(|content| &*content.text).filter(|text| !text.is_empty());
    parts.extend(text.map(|text| Part::Text(text.to_owned())));
    parts.extend(calls);
    parts
}

fn thought(text: String) -> Part {
    Part::Reasoning(Reasoning::Text { text, signature: None })
}

/// Returns what the model thought.
fn thoughts(message: &MessageReply<'_>) -> Option<String> {
    let named = [message.reasoning_content, message.reasoning].into_iter().flatten();
    let named = named.filter_map(|json| serde_json::from_str::<String>(json.get()).ok());
    let thinking = message.content.iter().map(|content| content.thinking.clone());
    named.chain(thinking).find(|text| !text.is_empty())
}

/// Returns the thoughts as they are to go back.
fn echo(message: &MessageReply<'_>) -> Option<Part> {
    let told = [message.reasoning_details, message.reasoning_content, message.reasoning];
    let (name, json) = FIELDS.into_iter().zip(told).find_map(|(name, json)| Some((name, json?)))?;
    let value: Value = serde_json::from_str(json.get()).ok()?;
    Some(Part::Raw { wire: WireId::Openai, value: json!({ name: value }) })
}

/// Returns the field of the message, if the part is one that goes back beside the content.
pub(super) fn echoed(part: &Part) -> Option<(&String, &Value)> {
    match part {
        Part::Raw { wire: WireId::Openai, value } if is_echo(value) => value.as_object()?.iter().next(),
        _ => None,
    }
}

/// Returns whether a part of this wire's own is a field that goes back beside the content.
pub(super) fn is_echo(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.len() == 1 && fields.keys().all(|name| FIELDS.contains(&&**name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::provider::Quirks;
    use crate::call::wire::Wire;
    use crate::call::wire::openai::OpenAi;
    use crate::request::{Message, Request, TaskKind};
    use crate::response::{Output, Response};
    use bytes::Bytes;

    fn read(message: &Value) -> Response {
        let body = json!({"choices": [{"message": message}]}).to_string();
        let head = http::Response::new(()).into_parts().0;
        OpenAi.decode(TaskKind::Chat, &head, &Bytes::from(body)).unwrap()
    }

    fn thought_in(response: &Response) -> Option<&str> {
        response.reasoning().next().and_then(|reasoning| match reasoning {
            Reasoning::Text { text, .. } => Some(&**text),
            Reasoning::Redacted(_) => None,
        })
    }

    /// Writes the turn of a reply into the next request.
    fn written(response: &Response) -> Value {
        let request = Request::chat(vec![Message::user().text("hi"), response.message(), Message::user().text("on")]);
        let body: Value = serde_json::from_slice(&OpenAi.encode(&request, "m", &Quirks::COMMON).unwrap()).unwrap();
        body["messages"][1].clone()
    }

    #[test]
    fn thoughts_are_read_under_every_name() {
        for message in [
            json!({"content": "a", "reasoning_content": "h\"m"}),
            json!({"content": "a", "reasoning": "h\"m", "reasoning_details": [{"type": "reasoning.text", "text": "h\"m"}]}),
            json!({"content": "a", "reasoning_content": null, "reasoning": "h\"m"}),
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h\""}, {"type": "text", "text": "m"}]},
                {"type": "text", "text": "a"}]}),
        ] {
            let response = read(&message);
            assert_eq!(thought_in(&response), Some("h\"m"), "{message}");
            assert_eq!(response.output, Output::Text("a".into()));
            assert_eq!(response.parts[1..], [Part::Text("a".into())]);
        }
        for message in [
            json!({"content": "a"}),
            json!({"content": "a", "reasoning": ""}),
            json!({"content": "a", "reasoning_content": null, "reasoning": {"effort": "high"}}),
        ] {
            assert_eq!(read(&message).parts, [], "{message}");
        }
    }

    #[test]
    fn thoughts_go_back_as_they_came_where_tools_were_called_and_nowhere_else() {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let details = json!([{"type": "reasoning.encrypted", "data": "x", "index": 0, "new": null}]);
        for (field, told) in
            [("reasoning_content", json!("hm")), ("reasoning", json!("hm")), ("reasoning_details", details)]
        {
            let response = read(&json!({"content": null, "tool_calls": [call], field: told}));
            let turn = json!({"role": "assistant", "content": null, field: told, "tool_calls": [call]});
            assert_eq!(written(&response), turn);
            let plain = written(&read(&json!({"content": "a", field: told})));
            assert_eq!(plain, json!({"role": "assistant", "content": "a"}));
        }
        let both =
            json!({"content": null, "tool_calls": [call], "reasoning": "hm", "reasoning_details": [{"data": "x"}]});
        let turn = written(&read(&both));
        assert_eq!((&turn["reasoning_details"], turn.get("reasoning")), (&both["reasoning_details"], None));
    }
}
