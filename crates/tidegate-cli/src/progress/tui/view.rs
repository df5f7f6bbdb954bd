//! What is drawn: how far, how fast, each endpoint, what went wrong lately, the keys.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Sparkline, Table, Wrap};
use tidegate::EndpointSnapshot;

use super::View;
use crate::format;

const HELP: [&str; 7] = [
    "q, Ctrl-C  stop: what is in flight is",
    "           waited for; again: stop now",
    "p, space   pause, and go on",
    "+  -       more, or fewer, in flight",
    "?          this",
    "",
    "Endpoints: in flight of how many may be, calls, the time of late calls, \
     the share of the stated limits that was used since the beginning.",
];

/// The table's columns: title, width, and the least width of a terminal that has them.
const COLUMNS: [(&str, u16, u16); 8] = [
    ("", 0, 0), // The name has what the others leave.
    ("in flight", 9, 0),
    ("answered", 9, 60),
    ("rejected", 8, 80),
    ("failed", 7, 80),
    ("latency", 7, 60),
    ("of limits", 9, 100),
    ("", 15, 0),
];

pub(super) fn draw(view: &View, frame: &mut Frame<'_>) {
    let endpoints = view.client.snapshot().endpoints;
    let wanted = u16::try_from(endpoints.len()).unwrap_or(u16::MAX).saturating_add(3);
    let [head, pace, table, notes, keys] =
        Layout::vertical(heights(frame.area().height, wanted).map(Constraint::Length)).areas(frame.area());
    draw_head(view, frame, head);
    draw_pace(view, frame, pace);
    draw_endpoints(view, &endpoints, frame, table);
    draw_notes(view, frame, notes);
    draw_keys(view, frame, keys);
    if view.help {
        draw_help(frame);
    }
}

/// Shares out the lines: of head, pace, endpoints, notes and keys. Where they are few, how far the run has come is there first,
/// then the endpoints, then what went wrong.
fn heights(lines: u16, wanted: u16) -> [u16; 5] {
    let head = lines.min(3);
    let keys = (lines - head).min(1);
    let pace = if lines >= 20 { 7 } else { 0 };
    let rest = lines - head - keys - pace;
    let table = wanted.min(rest.saturating_sub(5).max(4)).min(rest);
    [head, pace, table, rest - table, keys]
}

fn draw_head(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let line = |of: u16| Constraint::Length((area.height >= of).into());
    let [title, bar, facts] = Layout::vertical([line(1), line(3), line(2)]).areas(area);
    let state = match (view.control.stop.is_cancelled(), view.paused) {
        (true, _) => Span::styled(" STOPPING ", view.colour(Color::Red).add_modifier(Modifier::REVERSED)),
        (_, true) => Span::styled(" PAUSED ", view.colour(Color::Yellow).add_modifier(Modifier::REVERSED)),
        _ => Span::styled(" running ", view.colour(Color::Green)),
    };
    let name = Span::styled("tidegate ", Style::new().add_modifier(Modifier::BOLD));
    let mut spans = vec![name, state, Span::raw(" "), Span::raw(&view.display.head)];
    if Line::from(spans.clone()).width() > usize::from(area.width) {
        spans.remove(0);
    }
    frame.render_widget(Line::from(spans), title);
    let width = usize::from(bar.width);
    let done = (view.display.share.unwrap_or(0.0).clamp(0.0, 1.0) * width as f64) as usize;
    let (done, rest) = ("█".repeat(done), "░".repeat(width - done));
    let (done, rest) = (Span::styled(done, view.colour(Color::Cyan)), Span::styled(rest, view.colour(Color::DarkGray)));
    frame.render_widget(Line::from(vec![done, rest]), bar);
    frame.render_widget(Line::raw(&view.display.facts), facts);
}

fn draw_pace(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let most = view.pace.iter().max().copied().unwrap_or(0);
    let title = format!(" Rows per second, at most {} ", format::count(most));
    let block = Block::new().borders(Borders::TOP).title(title);
    let width = usize::from(area.width);
    let last: Vec<u64> = view.pace.iter().skip(view.pace.len().saturating_sub(width)).copied().collect();
    frame.render_widget(Sparkline::default().data(&last).style(view.colour(Color::Cyan)).block(block), area);
}

