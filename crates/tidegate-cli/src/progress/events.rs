//! What a person or a program is told while a run goes on: events as lines on standard error, and in the log.
//!
//! An endpoint that falls out of service is worth a warning of its own. Single failed attempts are not, they are what
//! retries are for; `-v` shows them all the same, and a log file has them always.

use serde::Serialize;
use tidegate::run::summary::Summary;
use tidegate::{Aside, Event, Failure, Observer};

use crate::format;
use crate::keys::KeySource;
use crate::progress::facts::ProgressJson;
use crate::progress::screen::{Screen, Style};

/// The target of events in the log, so that the log on the screen can leave out what is shown there anyway.
pub(crate) const LOG_TARGET: &str = "tidegate::event";

/// Characters of a provider's message that are shown.
const MESSAGE: usize = 300;

/// Tells what happens.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    screen: Screen,
    verbose: u8,
    sources: Sources,
}

/// The models, and where their keys come from.
pub(crate) type Sources = Vec<(String, KeySource)>;

impl Events {
    /// Makes an observer that writes to that screen; with `verbose` above 0 every failed attempt.
    pub(crate) fn new(screen: Screen, verbose: u8, sources: Sources) -> Events {
        Events { screen, verbose, sources }
    }
}

impl Observer for Events {
    fn event(&self, event: &Event) {
        if self.screen.style == Style::Json {
            json_line(&self.screen, event);
            return;
        }
        let verbose = if self.screen.style == Style::Full { 1 } else { self.verbose };
        if let Some(text) = words(event, verbose, &self.sources) {
            self.screen.line(&text);
        }
    }

    /// Rows are in the results; a line for each would only be noise.
    fn follows_items(&self) -> bool {
        false
    }
}

/// Returns what people are told of an event, if anything.
fn words(event: &Event, verbose: u8, sources: &Sources) -> Option<String> {
    match event {
        Event::SetAside { endpoint, endpoints, failure } => {
            let others = match endpoints {
                0 | 1 => String::new(),
                n => format!(" and {} of the same key", format::counted(*n as u64 - 1, "other", "others")),
            };
            let why = format::one_line(&failure.to_string(), MESSAGE);
            let key = which_key(endpoint, failure, sources).map(|key| format!(" ({key})")).unwrap_or_default();
            let are = if others.is_empty() { "is" } else { "are" };
            Some(format!("warning: {endpoint}{key}{others} {are} out of service for the rest of this run: {why}"))
        }
        Event::AttemptFailed { endpoint, failure } if verbose > 0 => {
            Some(format!("{endpoint}: {}", format::one_line(&failure.to_string(), MESSAGE)))
        }
        Event::CooldownStarted { endpoint, pause } if verbose > 0 => {
            Some(format!("{endpoint}: pausing {}", format::duration(*pause)))
        }
        Event::CooldownEnded { endpoint, pause } if verbose > 0 => {
            Some(format!("{endpoint}: sends again after a pause of {}", format::duration(*pause)))
        }
        Event::StopStarted { reason, drains } => {
            let rest = if *drains { "waited for" } else { "cancelled" };
            Some(format!("stopping: {}; what is in flight is {rest}", format::one_line(reason, MESSAGE)))
        }
        Event::Ejected { endpoint, pause } if verbose > 0 => {
            Some(format!("{endpoint}: does not work; put aside, and probed in {}", format::duration(*pause)))
        }
        Event::Readmitted { endpoint } if verbose > 0 => Some(format!("{endpoint}: works again")),
        _ => None,
    }
}

/// Returns which key an endpoint has, and where it came from, if that is what was refused.
fn which_key(endpoint: &str, failure: &Failure, sources: &Sources) -> Option<String> {
    if failure.kind.advice().aside != Some(Aside::Key) {
        return None;
    }
    let rest =
        |model: &str| endpoint.strip_prefix(model).filter(|rest| rest.is_empty() || rest.starts_with(['@', '#']));
    let (_, source) = sources.iter().find(|(model, _)| rest(model).is_some())?;
    let number = endpoint.rsplit_once('#').map(|(_, number)| number).filter(|number| number.parse::<u32>().is_ok());
    match (source, number) {
        (KeySource::Nowhere, _) => None,
        (source, None) => Some(source.to_string()),
        (source, Some(number)) => Some(format!("number {number}, {source}")),
    }
}

/// Something for programs, with the time at which it was told.
#[derive(Serialize)]
struct Told<'a, T> {
    #[serde(flatten)]
    what: &'a T,
    at: String,
}

#[derive(Serialize)]
struct SummaryEvent<'a> {
    event: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
}

#[derive(Serialize)]
struct Note<'a> {
    event: &'static str,
    text: &'a str,
}

