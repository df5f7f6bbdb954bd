use bytes::Bytes;
use serde_json::{Value, json};

use super::Bedrock;
use crate::call::provider::Quirks;
use crate::call::sse::Event;
use crate::call::wire::{StreamState, Wire, WireId};
use crate::failure::Kind;
use crate::request::{Message, Original, Part, Request, Role, TaskKind};
use crate::response::{Delta, Finish, Output, Tier, Usage};

fn encoded(request: &Request) -> Value {
    serde_json::from_slice(&Bedrock.encode(request, "m", &Quirks::COMMON).unwrap()).unwrap()
}

fn refused(request: &Request) -> String {
    let failure = Bedrock.encode(request, "m", &Quirks::COMMON).unwrap_err();
    assert_eq!(failure.kind, Kind::Unsupported);
    failure.message
}

fn decode(body: &Value) -> Result<crate::response::Response, crate::failure::Failure> {
    let head = http::Response::builder().header("x-amzn-RequestId", "r-1").body(()).unwrap().into_parts().0;
    Bedrock.decode(TaskKind::Chat, &head, &Bytes::from(body.to_string()))
}

fn reply(content: &Value, reason: &str) -> Value {
    json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": reason,
        "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 22, "cacheReadInputTokens": 8, "cacheWriteInputTokens": 2},
        "metrics": {"latencyMs": 3}, "serviceTier": {"type": "default"}
    })
}

#[test]
fn the_model_is_one_segment_of_the_path() {
    let path = |model| Bedrock.path(TaskKind::Chat, model).unwrap();
    assert_eq!(path("amazon.nova-lite-v1:0"), "/model/amazon.nova-lite-v1%3A0/converse");
    assert_eq!(path("arn:aws:bedrock:us-east-1:1:x/y"), "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ax%2Fy/converse");
}

#[test]
fn parameters_find_their_places() {
    let mut request = Request::prompt("hi").system("be brief").max_tokens(9).temperature(0.5);
    request.params.stop = vec!["END".to_owned()];
    let request = request
        .param("top_p", 0.9)
        .param("top_k", 5)
        .param("guardrailConfig", json!({"guardrailIdentifier": "g", "guardrailVersion": "1"}))
        .param("service_tier", "flex")
        .param("requestMetadata", json!({"team": "a"}))
        .param("inferenceConfig", json!({"temperature": 0.1}));
    assert_eq!(
        encoded(&request),
        json!({
            "system": [{"text": "be brief"}],
            "messages": [{"role": "user", "content": [{"text": "hi"}]}],
            "inferenceConfig": {"temperature": 0.1, "maxTokens": 9, "topP": 0.9, "stopSequences": ["END"]},
            "additionalModelRequestFields": {"top_k": 5},
            "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
            "serviceTier": {"type": "flex"},
            "requestMetadata": {"team": "a"}
        })
    );
}

#[test]
fn the_tier_that_openai_calls_auto_is_the_one_without_a_name() {
    assert_eq!(encoded(&Request::prompt("hi").param("service_tier", "auto")).get("serviceTier"), None);
}

