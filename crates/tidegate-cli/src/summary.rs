//! What a person is told when a run has ended: what came of the rows, what it cost, how fast it was, and how to go on.
//!
//! One line per subject, and no line for a subject about which there is nothing to say.

mod json;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use tidegate::run::summary::{Cause, ModelTally, Stopped, Summary};
use tidegate::{EndpointSnapshot, Kind, Money, RetryStats};

use crate::format;

pub(crate) use json::write_json;

/// Characters of a provider's message that are shown.
const EXAMPLE: usize = 200;
/// Models that are named where there are more without a price.
const MOST_NAMES: usize = 10;
/// Seconds below which the share of a limit says nothing: a burst weighs too much.
const LONG_ENOUGH: f64 = 5.0;

/// Writes the summary of a run, or of what an output holds (a report).
///
/// `out` is where the results are, nothing if they went to standard output; `config_file` is the configuration that was
/// used.
///
/// # Errors
///
/// What the writer says.
pub(crate) fn print(
    summary: &Summary,
    out: Option<&Path>,
    config_file: Option<&Path>,
    to: &mut impl Write,
) -> io::Result<()> {
    for warning in &summary.warnings {
        writeln!(to, "warning: {warning}")?;
    }
    let mut lines = vec![("Rows", rows(summary))];
    lines.extend(failures(summary));
    lines.extend(models(summary));
    lines.extend(answers(summary).map(|text| ("Answers", text)));
    lines.extend((summary.cached > 0).then(|| ("Cache", cached(summary))));
    lines.extend((summary.shared > 0).then(|| ("Shared", shared(summary))));
    lines.extend(packing(summary).map(|text| ("Packed", text)));
    lines.extend(ladder(summary).map(|text| ("Ladder", text)));
    lines.extend(tokens(summary).map(|text| ("Tokens", text)));
    lines.extend(prompt_cache(summary).map(|text| ("Prompts", text)));
    lines.extend(cost(summary).map(|text| ("Cost", text)));
    lines.extend(budget(summary).map(|text| ("Budget", text)));
    lines.extend(time(summary).map(|text| ("Time", text)));
    lines.extend(retries(summary).map(|text| ("Retries", text)));
    lines.extend(copies(&summary.tried_again).map(|text| ("Copies", text)));
    lines.extend(summary.endpoints.iter().filter_map(|endpoint| used(endpoint, summary.seconds)));
    lines.extend(repaired(summary).map(|text| ("Repaired", text)));
    lines.extend(config_file.map(|path| ("Config", path.display().to_string())));
    lines.extend(out.map(|path| ("Results", path.display().to_string())));
    let mut last = "";
    for (name, text) in lines {
        // A name stands only before the first of its lines.
        writeln!(to, "{:<10}{text}", if name == last { "" } else { name })?;
        last = name;
    }
    for text in stopped(summary).into_iter().chain(how_to_go_on(summary, out)) {
        writeln!(to, "{text}")?;
    }
    Ok(())
}

