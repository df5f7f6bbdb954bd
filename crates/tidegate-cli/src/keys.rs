//! Where keys come from, and the only place that reads the environment.
//!
//! A key is taken from the first of these that is there: the source that the configuration names (`key_command`,
//! `key_file` or `key_env`), the variable that the provider's own SDK reads, the file that `<VARIABLE>_FILE` names. Several
//! keys separated by commas are several endpoints. A [`KeySource`] remembers where the keys came from, so that a refused
//! key can be read again: files and commands may hold a new one.
//!
//! Keys live in [`SecretString`]s, and no message repeats what a source holds or what a command printed.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use http::{HeaderValue, Uri};
use secrecy::SecretString;
use tidegate::call::provider::{Auth, KeyRule, Provider, provider};
use tidegate::{Error, Result};

use crate::settings::value;
use crate::settings::{EndpointSettings, Provider as ProviderSettings, Settings};

/// Looks up a variable; a seam for tests, which cannot set variables safely.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The keys of one endpoint, and where they came from.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Where they came from.
    pub(crate) source: KeySource,
    /// The keys, each an endpoint of its own; none for a server that needs none.
    pub(crate) keys: Vec<SecretString>,
    /// Whether they are tokens, sent as `Authorization: Bearer` whatever the provider's keys are sent as.
    pub(crate) tokens: bool,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// An environment variable.
    Variable(String),
    /// A file.
    File(PathBuf),
    /// A shell command that prints them.
    Command(String),
    /// There is none, and none is needed.
    Nowhere,
}

impl Keys {
    /// Makes the keys of a server that needs none.
    pub(crate) fn none() -> Keys {
        Keys { source: KeySource::Nowhere, keys: Vec::new(), tokens: false }
    }
}

/// Returns an environment variable that is not empty.
#[expect(clippy::disallowed_methods, reason = "the program, not the library, reads the environment, and only here")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Returns the names of all variables that begin so and are not empty.
pub(crate) fn variables_that_begin_with(prefix: &str) -> Vec<String> {
    let names = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let names = names.filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort_unstable();
    names
}

/// Finds the keys of an endpoint.
///
/// # Errors
/// [`Error::Usage`] when a key is needed and there is none, or when its source cannot be read.
pub(crate) fn find(endpoint: &EndpointSettings) -> Result<Keys> {
    find_in(endpoint, &variable)
}

fn find_in(endpoint: &EndpointSettings, lookup: Lookup) -> Result<Keys> {
    let (source, variable) = source_in(endpoint, lookup);
    let keys = source.read(lookup)?;
    if source == KeySource::Nowhere && needs_key(endpoint) {
        return Err(missing(endpoint));
    }
    let tokens = variable.is_some_and(|name| endpoint.model.provider.tokens.contains(&name));
    Ok(Keys { source, keys, tokens })
}

/// Returns where the keys of an endpoint come from, without reading them.
pub(crate) fn source_of(endpoint: &EndpointSettings) -> KeySource {
    source_in(endpoint, &variable).0
}

fn source_in(endpoint: &EndpointSettings, lookup: Lookup) -> (KeySource, Option<&'static str>) {
    let model = &endpoint.model;
    // A provider of the user's own gets no key that was meant for another.
    let variables = if model.label == model.provider.name { model.provider.key.variables() } else { &[] };
    source(&endpoint.provider, variables, lookup)
}

