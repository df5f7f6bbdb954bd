//! Both directions of the wire, case by case with exact JSON, and what holds for any JSON at all.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Map, Value, json};

use super::*;
use crate::call::wire::WireId;
use crate::call::wire::openai::{OpenAi, read_messages};
use crate::request::Params;

fn head(status: u16) -> Parts {
    http::Response::builder().status(status).header("request-id", "req_1").body(()).unwrap().into_parts().0
}

fn original(wire: WireId, body: &Value) -> Original {
    Original { wire, kind: TaskKind::Chat, bytes: body.to_string().into() }
}

fn try_encode(request: &Request) -> Result<Value, Failure> {
    let body = Anthropic.encode(request, "m", &Quirks::COMMON)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

fn encode(request: &Request) -> Value {
    try_encode(request).unwrap()
}

fn chat(messages: Value) -> Request {
    Request::chat(read_messages(messages).unwrap())
}

fn refusal(request: &Request) -> String {
    let failure = try_encode(request).unwrap_err();
    assert_eq!(failure.kind, Kind::Unsupported, "{failure}");
    failure.message
}

fn decode(body: &str) -> Result<Response, Failure> {
    Anthropic.decode(TaskKind::Chat, &head(200), &Bytes::copy_from_slice(body.as_bytes()))
}

/// Translates a body of Anthropic's to OpenAI's.
fn to_openai(body: &Value) -> Result<Value, Failure> {
    let typed = Anthropic.typed(&original(WireId::Anthropic, body))?;
    Ok(serde_json::from_slice(&OpenAi.encode(&typed, "m", &Quirks::COMMON)?).unwrap())
}

/// Translates a body of OpenAI's to Anthropic's.
fn from_openai(body: &Value) -> Result<Value, Failure> {
    try_encode(&OpenAi.typed(&original(WireId::Openai, body))?)
}

#[test]
fn a_typed_request_has_the_documented_fields() {
    let request = Request::prompt("hi").system("be brief").temperature(0.5).max_tokens(9).param("top_k", 5);
    let expected = json!({"model": "m", "system": "be brief", "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9, "temperature": 0.5, "top_k": 5});
    assert_eq!(encode(&request), expected);
}

#[test]
fn the_bound_is_the_models_own_unless_given() {
    let bound = |request: &Request, quirks: &Quirks| {
        let body: Value = serde_json::from_slice(&Anthropic.encode(request, "m", quirks).unwrap()).unwrap();
        body["max_tokens"].clone()
    };
    let known = Quirks { max_output: Some(64_000), ..Quirks::COMMON };
    assert_eq!(bound(&Request::prompt("hi"), &Quirks::COMMON), 4096);
    assert_eq!(bound(&Request::prompt("hi"), &known), 64_000);
    assert_eq!(bound(&Request::prompt("hi").max_tokens(7), &known), 7);
    assert_eq!(bound(&Request::prompt("hi").max_tokens(7).param("max_tokens", 8), &known), 8);
}

#[test]
fn a_model_that_refuses_sampling_parameters_is_not_sent_them() {
    let quirks = Quirks { sampling: false, ..Quirks::COMMON };
    let refused = |request: &Request| Anthropic.encode(request, "claude-x", &quirks).unwrap_err();
    let failure = refused(&Request::prompt("hi").temperature(0.0));
    assert_eq!(failure.kind, Kind::Unsupported);
    assert_eq!(failure.message, "claude-x refuses sampling parameters; leave `temperature` out");
    assert!(refused(&Request::prompt("hi").param("top_p", 0.5)).message.contains("`top_p`"));
    assert!(Anthropic.encode(&Request::prompt("hi"), "claude-x", &quirks).is_ok());
}

#[test]
fn tools_their_calls_and_results_are_translated() {
    let openai = json!({
        "model": "gpt", "max_completion_tokens": 50, "stop": "END",
        "messages": [
            {"role": "developer", "content": "Use tools."},
            {"role": "user", "content": "Weather in Ulm and Bonn?"},
            {"role": "assistant", "content": "", "refusal": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Ulm\"}"}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            {"role": "tool", "tool_call_id": "c2", "name": "weather", "content": [{"type": "text", "text": "sun"}]},
            {"role": "user", "content": "So?"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "d",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}, "strict": true}},
            {"type": "function", "function": {"name": "now"}}],
        "tool_choice": "required", "parallel_tool_calls": false, "user": "u1", "presence_penalty": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    });
    let expected = json!({
        "model": "m", "max_tokens": 50, "stop_sequences": ["END"], "system": "Use tools.",
        "messages": [
            {"role": "user", "content": "Weather in Ulm and Bonn?"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Ulm"}},
                {"type": "tool_use", "id": "c2", "name": "weather", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "sun"},
                {"type": "text", "text": "So?"}]},
        ],
        "tools": [{"name": "weather", "description": "d", "strict": true,
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}},
            {"name": "now", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true}, "metadata": {"user_id": "u1"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    });
    assert_eq!(from_openai(&openai).unwrap(), expected);
}

#[test]
fn what_the_user_gives_by_its_own_name_wins() {
    let tool = json!({"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}});
    let given = [
        ("tools", json!([tool])),
        ("tool_choice", json!({"type": "none"})),
        ("parallel_tool_calls", json!(false)),
        ("metadata", json!({"user_id": "a"})),
        ("user", json!("b")),
        ("thinking", json!({"type": "adaptive"})),
        ("stop_sequences", json!(["x"])),
    ];
    let mut request = Request::prompt("hi").max_tokens(5);
    request.params.stop = vec!["y".to_owned()];
    for (name, value) in given.clone() {
        request = request.param(name, value);
    }
    let mut expected = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in given.into_iter().filter(|(name, _)| !matches!(*name, "parallel_tool_calls" | "user")) {
        expected[name] = value;
    }
    assert_eq!(encode(&request), expected);
}

#[test]
fn images_and_documents_are_translated() {
    let parts = json!([{"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "document", "source": {"type": "url", "url": "https://a/c.pdf"}}]);
    let expected = json!([{"type": "text", "text": "see"},
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, "title": "a.pdf"},
        {"type": "document", "source": {"type": "url", "url": "https://a/c.pdf"}}]);
    assert_eq!(encode(&chat(json!([{"role": "user", "content": parts}])))["messages"][0]["content"], expected);
}

#[test]
fn what_has_no_place_is_named() {
    let part =
        |part: Value| refusal(&chat(json!([{"role": "system", "content": "s"}, {"role": "user", "content": [part]}])));
    assert_eq!(
        part(json!({"type": "hologram"})),
        "Anthropic's format has no place for messages[1]: a content part `hologram`"
    );
    assert!(part(json!({"type": "image_url", "image_url": {"url": "http://a/b.png"}})).contains("neither https"));
    assert!(part(json!({"type": "file", "file": {"file_id": "f"}})).contains("a `file` that is not"));
    let message = |message: Value| refusal(&chat(json!([message])));
    assert!(message(json!({"role": "user", "content": "x", "name": "Ann"})).ends_with("messages[0]: the field `name`"));
    assert!(message(json!({"role": "function", "content": "x"})).ends_with("the role `function`"));
    assert!(message(json!({"role": "tool", "content": "x"})).contains("`tool_call_id`"));
    let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "[1"}});
    assert!(message(json!({"role": "assistant", "content": null, "tool_calls": [call]})).contains("`arguments`"));
    let param = |name: &str, value: Value| refusal(&Request::prompt("hi").param(name, value));
    assert!(param("n", json!(2)).ends_with("no place for `n`"));
    assert!(param("logit_bias", json!({"1": 2})).ends_with("`logit_bias`"));
    assert!(param("response_format", json!({"type": "json_object"})).ends_with("`response_format` json_object"));
    let mut seeded = Request::prompt("hi");
    seeded.params.seed = Some(0);
    assert!(refusal(&seeded).ends_with("`seed`"));
    assert!(refusal(&Request::embed("x")).ends_with("embeddings"));
    let twice = try_encode(&Request::prompt("hi").system("a").param("system", "b")).unwrap_err();
    assert_eq!(twice.kind, Kind::BadRequest);
}

#[test]
fn an_original_body_goes_out_untouched_but_for_its_model() {
    let bytes = r#"{ "model":"old", "x":[1, 2.50], "temperature":0.1}"#;
    let quirks = Quirks { sampling: false, ..Quirks::COMMON };
    let request = Request::original(WireId::Anthropic, TaskKind::Chat, bytes);
    let sent = Anthropic.encode(&request, "m", &quirks).unwrap();
    assert_eq!(sent, r#"{ "model":"m", "x":[1, 2.50], "temperature":0.1}"#);
    let merged = encode(&request.max_tokens(7));
    assert_eq!(merged, json!({"model": "m", "x": [1, 2.5], "temperature": 0.1, "max_tokens": 7}));
}

#[test]
fn a_body_can_go_to_the_other_wire() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}});
    let body = json!({
        "model": "claude", "max_tokens": 50, "system": [{"type": "text", "text": "Use tools."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]},
            {"role": "assistant", "content": [{"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "a boat"},
                {"type": "text", "text": "So?"}]},
        ],
        "stop_sequences": ["END"], "top_p": 0.5,
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": true},
    });
    let expected = json!({
        "model": "m", "max_tokens": 50, "stop": ["END"], "top_p": 0.5,
        "messages": [
            {"role": "system", "content": "Use tools."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}}]},
            {"role": "tool", "content": "a boat", "tool_call_id": "c1"},
            {"role": "user", "content": "So?"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}}, "parallel_tool_calls": false,
    });
    assert_eq!(to_openai(&body).unwrap(), expected);
}

