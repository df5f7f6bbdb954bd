//! A reply's body, read whole.
//!
//! Nearly every reply arrives as one frame, which is handed on without a copy.

use bytes::{Bytes, BytesMut};

use crate::failure::{Failure, Kind};

/// The largest body that is read, in bytes.
pub(super) const LIMIT: usize = 256 << 20;

/// The parts of a body that have arrived.
#[derive(Default)]
pub(super) struct Whole {
    first: Bytes,
    all: BytesMut,
}

impl Whole {
    /// Adds a part.
    pub(super) fn push(&mut self, part: Bytes) -> Result<(), Failure> {
        if self.first.len() + self.all.len() + part.len() > LIMIT {
            let message = format!("the reply is larger than {} MiB", LIMIT >> 20);
            return Err(Failure::new(Kind::Malformed, message));
        }
        if self.first.is_empty() && self.all.is_empty() {
            self.first = part;
            return Ok(());
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&part);
        Ok(())
    }

    /// Returns the body.
    pub(super) fn finish(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_not_copied() {
        let part = Bytes::from(vec![7; 100]);
        let mut whole = Whole::default();
        whole.push(Bytes::new()).unwrap();
        whole.push(part.clone()).unwrap();
        assert_eq!(whole.finish().as_ptr(), part.as_ptr());
    }

    #[test]
    fn parts_are_joined_in_order() {
        let mut whole = Whole::default();
        for part in ["a", "bc", "", "def"] {
            whole.push(Bytes::from_static(part.as_bytes())).unwrap();
        }
        assert_eq!(whole.finish(), "abcdef");
    }

    #[test]
    fn a_body_over_the_limit_is_malformed() {
        let mut whole = Whole::default();
        let large = Bytes::from(vec![0; LIMIT]);
        whole.push(large).unwrap();
        assert_eq!(whole.push(Bytes::from_static(b"x")).unwrap_err().kind, Kind::Malformed);
    }
}
