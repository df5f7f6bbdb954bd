//! Who is shown every outcome of a job while it goes on, such as metrics.

use std::fmt;
use std::sync::Arc;

use crate::outcome::Outcome;

/// Is shown every outcome of a job, before it is recorded.
#[derive(Clone)]
pub struct Onlooker(Arc<See>);

type See = dyn Fn(&Outcome, Option<&str>) + Send + Sync;

impl Onlooker {
    /// Makes one that calls this with each outcome and the row's id, as JSON, if it has one; it must not block.
    pub fn new(see: impl Fn(&Outcome, Option<&str>) + Send + Sync + 'static) -> Onlooker {
        Onlooker(Arc::new(see))
    }

    pub(super) fn see(&self, outcome: &Outcome, id: Option<&str>) {
        (self.0)(outcome, id);
    }
}

impl fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Onlooker")
    }
}
