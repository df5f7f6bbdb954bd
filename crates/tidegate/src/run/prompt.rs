//! Turns rows into requests.
//!
//! With a template the row's columns are filled into it; without one the row itself says what is asked: a line of an
//! OpenAI batch file, a `body`, `messages`, or a plain `prompt` or `text`. Only the columns that are needed are read,
//! the rest of a row is passed over unparsed.
//!
//! What the template and the first row can show to be wrong is an error before anything is sent. What is wrong with a
//! later row fails that row alone. No message quotes what a row holds.

mod attach;
mod fingerprint;
mod mentions;
mod plain;
mod shape;
mod template;
mod values;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::request::{Message, Params, Request, Role, Task};
use crate::run::input::Row;
use crate::run::key;
use crate::schema::Schema;
use crate::suggest;

pub use self::attach::{Attached, Fetching, MediaColumn};
pub use self::fingerprint::fingerprint;
use self::template::Templates;
pub use self::values::Template;

/// How rows become requests.
#[derive(Debug, Clone, Default)]
pub struct PromptOptions {
    /// The template of the user's message, with the name it has in messages: `-p` or its file.
    pub template: Option<(String, String)>,
    /// The template of the system message.
    pub system: Option<String>,
    /// The column to make embeddings of, instead of asking a model to write.
    pub embed: Option<String>,
    /// The columns that hold files or addresses of media, which go with the user's message.
    pub media: Vec<MediaColumn>,
    /// Whether what a model's format cannot carry is left out with a warning, instead of failing the row.
    pub lossy: bool,
    /// What every request is to be answered with.
    pub params: Params,
    /// The form that every answer must have.
    pub schema: Option<Arc<Schema>>,
    /// The column that holds the rows' ids; here only to be looked for in the header.
    pub id_column: Option<String>,
}

/// Makes requests from rows.
pub struct Renderer {
    plan: Plan,
    used: Vec<String>,
    params: Params,
    schema: Option<Arc<Schema>>,
    media: Vec<MediaColumn>,
    lossy: bool,
}

/// Where a request's content comes from.
enum Plan {
    Template(Templates),
    /// This column is embedded.
    Embed(String),
    /// The row itself, with a system message if there is a template for one.
    Row(Option<Templates>),
}

/// A row's request.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The request.
    pub request: Request,
    /// Whether the row is a line of an OpenAI batch file, which is answered in the same form.
    pub batch: bool,
}

impl Renderer {
    /// Reads the templates and checks them against the columns of the first row or header, if they are known.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] names the template's line that is wrong or asks for an unknown column; [`Error::Usage`] says what
    /// is missing.
    pub fn new(options: &PromptOptions, columns: Option<&[String]>) -> Result<Renderer> {
        if let (Some(columns), Some(id)) = (columns, &options.id_column) {
            require(id, columns, "--id-column")?;
        }
        for media in &options.media {
            match (columns, &options.embed) {
                (_, Some(_)) => {
                    return Err(Error::Usage(format!("{} goes with a prompt, not with --embed", media.flag())));
                }
                (Some(columns), None) => require(&media.column, columns, &media.flag())?,
                (None, None) => {}
            }
        }
        let template = options.template.as_ref().map(|(text, name)| (name.as_str(), text.as_str()));
        let system = options.system.as_deref().map(|text| ("--system", text));
        let templates = Templates::new(template, system, columns)?;
        let plan = match (&options.embed, template) {
            (Some(_), _) if options.schema.is_some() => {
                return Err(Error::Usage("an embedding has no schema; leave --schema or --embed out".to_owned()));
            }
            (Some(_), _) if templates.is_some() => {
                return Err(Error::Usage("--embed takes its text from a column; leave the templates out".to_owned()));
            }
            (Some(column), _) => Plan::Embed(column.clone()),
            (None, None) => Plan::Row(templates),
            (None, Some(_)) => templates.map_or(Plan::Row(None), Plan::Template),
        };
        if let Some(columns) = columns {
            plan.check(columns)?;
        }
        let mut used = plan.used_columns();
        if !plan.takes_whole_row() {
            used.extend(options.media.iter().map(|media| media.column.clone()));
        }
        let (params, media, lossy) = (options.params.clone(), options.media.clone(), options.lossy);
        Ok(Renderer { used, plan, params, schema: options.schema.clone(), media, lossy })
    }

    /// Returns the columns that requests are made from; none means that the whole row counts.
    #[must_use]
    pub fn used_columns(&self) -> &[String] {
        &self.used
    }

    /// Reads the files that a row names in its media columns.
    ///
    /// # Errors
    ///
    /// Names the column and the file that is missing, too large or of another kind.
    pub fn attach(&self, row: &Row, fetching: &Fetching) -> Result<Attached, String> {
        if self.media.is_empty() {
            return Ok(Attached::default());
        }
        attach::attach(&self.media, row.text()?, &row.place, fetching)
    }

