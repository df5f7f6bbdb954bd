//! `--tui`: the whole terminal for one run, and keys to steer it.
//!
//! It looks at the same facts as the plain display. Only while it is there does the terminal belong to it: what other parts
//! have to say goes to the list of notes, and warnings are said again on the plain screen once it is gone.

mod terminal;
mod view;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tidegate::run::job::Control;
use tidegate::{Client, Limits};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior};

use self::terminal::Full;
use super::Watch;
use super::facts::Display;
use super::screen::Screen;

/// How often it is drawn.
const EVERY: Duration = Duration::from_millis(200);
/// Seconds of throughput that are remembered.
const REMEMBERED: usize = 240;

/// Shows the run, for ever; dropping the future gives the terminal back.
pub(super) async fn show(client: Client, control: Control, screen: Screen) -> Infallible {
    // As long as the input is not open, which may take for ever, Ctrl-C has to work as always.
    while !control.progress.numbers().begun {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match Full::enter() {
        Ok(full) => View::new(client, control, screen).run(full).await,
        Err(_) => std::future::pending().await,
    }
}

/// What is shown, and what the keys have changed.
struct View {
    client: Client,
    control: Control,
    screen: Screen,
    watch: Watch,
    display: Display,
    /// Rows finished in each of the last seconds.
    pace: VecDeque<u64>,
    /// When the last of these seconds began, and how many rows were finished then.
    second: (Instant, u64),
    paused: bool,
    help: bool,
}

impl View {
    fn new(client: Client, control: Control, screen: Screen) -> View {
        let now = Instant::now();
        let mut watch = Watch::new(client.clone(), control.clone(), now);
        let display = watch.look(now).display();
        let finished = finished(&control);
        let (pace, second) = (VecDeque::new(), (now, finished));
        View { client, control, screen, watch, display, pace, second, paused: false, help: false }
    }

    async fn run(mut self, mut full: Full) -> Infallible {
        let mut keys = keys();
        let mut clock = tokio::time::interval(EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                now = clock.tick() => self.look(now),
                Some(key) = keys.recv() => self.press(key),
            }
            // A terminal that is gone cannot be told so.
            let _ = full.draw(|frame| view::draw(&self, frame));
        }
    }

    fn look(&mut self, now: Instant) {
        self.display = self.watch.look(now).display();
        let (began, before) = self.second;
        let passed = now.duration_since(began).as_secs_f64();
        if passed >= 1.0 {
            let finished = finished(&self.control);
            self.pace.push_back(((finished - before) as f64 / passed).round() as u64);
            if self.pace.len() > REMEMBERED {
                self.pace.pop_front();
            }
            self.second = (now, finished);
        }
    }

    fn press(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => self.stop(),
            KeyCode::Char('q') => self.stop(),
            KeyCode::Char('p' | ' ') => self.pause(),
            KeyCode::Char('+' | '=') => self.scale(|most| most.saturating_add((most / 4).max(1))),
            KeyCode::Char('-') => self.scale(|most| most.saturating_sub((most / 5).max(1)).max(1)),
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Esc => self.help = false,
            _ => {}
        }
    }

    /// Once means: wait for what is in flight; twice: now.
    fn stop(&mut self) {
        match self.control.stop.is_cancelled() {
            false => self.control.stop.cancel(),
            true => self.control.kill.cancel(),
        }
        // What waits for a pause to end would wait for ever.
        self.client.resume();
        self.paused = false;
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        match self.paused {
            true => self.client.pause(),
            false => self.client.resume(),
        }
    }

    /// Sets how many requests may be in flight at each endpoint; from then on nothing else changes that.
    fn scale(&mut self, to: impl Fn(u32) -> u32) {
        let endpoints = self.client.snapshot().endpoints;
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.aside.is_none()) {
            let concurrency = to(u32::try_from(endpoint.concurrency).unwrap_or(u32::MAX));
            let limits = Limits { concurrency: Some(concurrency), ..endpoint.limits };
            // The endpoint is there: its name was told a moment ago.
            let _ = self.client.set_limits(&endpoint.name, limits);
        }
    }
}

fn finished(control: &Control) -> u64 {
    let numbers = control.progress.numbers();
    numbers.succeeded + numbers.failed
}

