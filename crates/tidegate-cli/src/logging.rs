//! The log: to standard error for people who ask for more, and to a file for those who ask later.
//!
//! | where | what, unless `TIDEGATE_LOG` or `RUST_LOG` says otherwise |
//! |---|---|
//! | standard error | warnings; `-v` adds our own notes, `-vv` and `-vvv` more of them; `--quiet` leaves errors |
//! | `--log-file` | our own notes, every failed attempt among them, and warnings of the libraries below |
//!
//! A filter from the environment is for the file if there is one, else for standard error: who writes a detailed log to a
//! file does not want it in the middle of the display. No log line holds a key or a prompt.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Mutex;

use tidegate::{Error, Result};
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::progress::events::LOG_TARGET;
use crate::progress::screen::{Screen, Style};
use crate::settings::LogFormat;

/// The variables that may hold a filter, the first one first.
const VARIABLES: [&str; 2] = ["TIDEGATE_LOG", "RUST_LOG"];

/// What is logged, and where to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogOptions<'a> {
    /// How many times `-v` was given.
    pub(crate) verbose: u8,
    /// The file that gets a log too.
    pub(crate) file: Option<&'a Path>,
    /// How lines are written.
    pub(crate) format: LogFormat,
}

/// Starts logging, with the environment's filter if it has one.
///
/// # Errors
///
/// A log file that cannot be opened, and a filter that cannot be read.
pub(crate) fn start(options: &LogOptions<'_>, screen: &Screen) -> Result<()> {
    let found = VARIABLES.into_iter().find_map(|name| std::env::var_os(name).map(|value| (name, value)));
    let subscriber = subscriber(options, screen, found.filter(|(_, value)| !value.is_empty()))?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| Error::Usage("logging was started twice".to_owned()))
}

fn subscriber(
    options: &LogOptions<'_>,
    screen: &Screen,
    variable: Option<(&str, OsString)>,
) -> Result<impl Subscriber + Send + Sync + use<>> {
    let given = variable.map(|(name, value)| read_filter(name, &value)).transpose()?;
    let (for_file, for_screen) = if options.file.is_some() { (given, None) } else { (None, given) };
    let file = match options.file {
        Some(path) => {
            let filter = for_file.unwrap_or_else(|| EnvFilter::new("warn,tidegate=info"));
            Some(layer(options.format, Mutex::new(open(path)?), Colours::No).with_filter(filter))
        }
        None => None,
    };
    // Among JSON events only JSON can be read.
    let format = if screen.style == Style::Json { LogFormat::Json } else { options.format };
    let colours = if screen.colours() { Colours::Yes } else { Colours::No };
    let filter = for_screen.unwrap_or_else(|| EnvFilter::new(default_filter(screen.style, options.verbose)));
    Ok(Registry::default().with(file).with(layer(format, screen.clone(), colours).with_filter(filter)))
}

/// Returns what the screen shows of the log. Events are left out: they are told there in words of their own.
fn default_filter(style: Style, verbose: u8) -> String {
    let (all, ours) = match (style, verbose) {
        (Style::Quiet, _) => ("error", "error"),
        (_, 0) => ("warn", "warn"),
        (_, 1) => ("warn", "info"),
        (_, 2) => ("info", "debug"),
        _ => ("debug", "trace"),
    };
    format!("{all},tidegate={ours},{LOG_TARGET}=off")
}

/// Whether lines are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    Yes,
    No,
}

fn layer<S, W>(format: LogFormat, to: W, colours: Colours) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(to).with_ansi(colours == Colours::Yes);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

fn read_filter(name: &str, value: &OsString) -> Result<EnvFilter> {
    let wrong = |why: String| {
        Error::Usage(format!("{name} is not a log filter: {why}; write a level such as debug, or tidegate=debug,warn"))
    };
    let text = value.to_str().ok_or_else(|| wrong("it is not UTF-8".to_owned()))?;
    EnvFilter::try_new(text).map_err(|error| wrong(error.to_string()))
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    // Providers quote requests in their messages: a log is as private as the results.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| Error::storage(path, "cannot open the log file", source))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs one line of each kind and returns what the file holds.
    fn logged(format: LogFormat, filter: Option<&str>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.log");
        let options = LogOptions { verbose: 0, file: Some(&path), format };
        let variable = filter.map(|filter| ("TIDEGATE_LOG", filter.into()));
        let subscriber = subscriber(&options, &Screen::new(Style::Quiet), variable).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: LOG_TARGET, endpoint = "m", "attempt failed");
            tracing::debug!(target: "tidegate::run", "a detail");
            tracing::info!(target: "hyper", "not ours");
        });
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn a_file_gets_our_own_notes() {
        let text = logged(LogFormat::Text, None);
        assert!(text.ends_with("INFO tidegate::event: attempt failed endpoint=\"m\"\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn json_lines_can_be_read() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, None)).unwrap();
        assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"attempt failed".into()));
    }

    #[test]
    fn the_environment_decides_where_it_says_something() {
        assert!(logged(LogFormat::Text, Some("tidegate::run=debug")).contains("a detail"));
        let options = LogOptions { verbose: 0, file: None, format: LogFormat::Text };
        let wrong = subscriber(&options, &Screen::new(Style::Quiet), Some(("RUST_LOG", "tidegate=loud".into())));
        assert!(wrong.err().unwrap().to_string().starts_with("RUST_LOG is not a log filter: "));
    }

    #[test]
    fn default_filters_can_be_read() {
        for verbose in 0..5 {
            assert!(EnvFilter::try_new(default_filter(Style::Lines, verbose)).is_ok());
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_log_is_private_and_a_folder_that_is_not_there_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.log");
        let mode = open(&path).unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = open(&folder.path().join("no/run.log")).unwrap_err().to_string();
        assert!(error.contains("run.log: cannot open the log file: No such file"), "{error}");
    }
}
