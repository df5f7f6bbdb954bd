//! The page: one file without scripts, fonts or anything else from elsewhere, in a light and a dark form.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use tidegate::run::report::{Bar, CauseReport, EndpointReport, ModelReport, Report, ReportOptions, RunReport};

use super::plot::{HIGH, Mark, Plot, WIDE, axis};
use super::{Plain, compare, pace};
use crate::format;

/// Endpoints and runs that are listed.
const LISTED: usize = 60;

/// Makes the page.
pub(super) fn page(out: &Path, report: &Report, options: ReportOptions) -> String {
    let name = out.file_name().unwrap_or(out.as_os_str()).to_string_lossy();
    let mut body = head(&name, report);
    body += &tiles(report);
    let mut section = |title: &str, contents: Option<String>| {
        if let Some(contents) = contents {
            let _ = write!(body, "<section><h2>{title}</h2>{contents}</section>");
        }
    };
    let any = report.summary.succeeded + report.summary.failed > 0;
    section("Over time", pace::over_time(&report.runs).filter(|_| any));
    section("Latency of answered rows", latency(report));
    section("Models", models(&report.models));
    section("Side by side", report.comparison.as_ref().map(|found| compare::side_by_side(found, &report.models)));
    section("Failures", failures(&report.causes));
    section("Endpoints and their limits", endpoints(&report.endpoints));
    section("Runs", runs(&report.runs));
    section("Asked with", settings(report));
    let content = match options.examples {
        0 => "It holds no prompts, inputs or answers; <code>--examples 3</code> adds some.",
        _ => "It holds examples of inputs and answers.",
    };
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <meta name=color-scheme content=\"light dark\"><meta http-equiv=Content-Security-Policy content=\"default-src 'none'; \
         style-src 'unsafe-inline'; img-src data:\"><link rel=icon href=\"data:,\"><title>{} – tidegate report</title><style>{}</style></head>\
         <body><main>{body}</main><footer>Made by tidegate {} from the journal of {} at {}. {content}</footer></body></html>\n",
        Plain(&name),
        include_str!("page.css"),
        env!("CARGO_PKG_VERSION"),
        Plain(out.display()),
        clock(&jiff::Timestamp::now().to_string()),
    )
}

fn head(name: &str, report: &Report) -> String {
    let when = match (report.runs.first(), report.runs.last()) {
        (Some(first), Some(last)) => {
            let state = match (&last.ended, &last.stopped) {
                (None, _) => "is still going on, or was killed".to_owned(),
                (Some(ended), Some(reason)) => {
                    format!("was stopped at {} ({})", clock(ended), Plain(reason.replace('_', " ")))
                }
                (Some(ended), None) => format!("ended at {}", clock(ended)),
            };
            match report.runs.len() {
                1 => format!("One run, begun at {}; it {state}.", clock(&first.started)),
                runs => format!("{runs} runs, the first begun at {}; the last {state}.", clock(&first.started)),
            }
        }
        _ => String::new(),
    };
    format!("<header><p class=kicker>tidegate report</p><h1>{}</h1><p>{when}</p></header>", Plain(name))
}

/// Writes a time of RFC 3339 to the second.
fn clock(time: &str) -> String {
    let to_the_second = time.split(['.', 'Z']).next().unwrap_or(time);
    format!("<time>{} UTC</time>", Plain(to_the_second.replace('T', " ")))
}

