//! Requests of one template and many values that are in memory, as a file's rows are made into them.

use std::sync::Arc;

use serde::Serialize;

use super::{Fetching, PromptOptions, Renderer};
use crate::error::{Error, Result};
use crate::request::Request;
use crate::run::input::{Place, Row};

/// Makes requests of one template and many values.
///
/// ```
/// use serde_json::json;
/// use tidegate::Template;
/// let template = Template::new("What does the package {{ name }} do?")?;
/// let requests = ["nginx", "redis"].map(|name| template.request(&json!({"name": name})));
/// for request in requests {
///     println!("{:?}", request?.task);
/// }
/// # Ok::<(), tidegate::Error>(())
/// ```
pub struct Template(Renderer);

impl Template {
    /// Makes one of the user's message alone.
    ///
    /// # Errors
    ///
    /// Says where the template is wrong.
    pub fn new(prompt: &str) -> Result<Template> {
        let template = Some((prompt.to_owned(), "template".to_owned()));
        Template::with(&PromptOptions { template, ..PromptOptions::default() })
    }

    /// Makes one with everything that a file's rows may be given: a system message, parameters, a schema, media.
    ///
    /// # Errors
    ///
    /// Says where a template is wrong, and what is missing.
    pub fn with(options: &PromptOptions) -> Result<Template> {
        Renderer::new(options, None).map(Template)
    }

    /// Makes a request of a value, which is a map or a struct: its fields are what the template names.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] says which field is missing, or that the value has none.
    pub fn request<T: Serialize + ?Sized>(&self, value: &T) -> Result<Request> {
        self.render(value).map_err(|message| Error::input("template", message))
    }

    fn render<T: Serialize + ?Sized>(&self, value: &T) -> Result<Request, String> {
        let json = serde_json::to_vec(value).map_err(|error| error.to_string())?;
        if json.first() != Some(&b'{') {
            return Err("the value has no fields; give a map or a struct".to_owned());
        }
        let place = Place { file: Arc::from("template"), line: 1 };
        let row = Row { place, json: json.into(), fault: None };
        let attached = self.0.attach(&row, &Fetching::default())?;
        Ok(self.0.render(&row, attached)?.request)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_filled_in_and_one_that_does_not_fit_is_named() {
        let template = Template::new("What is {{ name }}?").unwrap();
        assert_eq!(template.request(&json!({"name": "nginx"})).unwrap(), Request::prompt("What is nginx?"));
        let missing = template.request(&json!({"title": "nginx"})).unwrap_err().to_string();
        assert!(missing.contains("name"), "{missing}");
        let plain = template.request("nginx").unwrap_err().to_string();
        assert!(plain.contains("no fields"), "{plain}");
        assert!(Template::new("{{ name").is_err());
    }
}
