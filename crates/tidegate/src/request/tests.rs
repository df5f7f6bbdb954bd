use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1A\nrest";

#[test]
fn the_first_bytes_tell_the_format_and_beat_the_name() {
    let media = |bytes: &'static [u8], name: Option<&str>| Media::bytes(bytes, name, None).unwrap();
    assert_eq!((media(PNG, None).mime.as_str(), media(PNG, Some("a/b.png")).warning), ("image/png", None));
    let odd = media(PNG, Some("a/b.jpg"));
    assert_eq!(odd.mime, "image/png");
    assert_eq!(odd.warning.as_deref(), Some("a/b.jpg: is image/png, though its name says image/jpeg"));
    assert_eq!(odd.name.as_deref(), Some("b.jpg"));
    assert_eq!(media(b"PK\x03\x04", Some("t.xlsx")).format().unwrap().name(), "xlsx");
    assert_eq!(media(b"a,b\n", Some("t.csv")).mime, "text/csv");
    assert!(media(b"not a pdf", Some("t.pdf")).warning.unwrap().contains("does not begin like application/pdf"));
}

#[test]
fn what_cannot_be_used_says_why() {
    let why = |result: Result<Media, media::MediaError>| result.unwrap_err().to_string();
    assert_eq!(why(Media::bytes(PNG, None, Some(MediaKind::Document))), "bytes: is image (image/png), not document");
    assert!(why(Media::bytes("??", Some("x"), None)).starts_with("x: neither the name"));
    assert!(why(Media::file("no/such.png", None)).starts_with("no/such.png: "));
    assert!(why(Media::file(".", None)).contains("directory"));
}

#[test]
fn addresses_are_told_apart() {
    assert_eq!(Media::url("https://a/b.PDF?x=1").mime, "application/pdf");
    assert_eq!(Media::url("s3://a/b.mp4").source, Source::S3 { uri: "s3://a/b.mp4".to_owned(), owner: None });
    assert_eq!(Media::url("data:image/png;base64,AAAA").source, Source::Bytes(Bytes::from_static(&[0, 0, 0])));
    assert!(matches!(Media::url("data:text/plain,abc").source, Source::Url(_)));
    for odd in ["A", "AA=A", "A AA", ""] {
        assert_eq!(Media::base64("image/png", odd), None, "{odd}");
    }
}

#[test]
fn a_request_is_the_same_in_json() {
    let call = ToolUse { id: "c".into(), name: "f".into(), input: serde_json::json!({"x": 1}), signature: None };
    let message = Message::assistant()
        .text("hé")
        .image_bytes(PNG)
        .unwrap()
        .media(MediaKind::Video, Media::s3("s3://a/b.mp4"))
        .reasoning(Reasoning::Text { text: "hm".into(), signature: Some("s".into()) })
        .reasoning(Reasoning::Redacted("x".into()))
        .tool_use(call)
        .tool_result("c", "3")
        .cache_point()
        .guard_content("g");
    let original = Request::original(WireId::Openai, TaskKind::Chat, r#"{ "x":1.0 }"#).lossy();
    for request in [Request::chat(vec![message]).system("s").max_tokens(5), Request::embed("x"), original] {
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
    }
}

#[test]
fn media_count_for_memory_by_their_bytes_and_for_tokens_by_their_kind() {
    let image = Message::user().text("what?").image_bytes([PNG, &[0; 1_000_000]].concat()).unwrap();
    let request = Request::chat(vec![image]);
    assert_eq!(request.size(), 1_000_017);
    assert_eq!(request.text_size(), 4_005);
}
