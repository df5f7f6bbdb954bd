//! The codec, both ways, by exact JSON.

use proptest::prelude::*;

use super::*;
use crate::call::wire::WireId;
use crate::call::wire::openai::{OpenAi, read_messages};
use crate::request::{Message, Part, Reasoning, Role, ToolResult, ToolUse};
use crate::response::Tier;

fn head(status: u16) -> Parts {
    http::Response::builder().status(status).body(()).unwrap().into_parts().0
}

fn try_encode(request: &Request) -> Result<Value, Failure> {
    let bytes = Gemini.encode(request, "gemini-x", &Quirks::COMMON)?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

fn encode(request: &Request) -> Value {
    try_encode(request).unwrap()
}

/// Encodes messages that were written for OpenAI.
fn contents(messages: Value) -> Value {
    encode(&Request::chat(read_messages(messages).unwrap()))
}

fn refused(messages: Value) -> (Kind, String) {
    let failure = try_encode(&Request::chat(read_messages(messages).unwrap())).unwrap_err();
    (failure.kind, failure.message)
}

fn typed(kind: TaskKind, body: &Value) -> Request {
    Gemini.typed(&Original { wire: WireId::Gemini, kind, bytes: body.to_string().into() }).unwrap()
}

fn decode(body: Value) -> Result<Response, Failure> {
    Gemini.decode(TaskKind::Chat, &head(200), &Bytes::from(body.to_string()))
}

fn answer(parts: Value, reason: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}]})
}

#[test]
fn a_model_stands_in_the_path() {
    let path = |model| Gemini.path(TaskKind::Chat, model).unwrap();
    assert_eq!(path("gemini-2.5-flash"), "/v1beta/models/gemini-2.5-flash:generateContent");
    assert_eq!(path("models/gemini-2.5-flash"), "/v1beta/models/gemini-2.5-flash:generateContent");
    assert_eq!(path("tunedModels/my-1"), "/v1beta/tunedModels/my-1:generateContent");
    assert_eq!(path("a b/é?"), "/v1beta/models/a%20b%2F%C3%A9%3F:generateContent");
    assert_eq!(Gemini.path(TaskKind::Embed, "e-1").unwrap(), "/v1beta/models/e-1:embedContent");
}

#[test]
fn a_typed_request_has_the_documented_fields() {
    let mut request = Request::prompt("hi").system("be brief").temperature(0.5).max_tokens(9).param("topP", 0.9);
    request.params.stop = vec!["END".to_owned()];
    request.params.seed = Some(7);
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"temperature": 0.5, "maxOutputTokens": 9, "stopSequences": ["END"], "seed": 7, "topP": 0.9}});
    assert_eq!(encode(&request), expected);
    assert_eq!(encode(&Request::prompt("hi")), json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}));
}

#[test]
fn sampling_parameters_are_refused_where_the_model_does() {
    let strict = Quirks { sampling: false, ..Quirks::COMMON };
    let failure = Gemini.encode(&Request::prompt("x").param("topP", 0.5), "gemini-x", &strict).unwrap_err();
    assert_eq!(failure.kind, Kind::Unsupported);
    assert_eq!(failure.message, "gemini-x refuses sampling parameters; leave `topP` out");
    assert!(Gemini.encode(&Request::prompt("x").max_tokens(5), "gemini-x", &strict).is_ok());
}

#[test]
fn an_embedding_is_of_one_content() {
    let request = Request::embed("hi").temperature(1.0).param("dimensions", 64).param("taskType", "RETRIEVAL_QUERY");
    let expected =
        json!({"content": {"parts": [{"text": "hi"}]}, "outputDimensionality": 64, "taskType": "RETRIEVAL_QUERY"});
    assert_eq!(encode(&request), expected);
    assert_eq!(typed(TaskKind::Embed, &expected).task, Task::Embed("hi".to_owned()));
    assert_eq!(encode(&typed(TaskKind::Embed, &expected)), expected);
}

#[test]
fn an_original_body_goes_out_untouched() {
    let given = r#"{ "contents" : [{"parts":[{"text":"\u0061"}]}], "x":[1, 2.50] }"#;
    let request = Request::original(WireId::Gemini, TaskKind::Chat, given);
    assert_eq!(Gemini.encode(&request, "m", &Quirks::COMMON).unwrap(), given);
}