#[test]
fn openai_tools_schemas_and_results_are_translated() {
    let call = json!([{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]);
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "42"});
    let messages = json!([{"role": "user", "content": "go"}, {"role": "assistant", "content": "", "tool_calls": call},
        result("t1"), result("t2"), {"role": "user", "content": "so?"}]);
    let request = Request::chat(crate::call::wire::openai::read_messages(messages).unwrap())
        .param("tools", json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]))
        .param("tool_choice", "required")
        .param(
            "response_format",
            json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}),
        );
    let body = encoded(&request);
    let result = |id: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": "42"}]}});
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"text": "go"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}]},
            {"role": "user", "content": [result("t1"), result("t2"), {"text": "so?"}]}
        ])
    );
    let spec = json!({"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}});
    assert_eq!(body["toolConfig"], json!({"tools": [spec], "toolChoice": {"any": {}}}));
    let schema = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"];
    assert_eq!(*schema, json!({"schema": "{\"type\":\"object\"}", "name": "n"}));

    let bytes = Bytes::from(body.to_string());
    let typed = Bedrock.typed(&Original { wire: WireId::Bedrock, kind: TaskKind::Chat, bytes }).unwrap();
    assert_eq!(encoded(&typed), body, "and back");
}

#[test]
fn own_blocks_pass_and_foreign_parts_are_named() {
    let with = |value: Value| {
        let parts = vec![Part::Raw { wire: WireId::Openai, value }];
        Request::chat(vec![Message { role: Role::User, parts, extra: serde_json::Map::new() }])
    };
    let point = json!({"cachePoint": {"type": "default"}});
    assert_eq!(encoded(&with(point.clone()))["messages"][0]["content"][0], point);
    let image = with(json!({"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA"}}));
    let block = json!({"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}});
    assert_eq!(encoded(&image)["messages"][0]["content"][0], block);
    let url = with(json!({"type": "image_url", "image_url": {"url": "https://x/y.png"}}));
    assert!(refused(&url).contains("messages[0]: an image by its address"), "{}", refused(&url));
    assert!(refused(&Request::prompt("x").param("logprobs", true)).contains("`logprobs`"));
    let seed =
        Request { params: crate::request::Params { seed: Some(1), ..Default::default() }, ..Request::prompt("x") };
    assert!(refused(&seed).contains("`seed`"));
    assert!(Bedrock.encode(&Request::embed("x"), "m", &Quirks::COMMON).is_err());
    let quirks = Quirks { sampling: false, ..Quirks::COMMON };
    assert!(
        Bedrock.encode(&Request::prompt("x").temperature(0.0), "m", &quirks).unwrap_err().message.contains("m refuses")
    );
}

#[test]
fn a_body_of_ones_own_goes_out_untouched_unless_parameters_are_set() {
    let text = r#"{ "messages":[{"role":"user","content":[{"text":"hi"}]}], "inferenceConfig":{"topP":1}, "new": 1 }"#;
    let original = Request::original(WireId::Bedrock, TaskKind::Chat, text);
    assert_eq!(Bedrock.encode(&original, "m", &Quirks::COMMON).unwrap(), text);
    let body = encoded(&original.max_tokens(3));
    assert_eq!((&body["inferenceConfig"], &body["new"]), (&json!({"topP": 1, "maxTokens": 3}), &json!(1)));
}

#[test]
fn an_answer_is_its_texts_and_counts_cached_tokens_as_input() {
    let content = json!([
        {"reasoningContent": {"reasoningText": {"text": "hmm", "signature": "s"}}},
        {"text": "Hel"}, {"somethingNew": {}},
        {"citationsContent": {"content": [{"text": "lo"}], "citations": []}}
    ]);
    let response = decode(&reply(&content, "end_turn")).unwrap();
    assert_eq!((response.output, response.finish), (Output::Text("Hello".to_owned()), Finish::Stop));
    let usage =
        Usage { input_tokens: 15, output_tokens: 7, cached_tokens: 8, cache_write_tokens: 2, ..Usage::default() };
    assert_eq!((response.usage, response.request_id.as_deref()), (Some(usage), Some("r-1")));
    let mut dearer: Value = serde_json::from_str(&reply(&content, "end_turn").to_string()).unwrap();
    dearer["serviceTier"] = json!({"type": "priority"});
    dearer["usage"]["cacheDetails"] = json!([{"ttl": "5m", "inputTokens": 1}, {"ttl": "1h", "inputTokens": 1}]);
    let told = Usage { cache_write_1h_tokens: 1, tier: Tier::Other, ..usage };
    assert_eq!(decode(&dearer).unwrap().usage, Some(told));
}

#[test]
fn tool_calls_have_openais_form() {
    let content = json!([{"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": [1]}}}]);
    let Output::Json(value) = decode(&reply(&content, "tool_use")).unwrap().output else { panic!("no JSON") };
    let function = json!({"name": "f", "arguments": "{\"a\":[1]}"});
    assert_eq!(value, json!({"content": null, "tool_calls": [{"id": "t", "type": "function", "function": function}]}));
}

#[test]
fn what_is_no_answer_is_a_failure_with_its_usage() {
    let text = json!([{"text": "x"}]);
    let cases = [
        (reply(&text, "guardrail_intervened"), Kind::ContentFilter),
        (reply(&text, "content_filtered"), Kind::ContentFilter),
        (reply(&text, "malformed_tool_use"), Kind::Malformed),
        (reply(&json!([]), "end_turn"), Kind::Empty),
        (json!({"usage": {"inputTokens": 1}}), Kind::Malformed),
    ];
    for (body, kind) in cases {
        let failure = decode(&body).unwrap_err();
        assert_eq!(failure.kind, kind, "{body}");
        assert!(failure.usage.is_some(), "{body}");
    }
    assert_eq!(decode(&json!([])).unwrap_err().kind, Kind::Malformed);
    let long = decode(&reply(&text, "model_context_window_exceeded")).unwrap();
    assert_eq!(long.finish, Finish::Length);
    assert_eq!(decode(&reply(&text, "brand_new")).unwrap().finish, Finish::Other("brand_new".to_owned()));
}

