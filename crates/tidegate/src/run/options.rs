//! What can be said about one run, whatever its client does otherwise.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::fallback::Fallback;
use super::pack::Packer;
use super::{Dedupe, Run};
use crate::ask::check::Check;
use crate::ask::policy::AskPolicy;
use crate::dispatch::RetryPolicy;
use crate::dispatch::budget::{Account, Purse};
use crate::error::Result;
use crate::money::{Budget, Spend};

impl<S, C> Run<S, C> {
    /// Stops on this signal: takes nothing more, lets calls in flight end, gives up what still waits.
    pub fn stop_on(mut self, stop: CancellationToken) -> Run<S, C> {
        // Its own, so that a run that stops by itself stops no others.
        let stop = stop.child_token();
        self.stopped = Box::pin(stop.clone().cancelled_owned());
        self.asker().stop = stop;
        self
    }

    /// Keeps at most that many requests of this run under way, whatever the endpoints would take.
    pub fn max_parallel(mut self, most: usize) -> Run<S, C> {
        self.most = most.max(1);
        self
    }

    /// Tries the requests of this run as often and as patiently as that, whatever the client does otherwise.
    pub fn retry(mut self, retry: RetryPolicy) -> Run<S, C> {
        self.asker().retry = retry;
        self
    }

    /// Waits that long for each attempt, whatever the client does otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Run<S, C> {
        self.asker().retry.timeout = timeout;
        self
    }

    /// Asks models of Bedrock in these of the client's regions only, and no others at all.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`](crate::Error::Usage) names a region that the client does not have.
    pub fn regions<R: Into<String>>(mut self, regions: impl IntoIterator<Item = R>) -> Result<Run<S, C>> {
        let regions: Vec<String> = regions.into_iter().map(Into::into).collect();
        self.asker.client.check_regions(&regions)?;
        self.asker().regions = regions;
        Ok(self)
    }

    /// Spends no more than that: the worst case of each call is reserved before it is sent.
    ///
    /// A request that no longer fits, or whose worst case cannot be known for want of a price or of `max_tokens`, ends with
    /// [`Kind::Budget`](crate::Kind::Budget), and nothing more is taken.
    pub fn budget(self, budget: Budget) -> Run<S, C> {
        self.pay_from(Arc::new(Purse::new(Account::new(budget, Spend::default()), None)))
    }

    /// Lets a purse pay for the calls.
    pub(crate) fn pay_from(mut self, purse: Arc<Purse>) -> Run<S, C> {
        self.asker().purse = Some(purse);
        self
    }

    /// Puts a last resort in the place of answers that are not to be had.
    pub fn fallback(mut self, fallback: Fallback) -> Run<S, C> {
        self.asker().fallback = Some(fallback);
        self
    }

    /// Asks for every answer, whatever the client's cache holds, and keeps none: for samples of one request.
    pub fn no_cache(mut self) -> Run<S, C> {
        self.asker().answers = None;
        self
    }

    /// Decides when identical requests of this run are asked once, whatever the client does otherwise.
    pub fn dedupe(mut self, dedupe: Dedupe) -> Run<S, C> {
        self.twins.rule = dedupe;
        self
    }

    /// Asks up to that many requests in one call, where they differ in their text only; below 2 none.
    ///
    /// Each has an outcome of its own, with its part of what the call used and cost, and is judged by its own schema and
    /// the policy's checks; one that the call did not answer is asked again. Only requests of system messages and one
    /// text are packed, without tools, files and stop texts; others go alone. Models answer many questions at once less
    /// carefully than one, and what one text says may lead the answer to another.
    pub fn pack(mut self, most: usize) -> Run<S, C> {
        self.packer = (most > 1).then(|| Packer::new(most));
        self
    }

    /// Demands this of the answers of this run, whatever the client does otherwise.
    ///
    /// # Errors
    ///
    /// A ladder that asks a model which the client does not have, or that goes on after what says nothing of the answer.
    pub fn ask_policy(mut self, policy: AskPolicy) -> Result<Run<S, C>> {
        policy.verify(&self.asker.client.all_models())?;
        self.asker().policy = Arc::new(policy);
        Ok(self)
    }

    /// Adds a check that every answer of this run must pass.
    pub fn check(mut self, check: Check) -> Run<S, C> {
        Arc::make_mut(&mut self.asker().policy).checks.push(check);
        self
    }
}
