//! Where a request goes: the base URL, the provider's way of putting paths behind it, and the format's path.
//!
//! Azure has two ways. With an API version the deployment stands in the path (`/openai/deployments/NAME/chat/completions`)
//! and the version in the query; without one its paths are OpenAI's behind `/openai/v1`. The base URL is the resource's
//! own address either way, as `AZURE_OPENAI_ENDPOINT` holds it; with `/openai` or `/openai/v1` behind it is the same.

use http::Uri;

use super::HttpTarget;
use super::provider::Paths;

/// Returns the address of a path.
///
/// # Errors
///
/// What is wrong with the base URL.
pub(super) fn of(target: &HttpTarget<'_>, path: &str) -> Result<Uri, String> {
    let base = target.base_url.trim_end_matches('/');
    let text = match target.provider.paths {
        Paths::Plain => format!("{base}{path}"),
        Paths::Azure => azure(base, path, target.model, target.api_version),
    };
    let uri: Uri = text.parse().map_err(|error| format!("`{base}` is not a base URL: {error}"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(format!("`{base}` is not a base URL: it must start with http:// or https://")),
    }
}

fn azure(base: &str, path: &str, deployment: &str, api_version: Option<&str>) -> String {
    let resource = base.strip_suffix("/v1").unwrap_or(base);
    let resource = resource.strip_suffix("/openai").unwrap_or(base);
    match api_version {
        None => format!("{resource}/openai/v1{path}"),
        Some(version @ ("v1" | "preview" | "latest")) => format!("{resource}/openai/v1{path}?api-version={version}"),
        // Responses belong to no deployment.
        Some(version) if path == "/responses" => format!("{resource}/openai{path}?api-version={version}"),
        Some(version) => format!("{resource}/openai/deployments/{deployment}{path}?api-version={version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_has_two_ways() {
        let of = |base, path, version| azure(base, path, "dep", version);
        let resource = "https://r.openai.azure.com";
        let chat = "/chat/completions";
        for base in [resource, "https://r.openai.azure.com/openai", "https://r.openai.azure.com/openai/v1"] {
            assert_eq!(of(base, chat, None), format!("{resource}/openai/v1/chat/completions"));
            let classic = format!("{resource}/openai/deployments/dep/chat/completions?api-version=2024-10-21");
            assert_eq!(of(base, chat, Some("2024-10-21")), classic);
        }
        let responses = format!("{resource}/openai/responses?api-version=2025-04-01-preview");
        assert_eq!(of(resource, "/responses", Some("2025-04-01-preview")), responses);
        assert!(of(resource, chat, Some("preview")).ends_with("/openai/v1/chat/completions?api-version=preview"));
        assert_eq!(of("https://proxy/v1", chat, None), "https://proxy/v1/openai/v1/chat/completions");
    }
}
