//! Takes files out of rows before they are recorded.
//!
//! A row may hold an image as base64, in a message or in a body of its own. A record shows the row, and journal and results
//! would grow by every image; they get its type, its size and its SHA-256 instead, by which the file is still found.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

/// The names under which formats put base64.
const NAMES: [&str; 4] = ["data", "file_data", "bytes", "b64_json"];
/// A shorter text under such a name stays: it is cheap, and may be something else.
const LEAST: usize = 256;

/// Returns the JSON with files replaced; nothing if there are none in it.
pub(super) fn without_files(json: &str) -> Option<String> {
    if json.len() < LEAST {
        return None;
    }
    let (mut written, mut copied, mut name) = (String::new(), 0, "");
    for (start, end) in (Strings { json, at: 0 }) {
        let text = &json[start..end];
        if json[end + 1..].trim_ascii_start().starts_with(':') {
            name = text;
            continue;
        }
        if let Some(short) = replacement(name, text) {
            written.push_str(&json[copied..start]);
            written.push_str(&short);
            copied = end;
        }
    }
    (copied > 0).then(|| written + &json[copied..])
}

fn replacement(name: &str, text: &str) -> Option<String> {
    let (kind, data) = match text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((kind, data)) => (kind, data),
        None if NAMES.contains(&name) && text.len() >= LEAST => ("base64", text),
        None => return None,
    };
    // Some writers escape every slash.
    let data = if data.contains('\\') { &data.replace("\\/", "/") } else { data };
    let bytes = STANDARD.decode(data).ok()?;
    let hash: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let kind = kind.replace(['"', '\\'], "");
    Some(format!("[{kind}, {} bytes, sha256 {hash}]", bytes.len()))
}

/// The places of all strings of a JSON text, without their quotes.
struct Strings<'a> {
    json: &'a str,
    at: usize,
}

impl Iterator for Strings<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let bytes = self.json.as_bytes();
        let start = self.at + memchr::memchr(b'"', &bytes[self.at..])? + 1;
        let mut end = start;
        loop {
            end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
            match bytes[end] {
                b'"' => break,
                _ => end += 2,
            }
        }
        self.at = end + 1;
        Some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;
    use serde_json::{Value, json};

    #[test]
    fn files_are_replaced_by_what_tells_them() {
        let data = STANDARD.encode([7; 300]);
        let row = json!({"id": "a\"b", "data": "short", "messages": [{"content": [
            {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}},
            {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
            {"type": "text", "text": data}]}]});
        let short: Value = serde_json::from_str(&without_files(&row.to_string()).unwrap()).unwrap();
        let content = &short["messages"][0]["content"];
        let image = content[0]["image_url"]["url"].as_str().unwrap();
        assert!(image.starts_with("[image/png, 300 bytes, sha256 ") && image.len() == 95, "{image}");
        assert!(content[1]["input_audio"]["data"].as_str().unwrap().starts_with("[base64, 300 bytes"));
        assert_eq!(
            (&content[2]["text"], &short["id"], &short["data"]),
            (&json!(data), &json!("a\"b"), &json!("short"))
        );
    }

    #[test]
    fn rows_without_files_stay_as_they_are() {
        let dna = "ACGT".repeat(200);
        assert_eq!(without_files(&json!({"dna": dna, "data": format!("{dna} ")}).to_string()), None);
        assert_eq!(without_files(r#"{"url":"data:image/png;base64,AAAA"}"#), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", json in "[{}\\[\\]\":,a\\\\é]{0,400}") {
            let _ = (without_files(&text), without_files(&json), without_files(&format!("{{{json:300}}}")));
        }
    }
}
