//! Replies to several questions that came packed into one prompt: to each what it would have got alone.
//!
//! An echo and a value follow from the question's own text and the system messages before it, so that an answer that was
//! given to another row is found by asking the same rows one by one.

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::answer::{self, Asked, Fate, Form};
use super::dice::mix;
use super::fault::Fault;
use super::scenario::Scenario;
use super::schema;
use crate::run::pack::form;

/// Answers a packed prompt; nothing if it is none. What cannot be answered in the form that was asked for is an error.
pub(super) fn answer(scenario: &Scenario, asked: &Asked<'_, '_>, fate: Fate<'_>) -> Option<Result<String, String>> {
    let (last, before) = asked.messages.split_last()?;
    let text = answer::last_text(std::slice::from_ref(last));
    let texts = form::texts(text)?;
    let system = answer::prompt_hash(before);
    let schema = match answer_schema(asked.form) {
        Ok(schema) => schema,
        Err(error) => return Some(Err(error)),
    };
    let mut results = Vec::new();
    for (text, id) in texts.into_iter().zip(1_usize..) {
        let hash = xxh3_64_with_seed(text.as_bytes(), system);
        let answer = match &schema {
            None => Value::String(answer::said(scenario, text, hash)),
            Some(schema) => match schema::generate(schema, hash) {
                Ok(answer) => answer,
                Err(error) => return Some(Err(format!("Invalid schema for response_format: {error}"))),
            },
        };
        match fate {
            Fate::Fault(Fault::SchemaViolation) => {
                results.push(json!({"id": id.to_string(), "answer": answer::violate(answer)}));
            }
            Fate::Fault(Fault::DamagedMembers) => results.extend(damaged(id, answer, hash)),
            _ => results.push(json!({"id": id.to_string(), "answer": answer})),
        }
    }
    Some(Ok(json!({"results": results}).to_string()))
}

/// Returns the schema of one answer; nothing for a text.
fn answer_schema(form: Form<'_>) -> Result<Option<Value>, String> {
    let Form::Schema(schema) = form else { return Ok(None) };
    let mut whole: Value = serde_json::from_str(schema.get()).map_err(|error| error.to_string())?;
    let answer = whole.pointer("/properties/results/items/properties/answer").cloned();
    let (Some(Value::Object(mut answer)), Value::Object(whole)) = (answer, &mut whole) else { return Ok(None) };
    if answer.get("type").is_some_and(|kind| kind == "string") && answer.len() == 1 {
        return Ok(None);
    }
    for name in ["$defs", "definitions"] {
        answer.extend(whole.shift_remove(name).map(|definitions| (name.to_owned(), definitions)));
    }
    Ok(Some(Value::Object(answer)))
}

/// Damages an entry as models do: about half of them are whole, the others missing, of another form, spelled in another
/// way, or there twice.
fn damaged(id: usize, answer: Value, hash: u64) -> Vec<Value> {
    let entry = |id: String, answer: Value| json!({"id": id, "answer": answer});
    match mix(hash ^ 0xD0) % 8 {
        0 => Vec::new(),
        1 => vec![entry(id.to_string(), json!({"unexpected": true}))],
        2 => vec![entry(format!("Item {id}"), answer)],
        3 => vec![entry(id.to_string(), answer.clone()), entry(id.to_string(), answer)],
        _ => vec![entry(id.to_string(), answer)],
    }
}
