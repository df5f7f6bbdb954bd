//! What each wire makes of each part, and that it reads the same again.

use serde_json::{Value, json};

use super::WireId;
use crate::call::provider::Quirks;
use crate::request::{
    CachePoint, Media, MediaKind, Message, Original, Part, Reasoning, Request, Source, Task, TaskKind, ToolResult,
    ToolUse,
};

const WIRES: [WireId; 3] = [WireId::Openai, WireId::Anthropic, WireId::Gemini];

fn bytes(mime: &str, name: Option<&str>) -> Media {
    let media = Media::base64(mime, "AAAA").unwrap();
    match name {
        Some(name) => media.named(name),
        None => media,
    }
}

/// Returns the content that a wire writes of a user's message with this part behind a text, or why it does not.
fn written(wire: WireId, part: &Part) -> Result<Value, String> {
    let request = Request::chat(vec![Message::user().text("see").part(part.clone())]).max_tokens(9);
    if let Some(why) = wire.wire().refuses(part) {
        assert!(wire.wire().encode(&request, "m", &Quirks::COMMON).is_err(), "{wire:?} {part:?}");
        return Err(why);
    }
    let body = wire.wire().encode(&request, "m", &Quirks::COMMON).map_err(|failure| failure.message)?;
    let again = wire.wire().typed(&Original { wire, kind: TaskKind::Chat, bytes: body.clone() }).unwrap();
    let Task::Chat(messages) = again.task else { unreachable!() };
    assert!(messages.iter().any(|message| message.parts.contains(part)), "{wire:?} {part:?} {messages:?}");
    let body: Value = serde_json::from_slice(&body).unwrap();
    Ok(match wire {
        WireId::Gemini => body["contents"][0]["parts"][1].clone(),
        WireId::Openai if body["messages"][0]["content"].is_string() => body["messages"][0].clone(),
        _ if body["messages"][0]["role"] == "tool" => body["messages"][0].clone(),
        WireId::Anthropic if body["messages"][0]["content"].as_array().unwrap().len() == 1 => {
            body["messages"][0]["content"][0].clone()
        }
        _ => body["messages"][0]["content"][1].clone(),
    })
}

