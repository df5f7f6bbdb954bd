//! Standard error, shared by everything that writes to it while a run goes on.
//!
//! The progress display, the warnings and the log all end up there. Each line goes through one [`Screen`], which takes the
//! display away, writes the line and draws the display again, so that no line is torn.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressDrawTarget};
use tidegate::{Error, Outcome};
use tracing_subscriber::fmt::MakeWriter;

use crate::format;
use crate::progress::events;

const NO_TUI: &str = "this program was built without the feature 'tui'; install it with \
    cargo install --locked --path crates/tidegate-cli --features tui";

/// How a run shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// The whole terminal; what is written is kept for it to show.
    Full,
    /// A display that is drawn over and over.
    Terminal,
    /// A line now and then.
    Lines,
    /// Nothing.
    Quiet,
    /// JSON lines, for programs.
    Json,
}

impl Style {
    /// Returns the style of the whole terminal.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if there is no terminal, or if this program was built without it.
    pub(crate) fn full() -> tidegate::Result<Style> {
        if !cfg!(feature = "tui") {
            return Err(Error::Usage(format!("--tui: {NO_TUI}")));
        }
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match io::stderr().is_terminal() && io::stdin().is_terminal() && !dumb {
            true => Ok(Style::Full),
            false => Err(Error::Usage("--tui needs a terminal at standard input and standard error".to_owned())),
        }
    }

    /// Returns the style that fits where standard error goes.
    ///
    /// `out` is where the results go; results that go to the terminal themselves leave no room for a display.
    pub(crate) fn fitting(out: Option<&Path>) -> Style {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let results_on_terminal = out.is_none() && io::stdout().is_terminal();
        match io::stderr().is_terminal() && !dumb && !results_on_terminal {
            true => Style::Terminal,
            false => Style::Lines,
        }
    }
}

/// Standard error with room for a display at its end.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    /// How progress is shown on it.
    pub(crate) style: Style,
    display: MultiProgress,
    kept: Arc<Mutex<Kept>>,
}

/// What the full-screen display is told by others.
#[derive(Debug, Default)]
struct Kept {
    notes: VecDeque<String>,
    latency: BTreeMap<Arc<str>, Duration>,
}

/// Notes that are kept.
const NOTES: usize = 200;

impl Screen {
    /// Makes a screen with nothing on it yet.
    pub(crate) fn new(style: Style) -> Screen {
        let target = match style {
            Style::Terminal => ProgressDrawTarget::stderr_with_hz(10),
            Style::Full | Style::Lines | Style::Quiet | Style::Json => ProgressDrawTarget::hidden(),
        };
        Screen { style, display: MultiProgress::with_draw_target(target), kept: Arc::default() }
    }

    /// Tells people something, above the display. Programs get it as an event called `note`.
    pub(crate) fn line(&self, text: &str) {
        match self.style {
            Style::Full | Style::Terminal | Style::Lines => self.raw(text),
            Style::Json => events::note(self, text),
            Style::Quiet => {}
        }
    }

    /// Writes a line as it is. What cannot be written is lost: there is nowhere left to say so.
    pub(super) fn raw(&self, line: &str) {
        let _ = self.write(format!("{line}\n").as_bytes());
    }

    /// Returns whether colours are welcome.
    pub(crate) fn colours(&self) -> bool {
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Returns where the display's lines are drawn.
    pub(super) fn display(&self) -> &MultiProgress {
        &self.display
    }

    /// Notes how long the last call of each endpoint took that a row was made of.
    pub(crate) fn note_latency(&self, outcome: &Outcome) {
        let mut kept = self.kept();
        for attempt in outcome.attempts.iter().filter(|attempt| attempt.failure.is_none()) {
            let latency = kept.latency.entry(attempt.endpoint.clone()).or_insert(attempt.took);
            *latency = (*latency * 15 + attempt.took) / 16;
        }
    }

    /// Returns how long late calls of an endpoint took.
    #[cfg(feature = "tui")]
    pub(super) fn latency(&self, endpoint: &str) -> Option<Duration> {
        self.kept().latency.get(endpoint).copied()
    }

    /// Returns what was written while the whole terminal was taken, the last line last.
    #[cfg(feature = "tui")]
    pub(super) fn notes(&self) -> Vec<String> {
        self.kept().notes.iter().cloned().collect()
    }

    /// Writes the warnings again that were shown on the whole terminal, which is given back by now.
    pub(crate) fn repeat_warnings(&self) {
        for note in self.kept().notes.iter().filter(|note| note.starts_with("warning")) {
            // A terminal that is gone cannot be told so.
            let _ = writeln!(io::stderr(), "{note}");
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        kept.notes.extend(String::from_utf8_lossy(bytes).lines().map(|line| format::one_line(line, 400)));
        let surplus = kept.notes.len().saturating_sub(NOTES);
        kept.notes.drain(..surplus);
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if self.style == Style::Full {
            self.keep(bytes);
            return Ok(());
        }
        self.display.suspend(|| io::stderr().lock().write_all(bytes))
    }
}

/// Writes log lines to a [`Screen`]; the log hands over each line as a whole.
#[derive(Debug)]
pub(crate) struct ScreenWriter(Screen);

impl Write for ScreenWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = ScreenWriter;

    fn make_writer(&'a self) -> ScreenWriter {
        ScreenWriter(self.clone())
    }
}
