//! What a client demands of answers, and what it does about those that fall short.

use std::sync::Arc;
use std::time::Duration;

use super::check::Check;
use crate::error::{Error, Result};
use crate::failure::{Kind, Retry};
use crate::request::Params;

/// What answers must pass, how often they are asked for again, and of whom.
///
/// A schema is part of the request; everything else that decides whether a reply is an answer is here.
///
/// ```
/// use tidegate::{AskPolicy, Params, Rung};
/// let strong = Rung { model: Some("sim/strong".into()), ..Rung::default() };
/// let policy = AskPolicy { ladder: vec![Rung::default(), strong], ..AskPolicy::default() };
/// # let _ = policy;
/// ```
#[derive(Debug, Clone)]
pub struct AskPolicy {
    /// What every answer must pass. Default: nothing but its request's schema.
    pub checks: Vec<Check>,
    /// How often an answer that was refused is asked for again. Default: twice, or until the ladder's last rung.
    pub retries: Option<u32>,
    /// The wait before asking again. Default: none.
    pub delay: Duration,
    /// The models and parameters of the first, second, … try; the last rung serves all further ones. Default: the
    /// request's own throughout.
    pub ladder: Vec<Rung>,
    /// The failures that lead to the ladder's next rung. Default: `rejected` and `truncated`.
    pub advance_on: Vec<Kind>,
}

/// One step of a ladder.
///
/// ```
/// // The same model again, but with room for a longer answer.
/// let mut longer = tidegate::Rung::default();
/// longer.params.max_tokens = Some(4000);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rung {
    /// The model to ask; the request's own where absent.
    pub model: Option<Arc<str>>,
    /// Parameters that win over the request's own.
    pub params: Params,
}

impl Default for AskPolicy {
    fn default() -> AskPolicy {
        AskPolicy {
            checks: Vec::new(),
            retries: None,
            delay: Duration::ZERO,
            ladder: Vec::new(),
            advance_on: vec![Kind::Rejected, Kind::Truncated],
        }
    }
}

impl AskPolicy {
    /// Returns how many answers may be asked for in all.
    pub(super) fn tries(&self) -> u32 {
        let rungs = u32::try_from(self.ladder.len()).unwrap_or(u32::MAX);
        self.retries.map_or(rungs.max(3), |retries| retries.saturating_add(1))
    }

    /// Returns whether every reply is an answer, unless its request has a schema.
    pub(super) fn is_plain(&self) -> bool {
        self.checks.is_empty() && self.ladder.is_empty()
    }

    /// Refuses what can never work.
    ///
    /// # Errors
    ///
    /// Names a rung's model that the client does not have, or a failure that has nothing to do with the answer.
    pub(crate) fn verify(&self, models: &[Arc<str>]) -> Result<()> {
        if let Some(model) = self.ladder.iter().filter_map(|rung| rung.model.as_ref()).find(|m| !models.contains(m)) {
            return Err(Error::Usage(format!("the ladder asks {model}, which is not one of the models")));
        }
        let passing = |kind: &&Kind| {
            let advice = kind.advice();
            kind.is_unsent() || advice.aside.is_some() || matches!(advice.retry, Retry::Here | Retry::AtOnce)
        };
        match self.advance_on.iter().find(passing) {
            Some(kind) => Err(Error::Usage(format!(
                "a ladder cannot go on after {kind}: that says nothing about the answer; choose of rejected, truncated, \
                 empty, content_filter, too_long, unsupported and bad_request"
            ))),
            None => Ok(()),
        }
    }

    /// The names of what decides which answers are taken.
    pub(crate) const IDENTITY: [&str; 2] = ["checks", "ladder"];

    /// Returns everything that decides which answer is taken, by the name that a user knows it by.
    pub(crate) fn identity(&self) -> Vec<(&'static str, String)> {
        let mut entries = Vec::new();
        if !self.checks.is_empty() {
            entries
                .push((AskPolicy::IDENTITY[0], self.checks.iter().map(Check::describe).collect::<Vec<_>>().join("\n")));
        }
        if !self.ladder.is_empty() {
            let rung = |rung: &Rung| serde_json::json!([rung.model, rung.params]).to_string();
            entries.push((AskPolicy::IDENTITY[1], self.ladder.iter().map(rung).collect::<Vec<_>>().join("\n")));
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_is_climbed_to_its_end_unless_told_otherwise() {
        let ladder = |rungs| AskPolicy { ladder: vec![Rung::default(); rungs], ..AskPolicy::default() };
        assert_eq!([0, 2, 5].map(|rungs| ladder(rungs).tries()), [3, 3, 5]);
        assert_eq!(AskPolicy { retries: Some(0), ..ladder(5) }.tries(), 1);
    }

    #[test]
    fn a_ladder_that_cannot_work_is_refused() {
        let advance = |kind| AskPolicy { advance_on: vec![kind], ..AskPolicy::default() }.verify(&[]);
        assert!(advance(Kind::RateLimited).is_err() && advance(Kind::Cut).is_err() && advance(Kind::Auth).is_err());
        assert!(advance(Kind::Empty).is_ok() && AskPolicy::default().verify(&[]).is_ok());
        let ladder = vec![Rung { model: Some("b".into()), ..Rung::default() }];
        assert!(AskPolicy { ladder, ..AskPolicy::default() }.verify(&["a".into()]).is_err());
    }
}
