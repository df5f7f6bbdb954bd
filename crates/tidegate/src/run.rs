//! LOOP 1: over items.

pub mod input;
pub mod journal;
pub mod key;
pub mod output;
pub mod prompt;
pub mod record;