#[test]
fn parameters_are_merged_into_an_original_body() {
    let given = r#"{"contents":[],"generation_config":{"temperature":1,"topK":3},"x":1}"#;
    let request = Request::original(WireId::Gemini, TaskKind::Chat, given).temperature(0.0).param("labels", json!({}));
    let expected = json!({"contents": [], "generationConfig": {"temperature": 0.0, "topK": 3}, "x": 1, "labels": {}});
    assert_eq!(encode(&request), expected);
    let broken = Request::original(WireId::Gemini, TaskKind::Chat, "[]").temperature(0.0);
    assert_eq!(try_encode(&broken).unwrap_err().kind, Kind::BadRequest);
}

#[test]
fn a_conversation_with_tools_is_carried_over() {
    let messages = json!([
        {"role": "developer", "content": "a"},
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": null, "refusal": null, "annotations": [], "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "at", "arguments": "{\"x\":1}"},
             "extra_content": {"google": {"thought_signature": "c2ln"}}},
            {"id": "c2", "type": "function", "function": {"name": "in", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "{\"deg\":3}"},
        {"role": "tool", "tool_call_id": "c2", "content": "rain"},
        {"role": "system", "content": "b"},
        {"role": "assistant", "content": "Rain."}]);
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "weather?"}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "c1", "name": "at", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "c2", "name": "in", "args": {}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "at", "response": {"deg": 3}, "id": "c1"}},
                {"functionResponse": {"name": "in", "response": {"output": "rain"}, "id": "c2"}}]},
            {"role": "model", "parts": [{"text": "Rain."}]}]});
    assert_eq!(contents(messages), expected);
    assert_eq!(encode(&typed(TaskKind::Chat, &expected)), expected);
}

#[test]
fn parts_that_are_no_text_are_carried_over() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let messages = json!([{"role": "user", "content": [
        {"type": "text", "text": "see"},
        image("data:image/png;base64,AAAA"),
        image("gs://bucket/a/b.JPG"),
        image("https://generativelanguage.googleapis.com/v1beta/files/abc"),
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}}]}]);
    let expected = json!([{"role": "user", "parts": [
        {"text": "see"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"fileUri": "gs://bucket/a/b.JPG", "mimeType": "image/jpeg"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "UklG"}}]}]);
    assert_eq!(contents(messages)["contents"], expected);
}

#[test]
fn what_cannot_be_carried_is_named() {
    let part = |part: Value| refused(json!([{"role": "user", "content": [part]}]));
    let web = part(json!({"type": "image_url", "image_url": {"url": "https://a/b.png"}}));
    assert_eq!(web.0, Kind::Unsupported);
    assert!(web.1.starts_with("messages[0]: Gemini fetches no image from the web"), "{}", web.1);
    assert_eq!(part(json!({"type": "image_url", "image_url": {"url": "data:image/png,abc"}})).0, Kind::Unsupported);
    let other = part(json!({"type": "hologram"}));
    assert_eq!(
        other,
        (Kind::Unsupported, "messages[0]: Gemini's format has no place for a content part `hologram`".to_owned())
    );
    let role = refused(json!([{"role": "user", "content": "x"}, {"role": "critic", "content": "x"}]));
    assert_eq!(role, (Kind::Unsupported, "messages[1]: Gemini's format has no role `critic`".to_owned()));
    let field = refused(json!([{"role": "user", "name": "bob", "content": "x"}]));
    assert_eq!(field.1, "messages[0]: Gemini's format has no `name` in a message");
    assert_eq!(refused(json!([{"role": "tool", "tool_call_id": "none", "content": "x"}])).0, Kind::BadRequest);
    let raw = Part::Raw { wire: WireId::Gemini, value: json!({"executableCode": {}}) };
    let message = Message { role: Role::User, parts: vec![raw], extra: Map::new() };
    assert_eq!(encode(&Request::chat(vec![message.clone()]))["contents"][0]["parts"], json!([{"executableCode": {}}]));
    let failure = OpenAi.encode(&Request::chat(vec![message]), "m", &Quirks::COMMON).unwrap_err();
    assert_eq!(failure.kind, Kind::Unsupported);
}

