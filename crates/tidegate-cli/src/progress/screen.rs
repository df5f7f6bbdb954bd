//! Standard error, shared by everything that writes to it while a run goes on.
//!
//! The progress display, the warnings and the log all end up there. Each line goes through one [`Screen`], which takes the
//! display away, writes the line and draws the display again, so that no line is torn.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::fmt::MakeWriter;

use crate::progress::events;

/// How a run shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
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
}

impl Screen {
    /// Makes a screen with nothing on it yet.
    pub(crate) fn new(style: Style) -> Screen {
        let target = match style {
            Style::Terminal => ProgressDrawTarget::stderr_with_hz(10),
            Style::Lines | Style::Quiet | Style::Json => ProgressDrawTarget::hidden(),
        };
        Screen { style, display: MultiProgress::with_draw_target(target) }
    }

    /// Tells people something, above the display. Programs get it as an event called `note`.
    pub(crate) fn line(&self, text: &str) {
        match self.style {
            Style::Terminal | Style::Lines => self.raw(text),
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

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
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
