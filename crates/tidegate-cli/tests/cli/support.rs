//! What every test needs: a directory of its own, the command without the developer's environment, a simulated provider.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// The binary under test.
pub(crate) const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// A directory that is gone at the end of the test.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Returns the records of a JSONL output; a torn last line fails the test.
    pub(crate) fn records(&self, name: &str) -> Vec<Value> {
        records(&self.read(name))
    }

    /// Returns a command that runs here and sees neither keys nor settings of the developer's.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.dir.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    pub(crate) fn tidegate(&self, arguments: &[&str]) -> Command {
        self.command(TIDEGATE, arguments)
    }

    /// Runs `tidegate` with arguments separated by blanks; what holds blanks itself goes through [`Place::tidegate`].
    pub(crate) fn run(&self, arguments: &str) -> Done {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        done(&mut self.tidegate(&arguments))
    }
}

impl Done {
    /// Checks the exit code, and shows everything if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Done {
        assert_eq!(self.status.code(), Some(code), "{}\n{}", self.stderr, self.stdout);
        self
    }

    /// Checks that the standard error holds each text.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Done {
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} in:\n{}", self.stderr);
        }
        self
    }
}

/// Runs a command to its end.
pub(crate) fn done(command: &mut Command) -> Done {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Done { status, stdout: String::from_utf8(stdout).unwrap(), stderr: String::from_utf8(stderr).unwrap() }
}

/// Parses JSONL of whole lines.
#[track_caller]
pub(crate) fn records(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {:?}", text.lines().last());
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Returns the records by id; an id that comes twice fails the test.
#[track_caller]
pub(crate) fn by_id(records: &[Value]) -> BTreeMap<String, &Value> {
    let by_id: BTreeMap<_, _> = records.iter().map(|record| (text(&record["id"]), record)).collect();
    assert_eq!(by_id.len(), records.len(), "an id comes twice");
    by_id
}

/// Returns a JSON text without quotes, and anything else as it is written.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Rows `{"id": "r0", "text": "question 0"}` up to a number.
pub(crate) fn rows(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| format!("{{\"id\": \"r{number}\", \"text\": \"question {number}\"}}\n")).collect()
}

/// A simulated provider in a process of its own, which ends with the test.
pub(crate) struct Sim {
    child: Child,
    address: String,
}

impl Sim {
    /// Starts one that behaves as the YAML says.
    pub(crate) fn start(scenario: &str) -> Sim {
        Sim::start_with(scenario, &[])
    }

    pub(crate) fn start_with(scenario: &str, arguments: &[&str]) -> Sim {
        let place = Place::new();
        place.write("scenario.yaml", scenario);
        let mut command = place.tidegate(&["sim", "--listen", "127.0.0.1:0", "--scenario", "scenario.yaml"]);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("//").next().unwrap().to_owned();
        assert!(address.starts_with("127.0.0.1:"), "the simulator said {line:?}");
        Sim { child, address }
    }

    /// Returns its host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns what `--base-url` wants.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns what has arrived and what became of it.
    pub(crate) fn stats(&self) -> Value {
        self.ask("GET", "/__sim/stats")
    }

    /// Returns one number of the statistics.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.stats()[name].as_u64().unwrap_or_else(|| panic!("no number {name}"))
    }

    /// Forgets what has arrived.
    pub(crate) fn reset(&self) {
        self.ask("POST", "/__sim/reset");
    }

    fn ask(&self, method: &str, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a [`Server`] does with a request.
pub(crate) enum Reply {
    /// Sends these bytes as they are.
    Bytes(String),
    /// Closes the connection.
    Close,
    /// Never answers.
    Hang,
}

impl Reply {
    /// Makes a reply with a length, and with headers that each end in `\r\n`.
    pub(crate) fn of(status: &str, headers: &str, body: &str) -> Reply {
        Reply::Bytes(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
    }

    /// Makes a good reply to a chat.
    pub(crate) fn chat(text: &str) -> Reply {
        let message = json!({"role": "assistant", "content": text});
        let body = json!({"choices": [{"message": message, "finish_reason": "stop"}]});
        Reply::of("200 OK", "", &body.to_string())
    }
}

/// A server that answers what no simulator would.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Request {
    /// Head and body; what is no text in the body is left out.
    pub(crate) text: String,
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only telemetry is no text"))]
    pub(crate) body: Vec<u8>,
}

impl Server {
    /// Starts one; `answer` gets each request as it came, with its head.
    pub(crate) fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Request>>>::default());
        let (answer, log) = (Arc::new(answer), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (answer.clone(), log.clone());
                std::thread::spawn(move || converse(stream.unwrap(), &*answer, &log));
            }
        });
        Server { address, seen }
    }

    /// Returns what `--base-url` wants.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns every request so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.text).collect()
    }

    /// Returns every request so far, with bodies as they came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn converse(mut stream: TcpStream, answer: &dyn Fn(&str) -> Reply, log: &Mutex<Vec<Request>>) {
    while let Some(request) = next_request(&mut stream) {
        log.lock().unwrap().push(request.clone());
        match answer(&request.text) {
            Reply::Bytes(bytes) if stream.write_all(bytes.as_bytes()).is_ok() => {}
            Reply::Bytes(_) | Reply::Close => return,
            Reply::Hang => std::thread::sleep(Duration::from_secs(60)),
        }
    }
}

/// Reads a head and as much of a body as it says.
fn next_request(stream: &mut TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let start = request.len();
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
        let line = request[start..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { text: request + std::str::from_utf8(&body).unwrap_or_default(), body })
}
