//! What runs a scenario file: its form, the run, the measuring.

pub(crate) mod case;
pub(crate) mod measure;
pub(crate) mod provider;
pub(crate) mod report;
pub(crate) mod run;
