//! Parameters in both forms: where each belongs in Gemini's body, and what OpenAI calls the same thing.
//!
//! A user names a field as Google does (`topK`, `safetySettings`), and it goes where Google has it. A body that came from
//! another wire has OpenAI's names; those with a counterpart are translated, and those without are refused by name,
//! because Google refuses every field that it does not know, one paid round trip per row.

use serde_json::{Map, Value, json};

use super::{bad, tools, unsupported};
use crate::call::provider::Quirks;
use crate::call::wire::body::refuses_sampling;
use crate::call::wire::foreign::drop_idle;
use crate::call::wire::stream::object;
use crate::failure::Failure;
use crate::request::Params;

/// The fields that stand inside `generationConfig`.
const GENERATION: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseLogprobs",
    "logprobs",
    "responseModalities",
    "mediaResolution",
    "speechConfig",
    "imageConfig",
    "thinkingConfig",
    "audioTimestamp",
    "routingConfig",
];

/// Fields with the same meaning: Google's name and OpenAI's.
const SAME: &[(&str, &str)] = &[
    ("topP", "top_p"),
    ("topK", "top_k"),
    ("candidateCount", "n"),
    ("presencePenalty", "presence_penalty"),
    ("frequencyPenalty", "frequency_penalty"),
    ("logprobs", "top_logprobs"),
    ("responseLogprobs", "logprobs"),
    ("maxOutputTokens", "max_tokens"),
    ("maxOutputTokens", "max_completion_tokens"),
];

/// The tokens that OpenAI's words for effort stand for, as Google's own servers of OpenAI's format take them.
const BUDGETS: &[(&str, u32)] = &[("none", 0), ("minimal", 1024), ("low", 1024), ("medium", 8192), ("high", 24_576)];

/// A body's fields besides the conversation.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The fields of `generationConfig`.
    pub(super) generation: Map<String, Value>,
    /// The fields of the body itself.
    pub(super) top: Map<String, Value>,
}

impl Settings {
    /// Puts parameters where they belong; a field given by Google's own name wins.
    pub(super) fn new(params: &Params, model: &str) -> Result<Settings, Failure> {
        let mut settings = Settings::default();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                settings.generation.insert(name.to_owned(), value);
            }
        };
        set("temperature", params.temperature.map(Value::from));
        set("maxOutputTokens", params.max_tokens.map(Value::from));
        set("stopSequences", Some(&params.stop).filter(|stop| !stop.is_empty()).map(|stop| json!(stop)));
        set("seed", params.seed.map(Value::from));
        // OpenAI's names first, so that Google's win.
        let (own, translated): (Vec<_>, Vec<_>) = params.extra.iter().partition(|(name, _)| !is_openai(name));
        for (name, value) in translated.into_iter().chain(own) {
            settings.add(name, value, model)?;
        }
        drop_idle(&mut settings.top).map_err(|names| unsupported(format!("Gemini's format has no {names}")))?;
        Ok(settings)
    }

    /// Refuses sampling parameters where the model does: newer ones answer them with a 400.
    pub(super) fn check_sampling(&self, model: &str, quirks: &Quirks) -> Result<(), Failure> {
        let set = ["temperature", "topP", "topK"].into_iter().find(|name| self.generation.contains_key(*name));
        match set.filter(|_| !quirks.sampling) {
            Some(name) => Err(refuses_sampling(model, name)),
            None => Ok(()),
        }
    }

    fn add(&mut self, name: &str, value: &Value, model: &str) -> Result<(), Failure> {
        let translated = SAME.iter().find(|(_, theirs)| *theirs == name).map_or(name, |(ours, _)| ours);
        match (name, value) {
            // A number of them, as Google means it.
            ("logprobs", Value::Number(_)) => drop(self.generation.insert(name.to_owned(), value.clone())),
            ("logprobs", Value::Bool(false)) => {}
            (_, Value::Null) if is_openai(name) => {}
            // One that says nothing of how hard to think goes together with what does.
            ("thinkingConfig", Value::Object(own))
                if !own.contains_key("thinkingBudget") && !own.contains_key("thinkingLevel") =>
            {
                object(self.generation.entry(name).or_insert(Value::Null)).extend(own.clone());
            }
            _ if GENERATION.contains(&translated) => {
                self.generation.insert(translated.to_owned(), value.clone());
            }
            ("generationConfig", Value::Object(fields)) => self.generation.extend(fields.clone()),
            ("generationConfig", _) => return Err(bad("`generationConfig` is not an object")),
            ("response_format", format) => self.generation.extend(response_format(format)?),
            ("tools", tools) => {
                self.top.insert(name.to_owned(), tools::gemini_tools(tools.clone())?);
            }
            ("tool_choice", choice) => {
                self.top.insert("toolConfig".to_owned(), tools::gemini_choice(choice)?);
            }
            ("reasoning_effort", effort) => {
                self.generation.insert("thinkingConfig".to_owned(), thinking(effort, model)?);
            }
            // `auto` is OpenAI's word for what happens anyhow.
            ("service_tier", tier) if tier == "auto" => {}
            ("service_tier", tier) => {
                let tier = if tier == "default" { "standard".into() } else { tier.clone() };
                self.top.insert("serviceTier".to_owned(), tier);
            }
            _ => {
                self.top.insert(name.to_owned(), value.clone());
            }
        }
        Ok(())
    }
}