fn tiles(report: &Report) -> String {
    let summary = &report.summary;
    let finished = summary.succeeded + summary.failed;
    let seconds: f64 = report.runs.iter().map(RunReport::seconds).sum();
    let of_all = match finished {
        0 => "no row is finished".to_owned(),
        _ => {
            let share = format::percent(summary.succeeded as f64 / finished as f64);
            format!("{share} of {}", format::counted(finished, "row", "rows"))
        }
    };
    let cost = match (summary.cost_usd, summary.unpriced) {
        (Some(_), 0) if finished == 0 => String::new(),
        (Some(_), 0) => {
            format!("{} per 1,000 rows", usd(summary.cost_usd.map(|usd| usd / finished.max(1) as f64 * 1000.0)))
        }
        (Some(_), n) => format!("at least; of {} it is unknown", format::counted(n, "row", "rows")),
        (None, _) => "no price or usage is known".to_owned(),
    };
    let done: u64 = report.runs.iter().map(|run| run.finished().0 + run.finished().1).sum();
    let rate = if seconds > 0.0 { format::rate(done as f64 / seconds, " rows") } else { "–".to_owned() };
    let failed = if summary.failed > 0 { "bad" } else { "" };
    let tile = |class: &str, name: &str, value: &str, more: &str| {
        format!("<div class=\"tile {class}\"><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>")
    };
    let causes = format::counted(report.causes.len() as u64, "cause", "causes");
    let cached =
        if summary.cached > 0 { format!(", {} from the cache", format::count(summary.cached)) } else { String::new() };
    let latency = summary.latency_ms;
    let time = |ms: f64| format::duration(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default());
    let (median, tail) = match summary.succeeded {
        0 => ("–".to_owned(), "no row was answered".to_owned()),
        _ => (time(latency.p50), format!("p95 {}, p99 {}", time(latency.p95), time(latency.p99))),
    };
    [
        "<dl class=tiles>".to_owned(),
        tile("", "Answered", &format::count(summary.succeeded), &format!("{of_all}{cached}")),
        tile(failed, "Failed", &format::count(summary.failed), if summary.failed > 0 { &causes } else { "none" }),
        tile("", "Cost", &usd(summary.cost_usd), &cost),
        tile(
            "",
            "Tokens",
            &format::short(summary.usage.total() as f64),
            &format!(
                "{} in, {} out",
                format::short(summary.usage.input_tokens as f64),
                format::short(summary.usage.output_tokens as f64)
            ),
        ),
        tile("", "Median latency", &median, &tail),
        tile(
            "",
            "Throughput",
            &rate,
            &format!("in {}", format::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())),
        ),
        tile(
            "",
            "Calls beyond the first",
            &format::count(summary.retries),
            &format!(
                "{} rejected for load",
                format::count(report.endpoints.iter().map(|endpoint| endpoint.rejected).sum())
            ),
        ),
        "</dl>".to_owned(),
    ]
    .concat()
}

