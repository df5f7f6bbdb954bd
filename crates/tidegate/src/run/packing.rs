//! How files are packed: gzip and Zstandard, told by a file's name or its first bytes.
//!
//! Both are read as streams of any number of members, so that packed files may be joined with `cat`. Zstandard is a crate in
//! Rust and not the C library, which would have to be compiled along: providers answer more slowly than either unpacks.

use std::io::{self, Cursor, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde::{Deserialize, Serialize};

/// How much is packed into one frame.
const FRAME: usize = 4 << 20;

/// A way in which a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// gzip, `.gz`.
    Gzip,
    /// Zstandard, `.zst`.
    Zstd,
}

impl Packing {
    const ALL: [Packing; 2] = [Packing::Gzip, Packing::Zstd];

    /// Returns the end of such a file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Packing::Gzip => ".gz",
            Packing::Zstd => ".zst",
        }
    }

    /// Returns what it is called in messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "Zstandard",
        }
    }

    const fn magic(self) -> &'static [u8] {
        match self {
            Packing::Gzip => &[0x1F, 0x8B],
            Packing::Zstd => &[0x28, 0xB5, 0x2F, 0xFD],
        }
    }

    /// Splits a path into the packed file's own and how it is packed.
    ///
    /// ```
    /// use tidegate::run::packing::Packing;
    /// assert_eq!(Packing::split("rows.csv.zst"), ("rows.csv", Some(Packing::Zstd)));
    /// assert_eq!(Packing::split("rows.csv"), ("rows.csv", None));
    /// ```
    #[must_use]
    pub fn split(path: &str) -> (&str, Option<Packing>) {
        let ends = |packing: &Packing| {
            let start = path.len().checked_sub(packing.extension().len())?;
            path.get(start..)?.eq_ignore_ascii_case(packing.extension()).then_some((&path[..start], Some(*packing)))
        };
        Packing::ALL.iter().find_map(ends).unwrap_or((path, None))
    }

    /// Returns how a file is packed that begins so.
    pub(crate) fn of_head(head: &[u8]) -> Option<Packing> {
        Packing::ALL.into_iter().find(|packing| head.starts_with(packing.magic()))
    }

    /// Reads as many bytes as tell how a stream is packed: a pipe's first row may be no longer than one.
    pub(crate) fn read_head(source: &mut impl Read) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        let open = |head: &[u8]| {
            Packing::ALL.iter().any(|packing| packing.magic().starts_with(head) && packing.magic().len() > head.len())
        };
        while open(&head) && source.by_ref().take(1).read_to_end(&mut head)? > 0 {}
        Ok(head)
    }

    /// Unpacks a stream.
    pub(crate) fn unpack(self, source: impl Read + Send + 'static) -> Box<dyn Read + Send> {
        match self {
            Packing::Gzip => Box::new(MultiGzDecoder::new(source)),
            Packing::Zstd => Box::new(Frames { source, decoder: FrameDecoder::new(), begun: false }),
        }
    }
}

/// Unpacks Zstandard, a frame after the other.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    begun: bool,
}

impl<R: Read> Frames<R> {
    /// Begins the next frame; returns whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let mut first = Vec::new();
            if self.source.by_ref().take(1).read_to_end(&mut first)? == 0 {
                return Ok(false);
            }
            match self.decoder.reset(Cursor::new(first).chain(&mut self.source)) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(broken(error)),
            }
        }
    }

    /// Compares the frame's checksum, if it has one.
    fn check(&self) -> io::Result<()> {
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(stored), Some(found)) if stored != found => Err(broken("a checksum does not match")),
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if self.begun && self.decoder.can_collect() > 0 {
                return self.decoder.read(into);
            }
            if !self.begun {
                self.begun = self.begin()?;
                if !self.begun {
                    return Ok(0);
                }
            }
            if self.decoder.is_finished() {
                self.check()?;
                self.begun = false;
            } else {
                let some = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, some).map_err(broken)?;
            }
        }
    }
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    let error: Box<dyn std::error::Error + Send + Sync> = error.into();
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged Zstandard data: {error}"))
}

/// Packs what is written to it, or passes it on.
pub(crate) enum Packer<W: Write> {
    /// Passes it on.
    Plain(W),
    /// Packs with gzip.
    Gzip(Box<GzEncoder<W>>),
    /// Packs with Zstandard: what has gathered, and where it goes.
    Zstd(Vec<u8>, W),
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(packing: Option<Packing>, into: W) -> Packer<W> {
        match packing {
            None => Packer::Plain(into),
            Some(Packing::Gzip) => Packer::Gzip(Box::new(GzEncoder::new(into, Compression::default()))),
            Some(Packing::Zstd) => Packer::Zstd(Vec::new(), into),
        }
    }

    /// Writes the end, and returns where everything went.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Packer::Plain(into) => Ok(into),
            Packer::Gzip(encoder) => encoder.finish(),
            Packer::Zstd(gathered, mut into) => {
                // An empty frame makes an empty file one that a decoder takes.
                into.write_all(&compress_to_vec(gathered.as_slice(), CompressionLevel::Fastest))?;
                Ok(into)
            }
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Packer::Plain(into) => into.write(bytes),
            Packer::Gzip(encoder) => encoder.write(bytes),
            Packer::Zstd(gathered, into) => {
                gathered.extend_from_slice(bytes);
                if gathered.len() >= FRAME {
                    into.write_all(&compress_to_vec(gathered.as_slice(), CompressionLevel::Fastest))?;
                    gathered.clear();
                }
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Packer::Plain(into) | Packer::Zstd(_, into) => into.flush(),
            Packer::Gzip(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
        let mut packer = Packer::new(Some(packing), Vec::new());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn unpacked(packing: Packing, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        packing.unpack(Cursor::new(bytes)).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn what_is_packed_is_read_again_and_members_may_be_joined() {
        let large: Vec<u8> = (0..9_000_000_u32).map(|n| (n / 7 % 251) as u8).collect();
        for packing in Packing::ALL {
            for bytes in [&b""[..], b"x", &large] {
                let once = packed(packing, bytes);
                assert_eq!(Packing::of_head(&once), Some(packing));
                assert_eq!(unpacked(packing, once).unwrap(), bytes);
            }
            let twice = [packed(packing, b"one\n"), packed(packing, b""), packed(packing, b"two\n")].concat();
            assert_eq!(unpacked(packing, twice).unwrap(), b"one\ntwo\n");
        }
    }

    #[test]
    fn frames_to_skip_are_skipped_and_damage_is_an_error() {
        let skip = [&[0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let whole = [skip, packed(Packing::Zstd, b"text")].concat();
        assert_eq!(unpacked(Packing::Zstd, whole.clone()).unwrap(), b"text");
        for end in 1..whole.len() {
            if end != 11 {
                assert!(unpacked(Packing::Zstd, whole[..end].to_vec()).is_err(), "{end}");
            }
        }
        assert!(unpacked(Packing::Zstd, b"plain".to_vec()).is_err());
    }

    #[test]
    fn no_more_is_read_of_a_pipe_than_tells_it() {
        let read = |bytes: &[u8]| Packing::read_head(&mut Cursor::new(bytes)).unwrap();
        assert_eq!(read(b"{}"), b"{");
        assert_eq!(read(b"(a"), b"(a");
        assert_eq!(read(&[0x1F, 0x8B, 8]), [0x1F, 0x8B]);
        assert_eq!(read(&[0x28, 0xB5, 0x2F, 0xFD, 9]), [0x28, 0xB5, 0x2F, 0xFD]);
        assert_eq!(read(b""), b"");
    }
}
