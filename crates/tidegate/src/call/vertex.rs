//! Vertex AI: where a project's models are.

use super::google::GoogleAccount;

/// Where a model of Vertex AI is asked, and in whose name.
///
/// ```no_run
/// use tidegate::call::google::GoogleAccount;
/// use tidegate::{Target, Vertex};
/// let account = GoogleAccount::from_json(&std::fs::read_to_string("key.json")?)?;
/// let target = Target::new("vertex/gemini-2.5-flash")?.vertex(Vertex::new("my-project", "europe-west1", Some(account)));
/// # let _ = target;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Vertex {
    /// The project that pays.
    pub project: String,
    /// The region, or `global`, `us`, `eu`.
    pub location: String,
    /// Whose tokens requests carry; without one the target's keys are sent as tokens, if there are any.
    pub account: Option<GoogleAccount>,
}

impl Vertex {
    /// Names project, location and account.
    #[must_use]
    pub fn new(project: &str, location: &str, account: Option<GoogleAccount>) -> Vertex {
        Vertex { project: project.to_owned(), location: location.to_owned(), account }
    }

    /// Returns the address of the servers at the location.
    pub(crate) fn host(&self) -> String {
        match self.location.as_str() {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            multi @ ("us" | "eu") => format!("https://aiplatform.{multi}.rep.googleapis.com"),
            region => format!("https://{region}-aiplatform.googleapis.com"),
        }
    }

    /// Returns what stands in front of everything that belongs to the project: `projects/P/locations/L`.
    pub(crate) fn parent(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.location)
    }
}
