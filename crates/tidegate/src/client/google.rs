//! What only Google's models have: a project and a location on Vertex AI, and context caches.

use futures_util::future::join_all;

use super::target::Place;
use super::{Client, Target};
use crate::call::context_cache::ContextCacheOptions;
use crate::call::vertex::Vertex;

impl Target {
    /// Says where a model of Vertex AI is asked, and in whose name.
    #[must_use]
    pub fn vertex(mut self, vertex: Vertex) -> Target {
        if let Place::Provider { base_url, provider, .. } = &mut self.place
            && base_url == provider.base_url
        {
            *base_url = vertex.host();
        }
        self.vertex = Some(vertex);
        self
    }

    /// Keeps what many requests begin with (system instruction and tools) in a context cache of Gemini's; models of other
    /// providers do not heed it.
    #[must_use]
    pub fn context_cache(mut self, options: ContextCacheOptions) -> Target {
        self.context_cache = Some(options);
        self
    }
}

impl Client {
    /// Clears up at the providers what was asked to be: context caches that are not to be kept. Call it after the last
    /// request.
    pub async fn close(&self) {
        join_all(self.dispatcher.endpoints.iter().map(|endpoint| endpoint.caller.close())).await;
    }
}