#[test]
fn the_exceptions_name_comes_from_header_or_body() {
    let head = |name: Option<&str>| {
        let mut reply = http::Response::builder().status(400);
        if let Some(name) = name {
            reply = reply.header("x-amzn-ErrorType", name);
        }
        reply.body(()).unwrap().into_parts().0
    };
    let body = br#"{"message":"Too many tokens, please wait"}"#;
    assert_eq!(Bedrock.kind(&head(Some("ThrottlingException:http://x/")), body), Some(Kind::RateLimited));
    let body = br#"{"__type":"a.b#ExpiredTokenException","Message":"old"}"#;
    assert_eq!(Bedrock.kind(&head(None), body), Some(Kind::Auth));
    assert_eq!(Bedrock.message(body).as_deref(), Some("old"));
    assert_eq!(Bedrock.kind(&head(None), b"<html>"), None);
}

fn streamed(events: &[(&str, Value)]) -> (Vec<Delta>, Result<crate::response::Response, crate::failure::Failure>) {
    let head = http::Response::builder().body(()).unwrap().into_parts().0;
    let (mut state, mut deltas) = (StreamState::new(head), Vec::new());
    for (name, data) in events {
        let event = Event { name: (*name).to_owned(), data: data.to_string().into_bytes() };
        if let Err(failure) = Bedrock.decode_event(&mut state, &event, &mut deltas) {
            return (deltas, Err(failure));
        }
    }
    (deltas, Bedrock.finish(state))
}