    /// Returns whether a row names anything that is fetched from a store.
    pub(crate) fn fetches(&self, row: &Row, fetching: &Fetching) -> bool {
        !self.media.is_empty() && row.text().is_ok_and(|text| attach::fetches(&self.media, text, fetching))
    }

    /// Makes the request of a row, with what was [attached](Renderer::attach) to it.
    ///
    /// # Errors
    ///
    /// Says which column of the row, or which line of the template with this row, is wrong.
    pub fn render(&self, row: &Row, attached: Attached) -> Result<Rendered, String> {
        let text = row.text()?;
        let (request, batch) = match &self.plan {
            Plan::Template(templates) => {
                let filled = templates.fill(text)?;
                let request = Request::prompt(filled.user.unwrap_or_default());
                (with_system(request, filled.system), false)
            }
            Plan::Embed(column) => (Request::embed(shape::text_column(text, column)?), false),
            Plan::Row(system) => {
                let system = system.as_ref().map(|templates| templates.fill(text)).transpose()?;
                shape::request(&row.json, text, system.and_then(|filled| filled.system))?
            }
        };
        let (params, schema) = (self.params.clone(), self.schema.clone());
        let request = Request { params, schema, lossy: self.lossy, ..request };
        Ok(Rendered { request: with_media(request, attached)?, batch })
    }
}

impl Plan {
    fn check(&self, columns: &[String]) -> Result<()> {
        match self {
            Plan::Template(_) => Ok(()),
            Plan::Embed(column) => require(column, columns, "--embed"),
            Plan::Row(_) if shape::ASKS.iter().any(|name| columns.iter().any(|column| column == name)) => Ok(()),
            Plan::Row(_) => Err(Error::Usage(format!(
                "the rows have neither messages, body, prompt nor text; say what to ask with \
                 -p 'Summarise: {{{{ COLUMN }}}}'; {}",
                list(columns)
            ))),
        }
    }

    /// Returns whether every column may make a difference.
    fn takes_whole_row(&self) -> bool {
        match self {
            Plan::Template(templates) | Plan::Row(Some(templates)) => templates.takes_whole_row(),
            Plan::Embed(_) | Plan::Row(None) => false,
        }
    }

    fn used_columns(&self) -> Vec<String> {
        match self {
            Plan::Template(templates) => templates.used_columns(),
            Plan::Embed(column) => vec![column.clone()],
            Plan::Row(None) => shape::COLUMNS.map(str::to_owned).to_vec(),
            Plan::Row(Some(system)) if system.takes_whole_row() => Vec::new(),
            Plan::Row(Some(system)) => {
                let mut used = system.used_columns();
                used.extend(shape::COLUMNS.map(str::to_owned));
                used
            }
        }
    }
}

/// Puts media in front of what the user says last: models are told to look first, and then what for.
fn with_media(mut request: Request, attached: Attached) -> Result<Request, String> {
    if attached.parts.is_empty() {
        return Ok(request);
    }
    let Task::Chat(messages) = &mut request.task else { return Ok(request) };
    if request.original.is_some() {
        return Err("a file cannot be put into a row's own `body`; name it in the body".to_owned());
    }
    match messages.iter_mut().rev().find(|message| message.role == Role::User) {
        Some(last) => drop(last.parts.splice(0..0, attached.parts)),
        None => messages.push(Message { parts: attached.parts, ..Message::user() }),
    }
    Ok(request)
}

fn with_system(request: Request, system: Option<String>) -> Request {
    match system {
        Some(text) => request.system(text),
        None => request,
    }
}

/// Refuses a column that an option names and the input has not.
fn require(column: &str, columns: &[String], option: &str) -> Result<()> {
    match columns.iter().any(|name| name == column) {
        true => Ok(()),
        false => Err(Error::Usage(format!("{option}: {}", unknown_column(column, columns)))),
    }
}

/// Says that a column does not exist, which one may be meant and which there are.
fn unknown_column(column: &str, columns: &[String]) -> String {
    let all = list(columns);
    match suggest::closest(column, columns.iter().map(String::as_str)) {
        Some(meant) => format!("there is no column `{column}`; did you mean `{meant}`? {all}"),
        None => format!("there is no column `{column}`; {all}"),
    }
}

/// The most columns that a message lists.
const LISTED: usize = 30;

fn list(columns: &[String]) -> String {
    let shown: Vec<&str> = columns.iter().take(LISTED).map(String::as_str).collect();
    let more = if columns.len() > LISTED { format!(" and {} more", columns.len() - LISTED) } else { String::new() };
    match shown.is_empty() {
        true => "there are no columns".to_owned(),
        false => format!("the columns are: {}{more}", shown.join(", ")),
    }
}

/// Lists the columns that one row has.
fn list_of_row(json: &str) -> String {
    match key::columns_of(json) {
        Ok(columns) => format!("in this row {}", list(&columns)),
        Err(fault) => fault,
    }
}

#[cfg(test)]
mod tests;
