//! The terminal, taken over and given back: at the end, on an error, on a panic.

use std::io::{self, Stderr, stderr};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal};

static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// The whole terminal. It is standard error: results may go to standard output.
pub(super) struct Full(Terminal<CrosstermBackend<Stderr>>);

impl Full {
    /// Takes the terminal over.
    pub(super) fn enter() -> io::Result<Full> {
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        TAKEN.store(true, Ordering::SeqCst);
        let entered = enable_raw_mode()
            .and_then(|()| execute!(stderr(), EnterAlternateScreen))
            .and_then(|()| Terminal::new(CrosstermBackend::new(stderr())));
        // As soon as it exists, dropping it gives the terminal back.
        entered.map(Full).inspect_err(|_| restore())
    }

    pub(super) fn draw(&mut self, paint: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(paint).map(|_| ())
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, if it is taken. What fails here cannot be mended.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stderr(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::process::{Command, Stdio};

    use super::*;

    /// Panics while it draws. Not run by itself, but by the test below, in a terminal of its own.
    #[test]
    #[ignore = "takes the terminal over"]
    fn panics_while_it_draws() {
        let mut full = Full::enter().unwrap();
        full.draw(|frame| frame.buffer_mut()[(u16::MAX, u16::MAX)].reset()).unwrap();
    }

    #[test]
    fn a_panic_gives_the_terminal_back_and_is_read_there() {
        let name = "progress::tui::terminal::tests::panics_while_it_draws";
        // Before and after: the modes of the terminal, such as whether it echoes.
        let inside = format!("stty -g; \"$TEST\" --ignored --exact {name} --nocapture; stty -g");
        let ran = Command::new("script")
            .args(["--quiet", "--return", "--command", &inside, "/dev/null"])
            .env("TEST", std::env::current_exe().unwrap())
            .stdin(Stdio::null())
            .output();
        let ran = match ran {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return eprintln!(
                    "SKIPPED: there is no `script` here to make a terminal with; it is part of util-linux"
                );
            }
            ran => ran.unwrap(),
        };
        let seen = String::from_utf8_lossy(&ran.stdout);
        let [entered, left, shown] = ["\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"].map(|code| seen.find(code));
        let said = seen.find("panicked at");
        assert!(entered.is_some() && entered < left && left < shown && shown < said, "{seen:?}");
        let modes: Vec<&str> = seen.lines().filter(|line| line.matches(':').count() > 30).collect();
        assert!(modes.len() == 2 && modes[0] == modes[1], "{seen:?}");
    }
}
