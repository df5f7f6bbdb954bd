//! Where a job's output and journal are: beside each other, apart, or the output in a store; and in which order it ends.

use std::path::Path;

use super::{Job, identity};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::run::journal::{Arrange, Asked, Home, Manifest};
use crate::run::matching::Keys;
use crate::run::store::{NO_STORE, is_url};

impl Job {
    /// Refuses a directory that holds the journal of another output, and an output whose rows stand for something else:
    /// for a row, or for what one model said of it.
    pub(super) fn check_journal(&self, old: &Manifest, rows: u64) -> Result<()> {
        let was_each = old.identity.contains_key(identity::EACH_MODEL);
        if rows > 0 && was_each != self.each_model {
            let (with, what) = if was_each { ("with", "give it again") } else { ("without", "leave it out") };
            return Err(Error::Usage(format!(
                "the output was made {with} --each-model: {what}, or another output with -o"
            )));
        }
        let (Some(dir), Some(out)) = (&self.journal, &self.out) else { return Ok(()) };
        let (was, is) = (&old.asked.out, absolute(&out.to_string_lossy()));
        if was.is_empty() || *was == is {
            return Ok(());
        }
        Err(Error::Usage(format!("{} is the journal of {was}; give {is} another --journal", dir.display())))
    }

    /// Checks that the output can be put in order.
    pub(super) fn check_order(&self) -> Result<()> {
        let why = match (self.out.is_some(), self.input.is_piped()) {
            _ if !self.ordered => return Ok(()),
            (false, _) => "--ordered puts an output in order when all is there; give -o",
            (_, true) => "--ordered reads the input twice, which a pipe does not allow; give a file",
            (true, false) => return Ok(()),
        };
        Err(Error::Usage(why.to_owned()))
    }

    /// Returns how the output is put in order, if it is to be.
    pub(super) fn arrange(&self, manifest: &Manifest) -> Option<Box<Arrange<'static>>> {
        let (keys, input) = (Keys::of(manifest), self.input_options());
        self.ordered.then(|| -> Box<Arrange<'static>> { Box::new(move |offsets| keys.arrange(offsets, &input)) })
    }

    /// Returns the address of the output, if it is no file.
    pub(super) fn url(&self) -> Option<&str> {
        self.out.as_deref().and_then(Path::to_str).filter(|out| is_url(out))
    }

    /// Checks that an output with an address can be written there.
    pub(super) fn check_url(&self) -> Result<()> {
        let Some(url) = self.url() else { return Ok(()) };
        if self.input.store.is_none() {
            return Err(Error::Usage(format!("{url} cannot be written: {NO_STORE}")));
        }
        if url.starts_with("http") {
            return Err(Error::Usage(format!("{url}: a web server's files can only be read; give another output")));
        }
        if self.journal.is_none() {
            return Err(Error::Usage(format!(
                "{url}: the journal cannot be there; give a directory here with --journal DIR"
            )));
        }
        match url.ends_with('/') {
            true => Err(Error::Usage(format!("{url} is a folder; give the object's whole address"))),
            false => Ok(()),
        }
    }

    /// Returns where the output and its journal are, unless results go to the standard output.
    pub(super) fn home(&self) -> Option<Home> {
        let out = self.out.as_deref()?;
        if let (Some(url), Some(dir)) = (self.url(), &self.journal) {
            // Whatever the object is called, it is no file of the journal's.
            let name = format!("out-{}", url.rsplit('/').next().unwrap_or_default());
            return Some(Home { out: dir.join(name), dir: dir.clone() });
        }
        Some(self.journal.as_ref().map_or_else(|| Home::beside(out), |dir| Home::with_journal(out, dir)))
    }

    /// Returns what this run and all earlier ones asked about.
    pub(super) fn asked(&self, client: &Client, old: Option<&Manifest>) -> Asked {
        let mut asked = old.map(|old| old.asked.clone()).unwrap_or_default();
        asked.out = self.out.as_deref().map(|out| absolute(&out.to_string_lossy())).unwrap_or_default();
        asked.input = self.input.paths.iter().map(|path| absolute(path)).collect();
        asked.format = self.input.format.map(|format| format.name().to_owned());
        asked.repeat = asked.repeat.max(self.repeat);
        let models = client.models().into_iter().filter(|_| self.each_model).map(|model| model.to_string());
        let new: Vec<String> = models.filter(|model| !asked.models.contains(model)).collect();
        asked.models.extend(new);
        asked
    }
}

/// Returns a path as it is from everywhere.
fn absolute(path: &str) -> String {
    let is_path = path != "-" && !is_url(path);
    let absolute = is_path.then(|| std::path::absolute(path).ok()).flatten();
    absolute.map_or_else(|| path.to_owned(), |path| path.display().to_string())
}
