//! From what a user writes after `-m` to a provider and a model name.
//!
//! `provider/model` always works for a provider whose format is spoken, listed model or not; the model's own name may hold
//! further slashes. A bare name is a convenience for models in the table, and a mistake in it is found before any request.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use super::bedrock::{self, Names};
use super::{Model, find, models, providers_of};
use crate::call::provider::{Auth, COMPATIBLE, PROVIDERS, Provider, provider};
use crate::error::{Error, Result};
use crate::suggest::closest;

/// A model and the provider that it is asked at.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelRef {
    /// The provider's row; [`COMPATIBLE`] for a server that has none.
    pub provider: &'static Provider,
    /// The provider's name: the row's, or the user's own name for a server of theirs.
    pub label: Cow<'static, str>,
    /// The model's name, as the provider's API wants it.
    pub name: String,
}

impl ModelRef {
    /// Returns what the catalog knows about the model.
    #[must_use]
    pub fn facts(&self) -> Option<&'static Model> {
        // Bedrock's models are the same under both of its names, and Vertex AI's are Gemini's.
        let provider = match self.provider.auth {
            Auth::Aws => "bedrock",
            Auth::Google => "gemini",
            _ => &self.label,
        };
        find(provider, &self.name)
    }
}

impl fmt::Display for ModelRef {
    /// Writes `provider/model`, the form in records and settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.label, self.name)
    }
}

/// Finds the provider and model that `text` names.
///
/// With a `base_url`, a name without a known provider in front is a model of the OpenAI-compatible server there, slashes
/// and all; `compatible/NAME` says so explicitly where the name itself begins like a provider's. `own` are the names of
/// providers that the user has configured.
///
/// ```
/// use tidegate::catalog::resolve;
/// assert_eq!(resolve("gpt-5-mini", None, &[])?.to_string(), "openai/gpt-5-mini");
/// assert_eq!(resolve("openrouter/qwen/qwen3", None, &[])?.name, "qwen/qwen3");
/// assert_eq!(resolve("Qwen/Qwen3", Some("http://gpu:8000/v1"), &[])?.name, "Qwen/Qwen3");
/// # Ok::<(), tidegate::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] when the provider or the bare name is not known, when several providers have the bare name, or when
/// the provider's format is not spoken.
pub fn resolve(text: &str, base_url: Option<&str>, own: &[&str]) -> Result<ModelRef> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('/') || text.ends_with('/') {
        return Err(usage(format!("'{text}' names no model; write provider/model, such as openai/gpt-5-mini")));
    }
    if let Some((first, name)) = text.split_once('/') {
        if own.contains(&first) {
            return Ok(ModelRef { provider: &COMPATIBLE, label: first.to_owned().into(), name: name.to_owned() });
        }
        if let Some(provider) = provider(first) {
            return known(provider, name);
        }
    }
    match base_url {
        Some(_) => Ok(compatible(text)),
        None => without_address(text, own),
    }
}

/// Returns the listed name that an unlisted one most looks like: worth a warning, since the list is never complete.
#[must_use]
pub fn similar(provider: &str, name: &str) -> Option<&'static str> {
    if find(provider, name).is_some() {
        return None;
    }
    closest(name, models().iter().filter(|row| row.provider == provider).map(|row| row.name))
}

fn known(provider: &'static Provider, name: &str) -> Result<ModelRef> {
    let name = match provider.auth {
        Auth::Aws => bedrock::id_of(name, Names::Lenient)?,
        _ => name.to_owned(),
    };
    Ok(ModelRef { provider, label: provider.name.into(), name })
}

fn compatible(text: &str) -> ModelRef {
    let name = text.strip_prefix("compatible/").unwrap_or(text);
    ModelRef { provider: &COMPATIBLE, label: COMPATIBLE.name.into(), name: name.to_owned() }
}

fn without_address(text: &str, own: &[&str]) -> Result<ModelRef> {
    match text.split_once('/') {
        Some((COMPATIBLE_NAME, _)) => Err(usage(format!("{text} needs the server's address: add --base-url URL"))),
        Some((first, _)) => Err(unknown_provider(text, first, own)),
        None => bare(text, own),
    }
}

const COMPATIBLE_NAME: &str = COMPATIBLE.name;

fn bare(name: &str, own: &[&str]) -> Result<ModelRef> {
    let rows = providers_of(name);
    // Who has no address before the user gives one is not meant by a bare name.
    let spoken = rows.iter().filter_map(|row| provider(row.provider)).filter(|provider| !provider.needs_address());
    let spoken: Vec<_> = spoken.collect();
    match (spoken.as_slice(), rows.first()) {
        ([provider], _) => known(provider, name),
        ([], Some(row)) => Err(not_spoken(row.provider)),
        ([], None) => Err(unknown_name(name, own)),
        (several, _) => Err(ambiguous(name, several)),
    }
}

