//! The reply to a packed request, taken apart: each answer to the request whose id it has.
//!
//! Entries are read one by one, so that those before a break are whole whatever follows. An id that is spelled in another
//! way (`"Item 3"`, `3`, `#03`) counts if it can mean one request only. Where two entries are for one request neither is
//! taken, and an entry for nobody is left out: a wrong answer is worse than none, because one that is missing is asked
//! for again.

use serde_json::Value;

use crate::ask::json;

/// Returns the answer to each of that many requests, where there is one.
pub(super) fn answers(text: &str, members: usize) -> Vec<Option<Value>> {
    let mut found: Vec<Vec<Value>> = vec![Vec::new(); members];
    for entry in entries(json::without_fence(text.trim())) {
        let Value::Object(mut fields) = entry else { continue };
        let place = fields.get("id").and_then(place).filter(|place| *place < members);
        // `shift_remove` keeps no more than it must: the entry goes anyway.
        if let (Some(place), Some(answer)) = (place, fields.shift_remove("answer")) {
            found[place].push(answer);
        }
    }
    found.into_iter().map(|mut answers| if answers.len() == 1 { answers.pop() } else { None }).collect()
}

/// Returns the place from 0 that an id means.
fn place(id: &Value) -> Option<usize> {
    let text = match id {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let bare = ["item", "task", "id"].iter().find_map(|word| text.strip_prefix(word)).unwrap_or(&text);
    let number =
        bare.trim_start_matches([' ', '_', '-', '#', ':', '=', '"', '\'']).trim_end_matches(['"', '\'', '.', ')']);
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<usize>().ok().filter(|_| digits)?.checked_sub(1)
}

/// Returns the whole entries of `{"results": […]}`, or of the list alone, up to where it breaks. Nothing if something else
/// stands before or behind it.
fn entries(text: &str) -> Vec<Value> {
    let Some(mut rest) = inside(text) else { return Vec::new() };
    let mut entries = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix(']') {
            let behind = behind.trim_start();
            let behind = if text.starts_with('{') { behind.strip_prefix('}').unwrap_or(behind) } else { behind };
            return if behind.trim().is_empty() { entries } else { Vec::new() };
        }
        rest = rest.strip_prefix(',').filter(|_| !entries.is_empty()).unwrap_or(rest);
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {}
            _ => return entries,
        }
        let (entry, after) = rest.split_at(values.byte_offset());
        // One that has a property twice is none.
        entries.extend(json::read(entry).ok().map(|(value, _)| value));
        rest = after;
    }
}

/// Returns what stands behind the beginning of the list.
fn inside(text: &str) -> Option<&str> {
    let Some(object) = text.strip_prefix('{') else { return text.strip_prefix('[') };
    let named = object.trim_start().strip_prefix("\"results\"")?.trim_start().strip_prefix(':')?;
    named.trim_start().strip_prefix('[')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    fn found(text: &str) -> Vec<Option<Value>> {
        answers(text, 3)
    }

    fn of(results: Value) -> Vec<Option<Value>> {
        found(&json!({"results": results}).to_string())
    }

    const ALL: fn() -> Vec<Option<Value>> = || vec![Some(json!("a")), Some(json!("b")), Some(json!("c"))];

    #[test]
    fn answers_go_to_whom_they_are_for() {
        let entries = json!([{"id": "2", "answer": "b"}, {"id": "3", "answer": "c"}, {"answer": "a", "id": "1"}]);
        assert_eq!(of(entries.clone()), ALL());
        assert_eq!(found(&entries.to_string()), ALL());
        assert_eq!(found(&format!("```json\n{{\"results\" : {entries} }}\n```")), ALL());
    }

    #[test]
    fn another_spelling_counts_only_where_it_means_one() {
        let spelled = |one: Value| {
            of(json!([{"id": one, "answer": "a"}, {"id": "2", "answer": "b"}, {"id": "3", "answer": "c"}]))
        };
        for one in [json!(1), json!("01"), json!(" Item 1"), json!("#1"), json!("id_1"), json!("task-1.")] {
            assert_eq!(spelled(one), ALL());
        }
        for nobody in [json!("one"), json!("4"), json!(0), json!("1 or 2"), json!(1.5), json!(null), json!("-")] {
            assert_eq!(spelled(nobody), [None, Some(json!("b")), Some(json!("c"))]);
        }
        assert_eq!(spelled(json!("item 2")), [None, None, Some(json!("c"))], "two are for the second");
    }

    #[test]
    fn what_is_whole_before_a_break_is_kept() {
        let whole =
            json!({"results": [{"id": "1", "answer": "a"}, {"id": "2", "answer": "b"}, {"id": "3", "answer": "c"}]});
        let whole = whole.to_string();
        let mut most = 0;
        for cut in 0..whole.len() {
            let kept = found(&whole[..cut]);
            let count = kept.iter().flatten().count();
            assert!(count >= most && kept.iter().zip(ALL()).all(|(kept, all)| kept.is_none() || *kept == all), "{cut}");
            most = count;
        }
        assert_eq!(most, 3);
    }

    #[test]
    fn nothing_is_guessed() {
        let entry = r#"{"id": "1", "answer": "a"}"#;
        for text in [
            format!("Here: {{\"results\": [{entry}]}}"),
            format!("{{\"results\": [{entry}]}} Do you need more?"),
            format!("{{\"results\": [{entry}]}}{{\"results\": []}}"),
            format!("{{\"twice\": 1, \"results\": [{entry}]}}"),
            r#"{"results": [{"id": "1", "id": "2", "answer": "a"}]}"#.to_owned(),
            r#"{"1": "a"}"#.to_owned(),
        ] {
            assert_eq!(found(&text), [None, None, None], "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_reply_is_read_without_panic(text in any::<String>(), inside in "[\\[\\]{}\",:0-9a-z ]{0,60}") {
            let list = format!("{{\"results\":[{inside}");
            prop_assert_eq!((found(&text).len(), found(&list).len()), (3, 3));
        }
    }
}
