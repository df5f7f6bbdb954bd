//! Live control: what a client may be told while runs are under way. All its clones and runs obey at once.

use super::Client;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::suggest::closest;

/// Control of a client at work.
///
/// What is in flight is never cut off: it ends, and until then counts against the new limits.
impl Client {
    /// Sends nothing more until [`resume`](Client::resume); what is in flight goes on.
    pub fn pause(&self) {
        self.dispatcher.admission.pause();
    }

    /// Goes on after [`pause`](Client::pause).
    pub fn resume(&self) {
        self.dispatcher.admission.resume();
    }

    /// Replaces the stated limits of a model, or of one of its endpoints (`model#2` is that of its second key).
    ///
    /// ```
    /// # use tidegate::{Client, Limits, Target};
    /// # let client = Client::builder().target(Target::new("sim/a")?).build()?;
    /// client.set_limits("sim/a", Limits { rpm: Some(600.0), concurrency: Some(8), ..Limits::default() })?;
    /// # Ok::<(), tidegate::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if there is no such model.
    pub fn set_limits(&self, name: &str, limits: Limits) -> Result<()> {
        // An endpoint of a model's first key has the model's own name, which then means them all.
        let is_model = self.dispatcher.endpoints.iter().any(|endpoint| *endpoint.model == *name);
        let admission = &self.dispatcher.admission;
        let found = admission.set_limits(limits, |endpoint| match is_model {
            true => *endpoint.model == *name,
            false => *endpoint.name == *name,
        });
        let names = self.dispatcher.endpoints.iter().map(|endpoint| &*endpoint.name);
        if found > 0 { Ok(()) } else { Err(unknown("model", name, closest(name, names))) }
    }

    /// Replaces the limits of all endpoints together.
    pub fn set_total(&self, limits: Limits) {
        self.dispatcher.admission.set_total(limits);
    }

    /// Replaces the limits of an account that endpoints share.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if no target names that account.
    pub fn set_account(&self, name: &str, limits: Limits) -> Result<()> {
        self.dispatcher.admission.set_account(name, limits).ok_or_else(|| unknown("account", name, None))
    }
}

fn unknown(what: &str, name: &str, near: Option<&str>) -> Error {
    let meant = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
    Error::Usage(format!("the client has no {what} '{name}'{meant}"))
}