#[test]
fn every_part_has_its_form_or_its_refusal() {
    let no = |what: &str| Err::<Value, String>(what.to_owned());
    let call = ToolUse { id: "c".into(), name: "f".into(), input: json!({"x": 1}), signature: None };
    let result =
        ToolResult { id: "c".into(), name: Some("f".into()), content: vec![Part::Text("3".into())], is_error: false };
    let thought = Reasoning::Text { text: "hm".into(), signature: Some("sig".into()) };
    let s3 = Media { source: Source::S3 { uri: "s3://b/k.png".into(), owner: None }, ..bytes("image/png", None) };
    let cases = [
        (
            Part::Image(bytes("image/png", None)),
            Ok(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})),
            Ok(json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}})),
            Ok(json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}})),
        ),
        (
            Part::Image(Media::url("https://a/b.png")),
            Ok(json!({"type": "image_url", "image_url": {"url": "https://a/b.png"}})),
            Ok(json!({"type": "image", "source": {"type": "url", "url": "https://a/b.png"}})),
            no("Gemini fetches no image from the web: give its bytes, gs://… or a file of its Files API"),
        ),
        (
            Part::Image(bytes("image/heic", None)),
            no("OpenAI's format has no place for an image of type image/heic"),
            no("Anthropic's format has no place for an image of type image/heic"),
            Ok(json!({"inlineData": {"mimeType": "image/heic", "data": "AAAA"}})),
        ),
        (
            Part::Image(s3),
            no("OpenAI's format has no place for an image in S3"),
            no("Anthropic's format has no place for an image in S3"),
            no("Gemini fetches no image from the web: give its bytes, gs://… or a file of its Files API"),
        ),
        (
            Part::Audio(bytes("audio/wav", None)),
            Ok(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
            no("Anthropic's format has no place for sound"),
            Ok(json!({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}})),
        ),
        (
            Part::Video(bytes("video/mp4", None)),
            no("OpenAI's format has no place for a video"),
            no("Anthropic's format has no place for a video"),
            Ok(json!({"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}})),
        ),
        (
            Part::ToolResult(result),
            Ok(json!({"role": "tool", "content": "3", "tool_call_id": "c", "name": "f"})),
            no("-"),
            Ok(json!({"functionResponse": {"name": "f", "response": {"output": "3"}, "id": "c"}})),
        ),
        (
            Part::ToolUse(call),
            Ok(json!({"role": "user", "content": "see", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]})),
            Ok(json!({"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}})),
            Ok(json!({"functionCall": {"name": "f", "args": {"x": 1}, "id": "c"}})),
        ),
        (
            Part::Reasoning(thought),
            no("OpenAI's format has no place for reasoning"),
            Ok(json!({"type": "thinking", "thinking": "hm", "signature": "sig"})),
            Ok(json!({"text": "hm", "thought": true, "thoughtSignature": "sig"})),
        ),
        (
            Part::Reasoning(Reasoning::Redacted("xx".into())),
            no("OpenAI's format has no place for reasoning"),
            Ok(json!({"type": "redacted_thinking", "data": "xx"})),
            no("Gemini's format has no place for reasoning that another provider has encoded"),
        ),
        (
            Part::CachePoint(CachePoint { ttl: Some("1h".into()) }),
            no("OpenAI's format has no place for cache_point"),
            Ok(json!({"type": "text", "text": "see", "cache_control": {"type": "ephemeral", "ttl": "1h"}})),
            no("Gemini's format has no place for cache_point"),
        ),
    ];
    for (part, openai, anthropic, gemini) in cases {
        for (wire, expected) in WIRES.into_iter().zip([openai, anthropic, gemini]) {
            if expected != no("-") {
                assert_eq!(written(wire, &part), expected, "{wire:?} {part:?}");
            }
        }
    }
}

#[test]
fn a_document_keeps_its_name_where_there_is_a_place_for_it() {
    let pdf = Part::Document(bytes("application/pdf", Some("a.pdf")));
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}});
    assert_eq!(written(WireId::Openai, &pdf), Ok(file));
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "AAAA"});
    assert_eq!(written(WireId::Anthropic, &pdf), Ok(json!({"type": "document", "source": source, "title": "a.pdf"})));
    let nameless = Part::Document(bytes("application/pdf", None));
    let inline = json!({"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}});
    assert_eq!(written(WireId::Gemini, &nameless), Ok(inline));
}

#[test]
fn a_page_of_text_is_a_document_too() {
    let media = Media::bytes("| a |", Some("t.md"), Some(MediaKind::Document)).unwrap();
    let request = Request::chat(vec![Message::user().media(MediaKind::Document, media)]).max_tokens(9);
    let body = WireId::Anthropic.wire().encode(&request, "m", &Quirks::COMMON).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let source = json!({"type": "text", "media_type": "text/plain", "data": "| a |"});
    assert_eq!(body["messages"][0]["content"], json!([{"type": "document", "source": source, "title": "t.md"}]));
}

#[test]
fn a_conversation_goes_on_with_the_answer_as_it_came() {
    let replies = [
        (
            WireId::Anthropic,
            json!({"content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}}], "stop_reason": "tool_use"}),
        ),
        (
            WireId::Gemini,
            json!({"candidates": [{"finishReason": "STOP", "content": {"role": "model", "parts": [
                {"text": "hm", "thought": true, "thoughtSignature": "s"}, {"text": "a"},
                {"functionCall": {"id": "c", "name": "f", "args": {"x": 1}}, "thoughtSignature": "t"}]}}]}),
        ),
        (
            WireId::Openai,
            json!({"choices": [{"finish_reason": "tool_calls", "message": {"content": "a", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]}}]}),
        ),
    ];
    for (wire, reply) in replies {
        let head = http::Response::builder().status(200).body(()).unwrap().into_parts().0;
        let response = wire.wire().decode(TaskKind::Chat, &head, &reply.to_string().into()).unwrap();
        let call = response.tool_calls().next().unwrap();
        assert_eq!((call.name.as_str(), &call.input), ("f", &json!({"x": 1})), "{wire:?}");
        assert_eq!(response.reasoning().count(), usize::from(wire != WireId::Openai));
        let request = Request::chat(vec![
            Message::user().text("?"),
            response.message(),
            Message::user().tool_result(&call.id, "3"),
        ]);
        let body = wire.wire().encode(&request, "m", &Quirks::COMMON).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let sent = match wire {
            WireId::Gemini => body["contents"][1]["parts"].clone(),
            WireId::Anthropic => body["messages"][1]["content"].clone(),
            _ => body["messages"][1]["tool_calls"].clone(),
        };
        let came = ["/candidates/0/content/parts", "/content", "/choices/0/message/tool_calls"];
        let came = came.iter().find_map(|path| reply.pointer(path)).unwrap();
        assert_eq!(&sent, came, "{wire:?}");
    }
}
