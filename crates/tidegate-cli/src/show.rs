//! `tidegate show`: what was asked about one row, what was tried, and what came of it.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use tidegate::run::job::{self, Shown, Which};
use tidegate::run::record::{Answer, Record};
use tidegate::{Attempt, Error, Part, Request, Role, Usage};

use crate::args::ShowArgs;
use crate::{format, width};

/// Characters of a provider's message that are shown.
const MESSAGE: usize = 1000;
/// A wait for admission that is shorter says nothing.
const WORTH_TELLING: Duration = Duration::from_millis(1);

/// Returns what the command prints.
pub(crate) fn show(args: &ShowArgs) -> anyhow::Result<String> {
    let found = job::show(&args.out, &which(&args.id))?;
    if args.json {
        return Ok(found
            .iter()
            .map(|shown| serde_json::to_string(shown).map(|line| line + "\n"))
            .collect::<Result<_, _>>()?);
    }
    let mut page = Page { text: String::new(), width: width::of_stdout() };
    for (number, shown) in found.iter().enumerate() {
        if number > 0 {
            page.text.push('\n');
        }
        page.record(shown)?;
    }
    Ok(page.text)
}

/// Reads `:17` as a record's number, and anything else as an id.
fn which(id: &str) -> Which {
    match id.strip_prefix(':').map(str::parse) {
        Some(Ok(number)) => Which::Number(number),
        _ => Which::Id(id.to_owned()),
    }
}

/// What is printed; long lines are folded where a terminal's width is known.
struct Page {
    text: String,
    width: Option<usize>,
}

impl Page {
    fn record(&mut self, shown: &Shown) -> anyhow::Result<()> {
        let record = Record::parse(shown.record.get().as_bytes())
            .map_err(|error| Error::Usage(format!("the record cannot be read: {error}")))?;
        self.line("", &title(&record));
        self.request(shown, &record);
        self.attempts(shown, &record);
        self.answer(&record);
        for warning in &record.warnings {
            self.section("warning", warning);
        }
        if let Some(body) = &shown.body {
            self.section("reply", "the provider's own");
            self.block(body.get());
        }
        Ok(())
    }

    fn request(&mut self, shown: &Shown, record: &Record<'_>) {
        let Some(request) = &shown.request else {
            let why = "cannot be made again; this is the row";
            self.section("request", if record.input.is_some() { why } else { "none: the row could not be read" });
            if let Some(input) = record.input {
                self.block(input.get());
            }
            return;
        };
        self.section("request", match shown.as_asked {
            true => "made again from the stored row; the journal's check agrees",
            false => {
                "made again from the stored row, but NOT as it was asked: it went with files, or with another prompt, \
                 or other parameters, of an earlier run"
            }
        });
        self.messages(request);
    }

    fn messages(&mut self, request: &Request) {
        if let Some(original) = &request.original {
            return self.block(&String::from_utf8_lossy(&original.bytes));
        }
        match &request.task {
            tidegate::Task::Embed(text) => self.block(text),
            tidegate::Task::Chat(messages) => {
                for message in messages {
                    self.line("    ", &format!("{}:", role(&message.role)));
                    message.parts.iter().for_each(|part| self.block(&content(part)));
                }
            }
            _ => self.block(&json(&request.task)),
        }
        if !request.params.is_empty() {
            self.line("    ", &format!("parameters: {}", json(&request.params)));
        }
        if request.schema.is_some() {
            self.line("    ", "with a schema");
        }
    }

    fn attempts(&mut self, shown: &Shown, record: &Record<'_>) {
        if record.cached {
            return self.section("attempts", "none: the answer was in the cache");
        }
        let made = format::count(u64::from(record.attempts));
        self.section("attempts", &made);
        for (number, attempt) in shown.attempts.iter().enumerate() {
            self.line("    ", &format!("{}. {}", number + 1, attempt_line(attempt)));
        }
        if shown.attempts.is_empty() && record.attempts > 0 {
            let endpoint = record.endpoint.as_deref().unwrap_or("?");
            let unlisted = if record.attempts > 1 { "; the earlier ones were not kept" } else { "" };
            self.line("    ", &format!("{endpoint}: took {}{unlisted}", format::duration(record.latency)));
        }
    }

    fn answer(&mut self, record: &Record<'_>) {
        if let Some(checked) = record.checked.as_deref() {
            let verdict = format!("asked {}, refused {}, rung {}", checked.asks, checked.refused, checked.rung);
            self.section("checks", &verdict);
            for fault in &checked.faults {
                self.line("    ", &format!("{}: {}", fault.path, fault.message));
            }
        }
        if let Some(error) = &record.error {
            let status = error.status.map(|status| format!(" ({status})")).unwrap_or_default();
            let message = format::one_line(&error.message, MESSAGE);
            self.section("failed", &format!("{}{status}: {message}", error.kind));
        }
        if let Some(answer) = &record.output {
            let of = if record.fallback { "the fallback".to_owned() } else { about_answer(record) };
            self.section("answer", &of);
            match answer {
                Answer::Text(text) => self.block(text),
                Answer::Raw(json) => self.block(json.get()),
                other => self.block(&format!("{other:?}")),
            }
        }
    }

    fn section(&mut self, name: &str, text: &str) {
        self.line("  ", &format!("{name:<10}{text}"));
    }

    fn block(&mut self, text: &str) {
        let clean: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        clean.lines().for_each(|line| self.line("      ", line));
    }

    fn line(&mut self, indent: &str, text: &str) {
        for piece in width::fold(text, self.width.map(|width| width.saturating_sub(indent.len()))) {
            let _ = writeln!(self.text, "{indent}{piece}");
        }
    }
}

fn title(record: &Record<'_>) -> String {
    let id = record.id.map_or("(no id)".to_owned(), |id| match id.get().starts_with('"') {
        true => serde_json::from_str(id.get()).unwrap_or_default(),
        false => id.get().to_owned(),
    });
    let model = record.model.as_deref().map(|model| format!("  {model}")).unwrap_or_default();
    let sample = record.sample.map(|sample| format!("  sample {sample}")).unwrap_or_default();
    format!("{id}{model}{sample}")
}

fn role(role: &Role) -> &str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Other(name) => name,
        _ => "other",
    }
}

fn content(part: &Part) -> String {
    match part {
        Part::Text(text) => text.clone(),
        other => json(other),
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn attempt_line(attempt: &Attempt) -> String {
    let times = if attempt.times > 1 { format!(" ({} times alike)", attempt.times) } else { String::new() };
    let waited = attempt.backoff + attempt.waited;
    let waited = (waited >= WORTH_TELLING).then(|| format!("waited {}, ", format::duration(waited)));
    let failed = attempt.failure.as_ref().map(|failure| format::one_line(&failure.to_string(), MESSAGE));
    let (waited, ended) = (waited.unwrap_or_default(), failed.unwrap_or_else(|| "answered".to_owned()));
    format!("{}{times}: {waited}took {}, {ended}", attempt.endpoint, format::duration(attempt.took))
}

fn about_answer(record: &Record<'_>) -> String {
    let finish = record.finish_reason.as_deref().map(str::to_owned);
    let tokens = record.usage.map(|Usage { input_tokens, output_tokens, .. }| {
        format!("{} tokens in, {} out", format::count(input_tokens), format::count(output_tokens))
    });
    let cost = record.cost.map(|cost| format::money(cost.usd()));
    let request = record.request_id.as_deref().map(str::to_owned);
    [finish, tokens, cost, request].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