#[test]
fn a_block_that_the_other_wire_has_not_is_named() {
    let cached = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    let cases = [
        (json!({"type": "document", "source": {"type": "url", "url": "https://a/c.pdf"}}), "a document by its address"),
        (cached, "cache_point"),
        (
            json!({"type": "tool_result", "tool_use_id": "c1", "content": "x", "is_error": true}),
            "the mark that a tool failed",
        ),
        (json!({"type": "thinking", "thinking": "x", "signature": "s"}), "reasoning"),
        (json!({"type": "search_result", "source": "x"}), "a `search_result` part of Anthropic's"),
    ];
    for (block, what) in cases {
        let body = json!({"max_tokens": 5, "messages": [{"role": "user", "content": [block]}]});
        let failure = to_openai(&body).unwrap_err();
        assert_eq!(
            (failure.kind, failure.message),
            (Kind::Unsupported, format!("OpenAI's format has no place for {what}"))
        );
    }
}

#[test]
fn a_body_that_is_none_says_why() {
    let wrong = |body: Value| {
        let failure = Anthropic.typed(&original(WireId::Anthropic, &body)).unwrap_err();
        (failure.kind, failure.message)
    };
    let bad = |text: &str| (Kind::BadRequest, text.to_owned());
    assert_eq!(wrong(json!({})), bad("`messages` is not a list"));
    assert_eq!(wrong(json!({"messages": []})), bad("`messages` is empty"));
    assert_eq!(wrong(json!({"messages": [1]})), bad("messages[0]: not an object"));
    assert_eq!(wrong(json!({"messages": [{"content": "x"}]})), bad("messages[0]: no `role`"));
    let none = bad("messages[0]: the content is neither text nor a list");
    assert_eq!(wrong(json!({"messages": [{"role": "user", "content": 1}]})), none);
    assert_eq!(wrong(json!([])).0, Kind::BadRequest);
}

