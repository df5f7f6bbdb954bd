use serde_json::Map;

use super::*;
use crate::call::wire::WireId;
use crate::call::wire::openai::OpenAi;
use crate::request::{Message, Reasoning, Task};

fn head() -> Parts {
    http::Response::builder().header("x-request-id", "req_1").body(()).unwrap().into_parts().0
}

fn decode(body: &Value) -> Result<Response, Failure> {
    Responses.decode(TaskKind::Chat, &head(), &Bytes::from(body.to_string()))
}

fn reply(status: &str, output: Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 5, "status": status, "error": null, "model": "m",
        "output": output, "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 14}})
}

fn said(text: &str) -> Value {
    json!([{"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]}])
}

#[test]
fn an_answer_is_the_text_of_its_messages() {
    let response = decode(&reply("completed", said("hé"))).unwrap();
    assert_eq!(
        (response.output, response.finish, response.model.as_str()),
        (Output::Text("hé".into()), Finish::Stop, "m")
    );
    let usage = Usage { input_tokens: 9, output_tokens: 5, cached_tokens: 4, reasoning_tokens: 3, ..Usage::default() };
    assert_eq!((response.usage, response.request_id.as_deref()), (Some(usage), Some("req_1")));
    let mut flex = reply("completed", said("h"));
    flex["service_tier"] = json!("flex");
    assert_eq!(decode(&flex).unwrap().usage, Some(Usage { tier: Tier::Flex, ..usage }));
    let mut cut = reply("incomplete", said("h"));
    cut["incomplete_details"] = json!({"reason": "max_output_tokens"});
    assert_eq!(decode(&cut).unwrap().finish, Finish::Length);
}

#[test]
fn calls_have_the_spelling_of_chat_completions() {
    let call =
        json!([{"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{\"x\":1}"}]);
    let response = decode(&reply("completed", call)).unwrap();
    let expected = json!({"content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]});
    assert_eq!((response.output, response.finish), (Output::Json(expected), Finish::ToolCalls));
}

#[test]
fn what_is_not_an_answer_is_a_failure_though_it_comes_with_200() {
    let failed = |code: &str| {
        let mut body = reply("failed", json!([]));
        body["error"] = json!({"code": code, "message": "no"});
        let failure = decode(&body).unwrap_err();
        assert!(failure.usage.is_some());
        failure.kind
    };
    assert_eq!(failed("server_error"), Kind::ServerError);
    assert_eq!(failed("rate_limit_exceeded"), Kind::RateLimited);
    assert_eq!(failed("invalid_prompt"), Kind::ContentFilter);
    assert_eq!(failed("invalid_image"), Kind::BadRequest);
    let mut filtered = reply("incomplete", said("h"));
    filtered["incomplete_details"] = json!({"reason": "content_filter"});
    let kind = |body: &Value| decode(body).unwrap_err().kind;
    assert_eq!(kind(&filtered), Kind::ContentFilter);
    let refusal = json!([{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]);
    assert_eq!(kind(&reply("completed", refusal)), Kind::ContentFilter);
    assert_eq!(kind(&reply("completed", json!([]))), Kind::Empty);
    assert_eq!(kind(&reply("queued", json!([]))), Kind::BadRequest);
    assert_eq!(kind(&reply("cancelled", json!([]))), Kind::ServerError);
    assert_eq!(kind(&json!([])), Kind::Malformed);
}

/// A conversation in Chat Completions' form with everything that both forms have, and the same in this one's.
fn both_forms() -> (Value, Value) {
    let chat = json!({"messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}}]},
        {"role": "assistant", "content": "well", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "user", "content": "so?"}],
        "max_tokens": 7, "temperature": 0.5, "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": true}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "top_p": 0.9});
    let responses = json!({"model": "m", "input": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "input_text", "text": "see"},
            {"type": "input_image", "image_url": "https://a/b.png", "detail": "low"}]},
        {"role": "assistant", "content": "well"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
        {"role": "user", "content": "so?"}],
        "store": false, "max_output_tokens": 7, "temperature": 0.5, "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": true}},
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "function", "name": "f"}, "top_p": 0.9});
    (chat, responses)
}

fn original(wire: WireId, body: &Value) -> Original {
    Original { wire, kind: TaskKind::Chat, bytes: body.to_string().into() }
}

#[test]
fn both_forms_of_a_conversation_are_translated() {
    let (chat, responses) = both_forms();
    let typed = OpenAi.typed(&original(WireId::Openai, &chat)).unwrap();
    let written: Value = serde_json::from_slice(&Responses.encode(&typed, "m", &Quirks::COMMON).unwrap()).unwrap();
    assert_eq!(written, responses);
    let read = Responses.typed(&original(WireId::Responses, &responses)).unwrap();
    let mut again: Map<String, Value> =
        serde_json::from_slice(&OpenAi.encode(&read, "m", &Quirks::COMMON).unwrap()).unwrap();
    again.remove("model");
    assert_eq!(Value::from(again), chat);
}

