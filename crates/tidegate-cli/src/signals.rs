//! Ctrl-C and SIGTERM: once means stop cleanly, twice means now.

use tidegate::run::job::Control;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::progress::screen::Screen;

/// The signals that ask for an end.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over; from here on they do not end the process by themselves.
    pub(crate) fn new() -> std::io::Result<Signals> {
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Passes the signals on to a job, for ever.
    pub(crate) async fn watch(mut self, control: Control, screen: Screen, drain: std::time::Duration) {
        self.next().await;
        control.stop.cancel();
        let drain = crate::format::duration(drain);
        screen.line(&format!("stopping: waiting up to {drain} for what is in flight; once more to stop now"));
        self.next().await;
        control.kill.cancel();
        std::future::pending().await
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