fn latency(report: &Report) -> Option<String> {
    let bars = &report.latency;
    let (first, last) = (bars.first()?, bars.last()?);
    let (top, marks) = axis(bars.iter().map(|bar| bar.rows).max()? as f64);
    let (low, high) = (first.from.as_secs_f64().ln(), last.to.as_secs_f64().ln());
    let place = |time: f64| (time.max(1e-9).ln() - low) / (high - low);
    let width = WIDE / bars.len() as f64;
    let mut shapes = String::new();
    for (number, Bar { from, to, rows }) in bars.iter().enumerate().filter(|(_, bar)| bar.rows > 0) {
        let (x, height) = (number as f64 * width, (*rows as f64 / top * HIGH).max(0.6));
        let tip = format!("{} to {}: {}", millis(*from), millis(*to), format::counted(*rows, "row", "rows"));
        let _ = write!(
            shapes,
            r#"<rect class="bar" x="{:.1}" y="{:.2}" width="{:.1}" height="{height:.2}"><title>{tip}</title></rect>"#,
            x + width * 0.06,
            HIGH - height,
            width * 0.88,
        );
    }
    let latency = report.summary.latency_ms;
    for ms in [latency.p50, latency.p95, latency.p99] {
        let x = place(ms / 1e3) * WIDE;
        let _ = write!(shapes, r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="0" y2="{HIGH}"/>"#);
    }
    let round = |power: i32| [1.0, 2.0, 5.0].map(|n| n * 10_f64.powi(power));
    let fits: Vec<f64> = (-5..6).flat_map(round).filter(|time| (0.0..=1.0).contains(&place(*time))).collect();
    // Over many powers of ten only the powers.
    let fits: Vec<f64> = if fits.len() > 8 {
        fits.into_iter().filter(|time| (time.log10() - time.log10().round()).abs() < 1e-6).collect()
    } else {
        fits
    };
    let plot = Plot {
        label: "How many answered rows took how long",
        pixels: 160,
        left: marks.into_iter().map(|mark| (mark / top, format::short(mark))).collect(),
        below: fits.into_iter().map(|time| (place(time), millis(Duration::from_secs_f64(time)))).collect::<Vec<Mark>>(),
        shapes,
    };
    let lines = [("p50", latency.p50), ("p95", latency.p95), ("p99", latency.p99)]
        .map(|(name, ms)| format!("{name} {}", millis(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default())));
    Some(format!(
        "<ul class=key><li class=k-answered>rows</li><li class=k-mark>{}</li></ul>{}<p class=note>The time of the call that decided \
         the row, without waiting for admission; the scale is logarithmic.</p>",
        lines.join(" · "),
        plot.html()
    ))
}

fn models(models: &[ModelReport]) -> Option<String> {
    let most = models.iter().filter_map(|model| model.tally.known_cost()).map(|cost| cost.usd()).fold(0.0, f64::max);
    let mut html = String::from(
        "<div class=wide><table><thead><tr><th>Model</th><th class=n>Answered</th><th class=n>Failed</th><th class=n>Tokens in</th>\
         <th class=n>out</th><th class=n>p50</th><th class=n>p95</th><th class=n>Cost</th><th class=share></th></tr></thead><tbody>",
    );
    for ModelReport { name, tally, .. } in models {
        let cost = tally.known_cost().map(|cost| cost.usd());
        let _ = write!(
            html,
            "<tr><td class=name>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td>\
             <td class=n>{}</td><td class=n>{}</td><td class=share>{}</td></tr>",
            Plain(name),
            format::count(tally.succeeded),
            format::count(tally.failed),
            format::short(tally.usage.input_tokens as f64),
            format::short(tally.usage.output_tokens as f64),
            millis(tally.latency(50.0)),
            millis(tally.latency(95.0)),
            usd(cost),
            cost.filter(|_| most > 0.0).map(|cost| meter(cost / most, "cost")).unwrap_or_default(),
        );
    }
    (!models.is_empty()).then(|| html + "</tbody></table></div>")
}

fn failures(causes: &[CauseReport]) -> Option<String> {
    let most = causes.iter().map(|cause| cause.rows).max()? as f64;
    let mut html = String::new();
    for cause in causes {
        let _ = write!(
            html,
            "<article><h3><code>{}</code> <span class=count>{}</span>{}</h3><ul class=messages>",
            cause.kind,
            format::counted(cause.rows, "row", "rows"),
            meter(cause.rows as f64 / most, "bad"),
        );
        for group in &cause.messages {
            let status = group.status.map(|status| format!(" <small>HTTP {status}</small>")).unwrap_or_default();
            let names: Vec<_> = group.names.iter().map(|name| format!("<code>{}</code>", Plain(name))).collect();
            let more = if group.rows > names.len() as u64 { ", …" } else { "" };
            let _ = write!(
                html,
                "<li><span class=count>{}</span><div><q>{}</q>{status}<p class=names>{}{more}</p>",
                format::count(group.rows),
                Plain(if group.message.is_empty() { "(nothing was said)" } else { &group.message }),
                names.join(", "),
            );
            for input in &group.inputs {
                let _ = write!(html, "<pre>{}</pre>", Plain(input));
            }
            html += "</div></li>";
        }
        if cause.others > 0 {
            let _ = write!(
                html,
                "<li><span class=count>{}</span><div>with other messages</div></li>",
                format::count(cause.others)
            );
        }
        html += "</ul></article>";
    }
    Some(html + "<p class=note><code>tidegate show OUT ID</code> shows one of these rows with every attempt.</p>")
}

fn endpoints(endpoints: &[EndpointReport]) -> Option<String> {
    let mut html = String::from(
        "<div class=wide><table><thead><tr><th>Endpoint</th><th class=n>Calls</th><th class=n>Rejected</th><th class=n>Pausing</th>\
         <th class=n>Tokens</th><th>Requests/min used</th><th>Tokens/min used</th></tr></thead><tbody>",
    );
    for endpoint in endpoints.iter().take(LISTED) {
        let used = |share: Option<f64>| match share {
            Some(share) => format!("{} {}", meter(share.min(1.0), "used"), format::percent(share)),
            None => "<small>no limit was stated</small>".to_owned(),
        };
        let _ = write!(
            html,
            "<tr><td class=name>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=used>{}</td><td class=used>{}</td></tr>",
            Plain(&endpoint.name),
            format::count(endpoint.sent),
            format::count(endpoint.rejected),
            format::percent(if endpoint.seconds > 0.0 { endpoint.cooled / endpoint.seconds } else { 0.0 }),
            format::short(endpoint.tokens as f64),
            used(endpoint.requests_used),
            used(endpoint.tokens_used),
        );
    }
    html += "</tbody></table></div>";
    html += &rest(endpoints.len(), "endpoints");
    (!endpoints.is_empty()).then_some(html)
}

fn runs(runs: &[RunReport]) -> Option<String> {
    let mut html = String::from(
        "<div class=wide><table><thead><tr><th>Begun</th><th class=n>Took</th><th class=n>Answered</th><th class=n>Failed</th><th>Ended</th>\
         </tr></thead><tbody>",
    );
    for run in runs.iter().rev().take(LISTED) {
        let (succeeded, failed) = run.finished();
        let ended = match (&run.ended, &run.stopped) {
            (None, _) => "still going on, or killed".to_owned(),
            (_, Some(reason)) => format!("stopped: {}", Plain(reason.replace('_', " "))),
            (_, None) => "with its input".to_owned(),
        };
        let _ = write!(
            html,
            "<tr><td>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td>{ended}</td></tr>",
            clock(&run.started),
            format::duration(Duration::try_from_secs_f64(run.seconds()).unwrap_or_default()),
            format::count(succeeded),
            format::count(failed),
        );
    }
    html += "</tbody></table></div>";
    html += &rest(runs.len(), "runs");
    (!runs.is_empty()).then_some(html)
}

fn rest(all: usize, what: &str) -> String {
    if all > LISTED {
        format!("<p class=note>and {} more {what}</p>", format::count((all - LISTED) as u64))
    } else {
        String::new()
    }
}

fn settings(report: &Report) -> Option<String> {
    let shown =
        |(name, value): (&String, &String)| format!("<dt>{}</dt><dd><pre>{}</pre></dd>", Plain(name), Plain(value));
    let all: String = report.settings.iter().filter(|(name, _)| *name != "row key").map(shown).collect();
    (!all.is_empty()).then(|| format!("<dl class=settings>{all}</dl>"))
}

/// Returns a bar of that share of its place.
fn meter(share: f64, class: &str) -> String {
    format!("<span class=\"meter {class}\"><i style=\"width:{:.1}%\"></i></span>", share.clamp(0.0, 1.0) * 100.0)
}

/// Writes a time with the digits that a latency needs.
pub(super) fn millis(time: Duration) -> String {
    match time.as_secs_f64() * 1e3 {
        ms if ms > 0.0 && ms < 10.0 => format!("{}ms", (ms * 100.0).round() / 100.0),
        _ => format::duration(time),
    }
}

/// Writes an amount; one that is not known is no zero.
pub(super) fn usd(usd: Option<f64>) -> String {
    usd.map_or("unknown".to_owned(), format::money)
}
