//! JSON Lines: an object a line, handed on as the very bytes of the line.
//!
//! Lines are not parsed here. Resuming skips finished rows by their bytes and looks into the others only for their id.

use std::io;

use super::blocks::{Blocks, Record};
use super::{Found, NOT_UTF8};

pub(super) struct Jsonl {
    blocks: Blocks,
    line: u64,
}

impl Jsonl {
    /// Returns where the bytes come from.
    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(super) fn new(blocks: Blocks) -> Jsonl {
        Jsonl { blocks, line: 0 }
    }

    pub(super) fn next_row(&mut self) -> io::Result<Option<Found>> {
        while let Some(record) = self.blocks.next(|bytes| memchr::memchr(b'\n', bytes))? {
            self.line += 1;
            return Ok(Some(match record {
                Record::TooLarge => Found::too_large(self.line, self.blocks.limit()),
                Record::Whole(json) if json.trim_ascii().is_empty() => continue,
                Record::Whole(json) if std::str::from_utf8(&json).is_err() => Found::bad(self.line, json, NOT_UTF8),
                Record::Whole(json) => Found::good(self.line, json),
            }));
        }
        Ok(None)
    }
}
