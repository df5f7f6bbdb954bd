//! Several requests as one: what the model is asked, and the form that its reply must have.
//!
//! The schema names no ids, so that it is the same for every call: a provider that compiles schemas does it once.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::request::{Message, Part, Request, Role, Task};
use crate::schema::Schema;

/// How the prompt of a packed request begins.
const LEAD: &str = "Below are separate tasks, each in an element with an id. Do each one by itself, as if it were the only \
                    one; what one says is no part of another.\n";
const TAIL: &str = "\nAnswer with one JSON object and nothing else: {\"results\": [{\"id\": \"1\", \"answer\": …}, …]}, \
                    with one entry for each id, which holds the whole answer to that task.";
/// Output tokens that an entry takes beside its answer.
const ENTRY_TOKENS: u32 = 16;
/// Where in the packed schema the form of one answer stands.
const ANSWER: &str = "#/properties/results/items/properties/answer";
/// Parameters that say something about a reply as a whole, so that requests with them are not packed.
const WHOLE: [&str; 9] = [
    "tools",
    "tool_choice",
    "functions",
    "response_format",
    "n",
    "logprobs",
    "toolConfig",
    "responseSchema",
    "outputConfig",
];

/// Returns the one text of a request that may be asked together with others: it has nothing but system messages before,
/// and no parameter that is about a reply as a whole.
pub(super) fn text(request: &Request) -> Option<&str> {
    let Task::Chat(messages) = &request.task else { return None };
    let (last, before) = messages.split_last()?;
    let system = |message: &Message| message.role == Role::System && message.extra.is_empty();
    let params = &request.params;
    let whole = WHOLE.iter().any(|name| params.extra.contains_key(*name)) || !params.stop.is_empty();
    match &last.parts[..] {
        [Part::Text(text)]
            if last.role == Role::User
                && last.extra.is_empty()
                && request.original.is_none()
                && !whole
                && before.iter().all(system) =>
        {
            Some(text)
        }
        _ => None,
    }
}

/// Returns what stands before the text: the system messages.
pub(super) fn before(request: &Request) -> &[Message] {
    match &request.task {
        Task::Chat(messages) => messages.split_last().map_or(&[], |(_, before)| before),
        Task::Embed(_) => &[],
    }
}

/// Makes one request of several that are alike; `schema` is the [packed](packed_schema) one, `max_tokens` what each may
/// have, and `most` what the model can write.
pub(super) fn together(
    requests: &[&Request],
    schema: Arc<Schema>,
    max_tokens: Option<u32>,
    most: Option<u32>,
) -> Request {
    let texts: Vec<&str> = requests.iter().filter_map(|request| text(request)).collect();
    let mut messages = requests.first().map_or(&[][..], |first| before(first)).to_vec();
    messages.push(Message::user().text(prompt(&texts)));
    let mut request = Request::chat(messages);
    if let Some(first) = requests.first() {
        (request.params, request.lossy) = (first.params.clone(), first.lossy);
    }
    let members = u32::try_from(texts.len()).unwrap_or(u32::MAX);
    let all = max_tokens.map(|each| each.saturating_add(ENTRY_TOKENS).saturating_mul(members));
    request.params.max_tokens = all.map(|all| all.min(most.unwrap_or(u32::MAX)));
    request.schema = Some(schema);
    request
}

/// Returns how many requests with that output limit fit into what a model can write.
pub(super) fn most_members(max_tokens: Option<u32>, most: Option<u32>) -> usize {
    match (max_tokens, most) {
        (Some(each), Some(most)) => (most / each.saturating_add(ENTRY_TOKENS).max(1)) as usize,
        _ => usize::MAX,
    }
}

fn prompt(texts: &[&str]) -> String {
    let mut tag = "item".to_owned();
    while texts.iter().any(|text| text.contains(&format!("</{tag}>"))) {
        tag.push('_');
    }
    let mut prompt = LEAD.to_owned();
    for (text, id) in texts.iter().zip(1..) {
        // Writing into a text cannot fail.
        let _ = write!(prompt, "\n<{tag} id=\"{id}\">\n{text}\n</{tag}>\n");
    }
    prompt + TAIL
}

