//! A client that sends nothing.

use super::ClientBuilder;

impl ClientBuilder {
    /// Calls nobody: the simulated provider answers for every provider, and a [`Caller`](crate::Caller) of one's own by
    /// its [`dry_run`](crate::Caller::dry_run). Limits, checks, hooks and everything else work as they do otherwise.
    ///
    /// ```
    /// # use tidegate::{Client, Request, Target};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tidegate::Result<()> {
    /// let client = Client::builder().target(Target::new("openai/gpt-5-mini")?.key("sk-…")).dry_run().build()?;
    /// let outcome = client.send(&Request::prompt("Would this work?")).await;
    /// assert!(outcome.text().unwrap().ends_with("Would this work?"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn dry_run(mut self) -> ClientBuilder {
        self.dry_run = true;
        self
    }
}
