//! Where a reply's body ends, and how it is cut out of what arrives.

use bytes::{Buf, Bytes};

/// The longest line of a chunk's size, or of a trailer, in bytes.
const LINE_LIMIT: usize = 16 << 10;

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length: so much is left.
    Length(u64),
    /// By chunks, each with its size in front.
    Chunked(Chunk),
    /// By the end of the connection.
    UntilClose,
}

/// What comes next of a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    /// So much of a chunk.
    Data(u64),
    /// The line's end behind a chunk.
    DataEnd,
    /// Headers behind the last chunk, which nobody needs, up to an empty line.
    Trailers,
    End,
}

/// What could be done with what has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A part of the body.
    Part(Bytes),
    /// More must arrive.
    More,
    /// The body is over.
    End,
}

impl Framing {
    pub(super) const fn chunked() -> Framing {
        Framing::Chunked(Chunk::Size)
    }

    /// Takes the next part off what has arrived.
    ///
    /// # Errors
    ///
    /// What is wrong with the chunks, in words for the user.
    pub(super) fn take(&mut self, arrived: &mut Bytes) -> Result<Step, String> {
        match self {
            Framing::Length(0) | Framing::Chunked(Chunk::End) => Ok(Step::End),
            _ if arrived.is_empty() => Ok(Step::More),
            Framing::Length(left) => Ok(Step::Part(up_to(left, arrived))),
            Framing::UntilClose => Ok(Step::Part(std::mem::take(arrived))),
            Framing::Chunked(chunk) => chunk.take(arrived),
        }
    }
}

impl Chunk {
    fn take(&mut self, arrived: &mut Bytes) -> Result<Step, String> {
        loop {
            *self = match self {
                Chunk::Size => match httparse::parse_chunk_size(arrived) {
                    Ok(httparse::Status::Complete((length, size))) => {
                        arrived.advance(length);
                        if size == 0 { Chunk::Trailers } else { Chunk::Data(size) }
                    }
                    Ok(httparse::Status::Partial) if arrived.len() <= LINE_LIMIT => return Ok(Step::More),
                    _ => return Err("the reply's chunks are broken".to_owned()),
                },
                Chunk::Data(0) => Chunk::DataEnd,
                Chunk::Data(_) if arrived.is_empty() => return Ok(Step::More),
                Chunk::Data(left) => return Ok(Step::Part(up_to(left, arrived))),
                Chunk::DataEnd => match &arrived[..] {
                    [b'\r', b'\n', ..] => {
                        arrived.advance(2);
                        Chunk::Size
                    }
                    [] | [b'\r'] => return Ok(Step::More),
                    _ => return Err("the reply's chunks are broken".to_owned()),
                },
                Chunk::Trailers => match memchr::memchr(b'\n', arrived) {
                    Some(end) => {
                        let line = arrived.split_to(end + 1);
                        if line.trim_ascii().is_empty() { Chunk::End } else { Chunk::Trailers }
                    }
                    None if arrived.len() <= LINE_LIMIT => return Ok(Step::More),
                    None => return Err("the reply's trailers are too long".to_owned()),
                },
                Chunk::End => return Ok(Step::End),
            };
        }
    }
}

/// Takes as much as is `left`, or as there is.
fn up_to(left: &mut u64, arrived: &mut Bytes) -> Bytes {
    let count = usize::try_from(*left).map_or(arrived.len(), |left| left.min(arrived.len()));
    *left -= count as u64;
    arrived.split_to(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    /// Reads a body that arrives in pieces. Returns it with what is left, or what is wrong with it.
    fn read(mut framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), String> {
        let (mut arrived, mut body, mut pieces) = (Bytes::new(), Vec::new(), pieces.iter());
        loop {
            match framing.take(&mut arrived)? {
                Step::Part(part) => body.extend_from_slice(&part),
                Step::End => {
                    let rest = [&arrived[..], &pieces.copied().collect::<Vec<_>>().concat()].concat();
                    return Ok((body, rest, true));
                }
                Step::More => match pieces.next() {
                    Some(piece) => arrived = [&arrived[..], piece].concat().into(),
                    None => return Ok((body, Vec::new(), false)),
                },
            }
        }
    }

    #[test]
    fn bodies_end_where_they_say() {
        let all = |framing, text: &str| read(framing, &[text.as_bytes()]).unwrap();
        assert_eq!(all(Framing::Length(2), "okHTTP"), (b"ok".to_vec(), b"HTTP".to_vec(), true));
        assert_eq!(all(Framing::Length(0), "x"), (Vec::new(), b"x".to_vec(), true));
        assert_eq!(all(Framing::Length(3), "ok"), (b"ok".to_vec(), Vec::new(), false));
        assert_eq!(all(Framing::UntilClose, "ok"), (b"ok".to_vec(), Vec::new(), false));
        let chunks = "2;ext=1\r\nab\r\nA\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\nrest";
        assert_eq!(all(Framing::chunked(), chunks), (b"ab0123456789".to_vec(), b"rest".to_vec(), true));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for text in ["g\r\n", "2\r\nabc\r\n", "-1\r\n", "11111111111111111\r\n"] {
            assert!(read(Framing::chunked(), &[text.as_bytes()]).is_err(), "{text}");
        }
        let endless = [b"0\r\nx: ".to_vec(), vec![b'y'; LINE_LIMIT + 1]].concat();
        assert!(read(Framing::chunked(), &[&endless]).is_err());
    }

    proptest! {
        #[test]
        fn where_reads_end_makes_no_difference(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\na: b\r\n\r\nnext");
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(Framing::chunked(), &pieces), Ok((chunks.concat(), b"next".to_vec(), true)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(Framing::chunked(), &[&bytes]);
            let _ = super::super::head::read(&mut Bytes::from(bytes));
        }
    }
}
