//! A check in another language: a program that runs as long as it is needed.
//!
//! Starting a program for every answer would cost more than the answers of a fast server. So one process reads a line of
//! JSON for each answer and writes one back; a thread of its own talks to it, one answer at a time, so that nothing here
//! needs a runtime's signal handlers. A process that dies, or does not answer in time and is killed, has failed the check
//! of that answer; the next answer starts it again.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use crate::outcome::Fault;
use crate::response::Output;

/// The longest line that a program may write; one that never ends its line must not fill the memory.
const LONGEST: u64 = 1 << 20;

/// A command line and, once it is needed, the thread that talks to its process. Whoever waits for its turn is not timed.
pub(super) struct Command {
    line: String,
    timeout: Duration,
    talker: tokio::sync::Mutex<Option<Talker>>,
}

/// Questions to the thread, and the process, so that it can be killed in the middle of an answer.
struct Talker {
    questions: mpsc::Sender<Question>,
    running: Running,
}

type Running = Arc<Mutex<Option<Child>>>;

struct Question {
    line: String,
    answer: oneshot::Sender<Result<String, String>>,
}

/// What a process says about an answer.
struct Verdict(Vec<Fault>);

/// The long form of a verdict.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    ok: bool,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    faults: Vec<Fault>,
}

impl Command {
    pub(super) fn new(line: &str, timeout: Duration) -> Command {
        Command { line: line.to_owned(), timeout, talker: tokio::sync::Mutex::default() }
    }

    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Asks the process about an answer.
    pub(super) async fn faults(&self, output: &Output) -> Vec<Fault> {
        let output = output.clone().into_value();
        match self.ask(json!({ "output": output }).to_string()).await {
            Ok(Verdict(faults)) => faults,
            Err(message) => vec![whole(message)],
        }
    }

    async fn ask(&self, line: String) -> Result<Verdict, String> {
        let mut place = self.talker.lock().await;
        let talker = match place.take() {
            Some(talker) => talker,
            None => {
                Talker::start(&self.line).map_err(|error| format!("the check's thread cannot be started: {error}"))?
            }
        };
        let (answer, answered) = oneshot::channel();
        let gone = || "the check's thread has ended".to_owned();
        talker.questions.send(Question { line, answer }).map_err(|_| gone())?;
        // Left in its place in case this future is dropped: the thread reads what the program says to nobody.
        let talker = place.insert(talker);
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(answer) => verdict(&answer.map_err(|_| gone())??),
            Err(_) => {
                kill(&talker.running);
                // The thread may still be reading from what the program has started.
                *place = None;
                Err(format!("the check's program did not answer within {:?}", self.timeout))
            }
        }
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        if let Some(talker) = self.talker.get_mut() {
            kill(&talker.running);
        }
    }
}