#[test]
fn an_original_body_can_be_carried_by_another_wire() {
    let body = json!({
        "system_instruction": {"parts": [{"text": "s"}]},
        "contents": [
            {"parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "3"}}}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {"temperature": 0.5, "maxOutputTokens": 5, "stopSequences": ["x"], "seed": 3, "topP": 0.5,
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}});
    let request = typed(TaskKind::Chat, &body);
    let sent: Value = serde_json::from_slice(&OpenAi.encode(&request, "m", &Quirks::COMMON).unwrap()).unwrap();
    let expected = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
            {"role": "tool", "content": "3", "tool_call_id": "call_0", "name": "f"}],
        "temperature": 0.5, "max_tokens": 5, "stop": ["x"], "seed": 3, "top_p": 0.5,
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "auto"});
    assert_eq!(sent, expected);
}

#[test]
fn a_body_that_is_none_is_refused() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"contents":[]}"#,
        r#"{"contents":[{}]}"#,
        r#"{"contents":[3]}"#,
        r#"{"contents":[{"parts":[{"functionCall":{}}]}]}"#,
        r#"{"contents":[{"parts":[]}],"generationConfig":3}"#,
    ] {
        let original = Original { wire: WireId::Gemini, kind: TaskKind::Chat, bytes: body.into() };
        assert_eq!(Gemini.typed(&original).unwrap_err().kind, Kind::BadRequest, "{body}");
    }
}

#[test]
fn a_reply_is_read_without_its_thoughts() {
    let mut body =
        answer(json!([{"text": "hm", "thought": true}, {"text": "a"}, {"text": "b", "thoughtSignature": "s"}]), "STOP");
    body["usageMetadata"] = json!({"promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 2,
        "thoughtsTokenCount": 3, "totalTokenCount": 14, "trafficType": "ON_DEMAND"});
    let mut flex = body.clone();
    flex["usageMetadata"]["trafficType"] = "ON_DEMAND_FLEX".into();
    assert_eq!(decode(flex).unwrap().usage.unwrap().tier, Tier::Flex);
    body["modelVersion"] = "gemini-x-001".into();
    body["responseId"] = "r1".into();
    let response = decode(body.clone()).unwrap();
    let usage = Usage { input_tokens: 9, output_tokens: 5, cached_tokens: 4, reasoning_tokens: 3, ..Usage::default() };
    let expected = Response {
        output: Output::Text("ab".to_owned()),
        finish: Finish::Stop,
        usage: Some(usage),
        model: "gemini-x-001".to_owned(),
        request_id: Some("r1".to_owned()),
        raw: body.to_string().into(),
        parts: vec![
            Part::Reasoning(Reasoning::Text { text: "hm".to_owned(), signature: None }),
            Part::Text("a".to_owned()),
            Part::Raw { wire: WireId::Gemini, value: json!({"text": "b", "thoughtSignature": "s"}) },
        ],
        warnings: Vec::new(),
    };
    assert_eq!(response, expected);
}

#[test]
fn calls_have_the_shape_that_other_wires_give_them() {
    let call = json!({"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"});
    let response =
        decode(answer(json!([{"text": "a"}, call, {"functionCall": {"id": "i", "name": "g"}}]), "STOP")).unwrap();
    let expected = json!({"content": "a", "tool_calls": [
        {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"},
         "extra_content": {"google": {"thought_signature": "c2ln"}}},
        {"id": "i", "type": "function", "function": {"name": "g", "arguments": "{}"}}]});
    assert_eq!((response.output, response.finish), (Output::Json(expected), Finish::ToolCalls));
    let image = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let response = decode(answer(json!([image]), "STOP")).unwrap();
    let expected = json!({"content": null, "inlineData": [{"mimeType": "image/png", "data": "AAAA"}]});
    assert_eq!(response.output, Output::Json(expected));
}

#[test]
fn several_candidates_are_all_kept() {
    let body =
        json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]});
    assert_eq!(decode(body).unwrap().output, Output::Json(json!(["a", "b"])));
}

