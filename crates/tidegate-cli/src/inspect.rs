//! `--dry-run` and `--check-input`: what a run would do, in words.

use std::fmt::Write;

use tidegate::run::job::Inspection;

use crate::format;

/// Describes what was found; with `requests`, the price and the first requests too.
pub(crate) fn describe(found: &Inspection, requests: bool) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!(
        "{} rows: {} to send, {} done already",
        format::count(found.rows),
        format::count(found.to_send),
        format::count(found.done_before)
    ));
    if found.calls < found.to_send {
        line(format!("{} for them", format::counted(found.calls, "call", "calls")));
    }
    if found.duplicates > 0 {
        line(format!("{} of them ask the same as an earlier one", format::count(found.duplicates)));
    }
    if found.bad_rows > 0 {
        line(format!("{} cannot be read or rendered:", format::counted(found.bad_rows, "row", "rows")));
        found.faults.iter().for_each(|fault| line(format!("  {fault}")));
    }
    if let Some(fault) = &found.stopped_by {
        line(format!("the run would stop there: {fault}"));
    }
    if found.refused > 0 {
        let count = format::counted(found.refused, "request", "requests");
        line(format!("{count} cannot be sent to the model that comes first:"));
        found.refusals.iter().for_each(|refusal| line(format!("  {refusal}")));
    }
    if requests {
        line(tokens(found));
        for (i, sample) in found.samples.iter().enumerate() {
            line(format!("request {} to {}:", i + 1, sample.model));
            sample.headers.iter().for_each(|(name, value)| line(format!("{name}: {value}")));
            line(format!("{:#}", sample.body));
        }
    }
    text
}

fn tokens(found: &Inspection) -> String {
    let range = |(low, high): (u64, u64)| format!("{} to {}", format::count(low), format::count(high));
    let mut text = format!("about {} input tokens", range(found.input_tokens));
    let _ = write!(text, ", {} output tokens", range(found.output_tokens));
    if found.output_assumed {
        let most = format::count(found.assumed_output_tokens.unwrap_or_default());
        let _ = match found.output_unknown {
            true => write!(
                text,
                " (no --max-tokens, and the catalog does not know all models: {most} a request are only a guess)"
            ),
            false => write!(text, " (no --max-tokens: the most that the model writes is {most} a request)"),
        };
    }
    match found.cost_usd {
        Some((low, high)) => {
            let _ = write!(text, "\nabout {} to {}", format::money(low), format::money(high));
        }
        None if found.to_send > 0 => text.push_str("\nat an unknown price; give --price IN,OUT"),
        None => {}
    }
    text
}
