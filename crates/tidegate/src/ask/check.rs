//! What an answer must pass besides its schema.
//!
//! A check looks at one answer and says what is wrong with it. One that crashes, panics or takes too long has not found
//! the answer good, and counts as failed: a broken check must not wave anything through.

mod command;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use minijinja::Environment;
use minijinja::value::Serde;
use regex::Regex;
use serde_json::Value;

use self::command::Command;
use crate::error::{Error, Result};
use crate::outcome::Fault;
use crate::request::Request;
use crate::response::{Output, Response};

/// Steps that an expression may take; one that needs more is caught in a loop.
const FUEL: u64 = 1_000_000;

/// One check of answers.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Check, Client, Target};
/// let client = Client::builder()
///     .target(Target::new("sim/echo")?)
///     .check(Check::regex("^[A-Z]")?)
///     .check(Check::expression("output | length < 200")?)
///     .check(Check::command("python3 check.py", Duration::from_secs(10)))
///     .check(Check::new("no apology", |_request, response| match &response.output {
///         tidegate::Output::Text(text) if text.contains("sorry") => Err("an apology is no answer".to_owned()),
///         _ => Ok(()),
///     }))
///     .build()?;
/// # let _ = client;
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Clone)]
pub struct Check(Arc<Test>);

enum Test {
    Regex(Regex),
    Expression { source: String, environment: Environment<'static> },
    Command(Command),
    Closure { name: String, test: Box<Closure> },
}

type Closure = dyn Fn(&Request, &Response) -> std::result::Result<(), String> + Send + Sync;

impl Check {
    /// Demands that a regular expression is found in the answer's text; of an answer with a schema, in its JSON.
    ///
    /// # Errors
    ///
    /// Says where the expression is wrong.
    pub fn regex(pattern: &str) -> Result<Check> {
        let regex = Regex::new(pattern);
        regex.map(|regex| Check(Arc::new(Test::Regex(regex)))).map_err(|e| wrong("regular expression", pattern, &e))
    }

    /// Demands that a template expression is true, such as `output.total > 0`; `output` is the answer.
    ///
    /// # Errors
    ///
    /// Says where the expression is wrong.
    pub fn expression(source: &str) -> Result<Check> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.compile_expression(source).map_err(|error| wrong("expression", source, &error))?;
        Ok(Check(Arc::new(Test::Expression { source: source.to_owned(), environment })))
    }

    /// Asks a program, which runs as long as it is needed: for each line `{"output": …}` that it reads it writes a line
    /// `true`, `false`, or `{"ok": false, "message": "…"}`.
    #[must_use]
    pub fn command(command: &str, timeout: Duration) -> Check {
        Check(Arc::new(Test::Command(Command::new(command, timeout))))
    }

    /// Asks a closure, which says what is wrong; the name is shown where the check is.
    pub fn new<F>(name: &str, test: F) -> Check
    where
        F: Fn(&Request, &Response) -> std::result::Result<(), String> + Send + Sync + 'static,
    {
        Check(Arc::new(Test::Closure { name: name.to_owned(), test: Box::new(test) }))
    }

    /// Returns what is wrong with an answer.
    pub(super) async fn faults(&self, request: &Request, response: &Response) -> Vec<Fault> {
        let result = match &*self.0 {
            Test::Regex(regex) => match regex.is_match(&text(&response.output)) {
                true => Ok(()),
                false => Err(format!("does not match {regex}")),
            },
            Test::Expression { source, environment } => holds(source, environment, &response.output),
            Test::Command(command) => return command.faults(&response.output).await,
            Test::Closure { name, test } => catch_unwind(AssertUnwindSafe(|| test(request, response)))
                .unwrap_or_else(|_| Err(format!("the check {name:?} panicked"))),
        };
        result.err().map(|message| Fault { path: String::new(), message }).into_iter().collect()
    }

    /// Returns what tells this check from others.
    pub(super) fn describe(&self) -> String {
        match &*self.0 {
            Test::Regex(regex) => format!("regex {regex}"),
            Test::Expression { source, .. } => format!("expression {source}"),
            Test::Command(command) => format!("command {}", command.line()),
            Test::Closure { name, .. } => format!("closure {name}"),
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({})", self.describe())
    }
}

fn wrong(what: &str, source: &str, error: &dyn fmt::Display) -> Error {
    Error::Usage(format!("the check `{source}` is no {what}: {error}"))
}

fn holds(source: &str, environment: &Environment<'_>, output: &Output) -> std::result::Result<(), String> {
    let output = match output {
        Output::Text(text) => minijinja::Value::from(text),
        Output::Json(value) => minijinja::Value::from(Serde(value)),
        Output::Embedding(vector) => minijinja::Value::from(Serde(vector)),
    };
    let context = minijinja::Value::from_pairs([("output", output)]);
    // Compiling takes a microsecond, and a compiled expression borrows its source.
    let value = environment.compile_expression(source).and_then(|expression| expression.eval(context));
    match value {
        Ok(value) if value.is_true() => Ok(()),
        Ok(_) => Err(format!("`{source}` is not true")),
        // Its details quote the answer.
        Err(error) => Err(format!("`{source}` cannot be told: {}", error.kind())),
    }
}

/// Returns the answer as one text.
fn text(output: &Output) -> std::borrow::Cow<'_, str> {
    match output {
        Output::Text(text) => text.into(),
        Output::Json(value) => value.to_string().into(),
        Output::Embedding(vector) => Value::from(vector.clone()).to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn json_response(value: Value) -> Response {
        Response { output: Output::Json(value), ..Response::text("") }
    }

    async fn message(check: &Check, response: &Response) -> Option<String> {
        check.faults(&Request::prompt("x"), response).await.pop().map(|fault| fault.message)
    }

    #[tokio::test]
    async fn an_expression_sees_the_answers_fields() {
        let check = Check::expression("output.total > 0 and output.items | length == 2").unwrap();
        assert_eq!(message(&check, &json_response(json!({"total": 3, "items": [1, 2]}))).await, None);
        let told = "`output.total > 0 and output.items | length == 2` is not true";
        assert_eq!(message(&check, &json_response(json!({"total": 0, "items": []}))).await.as_deref(), Some(told));
        assert!(message(&check, &Response::text("3")).await.is_some());
        let crash = Check::expression("output.a.b.c > 0").unwrap();
        assert!(message(&crash, &Response::text("secret")).await.is_some_and(|text| !text.contains("secret")));
    }

    #[tokio::test]
    async fn a_regex_looks_into_the_text() {
        let check = Check::regex("^(yes|no)$").unwrap();
        assert_eq!(message(&check, &Response::text("yes")).await, None);
        assert_eq!(message(&check, &Response::text("well")).await.as_deref(), Some("does not match ^(yes|no)$"));
    }

    #[tokio::test]
    async fn a_check_that_panics_is_a_failed_check() {
        let check = Check::new("bad", |_, _| panic!("at once"));
        assert_eq!(message(&check, &Response::text("")).await.as_deref(), Some("the check \"bad\" panicked"));
    }

    #[test]
    fn wrong_checks_are_refused_at_the_start() {
        assert!(Check::regex("(").unwrap_err().to_string().contains("no regular expression"));
        assert!(Check::expression("output.").unwrap_err().to_string().contains("no expression"));
    }
}
