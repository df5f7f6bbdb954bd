//! Models or samples side by side: how often they agree, and the rows on which they do not.

use std::fmt::Write;

use tidegate::run::report::{Cell, Comparison, ModelReport, RowReport};

use super::Plain;
use super::page::{millis, usd};
use crate::format;

/// Returns the section's contents.
pub(super) fn side_by_side(found: &Comparison, models: &[ModelReport]) -> String {
    let mut html = String::new();
    let share = format::percent(found.agreeing as f64 / found.rows.max(1) as f64);
    let all = if found.looked_at < 1.0 {
        format!(" (looked at: {} of the rows, chosen by their hash)", format::percent(found.looked_at))
    } else {
        String::new()
    };
    let _ = write!(
        html,
        "<p>All answers are equal for <strong>{share}</strong> of {} with two answers or more{all}. Case, white space and the \
         order of JSON fields don't count.</p>",
        format::counted(found.rows, "row", "rows")
    );
    html += &agreement(found, models);
    html += &pairs(found);
    html += &table(found);
    html
}

/// One line for each model.
fn agreement(found: &Comparison, models: &[ModelReport]) -> String {
    let (with_most, with_itself) = (found.models.len() > 2, found.samples > 1);
    let head = |there: bool, text: &str| if there { format!("<th class=n>{text}</th>") } else { String::new() };
    let mut html = format!(
        "<div class=wide><table><thead><tr><th>Model</th>{}{}<th class=n>Cost</th><th class=n>per 1,000 rows</th><th class=n>p50</th>\
         <th class=n>p95</th><th class=n>Failed</th></tr></thead><tbody>",
        head(with_most, "Agrees with most"),
        head(with_itself, "Agrees with itself"),
    );
    for model in &found.models {
        let Some(ModelReport { tally, .. }) = models.iter().find(|known| known.name == model.name) else { continue };
        let share = |there: bool, share: Option<f64>| {
            if there { format!("<td class=n>{}</td>", percent(share)) } else { String::new() }
        };
        let cost = tally.known_cost().map(|cost| cost.usd());
        let each = cost.map(|cost| cost / tally.finished().max(1) as f64 * 1000.0);
        let _ = write!(
            html,
            "<tr><td class=name>{}</td>{}{}<td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td></tr>",
            Plain(&model.name),
            share(with_most, model.with_most),
            share(with_itself, model.with_itself),
            usd(cost),
            usd(each),
            millis(tally.latency(50.0)),
            millis(tally.latency(95.0)),
            format::count(tally.failed),
        );
    }
    html + "</tbody></table></div>"
}

/// How often each two models give the same answer.
fn pairs(found: &Comparison) -> String {
    if found.models.len() < 2 || found.models.len() > 12 {
        return String::new();
    }
    let mut html =
        String::from("<h3>The same answer from both</h3><div class=wide><table class=pairs><thead><tr><th></th>");
    for model in &found.models {
        let _ = write!(html, "<th>{}</th>", Plain(&model.name));
    }
    html += "</tr></thead><tbody>";
    for (model, row) in found.models.iter().zip(&found.pairs) {
        let _ = write!(html, "<tr><th>{}</th>", Plain(&model.name));
        for share in row {
            let _ = match share {
                None => write!(html, "<td class=n>–</td>"),
                Some(share) => write!(
                    html,
                    "<td class=\"n heat\" style=\"--heat:{:.0}%\">{}</td>",
                    share * 70.0,
                    percent(Some(*share))
                ),
            };
        }
        html += "</tr>";
    }
    html + "</tbody></table></div>"
}

/// The rows, those with the most different answers first.
fn table(found: &Comparison) -> String {
    let mut html = format!(
        "<h3>Rows, the most different first</h3><p class=note>{} Equal answers have the same letter, A the most frequent one.</p>\
         <div class=wide><table class=rows><thead><tr><th>Row</th>",
        match found.table.len() as u64 >= found.rows {
            true => "All rows.".to_owned(),
            false => format!("{} of {}.", found.table.len(), format::count(found.rows)),
        }
    );
    for (model, sample) in &found.columns {
        let number = if found.samples > 1 { format!(" <small>sample {sample}</small>") } else { String::new() };
        let _ = write!(html, "<th>{}{number}</th>", Plain(model));
    }
    html += "</tr></thead><tbody>";
    for row in &found.table {
        html += &line(row);
    }
    html + "</tbody></table></div>"
}

fn line(row: &RowReport) -> String {
    let class = if row.different > 1 { " class=differs" } else { "" };
    let cells: String =
        row.cells.iter().map(|cell| format!("<td>{}</td>", cell.as_ref().map(show).unwrap_or_default())).collect();
    let input = row.input.as_ref().map(|input| format!("<div class=answer>{}</div>", Plain(input))).unwrap_or_default();
    format!("<tr{class}><td class=name>{}{input}</td>{cells}</tr>", Plain(&row.name))
}

fn show(cell: &Cell) -> String {
    let badge = match (cell.group, cell.failed) {
        (Some(group), _) => {
            let letter = char::from(b'A' + group.min(25) as u8);
            format!("<b class=\"badge g{}\">{letter}</b>", group.min(4))
        }
        (None, Some(kind)) => format!("<b class=\"badge bad\">{kind}</b>"),
        (None, None) => String::new(),
    };
    let answer =
        cell.answer.as_ref().map(|answer| format!("<div class=answer>{}</div>", Plain(answer))).unwrap_or_default();
    let cost = cell.cost.map(|cost| format!(", {}", format::money(cost.usd()))).unwrap_or_default();
    format!("{badge}<small>{}{cost}</small>{answer}", millis(cell.latency))
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), format::percent)
}