/// Says how hard a model is to think: Gemini 3 and later has levels, what came before has a budget of tokens.
fn thinking(effort: &Value, model: &str) -> Result<Value, Failure> {
    let level = effort.as_str().unwrap_or_default();
    let name = model.rsplit('/').next().unwrap_or(model);
    let has_budget = ["gemini-2", "gemini-1", "gemini-robotics-er-1"].iter().any(|begins| name.starts_with(begins));
    let none = || unsupported(format!("{model} has no `reasoning_effort` {effort}"));
    if has_budget {
        let (_, tokens) = BUDGETS.iter().find(|(known, _)| *known == level).ok_or_else(none)?;
        return Ok(json!({"thinkingBudget": tokens}));
    }
    match level {
        "minimal" | "low" | "medium" | "high" | "xhigh" => Ok(json!({"thinkingLevel": level.to_ascii_uppercase()})),
        _ => Err(none()),
    }
}

fn is_openai(name: &str) -> bool {
    matches!(name, "response_format" | "tool_choice" | "reasoning_effort" | "service_tier")
        || SAME.iter().any(|(_, theirs)| *theirs == name)
}

fn response_format(format: &Value) -> Result<Map<String, Value>, Failure> {
    let mut fields = Map::new();
    match format.get("type").and_then(Value::as_str) {
        Some("text") => return Ok(fields),
        Some("json_object") => {}
        Some("json_schema") => {
            let schema = format.pointer("/json_schema/schema").ok_or_else(|| bad("`response_format` has no schema"))?;
            fields.insert("responseJsonSchema".to_owned(), schema.clone());
        }
        _ => return Err(unsupported(format!("Gemini's format has no response format {format}"))),
    }
    fields.insert("responseMimeType".to_owned(), "application/json".into());
    Ok(fields)
}

/// Reads the parameters of a body in Gemini's form, without its conversation.
pub(super) fn read(mut body: Map<String, Value>) -> Result<Params, Failure> {
    let config = match body.shift_remove("generationConfig") {
        Some(Value::Object(config)) => config,
        Some(Value::Null) | None => Map::new(),
        Some(_) => return Err(bad("`generationConfig` is not an object")),
    };
    let mut params = Params::default();
    let mut unknown = Map::new();
    for (name, value) in config {
        let Some(value) = read_named(&mut params, &name, value) else { continue };
        let known = GENERATION.contains(&name.as_str());
        let name = SAME.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, theirs)| (*theirs).to_owned());
        if known { &mut params.extra } else { &mut unknown }.insert(name, value);
    }
    if !unknown.is_empty() {
        params.extra.insert("generationConfig".to_owned(), unknown.into());
    }
    join_response_format(&mut params.extra);
    for (name, value) in body {
        let choice = if name == "toolConfig" { tools::openai_choice(&value) } else { None };
        let (name, value) = match choice {
            Some(choice) => ("tool_choice".to_owned(), choice),
            None if name == "tools" => (name, tools::openai_tools(value)),
            None => (name, value),
        };
        params.extra.insert(name, value);
    }
    Ok(params)
}

/// Takes a parameter that every provider has; returns the value if it is none, or not of the usual type.
fn read_named(params: &mut Params, name: &str, value: Value) -> Option<Value> {
    let taken = match name {
        "temperature" => value.as_f64().map(|number| params.temperature = Some(number)),
        "maxOutputTokens" => {
            value.as_u64().and_then(|n| u32::try_from(n).ok()).map(|number| params.max_tokens = Some(number))
        }
        "seed" => value.as_i64().map(|number| params.seed = Some(number)),
        "stopSequences" => serde_json::from_value(value.clone()).ok().map(|stop| params.stop = stop),
        _ => None,
    };
    taken.is_none().then_some(value)
}