#[test]
fn a_stream_comes_to_the_whole_message() {
    let delta = |index: u64, delta: Value| {
        ("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta, "p": "ab"}))
    };
    let stop = |index: u64| ("contentBlockStop", json!({"contentBlockIndex": index}));
    let start = json!({"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}});
    let (deltas, response) = streamed(&[
        ("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"signature": "s"}})),
        stop(0),
        delta(1, json!({"text": "Hel"})),
        delta(1, json!({"text": "lo"})),
        stop(1),
        ("contentBlockStart", start),
        delta(2, json!({"toolUse": {"input": "{\"a\""}})),
        delta(2, json!({"toolUse": {"input": ":1}"}})),
        stop(2),
        ("somethingNew", json!({})),
        ("messageStop", json!({"stopReason": "tool_use"})),
        (
            "metadata",
            json!({"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, "metrics": {"latencyMs": 1}}),
        ),
    ]);
    let response = response.unwrap();
    let function = json!({"name": "f", "arguments": "{\"a\":1}"});
    let call = json!([{"id": "t", "type": "function", "function": function}]);
    assert_eq!(response.output, Output::Json(json!({"content": "Hello", "tool_calls": call})));
    assert_eq!((response.finish, response.usage.unwrap().output_tokens), (Finish::ToolCalls, 4));
    let piece = |arguments: &str| Delta::ToolCall { index: 0, id: None, name: None, arguments: arguments.to_owned() };
    let first = Delta::ToolCall { index: 0, id: Some("t".into()), name: Some("f".into()), arguments: String::new() };
    let texts = [Delta::Reasoning("hm".into()), Delta::Text("Hel".into()), Delta::Text("lo".into())];
    assert_eq!(deltas, [&texts[..], &[first, piece("{\"a\""), piece(":1}")]].concat());
}

#[test]
fn a_stream_that_breaks_off_or_fails_is_no_answer() {
    let text = ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "x"}}));
    assert_eq!(streamed(std::slice::from_ref(&text)).1.unwrap_err().kind, Kind::Cut);
    let throttled = ("exception/throttlingException", json!({"message": "Too many tokens"}));
    assert_eq!(streamed(&[text.clone(), throttled]).1.unwrap_err().kind, Kind::RateLimited);
    assert_eq!(streamed(&[("exception/modelStreamErrorException", json!({}))]).1.unwrap_err().kind, Kind::ServerError);
    let far = ("contentBlockDelta", json!({"contentBlockIndex": 7, "delta": {"text": "x"}}));
    assert_eq!(streamed(&[far]).1.unwrap_err().kind, Kind::Malformed);
    let stop = ("messageStop", json!({"stopReason": "end_turn"}));
    assert_eq!(streamed(&[text, stop]).1.unwrap().usage, None, "the usage was lost, not the answer");
}

#[test]
fn how_hard_to_think_is_said_in_each_vendors_words() {
    let told = |model: &str, effort: &str| {
        let request = Request::prompt("hi").param("reasoning_effort", effort);
        let mut body: Value =
            serde_json::from_slice(&Bedrock.encode(&request, model, &Quirks::COMMON).unwrap()).unwrap();
        assert_eq!(body.get("reasoning_effort"), None);
        let config = body["outputConfig"].take();
        if config.is_null() { body["additionalModelRequestFields"].take() } else { config }
    };
    for (model, effort, expected) in [
        ("eu.anthropic.claude-sonnet-4-6", "high", json!({"effort": "high"})),
        ("eu.anthropic.claude-sonnet-4-6", "minimal", json!({"effort": "low"})),
        ("eu.anthropic.claude-sonnet-4-6", "none", json!({"thinking": {"type": "disabled"}})),
        (
            "us.amazon.nova-2-lite-v1:0",
            "low",
            json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
        ),
        ("us.amazon.nova-2-lite-v1:0", "none", json!({"reasoningConfig": {"type": "disabled"}})),
        ("openai.gpt-oss-120b-1:0", "low", json!({"reasoning_effort": "low"})),
    ] {
        assert_eq!(told(model, effort), expected, "{model} {effort}");
    }
}

#[test]
fn documents_have_names_of_their_own_within_a_request() {
    let file = |name: Option<&str>| {
        let media = crate::request::Media::bytes(&b"%PDF-1.7"[..], name, None).unwrap();
        Message::user().text("x").media(crate::request::MediaKind::Document, media)
    };
    let long = format!("{}.pdf", "n".repeat(300));
    let request = Request::chat(vec![
        file(Some("a b.pdf")),
        file(Some("A_b.pdf")),
        file(None),
        Message::assistant().text("y"),
        file(None),
        file(Some(&long)),
        file(Some(&long)),
    ]);
    let body = encoded(&request);
    let turns = body["messages"].as_array().unwrap().iter();
    let blocks = turns.flat_map(|turn| turn["content"].as_array().unwrap());
    let names: Vec<&str> = blocks.filter_map(|block| block.pointer("/document/name")?.as_str()).collect();
    assert_eq!(names[..4], ["a b", "A b 2", "document", "document 2"]);
    assert!(names[4] != names[5] && names.iter().all(|name| name.len() <= 200), "{names:?}");
}

#[test]
fn an_empty_text_beside_something_else_is_not_sent() {
    let image = Message::user().text("").image_bytes(&b"\x89PNG\r\n\x1A\n"[..]).unwrap();
    let body = encoded(&Request::chat(vec![image]));
    assert_eq!(body["messages"][0]["content"].as_array().unwrap().len(), 1);
}

#[test]
fn metadata_of_openais_is_awss() {
    let body = encoded(&Request::prompt("hi").param("metadata", json!({"run": "7"})).param("stream", false));
    assert_eq!(
        (&body["requestMetadata"], body.get("metadata"), body.get("stream")),
        (&json!({"run": "7"}), None, None)
    );
    assert!(refused(&Request::prompt("hi").param("metadata", json!({"run": "§"}))).contains("that of `run`"));
}

#[test]
fn how_the_answer_is_to_be_made_reaches_other_formats() {
    let schema = json!({"schema": "{\"type\":\"object\"}", "name": "n"});
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}},
        "serviceTier": {"type": "flex"}, "requestMetadata": {"a": "b"}});
    let original = Original { wire: WireId::Bedrock, kind: TaskKind::Chat, bytes: body.to_string().into() };
    let typed = Bedrock.typed(&original).unwrap();
    let wanted = json!({"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "name": "n"}});
    assert_eq!(typed.params.extra["response_format"], wanted);
    assert_eq!(
        (&typed.params.extra["service_tier"], &typed.params.extra["metadata"]),
        (&json!("flex"), &json!({"a": "b"}))
    );
    assert_eq!(encoded(&typed), body);
}
