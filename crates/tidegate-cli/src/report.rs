//! `tidegate report`: the summary of everything that an output holds, as text, as JSON, or as a page with pictures.

mod compare;
mod pace;
mod page;
mod plot;

use std::fmt::{self, Display};
use std::io::Read;
use std::path::Path;

use tidegate::Error;
use tidegate::run::job;
use tidegate::run::report::{Report, ReportOptions};

use crate::args::ReportArgs;
use crate::{format, width};

/// The width of a line's subject in the summary.
const SUBJECT: usize = 10;

/// How a page begins.
const START: &str = "<!doctype html>";

/// Returns what the command prints.
pub(crate) fn report(args: &ReportArgs) -> anyhow::Result<String> {
    if let Some(path) = &args.html {
        check_target(path)?;
        let options = ReportOptions { examples: args.examples.unwrap_or(0) as usize };
        let page = page::page(&args.out, &Report::read(&args.out, options)?, options);
        return if path == Path::new("-") { Ok(page) } else { Ok(write(path, &page)?) };
    }
    let summary = job::report(&args.out)?;
    if args.json {
        return Ok(serde_json::to_string_pretty(&summary)? + "\n");
    }
    let mut text = Vec::new();
    crate::summary::print(&summary, Some(&args.out), None, &mut text)?;
    Ok(fitting(&String::from_utf8_lossy(&text), width::of_stdout()))
}

/// Folds lines that are too long for a terminal; what goes on stands under the text, not under the subject.
fn fitting(text: &str, width: Option<usize>) -> String {
    let mut folded = String::new();
    for line in text.lines() {
        let subject = line.get(..SUBJECT).filter(|start| start.ends_with(' ')).unwrap_or_default();
        let room = width.map(|width| width.saturating_sub(subject.len()));
        let pieces = width::fold(&line[subject.len()..], room);
        folded += subject;
        folded += &pieces.join(&format!("\n{}", " ".repeat(subject.len())));
        folded.push('\n');
    }
    folded
}

/// Refuses to overwrite anything but an earlier page.
fn check_target(path: &Path) -> tidegate::Result<()> {
    let Ok(mut file) = std::fs::File::open(path) else { return Ok(()) };
    if path.is_dir() {
        return Err(Error::Usage(format!("{} is a folder; name a file in it with --html", path.display())));
    }
    let mut start = [0; START.len()];
    let there = file.metadata().is_ok_and(|found| found.is_file() && found.len() > 0);
    if !there || (file.read_exact(&mut start).is_ok() && start == START.as_bytes()) {
        return Ok(());
    }
    let message =
        format!("refusing to overwrite {}, which is no page; choose another file with --html", path.display());
    Err(Error::Usage(message))
}

fn write(path: &Path, page: &str) -> tidegate::Result<String> {
    std::fs::write(path, page).map_err(|source| Error::Storage {
        path: path.to_owned(),
        message: format!("cannot write the report: {source}"),
        cause: Some(source),
    })?;
    Ok(format!("{}: {}\n", path.display(), format::bytes(page.len() as u64)))
}

/// A text within a page: nothing in it is markup, whatever a provider or a row says.
struct Plain<T>(T);

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.to_string().chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => write!(f, "{letter}")?,
                control if control.is_control() => f.write_str("\u{fffd}")?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_fits_the_terminal_and_keeps_its_columns() {
        let text = "Failed    12 bad_request: the prompt is wrong\nThe same command resumes.\n";
        let folded = "Failed    12 bad_request: the\n          prompt is wrong\nThe same command resumes.\n";
        assert_eq!(fitting(text, Some(32)), folded);
        assert_eq!(fitting(text, None), text);
    }

    #[test]
    fn nothing_that_others_say_is_markup() {
        let text = Plain("<script>\"a\" & 'b'\u{1b}[2J</script>\n").to_string();
        assert_eq!(text, "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\u{fffd}[2J&lt;/script&gt;\n");
    }
}
