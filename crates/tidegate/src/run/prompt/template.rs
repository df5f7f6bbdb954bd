//! Templates over a row's columns.
//!
//! Strict: a column that a row does not have, and a null that would be printed as the word `none`, fail the row instead of
//! sending a prompt that nobody meant. A template may ask first (`{% if notes is defined %}`, `{{ notes | default("") }}`),
//! and finds columns whose names are no identifiers in `row`: `{{ row["Review Text"] }}`.

use std::sync::Arc;

use minijinja::value::{Object, Value};
use minijinja::{AutoEscape, Environment, Error as TemplateError, ErrorKind, UndefinedBehavior, escape_formatter};

use super::{list_of_row, mentions, unknown_column};
use crate::error::{Error, Result};
use crate::run::key;

/// What one row's templates may do: about as many steps, or 64 times as many bytes. Bounds an endless loop to well under
/// a second and yet lets a row of the largest size through.
const FUEL: u64 = 10_000_000;

/// The variable that holds the whole row, unless there is a column of that name.
const ROW: &str = "row";

/// The templates of a run, parsed once.
pub(super) struct Templates {
    env: Environment<'static>,
    user: Option<String>,
    system: Option<String>,
    columns: Arc<[String]>,
    /// Columns that the templates ask for before they use them.
    optional: Vec<String>,
    whole_row: bool,
}

/// What the templates make of a row.
pub(super) struct Filled {
    pub(super) user: Option<String>,
    pub(super) system: Option<String>,
}

impl Templates {
    /// Parses the templates, each a name and a text; nothing if there is none.
    pub(super) fn new(
        user: Option<(&str, &str)>,
        system: Option<(&str, &str)>,
        known: Option<&[String]>,
    ) -> Result<Option<Templates>> {
        let given: Vec<(&str, &str)> = user.into_iter().chain(system).collect();
        if given.is_empty() {
            return Ok(None);
        }
        let mut env = environment();
        let mut templates = Templates {
            env: Environment::empty(),
            user: user.map(|(name, _)| name.to_owned()),
            system: system.map(|(name, _)| name.to_owned()),
            columns: Arc::default(),
            optional: Vec::new(),
            whole_row: false,
        };
        let mut columns = Vec::new();
        for (name, text) in given {
            env.add_template_owned(name.to_owned(), text.to_owned()).map_err(|e| wrong(name, &e))?;
            try_out(&mut env, name)?;
            for variable in variables(&env, name, known) {
                let is_row = variable == ROW && !known.is_some_and(|known| known.contains(&variable));
                let optional = mentions::is_optional(text, &variable);
                match known {
                    _ if is_row => templates.whole_row = true,
                    Some(known) if !optional && !known.contains(&variable) => {
                        let line = mentions::line_of(text, &variable).unwrap_or(1);
                        return Err(Error::input_line(name, line as u64, unknown_column(&variable, known)));
                    }
                    _ if !columns.contains(&variable) => columns.push(variable.clone()),
                    _ => {}
                }
                if optional {
                    templates.optional.push(variable);
                }
            }
        }
        templates.env = env;
        templates.columns = columns.into();
        Ok(Some(templates))
    }

    /// Returns the columns that the templates use; none if they see the whole row.
    pub(super) fn used_columns(&self) -> Vec<String> {
        if self.whole_row { Vec::new() } else { self.columns.to_vec() }
    }

    pub(super) fn takes_whole_row(&self) -> bool {
        self.whole_row
    }

    /// Fills a row into the templates.
    pub(super) fn fill(&self, json: &str) -> Result<Filled, String> {
        let mut values = vec![None; self.columns.len()];
        key::pick(json, |name| self.columns.iter().position(|column| column == name), &mut values)?;
        let row = match self.whole_row {
            true => Some(serde_json::from_str(json).map_err(|e| key::json_fault(&e))?),
            false => None,
        };
        let cells = Arc::new(Cells { columns: self.columns.clone(), values, row });
        let render = |name: &Option<String>| name.as_deref().map(|name| self.render(name, &cells, json)).transpose();
        Ok(Filled { user: render(&self.user)?, system: render(&self.system)? })
    }

    fn render(&self, name: &str, cells: &Arc<Cells>, json: &str) -> Result<String, String> {
        let template = self.env.get_template(name).map_err(|e| describe(name, &e))?;
        template.render(Value::from_dyn_object(cells.clone())).map_err(|e| match e.kind() {
            ErrorKind::UndefinedError => self.missing(name, &e, cells, json),
            _ => describe(name, &e),
        })
    }

    fn missing(&self, name: &str, error: &TemplateError, cells: &Cells, json: &str) -> String {
        let missing = self
            .columns
            .iter()
            .zip(&cells.values)
            .find(|(column, value)| value.is_none() && !self.optional.contains(column));
        match missing {
            Some((column, _)) => format!("{}: column `{column}` is missing; {}", at(name, error), list_of_row(json)),
            None => format!("{}: a value is missing; {}", at(name, error), list_of_row(json)),
        }
    }
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_formatter(|out, state, value| match value.is_none() {
        true => Err(TemplateError::new(ErrorKind::WriteFailure, "")),
        false => escape_formatter(out, state, value),
    });
    env
}

/// Runs a template without any row, to find names of filters and functions that do not exist before anything is sent.
fn try_out(env: &mut Environment<'_>, name: &str) -> Result<()> {
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    let result = env.get_template(name).and_then(|template| template.render(Value::UNDEFINED));
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    match result {
        Err(error) if is_about_the_template(error.kind()) => Err(wrong(name, &error)),
        _ => Ok(()),
    }
}

/// Returns the variables that a template looks up, without the functions that are always there.
fn variables(env: &Environment<'_>, name: &str, known: Option<&[String]>) -> Vec<String> {
    let Ok(template) = env.get_template(name) else { return Vec::new() };
    let is_column = |variable: &String| known.is_some_and(|known| known.contains(variable));
    let mut variables: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    variables.retain(|variable| is_column(variable) || !env.globals().any(|(global, _)| global == variable));
    variables.sort_unstable();
    variables
}

fn is_about_the_template(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::SyntaxError
            | ErrorKind::BadEscape
            | ErrorKind::TemplateNotFound
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownBlock
    )
}

fn wrong(name: &str, error: &TemplateError) -> Error {
    Error::input_line(name, error.line().unwrap_or(1) as u64, reason(error))
}

fn describe(name: &str, error: &TemplateError) -> String {
    format!("{}: {}", at(name, error), reason(error))
}

fn at(name: &str, error: &TemplateError) -> String {
    format!("template {name}, line {}", error.line().unwrap_or(1))
}

/// Says what is wrong; the engine's details only where they speak of the template, because others quote values.
fn reason(error: &TemplateError) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::WriteFailure, _) => "the value is null; write {{ x or \"\" }} to send nothing for it".to_owned(),
        (ErrorKind::OutOfFuel, _) => "the template does too much with this row".to_owned(),
        (kind, Some(detail)) if is_about_the_template(kind) => format!("{kind}: {detail}"),
        (kind, _) => kind.to_string(),
    }
}

/// The columns of one row that the templates use.
#[derive(Debug)]
struct Cells {
    columns: Arc<[String]>,
    values: Vec<Option<Value>>,
    row: Option<Value>,
}

impl Object for Cells {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match self.columns.iter().position(|column| column == key) {
            Some(index) => self.values[index].clone(),
            None => self.row.clone().filter(|_| key == ROW),
        }
    }
}
