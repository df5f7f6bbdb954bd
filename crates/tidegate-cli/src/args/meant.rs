//! "Did you mean" for words that clap finds unlike any other.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use tidegate::suggest;

/// Adds what was meant where letters were swapped, which clap's own measure does not see in short words.
pub(super) fn with_suggestion(mut error: clap::Error) -> clap::Error {
    let (given, suggested) = match error.kind() {
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        ErrorKind::InvalidValue => (ContextKind::InvalidValue, ContextKind::SuggestedValue),
        _ => return error,
    };
    let names: Vec<String> = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => values.clone(),
        _ => super::command().get_subcommands().map(|command| command.get_name().to_owned()).collect(),
    };
    let (None, Some(ContextValue::String(given))) = (error.get(suggested), error.get(given)) else { return error };
    let meant = suggest::closest(given, names.iter().map(String::as_str)).map(str::to_owned);
    if let Some(meant) = meant {
        let value = match suggested {
            ContextKind::SuggestedSubcommand => ContextValue::Strings(vec![meant]),
            _ => ContextValue::String(meant),
        };
        error.insert(suggested, value);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_letters_are_recognised_in_short_words() {
        let said = |words: &[&str]| {
            let words = ["tidegate"].iter().chain(words);
            with_suggestion(super::super::command().try_get_matches_from(words).unwrap_err()).to_string()
        };
        assert!(said(&["rnu"]).contains("'run'"));
        assert!(said(&["run", "x", "-m", "sim/echo", "--format", "cvs"]).contains("'csv'"));
        assert!(!said(&["zzz"]).contains("similar"));
    }
}
