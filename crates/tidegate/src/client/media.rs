//! Which media a provider reads by itself.

use super::Client;

impl Client {
    /// Returns whether every model's provider reads media at this address in a store, such as `s3://bucket/a.png`.
    pub(crate) fn reads(&self, address: &str) -> bool {
        self.dispatcher.endpoints.iter().all(|endpoint| endpoint.caller.reads(address))
    }
}
