//! Ctrl-C, SIGTERM and a terminal that goes away: once means stop cleanly, twice means now.
//!
//! A thread of its own waits for them, because the run's may be waiting for a file: a pipe that nobody writes to opens
//! never. As long as nothing is being sent there is nothing to finish, and the first signal ends the program.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tidegate::run::job::Control;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::progress::screen::Screen;

/// The exit code of a run that was interrupted.
const INTERRUPTED: i32 = 130;

/// Takes the signals over, from when it returns, and passes them on to a job as long as the program lives.
///
/// # Errors
/// What the system says.
pub(crate) fn watch(control: Control, screen: Screen, drain: Duration) -> io::Result<()> {
    let runtime = crate::runtime()?;
    let mut signals = {
        let _here = runtime.enter();
        let hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup }
    };
    let pass_on = async move {
        signals.next().await;
        if !control.progress.numbers().begun {
            screen.line("stopped: nothing was sent");
            std::process::exit(INTERRUPTED);
        }
        control.stop.cancel();
        let drain = crate::format::duration(drain);
        screen.line(&format!("stopping: waiting up to {drain} for what is in flight; once more to stop now"));
        signals.next().await;
        control.kill.cancel();
    };
    std::thread::Builder::new().name("tidegate-signals".to_owned()).spawn(move || runtime.block_on(pass_on))?;
    Ok(())
}

/// Returns whether whoever started the program wants it to live on without its terminal, as `nohup` does.
///
/// Linux tells; elsewhere it is assumed of a program that does not write to a terminal.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.map_or_else(|| !io::stderr().is_terminal(), |ignored| ignored & 1 == 1)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None where the program is to live on.
    hangup: Option<Signal>,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = async { self.hangup.as_mut()?.recv().await } => {}
        }
    }
}