/// Turns a JSON schema into `response_format`, which other wires know.
fn join_response_format(extra: &mut Map<String, Value>) {
    let json = extra.get("responseMimeType").is_some_and(|kind| kind == "application/json");
    if !json || extra.contains_key("responseSchema") {
        return;
    }
    extra.shift_remove("responseMimeType");
    let format = match extra.shift_remove("responseJsonSchema") {
        Some(schema) => json!({"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}),
        None => json!({"type": "json_object"}),
    };
    extra.insert("response_format".to_owned(), format);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::request::Request;

    fn written(request: &Request) -> (Value, Value) {
        let settings = Settings::new(&request.params, "gemini-2.5-flash").unwrap();
        (settings.generation.into(), settings.top.into())
    }

    #[test]
    fn every_field_goes_where_google_has_it() {
        let request = Request::prompt("x")
            .temperature(0.5)
            .max_tokens(9)
            .param("topK", 4)
            .param("generationConfig", json!({"temperature": 1, "newField": [1]}))
            .param("safetySettings", json!([]))
            .param("cachedContent", "cachedContents/1");
        let generation = json!({"temperature": 1, "maxOutputTokens": 9, "topK": 4, "newField": [1]});
        assert_eq!(written(&request), (generation, json!({"safetySettings": [], "cachedContent": "cachedContents/1"})));
    }

    #[test]
    fn openais_names_are_translated_and_googles_win() {
        let format =
            json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}});
        let request = Request::prompt("x")
            .param("topP", 0.25)
            .param("top_p", 0.5)
            .param("n", 2)
            .param("presence_penalty", 1)
            .param("frequency_penalty", 2)
            .param("stream", true)
            .param("response_format", format)
            .param("tool_choice", "required")
            .param("tools", json!([{"type": "function", "function": {"name": "f"}}]));
        let generation = json!({"topP": 0.25, "candidateCount": 2, "presencePenalty": 1, "frequencyPenalty": 2,
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}});
        let top = json!({"tools": [{"functionDeclarations": [{"name": "f"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}});
        assert_eq!(written(&request), (generation, top));
        let object = Request::prompt("x").param("response_format", json!({"type": "json_object"}));
        assert_eq!(written(&object).0, json!({"responseMimeType": "application/json"}));
    }

    #[test]
    fn effort_is_a_budget_or_a_level_as_the_model_has_it() {
        let thinks = |model: &str, effort: &str| {
            let settings = Settings::new(&Request::prompt("x").param("reasoning_effort", effort).params, model);
            settings.map(|settings| settings.generation["thinkingConfig"].clone()).map_err(|failure| failure.kind)
        };
        for (model, effort, expected) in [
            ("gemini-2.5-flash", "none", json!({"thinkingBudget": 0})),
            ("models/gemini-2.5-pro", "high", json!({"thinkingBudget": 24_576})),
            ("gemini-3-pro-preview", "low", json!({"thinkingLevel": "LOW"})),
            ("gemini-flash-latest", "minimal", json!({"thinkingLevel": "MINIMAL"})),
        ] {
            assert_eq!(thinks(model, effort), Ok(expected), "{model} {effort}");
        }
        for (model, effort) in [("gemini-3-flash", "none"), ("gemini-2.5-flash", "xhigh"), ("gemini-3-flash", "max")] {
            assert_eq!(thinks(model, effort), Err(Kind::Unsupported), "{model} {effort}");
        }
        let shown = |own: Value| {
            let request = Request::prompt("x").param("thinkingConfig", own).param("reasoning_effort", "low");
            written(&request).0["thinkingConfig"].clone()
        };
        assert_eq!(shown(json!({"includeThoughts": true})), json!({"thinkingBudget": 1024, "includeThoughts": true}));
        assert_eq!(shown(json!({"thinkingBudget": 7})), json!({"thinkingBudget": 7}));
    }

    #[test]
    fn what_openai_asks_for_anyhow_is_not_sent() {
        let request = Request::prompt("x")
            .param("stream_options", json!({"include_usage": true}))
            .param("parallel_tool_calls", true)
            .param("logprobs", true)
            .param("top_logprobs", 2)
            .param("service_tier", "auto")
            .param("reasoning_effort", Value::Null)
            .param("max_completion_tokens", 5)
            .param("user", "u");
        let generation = json!({"responseLogprobs": true, "logprobs": 2, "maxOutputTokens": 5});
        assert_eq!(written(&request), (generation, json!({})));
        assert_eq!(
            written(&Request::prompt("x").param("service_tier", "default")).1,
            json!({"serviceTier": "standard"})
        );
    }

    #[test]
    fn what_gemini_has_not_is_named() {
        let refusal = |name: &str, value: Value| {
            let failure = Settings::new(&Request::prompt("x").param(name, value).params, "m").unwrap_err();
            (failure.kind, failure.message)
        };
        assert_eq!(
            refusal("logit_bias", json!({"5": 1})),
            (Kind::Unsupported, "Gemini's format has no `logit_bias`".to_owned())
        );
        assert_eq!(refusal("response_format", json!({"type": "grammar"})).0, Kind::Unsupported);
        assert_eq!(refusal("tools", json!([{"type": "mcp"}])).0, Kind::Unsupported);
        assert_eq!(refusal("generationConfig", json!(3)).0, Kind::BadRequest);
    }
}