/// Returns where keys come from, and which of the provider's variables that is, if it is one.
fn source(config: &ProviderSettings, variables: &[&'static str], lookup: Lookup) -> (KeySource, Option<&'static str>) {
    if let Some(command) = &config.key_command {
        (KeySource::Command(command.clone()), None)
    } else if let Some(file) = &config.key_file {
        (KeySource::File(file.clone()), None)
    } else if let Some(name) = &config.key_env {
        (KeySource::Variable(name.clone()), None)
    } else {
        let sources = variables.iter().map(|name| (from_variable(name, lookup), Some(*name)));
        sources.into_iter().find(|(source, _)| *source != KeySource::Nowhere).unwrap_or((KeySource::Nowhere, None))
    }
}

/// Returns the keys of a provider before any of its models is known; none where they cannot be read, which is told when
/// they are needed.
pub(crate) fn of_provider(name: &str, settings: &Settings) -> Vec<SecretString> {
    let Some(row) = provider(name) else { return Vec::new() };
    let config = settings.providers.get(name).cloned().unwrap_or_default();
    source(&config, row.key.variables(), &variable).0.read(&variable).unwrap_or_default()
}

fn from_variable(name: &str, lookup: Lookup) -> KeySource {
    match (lookup(name), lookup(&format!("{name}_FILE"))) {
        (Some(_), _) => KeySource::Variable(name.to_owned()),
        (None, Some(file)) => KeySource::File(PathBuf::from(file)),
        (None, None) => KeySource::Nowhere,
    }
}

/// A header of the user's own may stand in for the key.
fn needs_key(endpoint: &EndpointSettings) -> bool {
    let provider = endpoint.model.provider;
    let header = match provider.auth {
        Auth::Header(name) => name,
        _ => "authorization",
    };
    !matches!(provider.key, KeyRule::Optional(_)) && !endpoint.headers.contains_key(header)
}

fn missing(endpoint: &EndpointSettings) -> Error {
    let (label, provider) = (&endpoint.model.label, endpoint.model.provider);
    let names = provider.key.variables();
    let key = names.iter().rfind(|name| !provider.tokens.contains(name));
    let (any, name) = (names.join(" or "), key.copied().unwrap_or_default());
    usage(format!(
        "{label} needs a key: set {any} (export {name}=…), or {name}_FILE to a file that holds it, or key_command under \
         [providers.{label}] in tidegate.toml"
    ))
}

impl fmt::Display for KeySource {
    /// Says where keys come from, never what they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::Variable(name) => write!(f, "key from {name}"),
            KeySource::File(path) => write!(f, "key from {}", path.display()),
            KeySource::Command(_) => f.write_str("key from key_command"),
            KeySource::Nowhere => f.write_str("no key"),
        }
    }
}

impl KeySource {
    /// Reads the keys again; a command runs again.
    ///
    /// # Errors
    /// [`Error::Usage`] when the source cannot be read or holds no key.
    pub(crate) fn reload(&self) -> Result<Vec<SecretString>> {
        self.read(&variable)
    }

    fn read(&self, lookup: Lookup) -> Result<Vec<SecretString>> {
        match self {
            KeySource::Nowhere => Ok(Vec::new()),
            KeySource::Variable(name) => split(&lookup(name).unwrap_or_default(), name),
            KeySource::File(path) => {
                let place = path.display().to_string();
                let text = std::fs::read_to_string(path);
                split(&text.map_err(|error| usage(format!("the key file {place} cannot be read: {error}")))?, &place)
            }
            KeySource::Command(command) => split(&printed(command)?, "key_command"),
        }
    }
}