type Line = (&'static str, String);

fn rows(summary: &Summary) -> String {
    let before = match summary.failed_before {
        0 => "already done".to_owned(),
        failed => format!("already done ({} of them failed)", format::count(failed)),
    };
    let counts = [(summary.succeeded, "answered"), (summary.failed, "failed"), (summary.done_before, &*before)];
    let count = |n: u64, what| (n > 0).then(|| format!("{} {what}", format::count(n)));
    let mut said: Vec<_> = counts.into_iter().filter_map(|(n, what)| count(n, what)).collect();
    if summary.read_all {
        said.extend(count(summary.unsent, "not sent"));
    } else if said.is_empty() {
        said.push("none sent".to_owned());
    } else {
        said.push("the rest not sent".to_owned());
    }
    if said.is_empty() { "none".to_owned() } else { said.join(", ") }
}

fn failures(summary: &Summary) -> Vec<Line> {
    let fallbacks = (summary.fallbacks > 0)
        .then(|| ("Failed", format!("{} with the fallback in place of an answer", format::count(summary.fallbacks))));
    let mut causes: Vec<_> = summary.causes.iter().collect();
    causes.sort_by_key(|(_, cause)| std::cmp::Reverse(cause.rows));
    let line = |(kind, cause): (&Kind, &Cause)| {
        let example = match format::one_line(&cause.example, EXAMPLE) {
            example if example.is_empty() => example,
            example => format!(": {example}"),
        };
        ("Failed", format!("{} {kind}{example}", format::count(cause.rows)))
    };
    causes.into_iter().map(line).chain(fallbacks).collect()
}

fn models(summary: &Summary) -> Vec<Line> {
    if summary.models.len() < 2 {
        return Vec::new();
    }
    let line = |(name, model): (&String, &ModelTally)| {
        let failed = (model.failed > 0).then(|| format!(", {} failed", format::count(model.failed)));
        let cost = model.cost_usd.map(|usd| format!(", {}", format::money(usd)));
        let answered = format::count(model.succeeded);
        let text = format!("{name}: {answered} answered{}{}", failed.unwrap_or_default(), cost.unwrap_or_default());
        ("Models", text)
    };
    summary.models.iter().map(line).collect()
}

/// Says how many of the answered rows cost nothing.
fn cached(summary: &Summary) -> String {
    format!("{} of those answered from the cache, at no cost", format::count(summary.cached))
}

/// Says how many rows have the outcome of another.
fn shared(summary: &Summary) -> String {
    format!("{} the outcome of an identical row, at no cost", format::counted(summary.shared, "row has", "rows have"))
}

/// Says how many calls packing has saved.
fn packing(summary: &Summary) -> Option<String> {
    let packing = &summary.packing;
    (packing.rows > 0).then(|| {
        let (rows, calls) =
            (format::counted(packing.rows, "row", "rows"), format::counted(packing.calls, "call", "calls"));
        format!("{rows} in {calls}, {} saved", format::count(packing.saved_calls))
    })
}

/// Says what providers' own caches have saved, where they had to do with anything.
fn prompt_cache(summary: &Summary) -> Option<String> {
    let cache = &summary.prompt_cache;
    (cache.written_tokens > 0 || cache.read_tokens > 0 && cache.saved_usd.is_some()).then(|| {
        let (read, written) = (format::count(cache.read_tokens), format::count(cache.written_tokens));
        let rows = format::counted(cache.hits, "row", "rows");
        let saved = match cache.saved_usd {
            Some(usd) if usd >= 0.0 => format!(", {} saved", format::money(usd)),
            Some(usd) => format!(", {} more than without", format::money(-usd)),
            None => String::new(),
        };
        format!("{read} tokens read from the provider's cache for {rows}, {written} written{saved}")
    })
}

/// Says how answers were judged, if any was not taken as it came.
fn answers(summary: &Summary) -> Option<String> {
    let tally = &summary.answers;
    let counts = [
        (tally.refused, "replies refused"),
        (tally.asked_again, "asked again"),
        (tally.stripped, "code fences taken off"),
    ];
    let said: Vec<_> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", format::count(*n))).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn ladder(summary: &Summary) -> Option<String> {
    let tally = &summary.answers;
    let saved = tally.saved().map(|share| {
        let (cost, last) = (format::money(tally.ladder_usd), format::money(tally.last_rung_usd));
        match share {
            share if share >= 0.0 => format!("{cost} in place of {last}, {} saved", format::percent(share)),
            _ => format!("{cost} in place of {last}: asking the last rung at once is cheaper"),
        }
    });
    let escalated =
        (tally.escalated > 0).then(|| format!("{} went up", format::counted(tally.escalated, "row", "rows")));
    let said: Vec<String> = escalated.into_iter().chain(saved).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn tokens(summary: &Summary) -> Option<String> {
    let usage = &summary.usage;
    let part = |n: u64, what| if n > 0 { format!(" ({} {what})", format::count(n)) } else { String::new() };
    (usage.total() > 0).then(|| {
        let (input, output) = (format::count(usage.input_tokens), format::count(usage.output_tokens));
        let (cached, reasoning) = (part(usage.cached_tokens, "cached"), part(usage.reasoning_tokens, "reasoning"));
        format!("{input} in{cached}, {output} out{reasoning}")
    })
}

fn cost(summary: &Summary) -> Option<String> {
    let finished = summary.succeeded + summary.failed;
    match summary.cost_usd {
        _ if finished == 0 => None,
        Some(usd) if summary.unpriced == 0 => Some(format::money(usd)),
        Some(usd) => {
            let rows = format::counted(summary.unpriced, "row", "rows");
            Some(format!("at least {}; {rows} {}", format::money(usd), unknown(summary)))
        }
        None if summary.succeeded == 0 => None,
        None => Some(unknown(summary)),
    }
}

fn unknown(summary: &Summary) -> String {
    if summary.usage.total() == 0 {
        return "unknown: the provider does not say how many tokens were used".to_owned();
    }
    let unpriced = summary.models.iter().filter(|(_, model)| model.succeeded > 0 && model.cost_usd.is_none());
    let names: Vec<_> = unpriced.map(|(name, _)| name.as_str()).collect();
    let named = names[..names.len().min(MOST_NAMES)].join(", ");
    match names.len().saturating_sub(MOST_NAMES) {
        _ if names.is_empty() => "unknown: some answers do not say how many tokens were used".to_owned(),
        0 => format!("unknown: no price for {named}; give --price IN,OUT"),
        more => format!("unknown: no price for {named} and {more} more; give --price IN,OUT"),
    }
}

fn budget(summary: &Summary) -> Option<String> {
    let spending = summary.budget?;
    let money = spending.budget_usd.zip(spending.spent_usd);
    let money = money.map(|(most, spent)| format!("{} of {} spent", format::money(spent), format::money(most)));
    let tokens = spending
        .budget_tokens
        .map(|most| format!("{} of {} tokens used", format::count(spending.spent_tokens), format::count(most)));
    let said: Vec<_> = money.into_iter().chain(tokens).collect();
    let earlier = spending.before_tokens > 0 || spending.before_usd.is_some_and(|usd| usd > 0.0);
    let unknown = (spending.unknown_before > 0).then(|| {
        let answers = format::counted(spending.unknown_before, "earlier answer", "earlier answers");
        format!("; {answers} of unknown cost not counted")
    });
    let all_runs = if earlier { ", by all runs together" } else { "" };
    Some(format!("{}{all_runs}{}", said.join(", "), unknown.unwrap_or_default()))
}

fn time(summary: &Summary) -> Option<String> {
    let mut parts = Vec::new();
    if summary.seconds > 0.0 {
        let finished = (summary.succeeded + summary.failed) as f64;
        let took = Duration::try_from_secs_f64(summary.seconds).unwrap_or_default();
        let rate = (finished > 0.0).then(|| format!(", {}", format::rate(finished / summary.seconds, " rows")));
        parts.push(format!("{}{}", format::duration(took), rate.unwrap_or_default()));
    }
    if summary.succeeded > 0 {
        let ms = |ms: f64| format::duration(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default());
        let latency = summary.latency_ms;
        parts.push(format!("latency p50 {}, p95 {}, p99 {}", ms(latency.p50), ms(latency.p95), ms(latency.p99)));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn retries(summary: &Summary) -> Option<String> {
    let cooled: Duration = summary.endpoints.iter().map(|endpoint| endpoint.cooled).sum();
    let mut parts = Vec::new();
    if summary.retries > 0 {
        parts.push(format!("{}{}", format::count(summary.retries), tried_again(&summary.tried_again)));
    }
    if summary.rejected() > 0 {
        parts.push(format!("{} rejected for load", format::counted(summary.rejected(), "call", "calls")));
    }
    if !cooled.is_zero() {
        parts.push(format!("{} lost to pauses", format::duration(cooled)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Says how many copies of slow calls were sent, and what the losers may have cost.
fn copies(tried: &RetryStats) -> Option<String> {
    let of = format::counted(tried.copies, "copy", "copies");
    let cost = match tried.copies_cost {
        Money::ZERO => String::new(),
        cost => format!("; those given up may have cost {cost}"),
    };
    (tried.copies > 0).then(|| format!("{of} of slow calls, among the retries{cost}"))
}

/// Says what made rows be tried again, the commonest first; rejections for load are told beside it.
fn tried_again(tried: &RetryStats) -> String {
    let mut causes: Vec<_> = tried.causes.iter().filter(|(kind, _)| !kind.advice().slow_down).collect();
    causes.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let said: Vec<_> = causes.into_iter().map(|(kind, times)| format!("{} {kind}", format::count(*times))).collect();
    if said.is_empty() { String::new() } else { format!(" after {}", said.join(", ")) }
}

/// Says how much of its stated limits an endpoint used.
fn used(endpoint: &EndpointSnapshot, seconds: f64) -> Option<Line> {
    if seconds < LONG_ENOUGH || endpoint.sent == 0 {
        return None;
    }
    let share = |used: u64, per_minute: Option<f64>, unit| {
        let per_minute = per_minute.filter(|limit| *limit > 0.0)?;
        let share = used as f64 / (per_minute * seconds / 60.0);
        Some(format!("{} of {} {unit}/min", format::percent(share), format::short(per_minute)))
    };
    let parts: Vec<String> =
        [share(endpoint.sent, endpoint.limits.rpm, "requests"), share(endpoint.tokens, endpoint.limits.tpm, "tokens")]
            .into_iter()
            .flatten()
            .collect();
    (!parts.is_empty()).then(|| ("Limits", format!("{}: {}", endpoint.name, parts.join(", "))))
}

fn repaired(summary: &Summary) -> Option<String> {
    let bytes = summary.repaired_bytes;
    (bytes > 0).then(|| format!("{} of a record that was being written when the last run died", format::bytes(bytes)))
}

/// Writes why a run was stopped, unless the user did it: all that somebody wants to see who asked for errors only.
///
/// # Errors
///
/// What the writer says.
pub(crate) fn print_error(summary: &Summary, to: &mut impl Write) -> io::Result<()> {
    match (&summary.stopped, stopped(summary)) {
        (None | Some(Stopped::User), _) | (_, None) => Ok(()),
        (Some(Stopped::NoEndpoint { failure }), _) => {
            writeln!(to, "Stopped: no endpoint can serve any more: {failure}")
        }
        (_, Some(text)) => writeln!(to, "{text}"),
    }
}

fn stopped(summary: &Summary) -> Option<String> {
    Some(match summary.stopped.as_ref()? {
        // What the provider said was a warning when it happened.
        Stopped::NoEndpoint { .. } => "Stopped: no endpoint can serve any more; a warning above says why.".to_owned(),
        Stopped::Input { message } => format!("Stopped: {message}"),
        Stopped::User => format!("Stopped: {}.", Stopped::User),
        why => format!("Stopped: {}", format::one_line(&why.to_string(), EXAMPLE)),
    })
}

fn resume(stopped: Option<&Stopped>) -> &'static str {
    match stopped {
        None | Some(Stopped::User | Stopped::Deadline { .. } | Stopped::Failures { .. }) => "The same command resumes.",
        Some(Stopped::Budget { .. }) => "With a higher budget the same command resumes.",
        Some(_) => "Once that is put right, the same command resumes.",
    }
}

/// Says what to do about rows without an answer.
fn how_to_go_on(summary: &Summary, out: Option<&Path>) -> Vec<String> {
    let unsent = summary.unsent > 0 || summary.stopped.is_some();
    if out.is_none() {
        let nothing_kept = "The results went to standard output: without -o OUT nothing can be resumed.";
        return if unsent { vec![nothing_kept.to_owned()] } else { Vec::new() };
    }
    let mut texts = Vec::new();
    if unsent {
        texts.push(resume(summary.stopped.as_ref()).to_owned());
    }
    let (passing, lasting): (Vec<_>, Vec<_>) = summary.causes.iter().partition(|(kind, _)| kind.is_transient());
    let passing: u64 = passing.iter().map(|(_, cause)| cause.rows).sum();
    if passing > 0 {
        let rows = format::counted(passing, "failed row", "failed rows");
        texts
            .push(format!("The same command with --retry-failed asks again about {rows} whose cause may have passed."));
        return texts;
    }
    // A row that cannot be read is another row once it is corrected.
    let kinds: Vec<_> =
        lasting.iter().map(|(kind, _)| **kind).filter(|kind| *kind != Kind::BadRow).map(Kind::name).collect();
    if !kinds.is_empty() {
        texts.push(format!("The same command with --retry-failed={} asks again about failed rows.", kinds.join(",")));
    }
    texts
}

#[cfg(test)]
mod tests;
