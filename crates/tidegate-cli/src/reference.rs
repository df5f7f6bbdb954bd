//! What is made from the definition of the command line: completions, manual pages, and the page `docs/cli.md`.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use tidegate::{Error, Result};

use crate::args;

/// The arguments of `tidegate completions`.
#[derive(Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: Shell,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tidegate completions bash > ~/.local/share/bash-completion/completions/tidegate
  tidegate completions zsh > ~/.zfunc/_tidegate
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish";

/// The arguments of `tidegate man`.
#[derive(Args)]
#[command(after_help = "Examples:\n  tidegate man ~/.local/share/man/man1\n  man tidegate-run")]
pub(crate) struct ManArgs {
    /// Folder to write to, one page a command; made if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Returns a shell's completions.
pub(crate) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "tidegate", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a manual page for the program and for each of its commands. Returns what to say about it.
///
/// # Errors
///
/// [`Error::Storage`] for a folder that cannot be written.
pub(crate) fn man(dir: &Path) -> Result<String> {
    let storage = |source| Error::storage(dir, "the manual pages cannot be written", source);
    std::fs::create_dir_all(dir).map_err(storage)?;
    clap_mangen::generate_to(args::command().mut_subcommands(with_short_usage), dir).map_err(storage)?;
    Ok(format!("{}: written; man -M finds them in a folder man1\n", dir.display()))
}

/// Keeps a page from beginning with the names of all flags.
fn with_short_usage(command: Command) -> Command {
    let usage = command.clone().bin_name(format!("tidegate {}", command.get_name())).render_usage().to_string();
    command.override_usage(usage.trim_start_matches("Usage: ").to_owned())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use clap::Arg;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");

    /// Returns the page with every command and flag.
    fn page() -> String {
        let mut page = "# Commands and flags\n\n<!-- Written by `TIDEGATE_UPDATE=1 cargo test -p tidegate-cli reference` from the \
             definition of the flags. -->\n\nEvery setting is also a key of `tidegate.toml` and a variable: \
             [configuration](config.md). Of several places the flag wins.\n"
            .to_owned();
        let mut command = args::command();
        command.build();
        let mut commands: Vec<_> = command.get_subcommands().filter(|command| command.get_name() != "help").collect();
        commands.sort_by_key(|command| command.get_display_order());
        for command in commands {
            describe(&mut page, command);
        }
        page
    }

    fn describe(page: &mut String, command: &Command) {
        let usage = command.clone().render_usage().to_string();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let usage = usage.trim_start_matches("Usage: ");
        write!(page, "\n## `tidegate {}`\n\n{about}.\n\n    {usage}\n", command.get_name()).unwrap();
        let heading = |arg: &Arg| arg.get_help_heading().unwrap_or("Options").to_owned();
        let shown: Vec<&Arg> =
            command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help").collect();
        let mut headings: Vec<String> = Vec::new();
        for arg in &shown {
            if !headings.contains(&heading(arg)) {
                headings.push(heading(arg));
            }
        }
        for name in headings {
            write!(page, "\n**{name}**\n\n| flag | |\n|---|---|\n").unwrap();
            for arg in shown.iter().filter(|arg| heading(arg) == name) {
                writeln!(page, "| {} | {} |", written(arg), meaning(arg)).unwrap();
            }
        }
    }

    fn written(arg: &Arg) -> String {
        let values = arg.get_action().takes_values().then(|| arg.get_value_names().unwrap_or_default().join(" "));
        let names = [arg.get_short().map(|short| format!("-{short}")), arg.get_long().map(|long| format!("--{long}"))];
        let mut words: Vec<String> = names.into_iter().flatten().collect();
        let value = values.filter(|values| !values.is_empty() && values != "BOOL");
        match (value, words.last_mut()) {
            // A value that may be left out stands behind an equals sign, or it would be taken for an input.
            (Some(value), Some(last)) if arg.is_require_equals_set() => last.push_str(&format!("[={value}]")),
            (Some(value), Some(last)) => last.push_str(&format!(" {value}")),
            (Some(value), None) => words.push(value),
            (None, _) => {}
        }
        format!("`{}`", words.join("`, `").replace('|', "\\|"))
    }

    fn meaning(arg: &Arg) -> String {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<_> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        let listed = !arg.is_hide_possible_values_set() && arg.get_action().takes_values() && !values.is_empty();
        let help = help.replace('|', "\\|").replace('<', "&lt;");
        let default = arg
            .get_default_values()
            .first()
            .filter(|_| arg.get_action().takes_values() && !arg.is_hide_default_value_set());
        let help = default.map(|default| format!("{help} [default: {}]", default.display())).unwrap_or(help);
        if listed { format!("{help}: {}", values.join(", ")) } else { help }
    }

    #[test]
    fn the_page_of_all_flags_is_up_to_date() {
        let page = page();
        if std::env::var_os("TIDEGATE_UPDATE").is_some() {
            std::fs::write(PAGE, &page).unwrap();
        }
        let stored = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(stored == page, "docs/cli.md is old: TIDEGATE_UPDATE=1 cargo test -p tidegate-cli reference");
    }

    #[test]
    fn completions_know_commands_flags_and_values() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(shell);
            assert!(["completions", "budget-usd", "water-fill"].iter().all(|word| script.contains(word)), "{shell}");
        }
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        man(&dir.path().join("man1")).unwrap();
        for command in args::command().get_subcommands() {
            let name = format!("man1/tidegate-{}.1", command.get_name());
            let page = std::fs::read_to_string(dir.path().join(&name)).expect(&name);
            assert!(page.contains("Examples"), "{name} has no example");
            let synopsis = page.split(".SH DESCRIPTION").next().unwrap_or_default();
            assert!(!synopsis.contains("concurrency"), "{synopsis}");
        }
    }
}
