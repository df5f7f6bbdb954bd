//! Which models a row is for: named tasks with a list of models each, or a model that the row itself names.
//!
//! A list is an ordered fallback over its own models and no others, so a row whose task's models all fail has failed: no
//! list leads to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::run::key::pick;
use crate::suggest::closest;

/// How rows are routed.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    /// The models of each task, the first preferred.
    pub models: BTreeMap<String, Vec<Arc<str>>>,
    /// The column that names a row's task; rows without one are asked of the client's own models.
    pub task_column: Option<String>,
    /// The column that names the one model of a row; it wins over the task's.
    pub model_column: Option<String>,
}

impl Tasks {
    /// Refuses models that the client does not have, and tasks that no column names.
    pub(super) fn verify(&self, client: &Client, each_model: bool) -> Result<()> {
        let all = client.all_models();
        for (task, models) in &self.models {
            if models.is_empty() {
                return Err(Error::Usage(format!("the task {task:?} has no models")));
            }
            if let Some(model) = models.iter().find(|model| !all.contains(model)) {
                return Err(Error::Usage(format!("the task {task:?} asks {model}, which is not one of the models")));
            }
        }
        if each_model && (self.task_column.is_some() || self.model_column.is_some()) {
            return Err(Error::Usage(
                "--each-model asks every model; leave --task-column and --model-column out".into(),
            ));
        }
        if each_model && client.ask_policy.ladder.iter().any(|rung| rung.model.is_some()) {
            return Err(Error::Usage(
                "--each-model asks every model, and this ladder asks its own ones; leave one of them out".into(),
            ));
        }
        match self.task_column {
            Some(_) if self.models.is_empty() => {
                Err(Error::Usage("--task-column needs tasks: write [tasks.NAME] models = […] in tidegate.toml".into()))
            }
            _ => Ok(()),
        }
    }

    /// Returns a row's models; none if the client's own are meant.
    pub(super) fn of(&self, row: &str, known: &[Arc<str>]) -> Result<Vec<Arc<str>>, String> {
        if let Some(name) = cell(row, self.model_column.as_deref())? {
            let model = known.iter().find(|model| ***model == *name);
            return model
                .map(|model| vec![model.clone()])
                .ok_or_else(|| unknown("model", &name, known.iter().map(|model| &**model)));
        }
        let Some(task) = cell(row, self.task_column.as_deref())? else { return Ok(Vec::new()) };
        self.models.get(&task).cloned().ok_or_else(|| unknown("task", &task, self.models.keys().map(String::as_str)))
    }
}

/// Returns what a row has in a column; null and empty text count as nothing.
fn cell(row: &str, column: Option<&str>) -> Result<Option<String>, String> {
    let Some(column) = column else { return Ok(None) };
    let mut found = [None];
    pick(row, |name| (name == column).then_some(0), &mut found)?;
    let text = found[0].map(|raw: &serde_json::value::RawValue| serde_json::from_str::<Option<String>>(raw.get()));
    let text = text.transpose().map_err(|_| format!("`{column}` is not a text"))?;
    Ok(text.flatten().filter(|text| !text.is_empty()))
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match closest(name, known.clone()) {
        Some(near) => format!("no {what} {name:?}; did you mean {near:?}?"),
        None => format!("no {what} {name:?}; there are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rows_own_model_wins_over_its_task() {
        let known: Vec<Arc<str>> = vec!["a/x".into(), "b/y".into()];
        let tasks = Tasks {
            models: BTreeMap::from([("sum".to_owned(), vec![known[1].clone(), known[0].clone()])]),
            task_column: Some("task".to_owned()),
            model_column: Some("model".to_owned()),
        };
        let of = |row: &str| tasks.of(row, &known).map(|models| models.join(" "));
        assert_eq!(of(r#"{"task": "sum"}"#).as_deref(), Ok("b/y a/x"));
        assert_eq!(of(r#"{"task": "sum", "model": "a/x"}"#).as_deref(), Ok("a/x"));
        assert_eq!(of(r#"{"task": "", "model": null}"#).as_deref(), Ok(""));
        assert_eq!(of(r#"{"task": "summ"}"#).unwrap_err(), r#"no task "summ"; did you mean "sum"?"#);
        assert!(of(r#"{"model": "q"}"#).unwrap_err().contains("a/x, b/y"));
        assert_eq!(of(r#"{"task": 3}"#).unwrap_err(), "`task` is not a text");
    }
}
