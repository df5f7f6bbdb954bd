//! Reading `tidegate.toml`: every mistake is named with its line and what was probably meant.

use std::path::{Path, PathBuf};

use tidegate::call::provider::{COMPATIBLE, PROVIDERS, provider};
use tidegate::suggest::closest;
use tidegate::{Balance, Error, Result};
use toml::{Table, Value};

use super::{Provider, Settings};

const NAME: &str = "tidegate.toml";

/// Returns the file to read: the one named, else `./tidegate.toml` if it is there.
pub(super) fn find(named: Option<&Path>, none: bool) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        None if none => None,
        None => Path::new(NAME).exists().then(|| PathBuf::from(NAME)),
    }
}

/// Reads and checks a file; its paths become relative to the working directory.
pub(super) fn read(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).map_err(|error| config(path, format!("cannot be read: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let settings: Settings = toml::from_str(text).map_err(|error| config(path, explain(text, &error)))?;
    check(&settings).map_err(|message| config(path, message))?;
    let mut table: Table = toml::from_str(text).map_err(|error| config(path, explain(text, &error)))?;
    normalise(&mut table, path.parent().unwrap_or(Path::new("")));
    Ok(table)
}

fn config(file: &Path, message: String) -> Error {
    Error::Config { file: file.to_owned(), message }
}

/// Puts a line in front of the parser's message, and a suggestion behind that of an unknown key.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let message = explain_message(error.message());
    match error.span() {
        Some(span) => format!("line {}: {message}", line(text, span.start)),
        None => message,
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The parser says: unknown field `rmp`, expected one of `rpm`, `tpm`, `concurrency`.
fn explain_message(message: &str) -> String {
    let Some(names) = message.strip_prefix("unknown field `") else { return without_values(message) };
    let mut names = names.split('`').step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    match closest(unknown, known.iter().copied()) {
        Some(near) => format!("unknown key '{unknown}'; did you mean '{near}'?"),
        None => format!("unknown key '{unknown}'; there are {}", known.join(", ")),
    }
}

/// A value of the wrong type may be a key or a prompt: it is not repeated.
fn without_values(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return first.to_owned();
    };
    let found = found.split([' ', '`', '"']).next().unwrap_or_default();
    format!("must be {}, not {}", in_words(expected), in_words(found))
}

/// The parser names types as Rust and JSON do.
fn in_words(of: &str) -> &str {
    match of {
        "f64" | "f32" | "floating" => "a number",
        "u16" | "u32" | "u64" | "i64" | "usize" | "integer" => "a whole number",
        "a sequence" | "sequence" => "a list",
        "a map" | "map" => "a table",
        "string" | "a string" => "a text",
        "boolean" | "a boolean" => "true or false",
        other => other.strip_prefix("struct ").map_or(other, |_| "a table"),
    }
}

/// Checks what concerns more than one key.
fn check(settings: &Settings) -> Result<(), String> {
    let sources = [settings.prompt.is_some(), settings.template.is_some(), settings.embed.is_some()];
    if sources.iter().filter(|set| **set).count() > 1 {
        return Err("keep only one of prompt, template and embed".to_owned());
    }
    if settings.balance.is_some() && settings.each_model {
        return Err("keep only one of balance and each_model".to_owned());
    }
    settings.balance.as_deref().map_or(Ok(()), check_balance)?;
    let own = || settings.providers.keys().map(String::as_str);
    settings.providers.iter().try_for_each(|(name, entry)| check_provider(name, entry))?;
    settings.endpoints.keys().try_for_each(|name| check_endpoint(name, own()))?;
    let providers = settings.providers.iter().map(|(name, entry)| (format!("[providers.{name}]"), &entry.account));
    let endpoints = settings.endpoints.iter().map(|(name, entry)| (format!("[endpoints.\"{name}\"]"), &entry.account));
    let named = providers.chain(endpoints).filter_map(|(place, account)| Some((place, account.as_deref()?)));
    named.into_iter().try_for_each(|(place, account)| check_account(&place, account, settings))
}

fn check_account(place: &str, name: &str, settings: &Settings) -> Result<(), String> {
    if settings.accounts.contains_key(name) {
        return Ok(());
    }
    let meant = closest(name, settings.accounts.keys().map(String::as_str));
    let meant = meant
        .map_or_else(|| format!("state its limits under [accounts.{name}]"), |near| format!("did you mean '{near}'?"));
    Err(format!("{place}: no account '{name}'; {meant}"))
}

fn check_balance(name: &str) -> Result<(), String> {
    let names = Balance::ALL.map(Balance::name);
    match (names.contains(&name), closest(name, names)) {
        (true, _) => Ok(()),
        (false, Some(near)) => Err(format!("balance: no policy '{name}'; did you mean '{near}'?")),
        (false, None) => Err(format!("balance: no policy '{name}'; there are {}", names.join(", "))),
    }
}

fn check_provider(name: &str, entry: &Provider) -> Result<(), String> {
    let keys = [entry.key_env.is_some(), entry.key_file.is_some(), entry.key_command.is_some()];
    if keys.iter().filter(|set| **set).count() > 1 {
        return Err(format!("[providers.{name}]: keep only one of key_env, key_file and key_command"));
    }
    if known(name) || (entry.wire.is_some() && entry.base_url.is_some() && !name.contains('/')) {
        return Ok(());
    }
    let meant = closest(name, PROVIDERS.iter().map(|row| row.name));
    let meant = meant.map(|near| format!(" did you mean '{near}'?")).unwrap_or_default();
    Err(format!(
        "[providers.{name}] is no built-in provider;{meant} one of your own needs a wire (openai, responses, anthropic, gemini or bedrock) and a base_url"
    ))
}

fn check_endpoint<'a>(name: &str, own: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let names: Vec<&str> = PROVIDERS.iter().map(|row| row.name).chain([COMPATIBLE.name]).chain(own).collect();
    match name.split_once('/') {
        Some((provider, model)) if !model.is_empty() && names.contains(&provider) => Ok(()),
        Some((provider, _)) => {
            let meant = closest(provider, names).map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            Err(format!("[endpoints.\"{name}\"]: no provider '{provider}'{meant}"))
        }
        None => Err(format!("[endpoints.\"{name}\"]: write \"provider/model\"")),
    }
}

fn known(name: &str) -> bool {
    provider(name).is_some() || name == COMPATIBLE.name
}

/// Brings the table into the form that flags have: paths from the working directory, header names in lower case.
fn normalise(table: &mut Table, base: &Path) {
    for (key, value) in table.iter_mut() {
        match value {
            Value::String(path) if is_path(key) && !tidegate::run::store::is_url(path) => {
                *path = base.join(&path).to_string_lossy().into_owned()
            }
            Value::Table(headers) if key == "headers" => *headers = lower_case(headers),
            // Parameters are the provider's, not ours; JSON has no dates.
            Value::Table(extra) if key == "extra" => extra.iter_mut().for_each(|(_, value)| dates_to_text(value)),
            Value::Table(inner) => normalise(inner, base),
            _ => {}
        }
    }
}

fn is_path(key: &str) -> bool {
    ["template", "schema", "key_file", "credentials", "path", "journal", "summary", "scenario", "log_file"]
        .contains(&key)
}

fn lower_case(headers: &Table) -> Table {
    headers.iter().map(|(name, value)| (name.trim().to_lowercase(), value.clone())).collect()
}

fn dates_to_text(value: &mut Value) {
    match value {
        Value::Datetime(date) => *value = Value::String(date.to_string()),
        Value::Array(items) => items.iter_mut().for_each(dates_to_text),
        Value::Table(inner) => inner.iter_mut().for_each(|(_, value)| dates_to_text(value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Table> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    fn refusal(text: &str) -> String {
        let message = read_text(text).unwrap_err().to_string();
        message.split_once(": ").unwrap().1.to_owned()
    }

    #[test]
    fn mistakes_are_named_with_line_and_suggestion() {
        let cases = [
            ("models = ['a']\n\n[limits]\nrmp = 3\n", "line 4: unknown key 'rmp'; did you mean 'rpm'?"),
            ("modles = ['a']", "line 1: unknown key 'modles'; did you mean 'models'?"),
            ("[total]\nzzz = 3", "line 2: unknown key 'zzz'; there are rps, rpm, rpd, tpm, itpm, otpm, concurrency"),
            ("[endpoints.'openai/x']\nlimits.rpmm = 3", "line 2: unknown key 'rpmm'; did you mean 'rpm'?"),
            ("[endpoints.'openai/x']\nprice.inptu = 3", "line 2: unknown key 'inptu'; did you mean 'input'?"),
            ("\n[limits]\nrpm = 0", "line 3: must be more than 0"),
            ("[limits]\nrpm = nan", "line 2: must be a number of at most 1e12"),
            ("[limits]\nconcurrency = -4", "line 2: must be more than 0"),
            ("[retry]\nmax_attempts = 0", "line 2: must be more than 0"),
            ("[retry]\ntimeout = '-5s'", "line 2: must be more than 0"),
            ("[retry]\n\ntimeout = true", "line 3: must be a duration such as"),
            ("[params]\ntemperature = nan", "temperature must be 0 or more"),
            ("base_url = 'localhost:80'", "line 1: not an address"),
            ("[headers]\n'a b' = 'c'", "cannot be the name of a header"),
            ("format = 'xls'", "line 1: unknown variant `xls`, expected one of `jsonl`"),
            ("models = [", "line 1: "),
            ("[limits]\nrpm = 1\nrpm = 2", "line 3: duplicate key"),
            ("prompt = 'a'\ntemplate = 'b'", "keep only one of prompt, template and embed"),
            ("balance = 'ordre'", "balance: no policy 'ordre'; did you mean 'order'?"),
            ("balance = 'cost'\neach_model = true", "keep only one of balance and each_model"),
            ("[providers.opnai]\nkey_env = 'X'", "did you mean 'openai'? one of your own needs a wire"),
            ("[providers.lab]\nwire = 'cohere'", "line 2: unknown variant `cohere`, expected"),
            ("[providers.lab]\nwire = 'gemini'", "one of your own needs a wire"),
            ("[providers.openai]\nkey_env = 'X'\nkey_file = 'y'", "keep only one of key_env, key_file"),
            ("[limits]\nspacing = '-1s'", "line 2: must be more than 0"),
            ("[cooldown]\nmultiplier = 0.5", "line 2: must be a number from 1 to 100"),
            ("pace = 'fast'", "line 1: unknown variant `fast`, expected one of `conservative`"),
            (
                "[accounts.main]\nrpm = 5\n[providers.openai]\naccount = 'mian'",
                "no account 'mian'; did you mean 'main'?",
            ),
            ("[endpoints.gpt-4o]", "write \"provider/model\""),
            ("[endpoints.'opnai/x']", "no provider 'opnai'; did you mean 'openai'?"),
        ];
        for (text, expected) in cases {
            assert!(refusal(text).contains(expected), "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_repeated() {
        let message = refusal("[limits]\nrpm = 'sk-123'");
        assert_eq!(message, "line 2: must be a number, not a text");
        assert_eq!(refusal("models = 'a/b'"), "line 1: must be a list, not a text");
        assert_eq!(refusal("retry = 'sk-123'"), "line 1: must be a table, not a text");
        assert_eq!(refusal("[run]\nquiet = 1"), "line 2: must be true or false, not a whole number");
        assert!(!refusal("headers = 'Authorization: sk-123'").contains("sk-123"));
    }

    #[test]
    fn a_file_that_is_no_text_or_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("none.toml")).unwrap_err().to_string().contains("cannot be read"));
        std::fs::write(dir.path().join(NAME), b"models = '\xff'").unwrap();
        assert!(read(&dir.path().join(NAME)).unwrap_err().to_string().contains("cannot be read"));
        assert!(read_text("\u{feff}repeat = 2").is_ok());
    }

    #[test]
    fn paths_are_relative_to_the_file_and_headers_in_lower_case() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let text = "template = 'p.txt'\n[output]\npath = '/abs'\n[providers.openai]\nkey_file = 'k'\nheaders.X-A = '1'\n\
                    [params.extra]\npath = 'kept'\nday = 2026-01-01\n";
        std::fs::write(&path, text).unwrap();
        let table = read(&path).unwrap();
        assert_eq!(table["template"].as_str(), dir.path().join("p.txt").to_str());
        assert_eq!(table["output"]["path"].as_str(), Some("/abs"));
        assert_eq!(table["providers"]["openai"]["key_file"].as_str(), dir.path().join("k").to_str());
        assert_eq!(table["providers"]["openai"]["headers"]["x-a"].as_str(), Some("1"));
        assert_eq!(table["params"]["extra"]["path"].as_str(), Some("kept"));
        assert_eq!(table["params"]["extra"]["day"].as_str(), Some("2026-01-01"));
    }
}
