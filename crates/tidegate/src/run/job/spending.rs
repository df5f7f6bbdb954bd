//! What has been spent for an output, over all invocations, and what this one may spend.

use std::sync::Arc;

use super::Job;
use crate::client::Client;
use crate::dispatch::budget::{Account, Note, Purse};
use crate::dispatch::worst_case::{no_output_bound, no_price};
use crate::error::{Error, Result};
use crate::money::Spend;
use crate::run::journal::{Journal, Spent, SpentFile};
use crate::run::record::Record;
use crate::run::summary::{Spending, Tally};

/// The parameters by which a user may bound an answer in place of `max_tokens`.
const OUTPUT_BOUNDS: [&str; 4] = ["max_tokens", "max_completion_tokens", "generationConfig", "inferenceConfig"];

/// The money of one invocation.
pub(super) struct Till {
    file: Option<SpentFile>,
    /// What the records of earlier invocations say.
    recorded: Spend,
    /// What earlier invocations spent.
    before: Spend,
    /// Answers of earlier invocations whose cost nobody knows.
    unknown: u64,
    pub(super) purse: Arc<Purse>,
}

impl Job {
    /// Checks that the budget can be kept.
    pub(super) fn check_budget(&self, client: &Client) -> Result<()> {
        if self.budget.is_none() {
            return Ok(());
        }
        for endpoint in &client.dispatcher.endpoints {
            if self.budget.usd.is_some() && endpoint.price.is_none() {
                return Err(Error::Usage(no_price(endpoint).message));
            }
            // Rows without a template may say it themselves.
            if self.prompt.template.is_some() && self.leaves_output_open() && endpoint.max_output.is_none() {
                return Err(Error::Usage(no_output_bound(endpoint).message));
            }
        }
        Ok(())
    }

    /// Returns whether nothing that concerns all rows says how long an answer may be.
    pub(super) fn leaves_output_open(&self) -> bool {
        let params = &self.prompt.params;
        let stated = params.max_tokens.is_some() || OUTPUT_BOUNDS.iter().any(|name| params.extra.contains_key(*name));
        self.prompt.embed.is_none() && !stated
    }

    /// Counts what was spent before and opens a purse, if there is a budget.
    pub(super) fn till(&self, client: &Client, journal: Option<&Journal>) -> Result<Option<Till>> {
        if self.budget.is_none() {
            return Ok(None);
        }
        let (recorded, unknown) = journal.map(|journal| recorded(journal, client)).transpose()?.unwrap_or_default();
        let file = self.home().map(|home| SpentFile::of(&home.dir));
        let spent = file.as_ref().map(SpentFile::read).transpose()?.unwrap_or_default();
        let before = (recorded + spent.beyond).max(spent.mark);
        let note = file.clone().map(|file| -> Note {
            let beyond = before - recorded;
            Box::new(move |mark| file.write(&Spent { beyond, mark }).map_err(|error| error.to_string()))
        });
        let purse = Arc::new(Purse::new(Account::new(self.budget, before), note));
        Ok(Some(Till { file, recorded, before, unknown, purse }))
    }
}

/// Adds up what all records say, replaced ones too, and counts answers whose cost they do not say.
fn recorded(journal: &Journal, client: &Client) -> Result<(Spend, u64)> {
    let (mut sum, mut unknown) = (Spend::default(), 0);
    journal.scan_all(|row| {
        let Ok(record) = Record::parse(row.record) else { return Ok(()) };
        // A price may be known now that was not known then.
        let priced = || record.usage.zip(client.price(&record.model.clone().unwrap_or_default()));
        let cost = record.cost.or_else(|| priced().and_then(|(usage, price)| usage.cost(Some(price))));
        unknown += u64::from(cost.is_none() && record.error.is_none());
        let tokens = record.usage.map(|usage| usage.total()).unwrap_or_default();
        sum = sum + Spend { money: cost.unwrap_or_default(), tokens };
        Ok(())
    })?;
    Ok((sum, unknown))
}

impl Till {
    /// Leaves behind what the records of this invocation do not say, and returns what the summary says.
    pub(super) fn close(&self, tally: &Tally) -> Result<Spending> {
        let spent = self.purse.spent();
        let now = Spend { money: tally.cost, tokens: tally.usage.total() };
        if let Some(file) = &self.file {
            file.write(&Spent { beyond: spent - (self.recorded + now), mark: Spend::default() })?;
        }
        let budget = self.purse.budget();
        Ok(Spending {
            budget_usd: budget.usd.map(|most| most.usd()),
            budget_tokens: budget.tokens,
            spent_usd: budget.usd.map(|_| spent.money.usd()),
            spent_tokens: spent.tokens,
            before_usd: budget.usd.map(|_| self.before.money.usd()),
            before_tokens: self.before.tokens,
            unknown_before: self.unknown,
        })
    }
}