fn kill(running: &Running) {
    if let Some(mut child) = running.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Either may fail only for a process that has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn whole(message: String) -> Fault {
    Fault { path: String::new(), message }
}

fn verdict(line: &str) -> Result<Verdict, String> {
    let good = |ok: bool| if ok { Vec::new() } else { vec![whole("the check's program refused it".to_owned())] };
    if let Ok(ok) = serde_json::from_str::<bool>(line) {
        return Ok(Verdict(good(ok)));
    }
    let said: Said = serde_json::from_str(line)
        .map_err(|_| "the check's program wrote neither true, false nor {\"ok\": …, \"message\": …}".to_owned())?;
    Ok(Verdict(match said {
        Said { ok: true, .. } => Vec::new(),
        Said { message: None, faults, .. } if faults.is_empty() => good(false),
        Said { message, faults, .. } => message.map(whole).into_iter().chain(faults).collect(),
    }))
}

impl Talker {
    fn start(line: &str) -> std::io::Result<Talker> {
        let (questions, asked) = mpsc::channel::<Question>();
        let running = Running::default();
        let (line, theirs) = (line.to_owned(), running.clone());
        let talk = move || {
            let mut pipes = None;
            for Question { line: question, answer } in asked {
                let result = exchange(&line, &theirs, &mut pipes, &question);
                if result.is_err() {
                    pipes = None;
                    kill(&theirs);
                }
                let _ = answer.send(result);
            }
        };
        std::thread::Builder::new().name("tidegate-check".to_owned()).spawn(talk)?;
        Ok(Talker { questions, running })
    }
}

struct Pipes {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// Writes a line to the process, which is started if it does not run, and reads one.
fn exchange(line: &str, running: &Running, pipes: &mut Option<Pipes>, question: &str) -> Result<String, String> {
    if running.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
        *pipes = Some(start(line, running)?);
    }
    let Pipes { to, from } = pipes.as_mut().ok_or("the check's program has no pipes")?;
    if !from.buffer().is_empty() {
        // Which of its lines is about which answer is no longer known.
        return Err("the check's program wrote more than one line for an answer".to_owned());
    }
    let mut answer = String::new();
    let exchanged = to.write_all(question.as_bytes()).and_then(|()| to.write_all(b"\n")).and_then(|()| to.flush());
    match exchanged.and_then(|()| from.take(LONGEST).read_line(&mut answer)) {
        Ok(_) if answer.len() as u64 >= LONGEST => Err("the check's program wrote a line without an end".to_owned()),
        Ok(0) => Err("the check's program ended without an answer".to_owned()),
        Ok(_) => Ok(answer),
        Err(error) => Err(format!("the check's program cannot be talked to: {error}")),
    }
}

fn start(line: &str, running: &Running) -> Result<Pipes, String> {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut command = std::process::Command::new(shell);
    command.arg(flag).arg(line).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("the check's program cannot be started: {error}"))?;
    let pipes = child.stdin.take().zip(child.stdout.take()).map(|(to, from)| Pipes { to, from: BufReader::new(from) });
    *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    pipes.ok_or_else(|| "the check's program has no pipes".to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    async fn ask(command: &Command, text: &str) -> Vec<String> {
        let faults = command.faults(&Output::Text(text.to_owned())).await;
        faults.into_iter().map(|fault| format!("{}:{}", fault.path, fault.message)).collect()
    }

    #[tokio::test]
    async fn one_process_answers_line_by_line() {
        let said = r#"{\"ok\": false, \"message\": \"no $n\", \"faults\": [{\"path\": \"/a\", \"message\": \"b\"}]}"#;
        let line = format!(
            r#"n=0; while read -r row; do n=$((n+1)); case "$row" in *good*) echo true;; *) echo "{said}";; esac; done"#
        );
        let command = Command::new(&line, Duration::from_secs(60));
        assert_eq!(ask(&command, "good").await, Vec::<String>::new());
        assert_eq!(ask(&command, "bad").await, [":no 2", "/a:b"]);
    }

    #[tokio::test]
    async fn a_crash_fails_one_check_and_the_program_is_started_again() {
        let line = r#"while read -r row; do case "$row" in *die*) exit 3;; *odd*) echo hm;; *) echo true;; esac; done"#;
        let command = Command::new(line, Duration::from_secs(60));
        assert_eq!(ask(&command, "good").await, Vec::<String>::new());
        assert_eq!(ask(&command, "die").await, [":the check's program ended without an answer"]);
        assert_eq!(ask(&command, "good").await, Vec::<String>::new());
        assert!(ask(&command, "odd").await[0].contains("neither true"));
    }

    #[tokio::test]
    async fn one_that_writes_too_much_is_not_believed() {
        let command = Command::new("while read -r row; do printf 'true\\ntrue\\n'; done", Duration::from_secs(60));
        assert_eq!(ask(&command, "good").await, Vec::<String>::new());
        assert!(ask(&command, "good").await[0].contains("more than one line"));
        assert_eq!(ask(&command, "good").await, Vec::<String>::new());
        let command = Command::new("read -r row; yes | tr -d '\\n'", Duration::from_secs(60));
        assert!(ask(&command, "good").await[0].contains("without an end"));
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed() {
        let line = r#"while read -r row; do case "$row" in *hang*) exec sleep 600;; *) echo true;; esac; done"#;
        let command = Command::new(line, Duration::from_millis(300));
        assert!(ask(&command, "hang").await[0].contains("did not answer within 300ms"));
        assert_eq!(ask(&command, "good").await, Vec::<String>::new());
    }
}