#[test]
fn what_has_no_place_is_refused_by_name() {
    let refusal = |request: &Request| Responses.encode(request, "m", &Quirks::COMMON).unwrap_err().message;
    assert!(refusal(&Request::prompt("x").param("seed", 1)).contains("`seed`"));
    assert!(refusal(&Request::prompt("x").param("n", 2)).contains("`n`"));
    assert!(refusal(&Request::embed("x")).contains("embeddings"));
    let remembered = original(WireId::Responses, &json!({"input": "x", "previous_response_id": "resp_0"}));
    assert!(Responses.typed(&remembered).unwrap_err().message.contains("`previous_response_id`"));
    let item = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "e"});
    let typed = Responses.typed(&original(WireId::Responses, &json!({"input": [item]}))).unwrap();
    assert!(OpenAi.encode(&typed, "m", &Quirks::COMMON).unwrap_err().message.contains("`reasoning`"));
    let written: Value = serde_json::from_slice(&Responses.encode(&typed, "m", &Quirks::COMMON).unwrap()).unwrap();
    assert_eq!(written["input"], json!([item]));
}

#[test]
fn an_original_body_goes_out_untouched_but_for_its_model_and_what_is_set() {
    let body = json!({"model": "old", "input": "hi", "unheard_of": [1]});
    let request =
        Request { original: Some(original(WireId::Responses, &body)), task: Task::Chat(vec![]), ..Request::default() };
    let sent = |request: &Request| {
        serde_json::from_slice::<Value>(&Responses.encode(request, "m", &Quirks::COMMON).unwrap()).unwrap()
    };
    assert_eq!(sent(&request), json!({"model": "m", "input": "hi", "unheard_of": [1]}));
    assert_eq!(sent(&request.max_tokens(5))["max_output_tokens"], 5);
    assert_eq!(
        sent(&Request::chat(vec![Message::user().text("a")]))["input"],
        json!([{"role": "user", "content": "a"}])
    );
}

#[test]
fn thoughts_are_read_and_go_back_as_the_item_that_told_them() {
    let summary =
        |texts: &[&str]| -> Value { texts.iter().map(|text| json!({"type": "summary_text", "text": text})).collect() };
    let thought = |item: Value| {
        let items = json!([item, said("hé")[1]]);
        let response = decode(&reply("completed", items)).unwrap();
        assert_eq!(response.output, Output::Text("hé".into()));
        let request = Request::chat(vec![Message::user().text("hi"), response.message(), Message::user().text("on")]);
        let sent: Value = serde_json::from_slice(&Responses.encode(&request, "m", &Quirks::COMMON).unwrap()).unwrap();
        let turn = [item, json!({"role": "assistant", "content": "hé"})];
        assert_eq!(sent["input"].as_array().unwrap()[1..3], turn, "it goes back as it came, once");
        let texts = response.reasoning().map(|reasoning| match reasoning {
            Reasoning::Text { text, .. } => text.clone(),
            other => panic!("{other:?}"),
        });
        texts.collect::<Vec<_>>()
    };
    let item =
        |summary: Value| json!({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "e"});
    assert_eq!(thought(item(summary(&["**Tide**", "It ebbs."]))), ["**Tide**\n\nIt ebbs."]);
    assert_eq!(thought(item(json!([]))), [""; 0]);
    let open = json!({"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]});
    assert_eq!(thought(open), ["hm"]);
}

#[test]
fn a_stream_tells_pieces_and_ends_with_the_whole() {
    let events = [
        ("response.created", json!({"response": reply("in_progress", json!([]))})),
        ("response.reasoning_summary_part.added", json!({"summary_index": 0})),
        ("response.reasoning_summary_text.delta", json!({"delta": "hm"})),
        ("response.reasoning_summary_part.added", json!({"summary_index": 1})),
        (
            "response.output_item.added",
            json!({"output_index": 1, "item": {"type": "function_call", "call_id": "c", "name": "f"}}),
        ),
        ("response.function_call_arguments.delta", json!({"output_index": 1, "delta": "{}"})),
        ("response.output_text.delta", json!({"delta": "hé"})),
        ("response.never_heard_of", json!({})),
        ("response.completed", json!({"response": reply("completed", said("hé"))})),
    ];
    let mut state = StreamState::new(head());
    let mut deltas = Vec::new();
    for (name, mut data) in events {
        data["type"] = name.into();
        let event = Event { name: name.to_owned(), data: data.to_string().into_bytes() };
        Responses.decode_event(&mut state, &event, &mut deltas).unwrap();
    }
    let call = |id: Option<&str>, name: Option<&str>, arguments: &str| Delta::ToolCall {
        index: 0,
        id: id.map(str::to_owned),
        name: name.map(str::to_owned),
        arguments: arguments.to_owned(),
    };
    let expected = [
        Delta::Reasoning("hm".into()),
        Delta::Reasoning("\n\n".into()),
        call(Some("c"), Some("f"), ""),
        call(None, None, "{}"),
        Delta::Text("hé".into()),
    ];
    assert_eq!(deltas, expected);
    assert_eq!(Responses.finish(state).unwrap().output, Output::Text("hé".into()));
    assert_eq!(Responses.finish(StreamState::new(head())).unwrap_err().kind, Kind::Cut);
    let error = Event {
        name: "error".into(),
        data: br#"{"type":"error","code":"rate_limit_exceeded","message":"slow"}"#.to_vec(),
    };
    let failure = Responses.decode_event(&mut StreamState::new(head()), &error, &mut deltas).unwrap_err();
    assert_eq!(failure.kind, Kind::RateLimited);
}