#[test]
fn every_finish_reason_has_a_meaning() {
    let finish = |reason| decode(answer(json!([{"text": "a"}]), reason)).map(|response| response.finish);
    assert_eq!(finish("STOP"), Ok(Finish::Stop));
    assert_eq!(finish("MAX_TOKENS"), Ok(Finish::Length));
    assert_eq!(finish("LANGUAGE"), Ok(Finish::Other("LANGUAGE".to_owned())));
    for reason in [
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    ] {
        assert_eq!(finish(reason).unwrap_err().kind, Kind::ContentFilter, "{reason}");
    }
    for reason in ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE"] {
        assert_eq!(finish(reason).unwrap_err().kind, Kind::Malformed, "{reason}");
    }
}

#[test]
fn a_filtered_reply_is_a_failure_that_was_paid_for() {
    let usage = json!({"promptTokenCount": 9, "totalTokenCount": 9});
    let stopped = json!({"candidates": [{"finishReason": "SAFETY", "finishMessage": "no"}], "usageMetadata": usage, "responseId": "r"});
    let blocked = json!({"promptFeedback": {"blockReason": "JAILBREAK"}, "usageMetadata": usage, "responseId": "r"});
    for body in [stopped, blocked] {
        let failure = decode(body).unwrap_err();
        assert_eq!(
            (failure.kind, failure.usage.unwrap().input_tokens, failure.status),
            (Kind::ContentFilter, 9, Some(200))
        );
        assert_eq!(failure.request_id.as_deref(), Some("r"));
    }
}

