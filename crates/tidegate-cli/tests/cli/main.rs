//! Black-box tests: the binary itself, spawned in a directory of its own with an empty environment.
//!
//! One test program and not one per file, so that the helpers are compiled and linked once.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and prints what it measured")]

mod bad_input;
mod http;
mod kill;
mod resume;
mod support;
