//! Templates over a row's columns.
//!
//! Strict: a column that a row does not have, and a null that would be printed as the word `none`, fail the row instead of
//! sending a prompt that nobody meant. A template may ask first (`{% if notes is defined %}`, `{{ notes | default("") }}`),
//! and finds columns whose names are no identifiers in `row`: `{{ row["Review Text"] }}`.

use std::sync::Arc;

use minijinja::value::{Object, Value};
use minijinja::{AutoEscape, Environment, Error as TemplateError, ErrorKind, UndefinedBehavior, escape_formatter};

use super::plain::Plain;
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
    user: Option<Named>,
    system: Option<Named>,
    variables: Arc<Variables>,
}

/// A template by the name that the engine has it under.
struct Named {
    name: String,
    plain: Option<Plain>,
}

/// What the templates look up.
#[derive(Debug, Default)]
struct Variables {
    columns: Vec<String>,
    /// Those columns that the templates ask for before they use them.
    optional: Vec<String>,
    whole_row: bool,
}

/// What the templates make of a row.
pub(super) struct Filled {
    pub(super) user: Option<String>,
    pub(super) system: Option<String>,
}

impl Templates {
    /// Parses the templates, each a name and a text; nothing if there is none. `known` are the input's columns.
    pub(super) fn new(
        user: Option<(&str, &str)>,
        system: Option<(&str, &str)>,
        known: Option<&[String]>,
    ) -> Result<Option<Templates>> {
        if user.or(system).is_none() {
            return Ok(None);
        }
        let mut env = environment();
        let mut variables = Variables::default();
        for (name, text) in user.into_iter().chain(system) {
            env.add_template_owned(name.to_owned(), text.to_owned()).map_err(|e| wrong(name, &e))?;
            try_out(&mut env, name)?;
            for variable in looked_up(&env, name, known) {
                variables.add(variable, text, known).map_err(|(line, fault)| Error::input_line(name, line, fault))?;
            }
        }
        let named = |template: Option<(&str, &str)>| {
            template.map(|(name, text)| Named { name: name.to_owned(), plain: Plain::read(text, &variables.columns) })
        };
        let (user, system) = (named(user), named(system));
        Ok(Some(Templates { env, user, system, variables: Arc::new(variables) }))
    }

    /// Returns the columns that the templates use; none if they see the whole row.
    pub(super) fn used_columns(&self) -> Vec<String> {
        if self.variables.whole_row { Vec::new() } else { self.variables.columns.clone() }
    }

    pub(super) fn takes_whole_row(&self) -> bool {
        self.variables.whole_row
    }

    /// Fills a row into the templates.
    pub(super) fn fill(&self, json: &str) -> Result<Filled, String> {
        let columns = &self.variables.columns;
        let mut values = vec![None; columns.len()];
        key::pick(json, |name| columns.iter().position(|column| column == name), &mut values)?;
        if let Some(filled) = self.fill_plainly(&values) {
            return Ok(filled);
        }
        let row = match self.variables.whole_row {
            true => Some(serde_json::from_str(json).map_err(|e| key::json_fault(&e))?),
            false => None,
        };
        let cells = Arc::new(Cells { variables: self.variables.clone(), values, row });
        let render =
            |named: &Option<Named>| named.as_ref().map(|named| self.render(&named.name, &cells, json)).transpose();
        Ok(Filled { user: render(&self.user)?, system: render(&self.system)? })
    }

    /// Fills the templates without the engine, where none of them needs it.
    fn fill_plainly(&self, values: &[Option<Value>]) -> Option<Filled> {
        let fill = |named: &Option<Named>| match named {
            Some(named) => named.plain.as_ref()?.fill(values).map(Some),
            None => Some(None),
        };
        Some(Filled { user: fill(&self.user)?, system: fill(&self.system)? })
    }

    fn render(&self, name: &str, cells: &Arc<Cells>, json: &str) -> Result<String, String> {
        let template = self.env.get_template(name).map_err(|e| describe(name, &e))?;
        template.render(Value::from_dyn_object(cells.clone())).map_err(|e| match e.kind() {
            ErrorKind::UndefinedError => {
                format!("{}: {}; {}", at(name, &e), cells.missing(), list_of_row(json))
            }
            _ => describe(name, &e),
        })
    }
}

impl Variables {
    /// Adds a variable of a template; of an unknown one returns the line and what is wrong with it.
    fn add(&mut self, variable: String, template: &str, known: Option<&[String]>) -> Result<(), (u64, String)> {
        let is_known = known.is_some_and(|known| known.contains(&variable));
        if variable == ROW && !is_known {
            self.whole_row = true;
            return Ok(());
        }
        match known {
            _ if mentions::is_optional(template, &variable) => self.optional.push(variable.clone()),
            Some(known) if !is_known => {
                let line = mentions::line_of(template, &variable).unwrap_or(1);
                return Err((line as u64, unknown_column(&variable, known)));
            }
            _ => {}
        }
        if !self.columns.contains(&variable) {
            self.columns.push(variable);
        }
        Ok(())
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
fn looked_up(env: &Environment<'_>, name: &str, known: Option<&[String]>) -> Vec<String> {
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

/// Details that quote no value.
const TOO_LARGE: [&str; 3] =
    ["range has too many elements", "repeated string is too large", "repeated sequence is too large"];

/// Says what is wrong; the engine's details only where they speak of the template, because others quote values.
fn reason(error: &TemplateError) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::WriteFailure, _) => "the value is null; write {{ x or \"\" }} to send nothing for it".to_owned(),
        (ErrorKind::OutOfFuel, _) => "the template does too much with this row".to_owned(),
        (kind, Some(detail)) if is_about_the_template(kind) || TOO_LARGE.contains(&detail) => {
            format!("{kind}: {detail}")
        }
        (kind, _) => kind.to_string(),
    }
}

/// The columns of one row that the templates use.
#[derive(Debug)]
struct Cells {
    variables: Arc<Variables>,
    values: Vec<Option<Value>>,
    row: Option<Value>,
}

impl Cells {
    /// Says which column is not there; the engine tells only the line.
    fn missing(&self) -> String {
        let Variables { columns, optional, .. } = &*self.variables;
        let mut missing =
            columns.iter().zip(&self.values).filter(|(_, value)| value.is_none()).map(|(column, _)| column);
        match missing.find(|column| !optional.contains(column)) {
            Some(column) => format!("column `{column}` is missing"),
            None => "a value is missing".to_owned(),
        }
    }
}

impl Object for Cells {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match self.variables.columns.iter().position(|column| column == key) {
            Some(index) => self.values[index].clone(),
            None => self.row.clone().filter(|_| key == ROW),
        }
    }
}
