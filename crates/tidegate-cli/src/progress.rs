//! What a person sees while a run goes on.
//!
//! The display only looks: it takes a copy of the run's numbers and of the endpoints' state a few times a second, and
//! nothing waits for it.
//!
//! | style | what is shown on standard error |
//! |---|---|
//! | full | the whole terminal, see `tui` |
//! | terminal | two lines and a bar, drawn over and over; a third line for several endpoints or one in trouble |
//! | lines | a line every 10 s |
//! | json | an object every second |
//! | quiet | nothing |

mod bottleneck;
pub(crate) mod events;
mod facts;
mod pace;
pub(crate) mod screen;
#[cfg(test)]
mod testing;
#[cfg(feature = "tui")]
mod tui;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tidegate::Client;
use tidegate::run::job::Control;
use tokio::time::{Instant, MissedTickBehavior};

use self::facts::{Display, Facts, Pace};
use self::pace::Window;
use self::screen::{Screen, Style};

/// The steps of the bar.
const STEPS: u64 = 10_000;

/// Shows how the run gets on, for ever; dropping the future takes the display away.
pub(crate) async fn show(client: Client, control: Control, screen: Screen) {
    let every = match screen.style {
        #[cfg(feature = "tui")]
        Style::Full => match tui::show(client, control, screen).await {},
        #[cfg(not(feature = "tui"))]
        Style::Full => return std::future::pending().await,
        Style::Terminal => Duration::from_millis(250),
        Style::Json => Duration::from_secs(1),
        Style::Lines => Duration::from_secs(10),
        Style::Quiet => return std::future::pending().await,
    };
    let mut watch = Watch::new(client, control, Instant::now());
    let drawn = (screen.style == Style::Terminal).then(|| Drawn::new(&screen));
    let mut clock = tokio::time::interval(every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when there is nothing to say yet.
    clock.tick().await;
    loop {
        let facts = watch.look(clock.tick().await);
        match &drawn {
            Some(drawn) => drawn.draw(&facts.display()),
            None if screen.style == Style::Json => events::progress(&screen, &facts.json()),
            None => screen.raw(&facts.line()),
        }
    }
}

/// What must be remembered from one look to the next.
struct Watch {
    client: Client,
    control: Control,
    began: Instant,
    recent: Window,
    steady: Window,
}

impl Watch {
    fn new(client: Client, control: Control, now: Instant) -> Watch {
        let (mut recent, mut steady) = (Window::new(Duration::from_secs(10)), Window::new(Duration::from_secs(60)));
        recent.note(now, 0, 0);
        steady.note(now, 0, 0);
        Watch { client, control, began: now, recent, steady }
    }

    fn look(&mut self, now: Instant) -> Facts {
        let numbers = self.control.progress.numbers();
        let (rows, tokens) = (numbers.succeeded + numbers.failed, numbers.usage.total());
        self.recent.note(now, rows, tokens);
        self.steady.note(now, rows, tokens);
        let (recent, steady) = (self.recent.rates(), self.steady.rates());
        let pace = Pace { elapsed: now.duration_since(self.began), now: recent, steady };
        let facts = Facts::new(numbers, self.client.snapshot(), pace);
        if numbers.stopping || self.control.stop.is_cancelled() { facts.stopping() } else { facts }
    }
}

/// The display of a terminal. Each line is a bar of its own to the library that draws it, which knows the terminal's width.
struct Drawn {
    head: ProgressBar,
    facts: ProgressBar,
    endpoints: ProgressBar,
    text: ProgressStyle,
    text_and_bar: ProgressStyle,
    nothing: ProgressStyle,
}

impl Drawn {
    fn new(screen: &Screen) -> Drawn {
        // A template that comes out empty takes no line.
        let nothing = style("{msg}");
        let line = || screen.display().add(ProgressBar::new(STEPS).with_style(nothing.clone()));
        Drawn {
            head: line(),
            facts: line(),
            endpoints: line(),
            text: style("{wide_msg}"),
            text_and_bar: style("{msg} {wide_bar:.cyan/dim}").progress_chars("━╸─"),
            nothing,
        }
    }

    fn draw(&self, display: &Display) {
        self.head.set_style(if display.share.is_some() { &self.text_and_bar } else { &self.text }.clone());
        self.head.set_message(display.head.clone());
        self.head.set_position((display.share.unwrap_or(0.0) * STEPS as f64) as u64);
        self.facts.set_style(self.text.clone());
        self.facts.set_message(display.facts.clone());
        let endpoints = display.endpoints.clone().unwrap_or_default();
        self.endpoints.set_style(if endpoints.is_empty() { &self.nothing } else { &self.text }.clone());
        self.endpoints.set_message(endpoints);
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        for line in [&self.endpoints, &self.facts, &self.head] {
            line.finish_and_clear();
        }
    }
}

/// Reads a template of our own; one with a mistake would show the plain bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