/// Reads the keyboard on a thread of its own, which ends with the program or with whoever takes the keys.
fn keys() -> UnboundedReceiver<KeyEvent> {
    let (sender, keys) = unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let Event::Key(key) = event else { continue };
            if key.kind != KeyEventKind::Release && sender.send(key).is_err() {
                return;
            }
        }
    });
    keys
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use tidegate::Target;

    use super::*;
    use crate::progress::screen::Style;

    fn view() -> View {
        let target = Target::new("sim/model").unwrap().limits(Limits { concurrency: Some(20), ..Limits::default() });
        let client = Client::builder().target(target).build().unwrap();
        View::new(client, Control::default(), Screen::new(Style::Full))
    }

    fn press(view: &mut View, key: char) {
        view.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
    }

    /// Returns the lines of a terminal of this size.
    fn drawn(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view::draw(view, frame)).unwrap();
        let cells = terminal.backend().buffer().content();
        cells.chunks(usize::from(width)).map(|line| line.iter().map(|cell| cell.symbol()).collect()).collect()
    }

    fn says(view: &View, part: &str) -> bool {
        drawn(view, 110, 32).iter().any(|line| line.contains(part))
    }

    #[tokio::test]
    async fn everything_has_its_place() {
        let mut view = view();
        view.screen.line("sim/model: server_error: The upstream is not available. (HTTP 503)");
        view.screen.line("warning: the last");
        (view.display.head, view.display.facts) = ("45.0% · 12,345 of ~27.5k".to_owned(), "105/s".to_owned());
        view.pace.extend([3, 12, 7]);
        let lines = drawn(&view, 110, 32);
        assert_eq!(lines[0].trim_end(), "tidegate  running  45.0% · 12,345 of ~27.5k");
        assert_eq!(lines[2].trim_end(), "105/s");
        assert!(lines[3].starts_with(" Rows per second, at most 12 "), "{}", lines[3]);
        assert!(lines[12].starts_with("sim/model ") && lines[12].contains(" 0/20 "), "{}", lines[12]);
        assert_eq!(lines[15].trim_end(), "warning: the last");
        assert!(lines[16].ends_with(' ') && lines[16].contains("(HTTP 503)"), "{}", lines[16]);
        assert_eq!(lines[31].trim_end(), " q stop   p pause   + - requests in flight   ? help");
    }

    #[tokio::test]
    async fn keys_steer_the_run() {
        let mut view = view();
        press(&mut view, 'p');
        assert!(says(&view, " PAUSED "));
        press(&mut view, ' ');
        assert!(says(&view, " running "));
        press(&mut view, '+');
        assert!(says(&view, " 0/25 "));
        press(&mut view, '-');
        press(&mut view, '-');
        assert!(says(&view, " 0/16 "));
        press(&mut view, '?');
        assert!(says(&view, " Keys "));
        press(&mut view, '?');
        assert!(!says(&view, " Keys "));
        press(&mut view, 'p');
        press(&mut view, 'q');
        assert!(view.control.stop.is_cancelled() && !view.control.kill.is_cancelled() && says(&view, " STOPPING "));
        view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(view.control.kill.is_cancelled());
    }

    #[tokio::test]
    async fn a_long_name_keeps_both_ends() {
        let name = "anthropic.claude-3-5-sonnet-20240620-v1:0@us-east-1";
        let target = Target::new(&format!("sim/{name}")).unwrap().key("one").key("two");
        let client = Client::builder().target(target).build().unwrap();
        let view = View::new(client, Control::default(), Screen::new(Style::Full));
        for width in [40, 80] {
            let lines = drawn(&view, width, 24);
            let ends = |end: &str| lines.iter().any(|line| line.starts_with("sim/") && line.contains(end));
            assert!(ends("east-1 ") && ends("east-1#2 "), "{lines:?}");
        }
    }

    #[tokio::test]
    async fn a_small_terminal_shows_what_fits() {
        let mut view = view();
        assert!(drawn(&view, 40, 10).iter().any(|line| line.starts_with("sim/model")));
        let few = drawn(&view, 80, 8);
        assert!(few[0].starts_with("tidegate  running") && few[7].starts_with(" q stop"), "{few:?}");
        assert!(few[5].starts_with("sim/model") && few[4].contains("rejected"), "{few:?}");
        assert!(drawn(&view, 30, 1)[0].starts_with(" running"));
        view.help = true;
        for (width, height) in [(40, 10), (20, 4), (1, 1)] {
            assert_eq!(drawn(&view, width, height).len(), usize::from(height));
        }
    }
}
