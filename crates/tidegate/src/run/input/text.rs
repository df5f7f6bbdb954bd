//! Plain text: a prompt a line, blank lines left out.

use std::io;

use super::blocks::{Blocks, Record};
use super::object::ObjectWriter;
use super::{Found, NOT_UTF8};

/// The column that a line becomes.
pub(super) const COLUMN: &str = "text";

pub(super) struct Text {
    blocks: Blocks,
    writer: ObjectWriter,
    line: u64,
}

impl Text {
    /// Returns where the bytes come from.
    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(super) fn new(blocks: Blocks) -> Text {
        Text { blocks, writer: ObjectWriter::new([COLUMN]), line: 0 }
    }

    pub(super) fn next_row(&mut self) -> io::Result<Option<Found>> {
        while let Some(record) = self.blocks.next(|bytes| memchr::memchr(b'\n', bytes))? {
            self.line += 1;
            let bytes = match record {
                Record::TooLarge => return Ok(Some(Found::too_large(self.line, self.blocks.limit()))),
                Record::Whole(bytes) => bytes,
            };
            let Ok(text) = std::str::from_utf8(&bytes) else {
                return Ok(Some(Found::bad(self.line, bytes, NOT_UTF8)));
            };
            if !text.trim().is_empty() {
                self.writer.add(text)?;
                return Ok(Some(Found::good(self.line, self.writer.finish())));
            }
        }
        Ok(None)
    }
}
