//! What becomes of OpenAI's parameters in a format that has no place for them.
//!
//! Parameters are held in OpenAI's spelling, and lines of batch files have it, so a request for another format may have
//! any of them. A format translates first what it knows. Of the rest some bear on nothing but OpenAI's own streams, caches
//! and books, or ask for what happens anyhow: those go. The others are named, because an answer without them is not the one
//! that was asked for.

use serde_json::{Map, Value};

/// What bears on nothing but OpenAI's streams, caches and books. Whether a reply is streamed the caller decides.
const IDLE: [&str; 8] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "stream",
    "stream_options",
    "user",
];

/// What asks for something that only OpenAI can do.
const ONLY: [&str; 16] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "seed",
    "store",
    "top_logprobs",
    "verbosity",
    "web_search_options",
];

/// Takes OpenAI's parameters out of fields of which a format has translated what it knows.
///
/// # Errors
///
/// The names of all that ask for something which the format cannot do.
pub(super) fn drop_idle(fields: &mut Map<String, Value>) -> Result<(), String> {
    for name in IDLE {
        fields.shift_remove(name);
    }
    let asking = ONLY.into_iter().filter(|name| fields.shift_remove(*name).is_some_and(|value| asks(name, &value)));
    let names: Vec<String> = asking.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { Ok(()) } else { Err(names.join(", ")) }
}

/// Returns whether a parameter asks for something else than what happens anyhow.
pub(super) fn asks(name: &str, value: &Value) -> bool {
    let usual = match name {
        "n" => value.as_u64() == Some(1),
        "frequency_penalty" | "presence_penalty" | "top_logprobs" => value.as_f64() == Some(0.0),
        "logit_bias" => value.as_object().is_some_and(Map::is_empty),
        "modalities" => value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text")),
        "parallel_tool_calls" => *value == Value::Bool(true),
        _ => false,
    };
    let asked_for_less = name == "parallel_tool_calls" && *value == Value::Bool(false);
    asked_for_less || !(usual || is_nothing(value))
}

/// What stands for nothing, as OpenAI's SDKs write it: null, false, an empty list.
pub(super) fn is_nothing(value: &Value) -> bool {
    value.is_null() || *value == Value::Bool(false) || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn left(fields: Value) -> Result<Value, String> {
        let mut fields: Map<String, Value> = serde_json::from_value(fields).unwrap();
        drop_idle(&mut fields).map(|()| fields.into())
    }

    #[test]
    fn what_happens_anyhow_goes_and_what_is_somebody_elses_stays() {
        let usual = json!({"n": 1, "stream": false, "stream_options": {"include_usage": true}, "user": "u", "metadata": {"a": "b"}, "logit_bias": {},
            "presence_penalty": 0, "parallel_tool_calls": true, "logprobs": false, "top_logprobs": null, "store": false,
            "modalities": ["text"], "prompt_cache_key": "k", "top_k": 3});
        assert_eq!(left(usual), Ok(json!({"top_k": 3})));
    }

    #[test]
    fn what_only_openai_can_do_is_named() {
        for (name, value) in [
            ("n", json!(2)),
            ("parallel_tool_calls", json!(false)),
            ("logprobs", json!(true)),
            ("logit_bias", json!({"1": 5})),
            ("modalities", json!(["text", "audio"])),
        ] {
            assert_eq!(left(json!({name: value})), Err(format!("`{name}`")));
        }
        assert_eq!(left(json!({"seed": 1, "n": 1, "store": true})), Err("`seed`, `store`".to_owned()));
    }
}