/// Returns the texts in a packed prompt; nothing if it is none. For whoever plays the model.
pub(crate) fn texts(prompt: &str) -> Option<Vec<&str>> {
    let rest = &prompt[prompt.find(LEAD)? + LEAD.len()..];
    let tag = rest.strip_prefix("\n<")?.split_once(' ')?.0;
    let end = format!("\n</{tag}>\n");
    let (mut texts, mut rest) = (Vec::new(), rest);
    while let Some(inside) = rest.strip_prefix(&format!("\n<{tag} id=\"{}\">\n", texts.len() + 1)) {
        let (text, after) = inside.split_once(&end)?;
        texts.push(text);
        rest = after;
    }
    Some(texts)
}

/// Makes the schema of a packed reply from that of one answer; without one, answers are texts. Nothing if it cannot be
/// put into another.
pub(super) fn packed_schema(answer: Option<&Schema>) -> Option<Schema> {
    let mut answer = answer.map_or_else(|| json!({"type": "string"}), |schema| schema.value().clone());
    let mut definitions = Map::new();
    if let Value::Object(fields) = &mut answer {
        for name in ["$defs", "definitions"] {
            definitions.extend(fields.shift_remove(name).map(|value| (name.to_owned(), value)));
        }
        fields.shift_remove("$schema");
        fields.shift_remove("$id");
    }
    move_references(&mut answer);
    definitions.values_mut().for_each(move_references);
    let entry = json!({"type": "object", "additionalProperties": false, "required": ["id", "answer"],
        "properties": {"id": {"type": "string"}, "answer": answer}});
    let mut schema = json!({"title": "answers", "type": "object", "additionalProperties": false, "required": ["results"],
        "properties": {"results": {"type": "array", "items": entry}}});
    schema.as_object_mut()?.extend(definitions);
    Schema::new(schema).ok()
}

/// Makes references to the root, or into it, refer to where the answer's form stands now. Definitions stay at the root.
fn move_references(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(to)
                        if name == "$ref" && !to.starts_with("#/$defs/") && !to.starts_with("#/definitions/") =>
                    {
                        if let Some(inside) = to.strip_prefix('#') {
                            *to = format!("{ANSWER}{inside}");
                        }
                    }
                    value => move_references(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(move_references),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_can_be_taken_apart() {
        let prompts = ["a\nb", "</item>", "", "<item_ id=\"1\">\nx\n</item_>\n"].map(Request::prompt);
        let schema: Arc<Schema> = packed_schema(None).unwrap().into();
        let packed = together(&prompts.each_ref(), schema, Some(84), Some(250));
        assert_eq!(packed.params.max_tokens, Some(250));
        let text = text(&packed).unwrap();
        assert_eq!(texts(text).unwrap(), prompts.each_ref().map(|request| super::text(request).unwrap()));
        assert_eq!(texts("Below are two"), None);
        assert_eq!((most_members(Some(84), Some(250)), most_members(None, Some(1))), (2, usize::MAX));
    }

    #[test]
    fn only_a_plain_question_is_packed() {
        assert!(text(&Request::prompt("a").system("b").temperature(0.5)).is_some());
        let others = [
            Request::embed("a"),
            Request::prompt("a").param("tools", json!([])),
            Request::chat(vec![Message::user().text("a"), Message::assistant().text("b"), Message::user().text("c")]),
            Request::chat(vec![Message::user().text("a").text("b")]),
            Request::chat(vec![Message::user().text("a").image_url("https://example.com/a.png")]),
        ];
        assert!(others.iter().all(|request| text(request).is_none()));
    }

    #[test]
    fn references_still_point_to_what_they_did() {
        let tree = json!({"type": "object", "required": ["left", "name"], "$defs": {"name": {"type": "string"}},
            "properties": {"name": {"$ref": "#/$defs/name"}, "left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}});
        let packed = packed_schema(Some(&Schema::new(tree).unwrap())).unwrap();
        let entry = |answer: Value| json!({"results": [{"id": "1", "answer": answer}]});
        assert!(packed.faults(&entry(json!({"name": "a", "left": {"name": "b", "left": null}}))).is_empty());
        assert!(!packed.faults(&entry(json!({"name": "a", "left": {"name": 1, "left": null}}))).is_empty());
        assert!(packed.strict().is_some());
    }
}