fn ambiguous(name: &str, providers: &[&'static Provider]) -> Error {
    let choices: Vec<_> = providers.iter().map(|provider| format!("{}/{name}", provider.name)).collect();
    usage(format!("several providers have a model '{name}'; write one of {}", choices.join(", ")))
}

fn unknown_name(name: &str, own: &[&str]) -> Error {
    if provider(name).is_some() || own.contains(&name) {
        return usage(format!("'{name}' is a provider, not a model; write {name}/MODEL"));
    }
    if not_spoken_yet().contains(name) {
        return not_spoken(name);
    }
    let spoken = models().iter().filter(|row| provider(row.provider).is_some());
    let advice = match closest(name, spoken.map(|row| row.name)) {
        Some(near) => format!("did you mean '{near}'? Write provider/model to use one that is not listed"),
        None => "write provider/model to use one that is not listed".to_owned(),
    };
    usage(format!("no model '{name}' in the catalog; {advice}"))
}

fn unknown_provider(text: &str, first: &str, own: &[&str]) -> Error {
    if not_spoken_yet().contains(first) {
        return not_spoken(first);
    }
    // A model's own name may hold a slash: "moonshotai/Kimi-K3" is one of together's.
    if let Some(row) = providers_of(text).into_iter().find(|row| provider(row.provider).is_some()) {
        return usage(format!("no provider '{first}'; did you mean '{}/{text}'?", row.provider));
    }
    let names = PROVIDERS.iter().map(|provider| provider.name);
    match closest(first, names.clone().chain(own.iter().copied())) {
        Some(near) => usage(format!("no provider '{first}'; did you mean '{near}'?")),
        None => usage(format!(
            "no provider '{first}'; there are {}. For another OpenAI-compatible server add --base-url URL",
            names.chain(own.iter().copied()).collect::<Vec<_>>().join(", ")
        )),
    }
}

fn not_spoken(name: &str) -> Error {
    let names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
    usage(format!("{name}: this version does not speak its format; it can ask {}", names.join(", ")))
}

/// Providers in the table whose format has no wire here.
fn not_spoken_yet() -> BTreeSet<&'static str> {
    models().iter().map(|row| row.provider).filter(|name| provider(name).is_none()).collect()
}

fn usage(message: String) -> Error {
    Error::Usage(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> String {
        resolve(text, None, &[]).unwrap().to_string()
    }

    fn refusal(text: &str) -> String {
        resolve(text, None, &["mylab"]).unwrap_err().to_string()
    }

    #[test]
    fn the_first_segment_is_the_provider_and_the_rest_is_the_models() {
        let model = resolve("openrouter/anthropic/claude-opus-5", None, &[]).unwrap();
        assert_eq!((model.provider.name, model.name.as_str()), ("openrouter", "anthropic/claude-opus-5"));
        assert_eq!(name("openai/not-in-the-catalog"), "openai/not-in-the-catalog");
        assert_eq!(name(" sim/echo "), "sim/echo");
    }

    #[test]
    fn a_bare_name_is_its_one_spoken_provider() {
        assert_eq!(name("gpt-4o"), "openai/gpt-4o");
        assert_eq!(name("gpt-5-mini-2025-08-07"), "openai/gpt-5-mini-2025-08-07");
        assert_eq!(name("grok-4.7"), "xai/grok-4.7");
        assert_eq!(name("gemini-2.5-flash"), "gemini/gemini-2.5-flash");
    }

    #[test]
    fn a_base_url_takes_any_name_that_no_provider_claims() {
        let at = |text| resolve(text, Some("http://127.0.0.1:8000/v1"), &[]).unwrap();
        assert_eq!((at("gpt-4o").provider.name, at("gpt-4o").name.as_str()), ("compatible", "gpt-4o"));
        assert_eq!(at("Qwen/Qwen3-8B").name, "Qwen/Qwen3-8B");
        assert_eq!(at("openai/gpt-5-pro").provider.name, "openai");
        assert_eq!(at("compatible/openai/gpt-oss-120b").name, "openai/gpt-oss-120b");
        assert_eq!(at("openai/gpt-5.5-pro").name, "gpt-5.5-pro");
    }

    #[test]
    fn a_provider_of_the_users_own_goes_first() {
        let model = resolve("mylab/llama/3", None, &["mylab"]).unwrap();
        assert_eq!((model.provider.name, model.to_string().as_str()), ("compatible", "mylab/llama/3"));
    }

    #[test]
    fn mistakes_are_named_with_what_was_meant() {
        let cases = [
            ("opnai/gpt-5", "no provider 'opnai'; did you mean 'openai'?"),
            ("mylap/x", "no provider 'mylap'; did you mean 'mylab'?"),
            ("moonshotai/Kimi-K3", "no provider 'moonshotai'; did you mean 'together/moonshotai/Kimi-K3'?"),
            ("gpt-5-mni", "no model 'gpt-5-mni' in the catalog; did you mean 'gpt-5-mini'?"),
            ("nobody/x", "there are openai, anthropic, azure, openrouter"),
            ("zzzz", "no model 'zzzz' in the catalog; write provider/model"),
            ("openai", "'openai' is a provider, not a model; write openai/MODEL"),
            ("openai/", "names no model"),
            ("", "names no model"),
            ("compatible/x", "add --base-url URL"),
        ];
        for (text, expected) in cases {
            assert!(refusal(text).contains(expected), "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn a_format_not_spoken_yet_says_what_is() {
        let refusal = refusal("vertex_ai/y");
        assert!(refusal.contains("does not speak its format; it can ask openai, "), "{refusal}");
    }

    #[test]
    fn a_name_that_several_providers_have_lists_them() {
        let error = ambiguous("m", &[&PROVIDERS[0], &PROVIDERS[1]]).to_string();
        assert_eq!(error, "several providers have a model 'm'; write one of openai/m, anthropic/m");
    }

    #[test]
    fn an_unlisted_model_may_look_like_a_listed_one() {
        assert_eq!(similar("openai", "gpt-5-mni"), Some("gpt-5-mini"));
        assert_eq!(similar("openai", "gpt-5-mini-2025-08-07"), None);
        assert_eq!(similar("openai", "ft:something-else-entirely"), None);
    }
}
