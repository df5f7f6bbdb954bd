//! What a model is told about an answer that was refused.
//!
//! Short, because it is paid for: what was wrong and where, and which fields were fine, so that they stay.

use std::fmt::Write;

use serde_json::Value;

use crate::call::typed;
use crate::failure::Failure;
use crate::outcome::Fault;
use crate::request::{Message, Request, Task};

/// Faults that are told; a model that has more of them starts anew anyway.
const TOLD: usize = 8;

/// Returns the request with the refused answer and the complaint behind it.
///
/// # Errors
///
/// A body of the user's own that cannot be read.
pub(super) fn with_complaint(
    request: &Request,
    reply: &str,
    faults: &[Fault],
    value: Option<&Value>,
) -> Result<Request, Failure> {
    let mut request = typed(request)?.into_owned();
    if let Task::Chat(messages) = &mut request.task {
        messages.push(Message::assistant(reply));
        messages.push(Message::user(complaint(faults, value)));
    }
    Ok(request)
}

/// Returns the faults in one line, for a failure's message.
pub(super) fn summary(faults: &[Fault]) -> String {
    let faults: Vec<String> = faults.iter().map(shown).collect();
    faults.join("; ")
}

fn complaint(faults: &[Fault], value: Option<&Value>) -> String {
    let mut text = "Your answer was refused:\n".to_owned();
    for fault in faults.iter().take(TOLD) {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "- {}", shown(fault));
    }
    let fine = fine(faults, value);
    if !fine.is_empty() {
        let _ = writeln!(text, "These fields were fine, keep them: {}", fine.join(", "));
    }
    text.push_str("Answer again in full, with the corrected answer alone.");
    text
}

fn shown(fault: &Fault) -> String {
    match fault.path.as_str() {
        "" => fault.message.clone(),
        path => format!("{path}: {}", fault.message),
    }
}

/// Returns the fields of an object in which nothing is wrong; none if it is not known what is wrong with the whole.
fn fine<'v>(faults: &[Fault], value: Option<&'v Value>) -> Vec<&'v str> {
    let Some(Value::Object(fields)) = value else { return Vec::new() };
    let wrong = |name: &str| {
        let name = name.replace('~', "~0").replace('/', "~1");
        faults.iter().any(|fault| fault.path.split('/').nth(1) == Some(&name))
    };
    fields.keys().map(String::as_str).filter(|name| !wrong(name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::Part;

    fn fault(path: &str, message: &str) -> Fault {
        Fault { path: path.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn a_complaint_says_what_was_wrong_and_what_was_fine() {
        let value = json!({"name": "x", "total": "3", "a/b": []});
        let faults = [fault("/total", "value is not of type \"number\""), fault("/a~1b/0", "too few")];
        let request = with_complaint(&Request::prompt("x"), "{}", &faults, Some(&value)).unwrap();
        let Task::Chat(messages) = &request.task else { panic!() };
        let expected = "Your answer was refused:\n- /total: value is not of type \"number\"\n- /a~1b/0: too few\n\
                        These fields were fine, keep them: name\n\
                        Answer again in full, with the corrected answer alone.";
        assert_eq!(messages[1..], [Message::assistant("{}"), Message::user(expected)]);
        assert_eq!(messages[0].parts, [Part::Text("x".to_owned())]);
    }
}
