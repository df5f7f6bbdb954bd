//! What to say when a run would ask something else than the one that made its output.

use super::intake::{Intake, Taken};
use super::results::finished;
use crate::error::{Error, Result};
use crate::run::journal::{Difference, Journal};
use crate::run::record::Record;
use crate::run::summary::Tally;

/// Says what differs, how many rows that touches, and about what price: unless it touches none.
pub(super) fn ask(differences: &[Difference], mut trial: Intake, journal: &Journal) -> Result<()> {
    let mut redo = 0_u64;
    while let Some(taken) = trial.next()? {
        redo += u64::from(matches!(&taken, Taken::Send(item) if item.context.replaces));
    }
    if redo == 0 {
        return Ok(());
    }
    let what: Vec<String> = differences.iter().map(describe).collect();
    let price = price_per_row(journal)?
        .map_or("at an unknown price".to_owned(), |each| format!("for about ${:.4}", each * redo as f64));
    Err(Error::Changed(format!(
        "the output was made in another way:\n{}\n{redo} finished rows would be asked again, {price}. Nothing was sent. \
         Give --redo-changed to ask them again, --keep-changed to keep their answers and send only what is new, or \
         another output with -o.",
        what.join("\n")
    )))
}

fn describe(difference: &Difference) -> String {
    let shown = |value: &Option<String>| match value {
        None => "none".to_owned(),
        Some(text) if text.chars().count() <= 60 => format!("{text:?}"),
        Some(text) => format!("{:?}…", text.chars().take(60).collect::<String>()),
    };
    format!("  {}: was {}, is {}", difference.name, shown(&difference.old), shown(&difference.new))
}

/// Returns the mean cost of the stored rows in US dollars, where known.
fn price_per_row(journal: &Journal) -> Result<Option<f64>> {
    let mut tally = Tally::default();
    journal.scan(|row, _| {
        if let Ok(record) = Record::parse(row.record) {
            tally.add(&finished(&record));
        }
        Ok(())
    })?;
    let priced = tally.succeeded - tally.unpriced;
    Ok((priced > 0).then(|| tally.cost.usd() / priced as f64))
}
