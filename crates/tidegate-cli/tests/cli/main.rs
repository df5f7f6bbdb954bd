//! Black-box tests: the binary itself, spawned in a directory of its own with an empty environment.
//!
//! One test program and not one per file, so that the helpers are compiled and linked once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod bad_input;
mod bedrock;
mod cache;
mod command;
mod files;
mod formats;
mod http;
mod kill;
#[cfg(feature = "otlp")]
mod otlp;
mod resume;
mod show;
mod stops;
mod support;
mod thrift;
mod watch;
