//! Which rows of the input are meant.

use std::collections::VecDeque;

use super::Job;
use crate::error::{Error, Result};
use crate::run::input::{Input, InputOptions, Row};

/// Which rows of the input are meant.
pub(super) enum Chosen {
    All,
    First(u64),
    /// These, by their number from 0, in order.
    Some {
        numbers: VecDeque<u64>,
        next: u64,
    },
}

impl Chosen {
    /// Reads a job's options; the same seed chooses the same rows.
    pub(super) fn of(job: &Job, seed: u64) -> Result<Chosen> {
        match (job.rows, job.sample) {
            (Some(_), Some(_)) => Err(Error::Usage("--rows and --sample exclude each other".to_owned())),
            (Some(rows), None) => Ok(Chosen::First(rows)),
            (None, Some(count)) => Ok(Chosen::Some { numbers: sample(&job.input_options(), count, seed)?, next: 0 }),
            (None, None) => Ok(Chosen::All),
        }
    }

    /// Returns how many rows these are at the most, if not all.
    pub(super) fn most(&self) -> Option<u64> {
        match self {
            Chosen::All => None,
            Chosen::First(rows) => Some(*rows),
            Chosen::Some { numbers, .. } => Some(numbers.len() as u64),
        }
    }

    /// Returns the next of them.
    pub(super) fn next_of(&mut self, input: &mut Input) -> Result<Option<Row>> {
        match self {
            Chosen::All => input.next_row(),
            Chosen::First(0) => Ok(None),
            Chosen::First(left) => {
                *left -= 1;
                input.next_row()
            }
            Chosen::Some { numbers, next } => match numbers.pop_front() {
                None => Ok(None),
                Some(number) => {
                    while *next < number {
                        input.next_row()?;
                        *next += 1;
                    }
                    *next += 1;
                    input.next_row()
                }
            },
        }
    }
}

/// Chooses rows at random, the same ones for the same seed.
fn sample(options: &InputOptions, count: u64, seed: u64) -> Result<VecDeque<u64>> {
    if options.is_piped() {
        return Err(Error::Usage(
            "--sample reads the input twice, which a pipe does not allow; give a file".to_owned(),
        ));
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut input, mut chosen, mut number) = (Input::open(options)?, Vec::new(), 0);
    while input.next_row()?.is_some() {
        if (chosen.len() as u64) < count {
            chosen.push(number);
        } else if let Some(place) = chosen.get_mut(rng.u64(..=number) as usize) {
            *place = number;
        }
        number += 1;
    }
    chosen.sort_unstable();
    Ok(chosen.into())
}
