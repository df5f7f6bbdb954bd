//! Replies that are JSON but for some characters. They are paid for, and asked for again they would be paid for again.
//!
//! What is seen of it: a byte order mark in front, bytes that are no UTF-8, half of a surrogate pair where a server cut an
//! emoji in two, and control characters inside strings.

use crate::failure::{Failure, Kind};

/// What a response that was mended says of itself.
pub(super) const TOLD: &str = "the reply held characters that JSON cannot hold; U+FFFD stands for those that are lost";

/// Reads a reply, and once more without what JSON cannot hold if it is malformed. Returns whether that was so.
pub(super) fn read<T>(
    bytes: &[u8],
    mut decode: impl FnMut(Option<Vec<u8>>) -> Result<T, Failure>,
) -> Result<(T, bool), Failure> {
    match decode(None) {
        Err(failure) if failure.kind == Kind::Malformed => match mended(bytes) {
            Some(mended) => decode(Some(mended)).map(|read| (read, true)).map_err(|_| failure),
            None => Err(failure),
        },
        read => read.map(|read| (read, false)),
    }
}

/// Returns JSON without what it cannot hold, if there was any of that.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut made = String::with_capacity(rest.len());
    let mut in_string = false;
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '\\' if in_string => escape(rest, &mut made),
            control if in_string && control < ' ' => {
                made.push_str(&format!("\\u{:04x}", u32::from(control)));
                1
            }
            other => {
                in_string ^= other == '"';
                made.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    (made.as_bytes() != bytes).then(|| made.into_bytes())
}

/// Copies an escape, and U+FFFD for a surrogate that is alone. Returns how many bytes it took.
fn escape(rest: &str, made: &mut String) -> usize {
    let unit = |rest: &str| u16::from_str_radix(rest.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let second = || rest.get(6..).and_then(unit);
    let (copied, taken) = match unit(rest) {
        Some(0xd800..=0xdbff) if matches!(second(), Some(0xdc00..=0xdfff)) => (&rest[..12], 12),
        Some(0xd800..=0xdfff) => ("\u{fffd}", 6),
        Some(_) => (&rest[..6], 6),
        None => {
            let taken = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            (&rest[..taken], taken)
        }
    };
    made.push_str(copied);
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn mend(bytes: &[u8]) -> Option<Value> {
        Some(serde_json::from_slice(&mended(bytes)?).unwrap())
    }

    #[test]
    fn what_json_cannot_hold_is_taken_out() {
        let cases: [(&[u8], &str); 7] = [
            (b"\xef\xbb\xbf{\"a\":\"b\"}", "b"),
            (br#"{"a":"x\ud83d"}"#, "x\u{fffd}"),
            (br#"{"a":"\ude00\ud83d\ude00"}"#, "\u{fffd}😀"),
            (br#"{"a":"\ud83d\\ude00 \"\u0041"}"#, "\u{fffd}\\ude00 \"A"),
            (br#"{"a":"\ud83d\ud83d\ude00"}"#, "\u{fffd}😀"),
            (b"{\"a\":\"x\xff\"}", "x\u{fffd}"),
            (b"{\n\"a\":\"x\n\ty\"}", "x\n\ty"),
        ];
        for (bytes, text) in cases {
            assert_eq!(mend(bytes), Some(json!({"a": text})), "{}", bytes.escape_ascii());
        }
        for whole in [&br#"{"a": "\ud83d\ude00 \n"}"#[..], b"{\"a\":", b"{\"a\\", b"\\u12", b""] {
            assert_eq!(mended(whole), None, "{}", whole.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_sound_stays_and_what_is_mended_is_sound(text: String, bytes: Vec<u8>) {
            let sound = json!({"a": text}).to_string();
            prop_assert_eq!(mended(sound.as_bytes()), None);
            prop_assert!(mended(&bytes).is_none_or(|made| mended(&made).is_none()));
        }
    }
}
