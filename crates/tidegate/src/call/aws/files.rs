//! AWS's shared files: profiles in `~/.aws/config` and `~/.aws/credentials`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::chain::Environment;

/// The settings of one profile, or of one sign-on session.
pub(super) type Section = BTreeMap<String, String>;

/// Both files, laid over each other.
#[derive(Debug, Default)]
pub(super) struct Files {
    profiles: BTreeMap<String, Section>,
    sessions: BTreeMap<String, Section>,
}

impl Files {
    /// Reads the files that are there; one that cannot be read counts as empty.
    pub(super) fn read(environment: &Environment) -> Files {
        let place = |variable: &str, name: &str| {
            let home = || Some(home(environment)?.join(".aws").join(name));
            environment.get(variable).map(PathBuf::from).or_else(home)
        };
        let text = |path: Option<PathBuf>| path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let mut files = Files::default();
        files.add(&text(place("AWS_CONFIG_FILE", "config")));
        files.add(&text(place("AWS_SHARED_CREDENTIALS_FILE", "credentials")));
        files
    }

    /// Lays a file over what is known. The config file writes `[profile x]` where the other writes `[x]`.
    fn add(&mut self, text: &str) {
        let mut section: Option<&mut Section> = None;
        for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
            if let Some(name) = line.trim().strip_prefix('[').and_then(|name| name.split(']').next()) {
                let name = name.trim();
                section = Some(match name.strip_prefix("sso-session ") {
                    Some(session) => self.sessions.entry(session.trim().to_owned()).or_default(),
                    None => {
                        let name = name.strip_prefix("profile ").unwrap_or(name).trim().trim_matches('"');
                        self.profiles.entry(name.to_owned()).or_default()
                    }
                });
                continue;
            }
            // What is indented belongs to a setting of a single service.
            let setting = line.split_once('=').filter(|_| !line.starts_with([' ', '\t']));
            if let (Some((name, value)), Some(section)) = (setting, section.as_deref_mut()) {
                section.insert(name.trim().to_lowercase(), value.trim().to_owned());
            }
        }
    }

    pub(super) fn profile(&self, name: &str) -> Option<&Section> {
        self.profiles.get(name)
    }

    pub(super) fn session(&self, name: &str) -> Option<&Section> {
        self.sessions.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }
}

/// Returns the user's home.
pub(super) fn home(environment: &Environment) -> Option<PathBuf> {
    environment.get("HOME").or_else(|| environment.get("USERPROFILE")).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_make_one_profile_and_credentials_win() {
        let mut files = Files::default();
        files.add("# x\n[default]\nregion = eu-west-1\ns3 =\n  max = 3\n[profile dev]\naws_access_key_id=OLD\nregion=us-east-1\n[sso-session s]\nsso_region = r\n");
        files.add("[dev]\naws_access_key_id = NEW\naws_secret_access_key = a=b\n; end\n[broken\n");
        let dev = files.profile("dev").unwrap();
        assert_eq!((dev["aws_access_key_id"].as_str(), dev["aws_secret_access_key"].as_str()), ("NEW", "a=b"));
        assert_eq!((dev["region"].as_str(), files.session("s").unwrap()["sso_region"].as_str()), ("us-east-1", "r"));
        assert!(!files.profile("default").unwrap().contains_key("max"));
    }
}
