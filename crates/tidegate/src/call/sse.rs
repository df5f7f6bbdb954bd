//! Server-sent events: from bytes, however they were split on the way, to events.
//!
//! Read leniently, because servers take liberties: lines may end in CR, LF or both, the last event may lack its blank
//! line, and Google reports a failure in the middle of a stream as JSON without `data:` in front. Comments, which keep
//! connections alive, are no events.

use memchr::memchr2;
use serde::de::IgnoredAny;

use crate::failure::{Failure, Kind};
use crate::json;

/// The largest event, in bytes: pictures come in one.
const LIMIT: usize = 16 << 20;
/// The largest JSON without `data:` in front: an error message.
const BARE_LIMIT: usize = 64 << 10;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name, often empty.
    pub name: String,
    /// What it carries, mostly JSON.
    pub data: Vec<u8>,
}

/// Reads events from bytes as they come.
#[derive(Debug, Default)]
pub struct Reader {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Whether the line before ended in CR, so that an LF right behind it means nothing.
    after_cr: bool,
    /// Whether any line was read: a byte order mark may stand only before the first.
    begun: bool,
    state: State,
    event: Event,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The event holds no data yet.
    #[default]
    Empty,
    Data,
    /// The data is JSON that stands there without `data:`.
    Bare,
}

impl Reader {
    /// Takes bytes and adds the events that they complete.
    ///
    /// # Errors
    ///
    /// [`Kind::Malformed`] for an event that is too large.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<Event>) -> Result<(), Failure> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.line.extend_from_slice(bytes);
                break;
            };
            self.after_cr = bytes[end] == b'\r';
            if self.line.is_empty() {
                self.take(&bytes[..end], out);
            } else {
                self.line.extend_from_slice(&bytes[..end]);
                self.take_line(out);
            }
            bytes = &bytes[end + 1..];
        }
        let limit = if self.state == State::Bare { BARE_LIMIT } else { LIMIT };
        if self.line.len() + self.event.data.len() > limit {
            return Err(Failure::new(Kind::Malformed, format!("an event of the stream is larger than {limit} bytes")));
        }
        Ok(())
    }

    /// Says that no more bytes come, and adds what was not ended properly.
    pub fn end(&mut self, out: &mut Vec<Event>) {
        if !self.line.is_empty() {
            self.take_line(out);
        }
        self.complete(out);
    }

    fn take_line(&mut self, out: &mut Vec<Event>) {
        let line = std::mem::take(&mut self.line);
        self.take(&line, out);
    }

    fn take(&mut self, line: &[u8], out: &mut Vec<Event>) {
        let line = match std::mem::replace(&mut self.begun, true) {
            false => line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line),
            true => line,
        };
        match line {
            _ if self.state == State::Bare => self.take_bare(line, out),
            [] => self.complete(out),
            [b'{', ..] if self.state == State::Empty => self.take_bare(line, out),
            _ => self.take_field(line),
        }
    }

    fn take_field(&mut self, line: &[u8]) {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => self.add(value, State::Data),
            // A comment, an id, a time to reconnect.
            _ => {}
        }
    }

    fn take_bare(&mut self, line: &[u8], out: &mut Vec<Event>) {
        self.add(line, State::Bare);
        if line.trim_ascii_end().ends_with(b"}") && json::from_slice::<IgnoredAny>(&self.event.data).is_ok() {
            self.complete(out);
        }
    }

    fn add(&mut self, line: &[u8], state: State) {
        if self.state != State::Empty {
            self.event.data.push(b'\n');
        }
        self.event.data.extend_from_slice(line);
        self.state = state;
    }

    fn complete(&mut self, out: &mut Vec<Event>) {
        let event = std::mem::take(&mut self.event);
        if std::mem::take(&mut self.state) != State::Empty {
            out.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

    fn read(parts: &[&[u8]]) -> Vec<Event> {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        parts.iter().for_each(|part| reader.push(part, &mut events).unwrap());
        reader.end(&mut events);
        events
    }

    fn shown(text: &str) -> Vec<(String, String)> {
        let text_of = |event: Event| (event.name, String::from_utf8(event.data).unwrap());
        read(&[text.as_bytes()]).into_iter().map(text_of).collect()
    }

    #[test]
    fn liberties_are_forgiven() {
        let event = |name: &str, data: &str| vec![(name.to_owned(), data.to_owned())];
        assert_eq!(shown("data: a\n\n"), event("", "a"));
        assert_eq!(shown("\u{feff}event:x\r\ndata:a\r\ndata:  b\r\n\r\n: ping\r\n\r\n"), event("x", "a\n b"));
        assert_eq!(shown("event: ping\r\rdata\r\r"), event("", ""));
        assert_eq!(shown("id: 7\nretry: 5\ndata: [DONE]"), event("", "[DONE]"));
        let error = "{\n  \"error\": {\n    \"code\": 503\n  }\n}";
        assert_eq!(shown(&format!("data: a\n\n{error}\n"))[1..], event("", error));
        assert_eq!(shown(""), []);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        let part = vec![b'x'; 1 << 20];
        let pushed = (0..20).map(|_| reader.push(&part, &mut events)).collect::<Result<Vec<_>, _>>();
        assert_eq!(pushed.unwrap_err().kind, Kind::Malformed);
        assert!(reader.line.len() <= LIMIT + part.len());
    }

    fn any_stream() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("data: "),
            Just("event: "),
            Just("\n"),
            Just("\r"),
            Just("\r\n"),
            Just("\n\n"),
            Just(": c"),
            Just("é"),
            Just("{"),
            Just("}"),
            Just("\"a\":1"),
            Just("\u{feff}"),
            Just("x"),
            Just("[DONE]"),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(text in any_stream()) {
            let whole = read(&[text.as_bytes()]);
            for at in 0..=text.len() {
                let (before, after) = text.as_bytes().split_at(at);
                prop_assert_eq!(&read(&[before, after]), &whole);
            }
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(&read(&bytes), &whole);
        }
    }
}
