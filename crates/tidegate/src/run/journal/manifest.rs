//! `manifest.json`: what the answers in a journal were made with.
//!
//! The same command may resume; a command that would have asked something else may not silently mix its answers in.
//! Everything that changes an answer is an entry of `identity`; what does not (limits, keys, concurrency) is not here.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::dir::Dir;
use super::frame::VERSION;
use crate::error::{Error, Result};
use crate::json;
use crate::run::output::OutputOptions;

/// What the answers in a journal were made with, and by which runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The journal's format.
    pub version: u32,
    /// When the output was begun, in RFC 3339.
    pub created: String,
    /// The version of tidegate that began it.
    pub tidegate: String,
    /// The seed of every hash in the journal: random, so that nobody can prepare rows that collide.
    pub seed: u64,
    /// How the output is written.
    pub output: OutputOptions,
    /// Everything that changes an answer, by name.
    pub identity: BTreeMap<String, String>,
    /// What the runs asked about.
    #[serde(default)]
    pub asked: Asked,
    /// The runs that have written to the output, oldest first.
    pub invocations: Vec<Invocation>,
}

/// What the runs of an output asked about: enough to find the records of each row again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The output, as an absolute path.
    pub out: String,
    /// The input of the last run, in absolute paths; `-` is the standard input.
    pub input: Vec<String>,
    /// Its format, if it was said.
    pub format: Option<String>,
    /// The models that every row was asked of, if it was asked of all of them.
    pub models: Vec<String>,
    /// How often each was asked, at the most.
    pub repeat: u16,
}

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Invocation {
    /// When it began, in RFC 3339.
    pub started: String,
    /// When it ended, unless it was killed.
    pub ended: Option<String>,
    /// The numbers of its summary.
    pub summary: Map<String, Value>,
}

/// Something that changes an answer and is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// What it was, if it was there.
    pub old: Option<String>,
    /// What it is now, if it is there.
    pub new: Option<String>,
}

impl Manifest {
    /// Makes the manifest of a new output.
    #[must_use]
    pub fn new(created: String, output: OutputOptions, identity: BTreeMap<String, String>) -> Manifest {
        // The standard library's hasher is keyed by the operating system's randomness.
        let seed = RandomState::new().build_hasher().finish();
        let tidegate = env!("CARGO_PKG_VERSION").to_owned();
        Manifest {
            version: VERSION,
            created,
            tidegate,
            seed,
            output,
            identity,
            asked: Asked::default(),
            invocations: Vec::new(),
        }
    }

    /// Returns what of the identity is not the same in two manifests, by name.
    #[must_use]
    pub fn differences(old: &Manifest, new: &Manifest) -> Vec<Difference> {
        let mut names: Vec<&String> = old.identity.keys().chain(new.identity.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let difference = |name: &String| {
            let (old, new) = (old.identity.get(name), new.identity.get(name));
            (old != new).then(|| Difference { name: name.clone(), old: old.cloned(), new: new.cloned() })
        };
        names.into_iter().filter_map(difference).collect()
    }

    /// Reads the manifest in a journal's directory, if there is one.
    ///
    /// # Errors
    /// A manifest that cannot be read, or that a newer version wrote.
    pub fn read(dir: &Path) -> Result<Option<Manifest>> {
        let path = dir.join("manifest.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::storage(&path, "cannot be read", source)),
        };
        parse(&path, &text).map(Some)
    }

    /// Writes the manifest: the new one or the old one is there at any instant.
    pub(super) fn write(&self, dir: &Dir) -> Result<()> {
        let path = dir.manifest();
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::damaged(&path, error.to_string()))?;
        dir.replace(&path, &text)
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let broken = |error: serde_json::Error| Error::damaged(path, format!("is damaged: {error}"));
    let Head { version } = json::from_slice(text).map_err(broken)?;
    if version > VERSION {
        let message =
            format!("written by a newer tidegate (format {version}, this one reads {VERSION}); update tidegate");
        return Err(Error::damaged(path, message));
    }
    json::from_slice(text).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(identity: &[(&str, &str)]) -> Manifest {
        let identity = identity.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Manifest::new("2026-01-01T00:00:00Z".to_owned(), OutputOptions::default(), identity)
    }

    #[test]
    fn differences_are_named_with_both_sides() {
        let old = manifest(&[("system", "Be brief."), ("template", "a"), ("temperature", "0")]);
        let new = manifest(&[("template", "b"), ("temperature", "0"), ("top_p", "1")]);
        let found: Vec<_> = Manifest::differences(&old, &new)
            .into_iter()
            .map(|found| (found.name, found.old.unwrap_or_default(), found.new.unwrap_or_default()))
            .collect();
        let expected = [("system", "Be brief.", ""), ("template", "a", "b"), ("top_p", "", "1")];
        assert_eq!(found, expected.map(|(name, old, new)| (name.to_owned(), old.to_owned(), new.to_owned())));
    }

    #[test]
    fn a_newer_manifest_is_refused_before_its_fields_are_read() {
        let error = parse(Path::new("m"), br#"{"version": 99, "other": true}"#).unwrap_err();
        assert!(error.to_string().contains("newer tidegate (format 99"), "{error}");
    }

    #[test]
    fn each_output_has_its_own_seed() {
        assert_ne!(manifest(&[]).seed, manifest(&[]).seed);
    }
}