/// Runs a command and returns what it prints; what it complains goes to the user's terminal.
fn printed(command: &str) -> Result<String> {
    let shell = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = shell.map_err(|error| usage(format!("key_command: sh cannot be started: {error}")))?;
    if !output.status.success() {
        return Err(usage(format!("key_command failed ({})", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| usage("key_command printed something that is no text".to_owned()))
}

/// Splits keys at commas; `place` is where they came from, the only thing that an error may name.
fn split(text: &str, place: &str) -> Result<Vec<SecretString>> {
    let mut keys: Vec<&str> = Vec::new();
    for key in text.split(',').map(str::trim).filter(|key| !key.is_empty()) {
        if key.contains(char::is_whitespace) || HeaderValue::try_from(key).is_err() {
            return Err(usage(format!(
                "{place} holds a key with characters that no key has; check for a wrong file or quotes"
            )));
        }
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    match keys.is_empty() {
        true => Err(usage(format!("{place} holds no key; set it, or remove it from the configuration"))),
        false => Ok(keys.into_iter().map(SecretString::from).collect()),
    }
}

/// Returns the address that the provider's own variable names (`OPENAI_BASE_URL`, `OLLAMA_HOST`).
///
/// # Errors
/// [`Error::Usage`] when the variable holds no address.
pub(crate) fn base_url(provider: &Provider) -> Result<Option<String>> {
    base_url_in(provider, &variable)
}

fn base_url_in(provider: &Provider, lookup: Lookup) -> Result<Option<String>> {
    let Some(name) = provider.base_url_variable else { return Ok(None) };
    let Some(text) = lookup(name) else { return Ok(None) };
    let text = if name.ends_with("_HOST") { host_to_url(text.trim(), provider) } else { text };
    value::base_url(&text).map(Some).map_err(|reason| usage(format!("{name}: {reason}")))
}

/// Completes `host`, `host:port`, `:port` or `http://host` by what the provider's own address has: `OLLAMA_HOST` is
/// written for the server, too, so that `0.0.0.0` means this machine.
fn host_to_url(host: &str, provider: &Provider) -> String {
    let own: Uri = provider.base_url.parse().unwrap_or_default();
    let (scheme, rest) = host.split_once("://").unwrap_or(("", host));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, port) = split_port(authority);
    let name = if name.is_empty() || name == "0.0.0.0" || name == "[::]" { "127.0.0.1" } else { name };
    let port = match (port, own.port_u16()) {
        (Some(port), _) => format!(":{port}"),
        (None, Some(port)) if scheme.is_empty() => format!(":{port}"),
        _ => String::new(),
    };
    let path = if path.is_empty() { own.path() } else { &format!("/{path}") };
    format!("{}://{name}{port}{path}", if scheme.is_empty() { "http" } else { scheme })
}

/// Splits the port off a host; the colons of an IPv6 address in brackets are not meant.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

fn usage(message: String) -> Error {
    Error::Usage(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::run_args;
    use crate::settings;
    use secrecy::ExposeSecret;
    use tidegate::call::provider::provider;

    fn endpoint(config: &str, model: &str) -> EndpointSettings {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidegate.toml");
        std::fs::write(&path, config).unwrap();
        let args = run_args(&["in.jsonl", "-m", model, "-c", path.to_str().unwrap()]).ok().unwrap();
        settings::load(&args).unwrap().resolve().unwrap().remove(0)
    }

    fn found(config: &str, model: &str, variables: &[(&str, &str)]) -> Result<Vec<String>> {
        let lookup = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let keys = find_in(&endpoint(config, model), &lookup)?.keys;
        Ok(keys.iter().map(|key| key.expose_secret().to_owned()).collect())
    }

    #[test]
    fn a_provider_has_its_own_variable_and_a_file_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "from-file\n").unwrap();
        let file = ("OPENAI_API_KEY_FILE", file.to_str().unwrap());
        assert_eq!(found("", "openai/x", &[("OPENAI_API_KEY", "a, b,,a")]).unwrap(), ["a", "b"]);
        assert_eq!(found("", "openai/x", &[file]).unwrap(), ["from-file"]);
        assert_eq!(found("", "openai/x", &[("OPENAI_API_KEY", "a"), file]).unwrap(), ["a"]);
    }

    #[test]
    fn the_first_of_several_variables_wins() {
        let (google, gemini) = (("GOOGLE_API_KEY", "a"), ("GEMINI_API_KEY", "b"));
        assert_eq!(found("", "gemini/x", &[gemini, google]).unwrap(), ["a"]);
        assert_eq!(found("", "gemini/x", &[gemini]).unwrap(), ["b"]);
        let message = found("", "gemini/x", &[]).unwrap_err().to_string();
        assert!(message.starts_with("gemini needs a key: set GOOGLE_API_KEY or GEMINI_API_KEY"), "{message}");
        assert!(found("providers.gemini.headers.x-goog-api-key = 'x'", "gemini/x", &[]).unwrap().is_empty());
    }

    #[test]
    fn a_token_is_sent_as_one() {
        let is_token = |model: &str, names: &[&str]| {
            let lookup = |name: &str| names.contains(&name).then(|| "t".to_owned());
            find_in(&endpoint("base_url = 'http://x/'", model), &lookup).unwrap().tokens
        };
        assert!(is_token("azure/x", &["AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY"]));
        assert!(!is_token("azure/x", &["AZURE_OPENAI_API_KEY"]));
        assert!(is_token("anthropic/x", &["ANTHROPIC_AUTH_TOKEN"]));
        assert!(!is_token("anthropic/x", &["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"]));
        let message = found("", "anthropic/x", &[]).unwrap_err().to_string();
        assert!(
            message.contains("ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN (export ANTHROPIC_API_KEY=…)"),
            "{message}"
        );
    }

    #[test]
    fn the_configurations_source_goes_first() {
        let variables = [("OPENAI_API_KEY", "a"), ("MINE", "m")];
        assert_eq!(found("providers.openai.key_env = 'MINE'", "openai/x", &variables).unwrap(), ["m"]);
        let command = "providers.openai.key_command = 'echo \" c,d \"'";
        assert_eq!(found(command, "openai/x", &variables).unwrap(), ["c", "d"]);
    }

    #[test]
    fn a_missing_key_names_the_variable() {
        let message = found("", "groq/x", &[]).unwrap_err().to_string();
        assert!(message.starts_with("groq needs a key: set GROQ_API_KEY (export GROQ_API_KEY=…)"), "{message}");
        assert!(
            found("providers.openai.key_env = 'NONE'", "openai/x", &[])
                .unwrap_err()
                .to_string()
                .contains("NONE holds no")
        );
        assert!(found("", "ollama/x", &[]).unwrap().is_empty());
        assert!(found("providers.openai.headers.authorization = 'x'", "openai/x", &[]).unwrap().is_empty());
    }

    #[test]
    fn a_provider_of_the_users_own_gets_nobody_elses_key() {
        let lab = "[providers.lab]\nwire = 'openai'\nbase_url = 'http://lab/v1'\n";
        let variables = [("TIDEGATE_API_KEY", "t"), ("OPENAI_API_KEY", "a"), ("LAB", "l")];
        assert!(found(lab, "lab/x", &variables).unwrap().is_empty());
        assert_eq!(found(&format!("{lab}key_env = 'LAB'"), "lab/x", &variables).unwrap(), ["l"]);
        assert_eq!(found("base_url = 'http://lab/v1'", "x", &variables).unwrap(), ["t"]);
    }

    #[test]
    fn no_message_holds_what_a_source_holds() {
        let cases = [
            found("providers.openai.key_command = 'echo secret1; exit 3'", "openai/x", &[]),
            found("providers.openai.key_command = 'echo secret1 secret2'", "openai/x", &[]),
            found("", "openai/x", &[("OPENAI_API_KEY", "secret1\u{7f}")]),
            found("providers.openai.key_file = '/nowhere/key'", "openai/x", &[]),
            found("providers.openai.key_command = 'true'", "openai/x", &[]),
        ];
        let messages: Vec<_> = cases.map(|case| case.unwrap_err().to_string()).into();
        assert!(!messages.concat().contains("secret"), "{messages:?}");
        assert!(messages[0].contains("exit status: 3") && messages[3].contains("/nowhere/key"), "{messages:?}");
        let keys = find_in(&endpoint("", "openai/x"), &|_| Some("secret1".to_owned())).unwrap();
        assert!(!format!("{keys:?}").contains("secret1"));
    }

    #[test]
    fn a_source_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "old").unwrap();
        let source = KeySource::File(path.clone());
        let read = || source.reload().unwrap().remove(0).expose_secret().to_owned();
        assert_eq!(read(), "old");
        std::fs::write(&path, "new").unwrap();
        assert_eq!(read(), "new");
    }

    #[test]
    fn an_address_variable_is_read_as_its_sdk_reads_it() {
        let at = |name: &str, text: &str| base_url_in(provider(name).unwrap(), &|_| Some(text.to_owned()));
        let cases = [
            ("openai", "https://proxy/api/", "https://proxy/api"),
            ("ollama", "10.0.0.5", "http://10.0.0.5:11434/v1"),
            ("ollama", "0.0.0.0:99", "http://127.0.0.1:99/v1"),
            ("ollama", ":99", "http://127.0.0.1:99/v1"),
            ("ollama", "https://gpu", "https://gpu/v1"),
            ("ollama", "http://gpu:1/", "http://gpu:1/v1"),
            ("ollama", "http://gpu:1/ollama/v1", "http://gpu:1/ollama/v1"),
            ("ollama", "[::1]:7", "http://[::1]:7/v1"),
            ("ollama", "[::]", "http://127.0.0.1:11434/v1"),
        ];
        for (name, text, expected) in cases {
            assert_eq!(at(name, text).unwrap().as_deref(), Some(expected), "{text}");
        }
        assert!(at("openai", "proxy:80").unwrap_err().to_string().starts_with("OPENAI_BASE_URL: not an address"));
        assert_eq!(base_url_in(provider("groq").unwrap(), &|_| Some("x".into())).unwrap(), None);
    }
}
