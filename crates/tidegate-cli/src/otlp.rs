//! `--otlp`: a run's traces and metrics for an OpenTelemetry collector, over OTLP (protobuf over HTTP).
//!
//! Nothing is sent anywhere unless the flag, or a variable of OpenTelemetry's that names a collector, asks for it. The run never
//! waits for the collector: outcomes go into a bounded queue, a thread of its own sends them, and what finds no place there or is
//! not taken by the collector is counted and told in the summary. Nothing of a prompt, an answer or a key is sent.

#[cfg(feature = "otlp")]
mod config;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod metrics;
#[cfg(feature = "otlp")]
mod post;
#[cfg(feature = "otlp")]
mod spans;

#[cfg(feature = "otlp")]
pub(crate) use self::export::{Export, Exporting, prepare};
#[cfg(not(feature = "otlp"))]
pub(crate) use self::left_out::{Export, Exporting, prepare};

/// What is there in a program that was built without all this.
#[cfg(not(feature = "otlp"))]
mod left_out {
    use tidegate::{Error, Outcome, TaskKind};

    use crate::metrics::Metrics;
    use crate::settings::Settings;

    const NO_OTLP: &str = "this program was built without the feature 'otlp'; install it with \
        cargo install --locked --path crates/tidegate-cli --features otlp";

    /// Says that it cannot be done, if the user asks for it. Variables are for every program: this one need not heed them.
    pub(crate) fn prepare(settings: &Settings, _: TaskKind) -> tidegate::Result<(Option<Export>, Vec<String>)> {
        match settings.run.otlp {
            Some(_) => Err(Error::Usage(format!("--otlp: {NO_OTLP}"))),
            None => Ok((None, Vec::new())),
        }
    }

    pub(crate) enum Export {}

    impl Export {
        pub(crate) fn noter(&self) -> Option<Noter> {
            match *self {}
        }

        pub(crate) fn start(self, _: Metrics) -> tidegate::Result<Exporting> {
            match self {}
        }
    }

    pub(crate) enum Noter {}

    impl Noter {
        pub(crate) fn note(&self, _: &Outcome, _: Option<&str>) {
            match *self {}
        }
    }

    pub(crate) enum Exporting {}

    impl Exporting {
        pub(crate) async fn finish(self) -> Vec<String> {
            match self {}
        }
    }
}
