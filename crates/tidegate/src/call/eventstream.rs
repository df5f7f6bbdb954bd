//! AWS's event stream: messages with two checksums, from bytes however they were split on the way, and back.
//!
//! A message is `length, headers' length, CRC of these two, headers, payload, CRC of all before`, in big-endian numbers.
//! A wrong checksum or length is an error and never half an answer. An event of the stream is named by its type; a failure
//! reported inside the stream by [`EXCEPTION`] and the exception's name.

use crate::call::sse::Event;
use crate::failure::{Failure, Kind};

/// What the name of an event begins with that reports a failure.
pub const EXCEPTION: &str = "exception/";

/// The bytes of a message around headers and payload, and those in front of them.
const FRAME: usize = 16;
const PRELUDE: usize = 12;
/// The largest message and the largest headers, as AWS's own SDK has them.
const LIMIT: usize = 24 << 20;
const HEADERS_LIMIT: usize = 128 << 10;

/// Reads messages from bytes as they come.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// Takes bytes and adds the events that they complete.
    ///
    /// # Errors
    ///
    /// [`Kind::Cut`] for a message that was damaged on the way.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), Failure> {
        self.bytes.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some(length) = length(&self.bytes[taken..])? {
            let Some(message) = self.bytes.get(taken..taken + length) else { break };
            out.extend(event(message)?);
            taken += length;
        }
        self.bytes.drain(..taken);
        Ok(())
    }
}

/// Returns the length of the message that begins here, once its prelude is there.
fn length(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
    if crc32fast::hash(&prelude[..8]) != number(prelude, 8) {
        return Err(damaged("the checksum of its prelude is wrong"));
    }
    let (total, headers) = (number(prelude, 0) as usize, number(prelude, 4) as usize);
    match total <= LIMIT && headers <= HEADERS_LIMIT && total >= FRAME + headers {
        true => Ok(Some(total)),
        false => Err(damaged("its lengths are impossible")),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn event(message: &[u8]) -> Result<Option<Event>, Failure> {
    let (checked, _) = message.split_at(message.len() - 4);
    if crc32fast::hash(checked) != number(message, checked.len()) {
        return Err(damaged("its checksum is wrong"));
    }
    let (headers, payload) = checked[PRELUDE..].split_at(number(message, 4) as usize);
    let headers = texts(headers).ok_or_else(|| damaged("its headers cannot be read"))?;
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    Ok(match header(":message-type") {
        Some("event") => {
            Some(Event { name: header(":event-type").unwrap_or_default().to_owned(), data: payload.to_vec() })
        }
        Some("exception") => {
            let name = header(":exception-type").unwrap_or_default();
            Some(Event { name: format!("{EXCEPTION}{name}"), data: payload.to_vec() })
        }
        Some("error") => {
            let name = header(":error-code").unwrap_or_default();
            let data = serde_json::json!({"message": header(":error-message")}).to_string().into_bytes();
            Some(Event { name: format!("{EXCEPTION}{name}"), data })
        }
        _ => None,
    })
}

/// Reads the headers that are texts; nothing where they do not end where they should.
fn texts(mut bytes: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (kind, rest) = rest.split_first()?;
        let (size, rest) = match kind {
            0 | 1 => (0, rest),
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            5 | 8 => (8, rest),
            9 => (16, rest),
            6 | 7 => {
                let (size, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*size)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(size)?;
        if *kind == 7 {
            found.push((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?));
        }
        bytes = rest;
    }
    Some(found)
}

/// Writes a message with these headers, all of them texts.
#[must_use]
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    for (name, value) in headers {
        written.push(name.len() as u8);
        written.extend_from_slice(name.as_bytes());
        written.push(7);
        written.extend_from_slice(&(value.len() as u16).to_be_bytes());
        written.extend_from_slice(value.as_bytes());
    }
    let total = (FRAME + written.len() + payload.len()) as u32;
    let mut message = [total.to_be_bytes(), (written.len() as u32).to_be_bytes()].concat();
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&written);
    message.extend_from_slice(payload);
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}

/// Writes an event.
#[must_use]
pub fn event_message(name: &str, payload: &[u8]) -> Vec<u8> {
    message(&[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")], payload)
}

fn damaged(what: &str) -> Failure {
    Failure::new(Kind::Cut, format!("a message of the stream was damaged on the way: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made with the published layout and read by AWS's own SDK for Python.
    const KNOWN: &str = "000000590000003076f8427f0d3a6d6573736167652d747970650700056576656e740b3a6576656e742d747970650700\
                         0b6d65737361676553746f707b2273746f70526561736f6e223a22656e645f7475726e227def4f02c7";

    fn known() -> Vec<u8> {
        (0..KNOWN.len()).step_by(2).map(|at| u8::from_str_radix(&KNOWN[at..at + 2], 16).unwrap()).collect()
    }

    fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Event>, Failure> {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        parts.into_iter().try_for_each(|part| reader.push(part, &mut events)).map(|()| events)
    }

    #[test]
    fn a_known_message_is_read_and_written() {
        let events = read([known().as_slice()]).unwrap();
        assert_eq!(events, [Event { name: "messageStop".into(), data: br#"{"stopReason":"end_turn"}"#.to_vec() }]);
        let headers = [(":message-type", "event"), (":event-type", "messageStop")];
        assert_eq!(message(&headers, br#"{"stopReason":"end_turn"}"#), known());
    }

    #[test]
    fn failures_inside_a_stream_are_named() {
        let exception = message(&[(":message-type", "exception"), (":exception-type", "throttlingException")], b"{}");
        let error = message(&[(":message-type", "error"), (":error-code", "Internal"), (":error-message", "no")], b"");
        let events = read([exception.as_slice(), &error]).unwrap();
        assert_eq!(events[0].name, "exception/throttlingException");
        assert_eq!(
            (events[1].name.as_str(), events[1].data.as_slice()),
            ("exception/Internal", &br#"{"message":"no"}"#[..])
        );
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let whole = known();
        for at in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[at / 8] ^= 1 << (at % 8);
            assert_eq!(read([broken.as_slice()]).unwrap_err().kind, Kind::Cut, "bit {at}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_split_the_events_are_the_same(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..4), size in 1usize..60
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| event_message("e", payload)).collect();
            let whole = read([bytes.as_slice()]).unwrap();
            prop_assert_eq!(whole.iter().map(|event| event.data.clone()).collect::<Vec<_>>(), payloads);
            prop_assert_eq!(&read(bytes.chunks(size)).unwrap(), &whole);
            for cut in 0..=bytes.len() {
                prop_assert_eq!(&read([&bytes[..cut], &bytes[cut..]]).unwrap(), &whole);
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read([bytes.as_slice()]);
            let _ = texts(&bytes);
        }
    }
}
