//! `spent.json`: what was spent for an output beyond what its records say.
//!
//! A record holds what its row cost. What is in no record: calls of rows that were never finished, and calls that may have
//! been billed although nobody knows (time-outs, connections cut after sending). A run with a budget leaves their sum here
//! when it ends. While it goes on, `mark` says up to what it may have spent in all: written before it is spent, so that
//! even after a power cut nothing is forgotten.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dir;
use crate::error::{Error, Result};
use crate::json;
use crate::money::Spend;

/// What was spent for an output beyond what its records say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// What is in no record.
    pub beyond: Spend,
    /// The most that may have been spent in all; only of a run that goes on or was killed.
    #[serde(default)]
    pub mark: Spend,
}

/// The file that holds it.
#[derive(Debug, Clone)]
pub struct SpentFile {
    dir: PathBuf,
    path: PathBuf,
}

impl SpentFile {
    /// Returns the file in a journal's directory.
    #[must_use]
    pub fn of(dir: &Path) -> SpentFile {
        SpentFile { path: dir.join("spent.json"), dir: dir.to_owned() }
    }

    /// Reads the file; nothing was spent if there is none.
    ///
    /// # Errors
    /// Storage, damage.
    pub fn read(&self) -> Result<Spent> {
        match std::fs::read(&self.path) {
            Ok(text) => {
                json::from_slice(&text).map_err(|error| Error::damaged(&self.path, format!("is damaged: {error}")))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Spent::default()),
            Err(source) => Err(Error::storage(&self.path, "cannot be read", source)),
        }
    }

    /// Writes the file: the new one or the old one is there at any instant.
    ///
    /// # Errors
    /// Storage.
    pub fn write(&self, spent: &Spent) -> Result<()> {
        let text = serde_json::to_vec_pretty(spent).map_err(|error| Error::damaged(&self.path, error.to_string()))?;
        dir::replace(&self.dir, &self.path, &text)
    }
}