fn draw_endpoints(view: &View, endpoints: &[EndpointSnapshot], frame: &mut Frame<'_>, area: Rect) {
    let faint = Style::new().add_modifier(Modifier::DIM);
    // Those in trouble first, where there is no room for all.
    let mut sorted: Vec<_> = endpoints.iter().collect();
    if sorted.len() + 2 > usize::from(area.height) {
        sorted.sort_by_key(|endpoint| endpoint.aside.is_none() && endpoint.cooling.is_none());
    }
    let widths: Vec<_> = fitting(COLUMNS.map(|column| column.1), area.width).collect();
    let room = area.width.saturating_sub(widths.iter().map(|width| width + 1).sum::<u16>() - 1);
    let rows: Vec<_> = sorted.into_iter().map(|endpoint| row(view, endpoint, area.width, room.into())).collect();
    let widths = widths.into_iter().map(|width| Constraint::Length(if width == 0 { room } else { width }));
    let head = Row::new(fitting(COLUMNS.map(|column| right(column.0)), area.width)).style(faint);
    let table = Table::new(rows, widths).header(head);
    frame.render_widget(table.block(Block::new().borders(Borders::TOP).title(" Endpoints ")), area);
}

/// Leaves out what a terminal of this width has no column for.
fn fitting<T>(cells: [T; COLUMNS.len()], width: u16) -> impl Iterator<Item = T> {
    cells.into_iter().zip(COLUMNS).filter(move |(_, column)| width >= column.2).map(|(cell, _)| cell)
}

fn row<'a>(view: &View, endpoint: &'a EndpointSnapshot, width: u16, room: usize) -> Row<'a> {
    let (state, style) = match (&endpoint.aside, endpoint.cooling) {
        (Some(failure), _) => (format!("out: {}", failure.kind), view.colour(Color::Red)),
        (None, Some(rest)) => (format!("pausing {}", format::countdown(rest)), view.colour(Color::Yellow)),
        (None, None) => (String::new(), Style::new()),
    };
    let latency = view.screen.latency(&endpoint.name).map(format::duration).unwrap_or_default();
    let cells = [
        Cell::from(shortened(&endpoint.name, room)),
        right(format!("{}/{}", endpoint.in_flight, endpoint.concurrency)),
        right(format::count(endpoint.succeeded)),
        right(format::count(endpoint.rejected)),
        right(format::count(endpoint.failed)),
        right(latency),
        right(used(view, endpoint).map(format::percent).unwrap_or_default()),
        Cell::from(state),
    ];
    Row::new(fitting(cells, width)).style(style)
}

/// Leaves out the middle of a name that is too long: model, region and key stand at its ends.
fn shortened(name: &str, room: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= room {
        return name.to_owned();
    }
    let head = room / 3;
    let tail = letters.len() - room.saturating_sub(head + 1);
    letters[..head].iter().chain(&['…']).chain(&letters[tail..]).collect()
}

/// Returns the larger share of an endpoint's stated limits that was used so far.
fn used(view: &View, endpoint: &EndpointSnapshot) -> Option<f64> {
    let minutes = view.watch.began.elapsed().as_secs_f64() / 60.0;
    let share = |used: u64, rate: Option<f64>| rate.map(|rate| used as f64 / (rate * minutes));
    let shares = [share(endpoint.sent, endpoint.limits.rpm), share(endpoint.tokens, endpoint.limits.tpm)];
    shares.into_iter().flatten().reduce(f64::max).filter(|share| share.is_finite())
}

fn right<'a>(text: impl Into<std::borrow::Cow<'a, str>>) -> Cell<'a> {
    Cell::from(Line::raw(text).alignment(Alignment::Right))
}

fn draw_notes(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let room = usize::from(area.height.saturating_sub(1));
    let notes = view.screen.notes();
    let colour = |note: &str| if note.starts_with("warning") { view.colour(Color::Red) } else { Style::new() };
    let lines: Vec<_> = notes.iter().rev().take(room).map(|note| Line::styled(note.as_str(), colour(note))).collect();
    let none = vec![Line::styled("nothing has gone wrong so far", Style::new().add_modifier(Modifier::DIM))];
    let paragraph = Paragraph::new(if lines.is_empty() { none } else { lines });
    frame.render_widget(paragraph.block(Block::new().borders(Borders::TOP).title(" Lately, the last first ")), area);
}

fn draw_keys(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let text = match view.control.stop.is_cancelled() {
        true => " waiting for what is in flight; q once more stops now",
        false if area.width < 52 => " q stop  p pause  + - requests  ? help",
        false => " q stop   p pause   + - requests in flight   ? help",
    };
    frame.render_widget(Paragraph::new(text).style(Style::new().add_modifier(Modifier::REVERSED)), area);
}

fn draw_help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (74.min(area.width), (HELP.len() as u16 + 3).min(area.height));
    let middle = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    let block = Block::new().borders(Borders::ALL).title(" Keys ");
    frame.render_widget(Clear, middle);
    let lines = HELP.map(Line::raw).to_vec();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), middle);
}

impl View {
    fn colour(&self, colour: Color) -> Style {
        if self.screen.colours() { Style::new().fg(colour) } else { Style::new() }
    }
}