#[test]
fn a_reply_is_its_text_without_the_thinking() {
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"},
            {"type": "text", "text": "b", "citations": [{}]}],
        "stop_reason": "max_tokens", "stop_sequence": null,
        "usage": {"input_tokens": 3, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 100,
            "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}, "service_tier": "standard"}});
    let response = decode(&body.to_string()).unwrap();
    let usage = Usage {
        input_tokens: 113,
        output_tokens: 9,
        cached_tokens: 100,
        reasoning_tokens: 4,
        cache_write_tokens: 10,
        ..Usage::default()
    };
    assert_eq!((response.output, response.finish), (Output::Text("ab".into()), Finish::Length));
    assert_eq!((response.usage, response.model.as_str()), (Some(usage), "claude-x"));
    assert_eq!(response.request_id.as_deref(), Some("req_1"));
}

#[test]
fn what_makes_a_call_dearer_is_part_of_its_usage() {
    let told = |more: Value| {
        let mut usage = json!({"input_tokens": 3, "cache_creation_input_tokens": 10,
            "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6}});
        usage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        decode(&json!({"content": [{"type": "text", "text": "a"}], "usage": usage}).to_string()).unwrap().usage.unwrap()
    };
    let plain = told(json!({"service_tier": "standard", "speed": "standard", "inference_geo": "global"}));
    assert_eq!((plain.tier, plain.cache_write_tokens, plain.cache_write_1h_tokens), (Tier::Standard, 10, 6));
    for dearer in [json!({"service_tier": "priority"}), json!({"speed": "fast"}), json!({"inference_geo": "us"})] {
        assert_eq!(told(dearer.clone()).tier, Tier::Other, "{dearer}");
    }
}

#[test]
fn tool_calls_have_the_form_of_an_openai_message() {
    let call = r#"{"type":"tool_use","id":"t1","name":"f","input":{"b":1, "a":2}}"#;
    let expected = json!({"content": null, "tool_calls": [
        {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1, \"a\":2}"}}]});
    let response = decode(&format!(r#"{{"content":[{call}],"stop_reason":"tool_use"}}"#)).unwrap();
    assert_eq!((response.output, response.finish), (Output::Json(expected), Finish::ToolCalls));
    let body = format!(r#"{{"content":[{{"type":"text","text":"so"}},{call}],"stop_reason":"pause_turn"}}"#);
    let response = decode(&body).unwrap();
    let Output::Json(output) = response.output else { panic!("no calls") };
    assert_eq!((&output["content"], response.finish), (&json!("so"), Finish::Other("pause_turn".into())));
}

#[test]
fn what_a_block_says_of_nothing_does_not_hide_what_it_is() {
    let body = json!({"type": "message", "content": [{"type": "text", "text": "so", "citations": null},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}}], "stop_reason": "tool_use"});
    let response = decode(&body.to_string()).unwrap();
    assert_eq!(response.parts[0], crate::request::Part::Text("so".into()));
    assert_eq!(response.tool_calls().next().map(|call| &*call.id), Some("t"));
    let by_code = body.to_string().replace("direct", "code_execution_20260521");
    assert_eq!(decode(&by_code).unwrap().tool_calls().count(), 0, "it must go back with its caller");
}

#[test]
fn how_hard_to_think_is_said_in_this_wires_words() {
    let asked = |effort: &str| Request::prompt("hi").param("reasoning_effort", effort);
    assert_eq!(encode(&asked("xhigh"))["output_config"], json!({"effort": "xhigh"}));
    let own = asked("low").param("output_config", json!({"effort": "max"}));
    assert_eq!(encode(&own)["output_config"], json!({"effort": "max"}));
    assert_eq!(encode(&asked("minimal"))["output_config"], json!({"effort": "low"}));
    let none = encode(&asked("none"));
    assert_eq!((&none["thinking"], none.get("output_config")), (&json!({"type": "disabled"}), None));
}

#[test]
fn what_openai_says_beside_the_conversation_is_translated_goes_or_is_named() {
    let asked = |name: &str, value: Value| Request::prompt("hi").param(name, value);
    for (name, value, field, expected) in [
        ("service_tier", json!("default"), "service_tier", json!("standard_only")),
        ("service_tier", json!("auto"), "service_tier", json!("auto")),
        ("max_completion_tokens", json!(7), "max_tokens", json!(7)),
        ("metadata", json!({"user_id": "u"}), "metadata", json!({"user_id": "u"})),
        ("user", json!("u"), "metadata", json!({"user_id": "u"})),
        ("metadata", json!({"run": "7"}), "metadata", Value::Null),
        ("stream_options", json!({"include_usage": true}), "stream_options", Value::Null),
        ("prompt_cache_key", json!("k"), "prompt_cache_key", Value::Null),
    ] {
        let body = encode(&asked(name, value));
        assert_eq!(body.get(field).cloned().unwrap_or_default(), expected, "{name}");
    }
    assert!(refusal(&asked("service_tier", json!("flex"))).contains("`service_tier` \"flex\""));
}

#[test]
fn betas_are_named_in_a_header() {
    let asked = |names: Value| Request::prompt("hi").param("anthropic_beta", names);
    let told = |names: Value| Anthropic.headers(&asked(names)).map(|headers| headers["anthropic-beta"].clone());
    assert_eq!(told(json!(["a-1", "b-2"])).unwrap(), "a-1,b-2");
    assert_eq!(told(json!("a-1")).unwrap(), "a-1");
    assert_eq!(told(json!([1])).unwrap_err().kind, Kind::BadRequest);
    assert_eq!(encode(&asked(json!(["a-1"]))).get("anthropic_beta"), None);
}

#[test]
fn every_stop_reason_has_its_meaning() {
    let finish = |reason: &str| {
        let text = r#"[{"type":"text","text":"x"}]"#;
        decode(&format!(r#"{{"content":{text},"stop_reason":"{reason}"}}"#)).unwrap().finish
    };
    assert_eq!([finish("end_turn"), finish("stop_sequence")], [Finish::Stop, Finish::Stop]);
    assert_eq!([finish("max_tokens"), finish("model_context_window_exceeded")], [Finish::Length, Finish::Length]);
    assert_eq!(decode(r#"{"content":[{"type":"text","text":"x"}]}"#).unwrap().finish, Finish::None);
}

#[test]
fn a_refusal_is_a_failure_that_was_paid_for() {
    let body = r#"{"content":[{"type":"text","text":"I"}],"stop_reason":"refusal","usage":{"input_tokens":5,"output_tokens":1},
        "stop_details":{"type":"refusal","category":"cyber","explanation":"Not that."}}"#;
    let failure = decode(body).unwrap_err();
    assert_eq!((failure.kind, failure.message.as_str()), (Kind::ContentFilter, "the model refused (cyber): Not that."));
    assert_eq!(failure.usage.unwrap().total(), 6);
    let plain = decode(r#"{"content":[],"stop_reason":"refusal"}"#).unwrap_err();
    assert_eq!(plain.message, "the model refused");
}

#[test]
fn what_is_not_an_answer_is_a_failure() {
    let kind = |body| decode(body).unwrap_err().kind;
    assert_eq!(kind("<html>"), Kind::Malformed);
    assert_eq!(kind("{}"), Kind::Malformed);
    assert_eq!(kind(r#"{"content":[],"stop_reason":"end_turn"}"#), Kind::Empty);
    assert_eq!(kind(r#"{"content":[{"type":"thinking","thinking":"x"}],"stop_reason":"max_tokens"}"#), Kind::Empty);
    let inside = |kind: &str| format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#);
    let cases = [
        ("overloaded_error", Kind::Overloaded),
        ("rate_limit_error", Kind::RateLimited),
        ("invalid_request_error", Kind::BadRequest),
        ("new_error", Kind::ServerError),
    ];
    for (name, expected) in cases {
        assert_eq!(decode(&inside(name)).unwrap_err().kind, expected, "{name}");
    }
}

/// What a failed reply is taken for, as `call` does it.
fn classify(status: u16, kind: &str, code: Option<&str>, message: &str) -> Kind {
    let details = code.map(|code| json!({"error_code": code}));
    let body =
        json!({"type": "error", "error": {"type": kind, "message": message, "details": details}, "request_id": "r"});
    let body = body.to_string();
    assert_eq!(Anthropic.message(body.as_bytes()).as_deref(), Some(message));
    let head = head(status);
    Anthropic.kind(&head, body.as_bytes()).unwrap_or_else(|| status::kind(head.status, message))
}

#[test]
fn errors_are_classified_by_type_and_code() {
    let cases = [
        (400, "invalid_request_error", None, "messages: Field required", Kind::BadRequest),
        (400, "invalid_request_error", None, "prompt is too long: 210000 tokens > 200000 maximum", Kind::TooLong),
        (400, "invalid_request_error", None, "input length and `max_tokens` exceed context limit: 1", Kind::TooLong),
        (400, "invalid_request_error", None, "Output blocked by content filtering policy", Kind::ContentFilter),
        (400, "invalid_request_error", None, "Your credit balance is too low to access the API.", Kind::OutOfCredit),
        (400, "invalid_request_error", None, "You have reached your specified API usage limits.", Kind::OutOfCredit),
        (400, "invalid_request_error", Some("request_body_timeout"), "m", Kind::Timeout),
        (400, "invalid_request_error", Some("image_dimensions_too_large"), "m", Kind::BadRequest),
        (400, "invalid_request_error", Some("organization_on_hold"), "m", Kind::Permission),
        (401, "authentication_error", None, "invalid x-api-key", Kind::Auth),
        (402, "billing_error", None, "m", Kind::OutOfCredit),
        (403, "permission_error", None, "m", Kind::Permission),
        (404, "not_found_error", None, "model: claude-0", Kind::NotFound),
        (409, "conflict_error", None, "m", Kind::ServerError),
        (413, "request_too_large", None, "m", Kind::TooLong),
        (429, "rate_limit_error", None, "would exceed your limit of 50 requests per minute", Kind::RateLimited),
        (429, "rate_limit_error", Some("enforced_spend_limit_reached"), "m", Kind::OutOfCredit),
        (429, "rate_limit_error", Some("contract_spend_limit_reached"), "m", Kind::OutOfCredit),
        (429, "rate_limit_error", Some("ramp_limit_exceeded"), "m", Kind::RateLimited),
        (500, "api_error", None, "Internal server error", Kind::ServerError),
        (503, "api_error", Some("cmek_key_unreachable"), "m", Kind::ServerError),
        (504, "timeout_error", None, "m", Kind::Timeout),
        (529, "overloaded_error", None, "Overloaded", Kind::Overloaded),
    ];
    for (status, kind, code, message, expected) in cases {
        assert_eq!(classify(status, kind, code, message), expected, "{status} {kind} {code:?} {message}");
    }
    assert_eq!(Anthropic.message(b"<html>"), None);
    assert_eq!(Anthropic.message(br#"{"error":"plain"}"#).as_deref(), Some("plain"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        Just("type"),
        Just("content"),
        Just("text"),
        Just("usage"),
        Just("input_tokens"),
        Just("stop_reason"),
        Just("error"),
        Just("message"),
        Just("messages"),
        Just("role"),
        Just("system"),
        Just("tools"),
        Just("source"),
        Just("tool_use_id"),
        Just("input"),
        Just("id"),
        Just("name"),
        Just("cache_read_input_tokens"),
        Just("details"),
        Just("error_code"),
        Just("tool_choice"),
        Just("output_tokens"),
        Just("is_error"),
    ];
    let words = prop_oneof![
        Just("text"),
        Just("tool_use"),
        Just("tool_result"),
        Just("image"),
        Just("user"),
        Just("assistant"),
        Just("refusal"),
        Just("error"),
        Just("base64"),
        Just("é"),
        Just(""),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((keys.clone(), inner), 0..7).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

fn block() -> impl Strategy<Value = Value> {
    // The API refuses empty texts, so one beside tool calls is left out.
    let text = "[a-z]{1,3}";
    prop_oneof![
        text.prop_map(|text| json!({"type": "text", "text": text})),
        text.prop_map(|text| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})),
        text.prop_map(|data| json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}})),
        text.prop_map(|path| json!({"type": "image", "source": {"type": "url", "url": format!("https://{path}")}})),
        text.prop_map(|id| json!({"type": "tool_use", "id": id, "name": "f", "input": {"x": [1, "a"]}})),
        text.prop_map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": "r"})),
        text.prop_map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": id}, {"type": "document"}]})),
        text.prop_map(|id| json!({"type": "tool_result", "tool_use_id": id, "is_error": true})),
        text.prop_map(|text| json!({"type": "thinking", "thinking": text, "signature": "s"})),
    ]
}

fn body() -> impl Strategy<Value = Value> {
    let content = || {
        prop_oneof!["[a-z]{1,3}".prop_map(Value::from), proptest::collection::vec(block(), 0..5).prop_map(Value::from)]
    };
    let turn = (prop_oneof![Just("user"), Just("assistant")], content())
        .prop_map(|(role, content)| json!({"role": role, "content": content}));
    let choice = prop_oneof![
        Just(json!({"type": "auto"})),
        Just(json!({"type": "any", "disable_parallel_tool_use": true})),
        Just(json!({"type": "tool", "name": "f"})),
    ];
    let tools =
        json!([{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20260318", "name": "w"}]);
    (proptest::collection::vec(turn, 1..5), proptest::option::of(content()), choice, 1..99_u32).prop_map(
        move |(messages, system, choice, max_tokens)| {
            let mut body = json!({"messages": messages, "max_tokens": max_tokens, "temperature": 0.5, "top_k": 3,
                "stop_sequences": ["a"], "tools": tools, "tool_choice": choice, "thinking": {"type": "adaptive"}});
            if let Some(system) = system {
                body["system"] = system;
            }
            body
        },
    )
}

proptest! {
    #[test]
    fn no_json_makes_the_codec_panic(json in any_json()) {
        let bytes = Bytes::from(json.to_string());
        let _ = decode(&json.to_string());
        let _ = Anthropic.message(&bytes);
        let _ = Anthropic.kind(&head(400), &bytes);
        for wire in [WireId::Anthropic, WireId::Openai] {
            if let Ok(request) = wire.wire().typed(&original(wire, &json)) {
                let _ = try_encode(&request);
            }
        }
    }

    #[test]
    fn a_body_survives_its_typed_form(body in body()) {
        let typed = Anthropic.typed(&original(WireId::Anthropic, &body)).unwrap();
        let written = try_encode(&typed);
        prop_assert!(written.is_ok(), "{:?}", written);
        let written = written.unwrap();
        for name in ["max_tokens", "temperature", "top_k", "stop_sequences", "tools", "tool_choice", "thinking"] {
            prop_assert_eq!(&written[name], &body[name]);
        }
        let again = Anthropic.typed(&original(WireId::Anthropic, &written)).unwrap();
        prop_assert_eq!(encode(&again), written);
        prop_assert_eq!(again, typed);
    }

    #[test]
    fn parameters_survive_a_body(max_tokens in 1..u32::MAX, hundredths in 0..100_u32, stop in "[a-z]{1,3}") {
        let params = Params {
            max_tokens: Some(max_tokens), temperature: Some(f64::from(hundredths) / 100.0), stop: vec![stop], seed: None,
            extra: Map::from_iter([("top_k".to_owned(), json!(4))]),
        };
        let request = Request { params, ..Request::prompt("hi").system("s") };
        let body = encode(&request);
        prop_assert_eq!(Anthropic.typed(&original(WireId::Anthropic, &body)).unwrap(), request);
    }
}

#[test]
fn how_the_answer_is_to_be_made_reaches_other_formats() {
    let schema = json!({"type": "object"});
    let config = json!({"effort": "low", "format": {"type": "json_schema", "schema": schema}});
    let body = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "output_config": config,
        "service_tier": "standard_only"});
    let typed = Anthropic.typed(&original(WireId::Anthropic, &body)).unwrap();
    let extra = &typed.params.extra;
    assert_eq!((&extra["reasoning_effort"], &extra["service_tier"]), (&json!("low"), &json!("default")));
    assert_eq!((&extra["response_format"]["json_schema"]["schema"], extra.get("output_config")), (&schema, None));
    let back = encode(&typed);
    assert_eq!(
        (&back["output_config"]["effort"], &back["output_config"]["format"]),
        (&config["effort"], &config["format"])
    );
    assert_eq!(back["service_tier"], "standard_only");
}