#[test]
fn what_is_not_an_answer_is_a_failure() {
    let kind = |body: &str| {
        Gemini.decode(TaskKind::Chat, &head(200), &Bytes::copy_from_slice(body.as_bytes())).unwrap_err().kind
    };
    assert_eq!(kind("<html>"), Kind::Malformed);
    assert_eq!(kind("{}"), Kind::Malformed);
    assert_eq!(kind(r#"{"candidates":[{"finishReason":"STOP"}]}"#), Kind::Empty);
    assert_eq!(kind(r#"{"candidates":[{"content":{"role":"model"},"finishReason":"MAX_TOKENS"}]}"#), Kind::Empty);
    assert_eq!(kind(r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#), Kind::Overloaded);
    assert_eq!(kind(r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]"#), Kind::RateLimited);
}

#[test]
fn an_embedding_is_read() {
    let read = |body: &'static str| Gemini.decode(TaskKind::Embed, &head(200), &Bytes::from_static(body.as_bytes()));
    let one = read(r#"{"embedding":{"values":[0.5,1]},"usageMetadata":{"promptTokenCount":4}}"#).unwrap();
    assert_eq!((one.output, one.usage.unwrap().input_tokens), (Output::Embedding(vec![0.5, 1.0]), 4));
    assert_eq!(read(r#"{"embeddings":[{"values":[0.5]}]}"#).unwrap().output, Output::Embedding(vec![0.5]));
    let two = read(r#"{"embeddings":[{"values":[0.5]},{"values":[1]}]}"#).unwrap();
    assert_eq!(two.output, Output::Json(json!([[0.5], [1.0]])));
    assert_eq!(read(r#"{"embedding":{}}"#).unwrap_err().kind, Kind::Empty);
    assert_eq!(read("3").unwrap_err().kind, Kind::Malformed);
}

#[test]
fn errors_tell_their_cause_and_wait() {
    let body = json!({"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "8.5s"}]}})
    .to_string();
    let body = body.as_bytes();
    assert_eq!(Gemini.kind(&head(429), body), Some(Kind::RateLimited));
    assert_eq!(Gemini.message(body).as_deref(), Some("Quota exceeded"));
    assert_eq!(Gemini.retry_after(body), Some(Duration::from_millis(8500)));
    assert_eq!(
        (Gemini.kind(&head(429), b"busy"), Gemini.message(b"busy"), Gemini.retry_after(b"busy")),
        (None, None, None)
    );
}

/// JSON that looks like a reply or a body often enough to get far.
fn any_json() -> impl Strategy<Value = Value> {
    const KEYS: &[&str] = &[
        "candidates",
        "content",
        "parts",
        "text",
        "thought",
        "functionCall",
        "functionResponse",
        "name",
        "args",
        "id",
        "response",
        "inlineData",
        "mimeType",
        "finishReason",
        "promptFeedback",
        "blockReason",
        "usageMetadata",
        "promptTokenCount",
        "error",
        "code",
        "message",
        "status",
        "details",
        "@type",
        "violations",
        "quotaValue",
        "contents",
        "systemInstruction",
        "generationConfig",
        "tools",
        "toolConfig",
        "embedding",
        "values",
        "role",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just("STOP"), Just("user"), Just("model"), Just("x.google.rpc.RetryInfo"), Just("é")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(KEYS), inner), 0..5)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// A conversation in the form that reading Gemini's gives it.
fn any_request() -> impl Strategy<Value = Request> {
    let texts = || prop::collection::vec(".{0,12}".prop_map(Part::Text), 1..3);
    let said = prop_oneof![Just(Role::User), Just(Role::Assistant)];
    let turn = (said, texts(), prop::option::of(("[a-z]{1,5}", -9_i64..9, "[a-z ]{0,9}")));
    let params = (prop::option::of(0_u32..200), prop::option::of(any::<u32>()), prop::option::of(any::<i64>()));
    let more = (prop::collection::vec(".{1,5}", 0..3), prop::option::of(0_u32..99), any::<bool>());
    (prop::option::of(texts()), prop::collection::vec(turn, 1..5), params, more).prop_map(
        |(system, turns, params, more)| {
            let mut messages = Vec::new();
            messages.extend(system.map(|parts| Message { role: Role::System, parts, extra: Map::new() }));
            for (number, (role, parts, call)) in turns.into_iter().enumerate() {
                let mut message = Message { role, parts, extra: Map::new() };
                let Some((name, x, result)) = call.filter(|_| message.role == Role::Assistant) else {
                    messages.push(message);
                    continue;
                };
                let id = format!("id{number}");
                let call = ToolUse { id: id.clone(), name: name.clone(), input: json!({"x": x}), signature: None };
                message.parts.push(Part::ToolUse(call));
                let content = vec![Part::Text(result)];
                let answer = ToolResult { id, name: Some(name), content, is_error: false };
                messages.extend([message, Message::user().part(Part::ToolResult(answer))]);
            }
            let mut request = Request::chat(messages);
            request.params.temperature = params.0.map(|hundredths| f64::from(hundredths) / 100.0);
            (request.params.max_tokens, request.params.seed, request.params.stop) = (params.1, params.2, more.0);
            request.params.extra.extend(more.1.map(|n| ("top_p".to_owned(), json!(f64::from(n) / 100.0))));
            request.params.extra.extend(more.2.then(|| ("safetySettings".to_owned(), json!([]))));
            request
        },
    )
}

proptest! {
    #[test]
    fn nothing_that_arrives_makes_it_panic(value in any_json(), noise in prop::collection::vec(any::<u8>(), 0..60)) {
        let bytes = Bytes::from(value.to_string());
        for body in [bytes, Bytes::from(noise)] {
            for kind in [TaskKind::Chat, TaskKind::Embed] {
                let _ = Gemini.decode(kind, &head(200), &body);
                let original = Original { wire: WireId::Gemini, kind, bytes: body.clone() };
                if let Ok(request) = Gemini.typed(&original) {
                    let _ = Gemini.encode(&request, "m", &Quirks::COMMON);
                    let _ = OpenAi.encode(&request, "m", &Quirks::COMMON);
                }
            }
            let _ = (Gemini.kind(&head(429), &body), Gemini.message(&body), Gemini.retry_after(&body));
        }
    }

    #[test]
    fn what_is_written_reads_the_same(request in any_request()) {
        let bytes = Gemini.encode(&request, "m", &Quirks::COMMON).unwrap();
        let read = Gemini.typed(&Original { wire: WireId::Gemini, kind: TaskKind::Chat, bytes: bytes.clone() }).unwrap();
        prop_assert_eq!(&read, &request);
        prop_assert_eq!(Gemini.encode(&read, "m", &Quirks::COMMON).unwrap(), bytes);
    }
}
