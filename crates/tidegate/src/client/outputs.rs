//! How much an answer may hold, as far as that is known before it is asked for.

use super::Client;
use crate::dispatch::worst_case::stated_output;
use crate::request::Request;

impl Client {
    /// Returns the most output tokens that a model writes, where known.
    pub(crate) fn max_output(&self, model: &str) -> Option<u32> {
        self.endpoint(model)?.max_output
    }

    /// Returns the most output tokens that a request says for itself.
    pub(crate) fn stated_output(&self, model: &str, request: &Request) -> Option<u64> {
        stated_output(self.endpoint(model)?, request)
    }
}