fn json_line(screen: &Screen, what: &impl Serialize) {
    // Maps with keys of their own are all that serde_json refuses, and there are none.
    if let Ok(line) = serde_json::to_string(&told(what)) {
        screen.raw(&line);
    }
}

fn told<T: Serialize>(what: &T) -> Told<'_, T> {
    Told { what, at: format!("{:.3}", jiff::Timestamp::now()) }
}

/// Writes something meant for people as an event.
pub(super) fn note(screen: &Screen, text: &str) {
    json_line(screen, &Note { event: "note", text });
}

/// Writes a progress event.
pub(super) fn progress(screen: &Screen, progress: &ProgressJson<'_>) {
    json_line(screen, progress);
}

/// Writes the summary as the last event.
pub(crate) fn summary(screen: &Screen, summary: &Summary) {
    json_line(screen, &SummaryEvent { event: "summary", summary });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate::Kind;
    use tidegate::run::summary::Tally;

    use super::*;

    fn set_aside(endpoints: usize) -> Event {
        let failure = Failure::new(Kind::Auth, "Incorrect API key\nprovided").with_status(401);
        Event::SetAside { endpoint: "openai/gpt-5".into(), endpoints, failure }
    }

    #[test]
    fn an_endpoint_out_of_service_is_always_told() {
        assert_eq!(
            words(&set_aside(1), 0, &Sources::new()).unwrap(),
            "warning: openai/gpt-5 is out of service for the rest of this run: auth: Incorrect API key provided (HTTP 401)"
        );
        assert!(
            words(&set_aside(3), 0, &Sources::new())
                .unwrap()
                .starts_with("warning: openai/gpt-5 and 2 others of the same key are out")
        );
    }

    #[test]
    fn a_key_that_is_refused_is_named_by_where_it_came_from() {
        let source = KeySource::Variable("OPENAI_API_KEY".to_owned());
        let sources = vec![("openai/gpt-5-mini".to_owned(), KeySource::Nowhere), ("openai/gpt-5".to_owned(), source)];
        let named = |endpoint: &str, kind| which_key(endpoint, &Failure::new(kind, "no"), &sources);
        assert_eq!(named("openai/gpt-5", Kind::Auth).as_deref(), Some("key from OPENAI_API_KEY"));
        assert_eq!(named("openai/gpt-5#2", Kind::Auth).as_deref(), Some("number 2, key from OPENAI_API_KEY"));
        assert_eq!(named("openai/gpt-5", Kind::NotFound), None, "that is not the key's fault");
        let text = words(&set_aside(1), 0, &sources).unwrap();
        assert!(text.starts_with("warning: openai/gpt-5 (key from OPENAI_API_KEY) is out of service"), "{text}");
    }

    #[test]
    fn attempts_and_pauses_are_told_with_v() {
        let none = Sources::new();
        let failed = Event::AttemptFailed { endpoint: "m".into(), failure: Failure::new(Kind::Timeout, "no reply") };
        let pause = Event::CooldownStarted { endpoint: "m".into(), pause: Duration::from_millis(3100) };
        let ejected = Event::Ejected { endpoint: "m".into(), pause: Duration::from_millis(500) };
        assert_eq!((words(&failed, 0, &none), words(&pause, 0, &none), words(&ejected, 0, &none)), (None, None, None));
        assert_eq!(words(&ejected, 1, &none).unwrap(), "m: does not work; put aside, and probed in 500ms");
        assert_eq!(words(&Event::Readmitted { endpoint: "m".into() }, 1, &none).unwrap(), "m: works again");
        assert_eq!(words(&failed, 1, &none).unwrap(), "m: timeout: no reply");
        assert_eq!(words(&pause, 1, &none).unwrap(), "m: pausing 3.1s");
    }

    #[test]
    fn programs_get_one_object_per_event() {
        let json = serde_json::to_value(told(&set_aside(1))).unwrap();
        assert_eq!((&json["event"], &json["failure"]["kind"]), (&"set_aside".into(), &"auth".into()));
        let at: jiff::Timestamp = json["at"].as_str().unwrap().parse().unwrap();
        assert!(jiff::Timestamp::now().duration_since(at).as_secs().abs() < 60);
        let pause = Event::CooldownStarted { endpoint: "m".into(), pause: Duration::from_millis(3100) };
        assert_eq!(serde_json::to_value(told(&pause)).unwrap()["pause_s"], 3.1);
    }

    #[test]
    fn the_summary_is_an_event_too() {
        let summary = Summary::of(&Tally::default());
        let json = serde_json::to_value(told(&SummaryEvent { event: "summary", summary: &summary })).unwrap();
        assert_eq!((&json["event"], &json["version"], &json["failed"]), (&"summary".into(), &1.into(), &0.into()));
    }
}
