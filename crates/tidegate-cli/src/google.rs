//! Vertex AI's project, location and account, from settings and what Google's own tools would find.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidegate::call::google::GoogleAccount;
use tidegate::{Error, Result, Vertex};

use crate::keys;
use crate::settings::Provider;

/// What the credentials file says about the project.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    project_id: Option<String>,
    quota_project_id: Option<String>,
}

/// Returns where models of Vertex AI are asked, and in whose name; a key that is given stands in for an account.
///
/// # Errors
/// [`Error::Usage`] when no project is named anywhere, or the credentials cannot be read.
pub(crate) fn vertex(settings: &Provider, has_key: bool) -> Result<Vertex> {
    vertex_in(settings, has_key, &keys::variable)
}

fn vertex_in(settings: &Provider, has_key: bool, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vertex> {
    let file = credentials(settings, lookup);
    let text = file.as_deref().filter(|_| !has_key).map(read).transpose()?;
    let account = match (has_key, &text, &file) {
        (true, ..) => None,
        (false, Some(text), Some(file)) => {
            Some(GoogleAccount::from_json(text).map_err(|message| wrong(file, message))?)
        }
        _ => Some(GoogleAccount::metadata(lookup("GCE_METADATA_HOST").as_deref())),
    };
    let named: Named = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let project = settings.project.clone().or_else(|| lookup("GOOGLE_CLOUD_PROJECT"));
    let project = project.or(named.project_id).or(named.quota_project_id).ok_or_else(no_project)?;
    let location = settings.location.clone().or_else(|| lookup("GOOGLE_CLOUD_LOCATION"));
    Ok(Vertex::new(&project, location.as_deref().unwrap_or("global"), account))
}

/// The file that is named, or the one that `gcloud auth application-default login` leaves.
fn credentials(settings: &Provider, lookup: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = settings.credentials.clone().or_else(|| lookup("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from));
    let folder = || {
        let config = lookup("CLOUDSDK_CONFIG").map(PathBuf::from);
        config.or_else(|| Some(PathBuf::from(lookup("HOME")?).join(".config/gcloud")))
    };
    named.or_else(|| folder().map(|folder| folder.join("application_default_credentials.json")).filter(|p| p.exists()))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| wrong(path, format!("cannot be read: {error}")))
}

fn wrong(path: &Path, message: String) -> Error {
    Error::Usage(format!("the Google credentials {} {message}", path.display()).replace("  ", " "))
}

fn no_project() -> Error {
    Error::Usage(
        "vertex needs a project: set GOOGLE_CLOUD_PROJECT, or project under [providers.vertex] in tidegate.toml"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_and_location_come_from_settings_variables_or_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("application_default_credentials.json");
        let text = r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r","quota_project_id":"q"}"#;
        std::fs::write(&file, text).unwrap();
        let home = folder.path().display().to_string();
        let lookup = |name: &str| (name == "CLOUDSDK_CONFIG").then(|| home.clone());
        let found = vertex_in(&Provider::default(), false, &lookup).unwrap();
        assert_eq!((found.project.as_str(), found.location.as_str()), ("q", "global"));
        assert_eq!(format!("{:?}", found.account), "Some(GoogleAccount(authorized user))");
        let set = Provider { project: Some("p".into()), location: Some("l".into()), ..Provider::default() };
        let found = vertex_in(&set, true, &lookup).unwrap();
        assert_eq!((found.project.as_str(), found.location.as_str(), found.account.is_none()), ("p", "l", true));
        let found = vertex_in(&set, false, &|_| None).unwrap();
        assert_eq!(format!("{:?}", found.account), "Some(GoogleAccount(metadata server))");
        let none = vertex_in(&Provider::default(), false, &|_| None).unwrap_err();
        assert!(none.to_string().contains("GOOGLE_CLOUD_PROJECT"));
    }

    #[test]
    fn credentials_that_are_none_are_named_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.json");
        std::fs::write(&file, "sk-secret").unwrap();
        let set = Provider { credentials: Some(file), ..Provider::default() };
        let message = vertex_in(&set, false, &|_| None).unwrap_err().to_string();
        assert!(
            message.contains("key.json is not a Google credentials file") && !message.contains("secret"),
            "{message}"
        );
    }
}
