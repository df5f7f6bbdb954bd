//! The floor to compare with: what sending a file of prompts costs at the very least.
//!
//! One thread, one connection per slot, typed JSON both ways, buffered output; no limits, retries, journal or resume.
//!
//!     cargo bench -p tidegate --bench floor -- --url http://127.0.0.1:8080/v1/chat/completions \
//!         --rows rows.jsonl --out out.jsonl --concurrency 256
//!
//! It prints one line of JSON: requests, wall and CPU seconds, and peak memory in kB.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    prompt: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct Message<'a> {
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: [Message<'a>; 1],
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    output: &'a str,
}

/// What the slots share.
struct Job {
    rows: RefCell<BufReader<File>>,
    out: RefCell<BufWriter<File>>,
    /// Requests and tokens so far.
    done: Cell<(u64, u64)>,
}

/// Sends row after row over one connection.
async fn slot(job: Rc<Job>, uri: http::Uri) -> Result<()> {
    let host = uri.authority().ok_or("--url has no host")?.to_string();
    let path = uri.path_and_query().ok_or("--url has no path")?.to_string();
    let stream = TcpStream::connect(&host).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(connection);
    let mut line = String::new();
    loop {
        line.clear();
        if job.rows.borrow_mut().read_line(&mut line)? == 0 {
            return Ok(());
        }
        let row: Row<'_> = serde_json::from_str(&line)?;
        let messages = [Message { role: "user".into(), content: row.prompt }];
        let body = serde_json::to_vec(&Body { model: "sim", messages })?;
        let request = http::Request::post(&path).header("host", &host).header("content-type", "application/json");
        let reply = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        if reply.status() != 200 {
            return Err(format!("the server answered {}", reply.status()).into());
        }
        let body = reply.into_body().collect().await?.to_bytes();
        let reply: Reply<'_> = serde_json::from_slice(&body)?;
        let output = &reply.choices.first().ok_or("a reply without choices")?.message.content;
        let mut out = job.out.borrow_mut();
        serde_json::to_writer(&mut *out, &Record { id: &row.id, output })?;
        out.write_all(b"\n")?;
        let used = reply.usage.prompt_tokens + reply.usage.completion_tokens;
        job.done.update(|(requests, tokens)| (requests + 1, tokens + used));
    }
}

/// Returns the CPU seconds of the one thread, and the peak memory in kB, as Linux counts them.
fn usage() -> Result<(f64, u64)> {
    let nanoseconds: f64 = fs::read_to_string("/proc/self/schedstat")?.split(' ').next().ok_or("schedstat")?.parse()?;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok((nanoseconds / 1e9, peak.trim().trim_end_matches(" kB").parse()?))
}

fn option(name: &str) -> Result<String> {
    let mut words = std::env::args().skip_while(|word| word != name).skip(1);
    words.next().ok_or_else(|| format!("{name} is missing").into())
}

#[expect(clippy::print_stdout, reason = "the result is what the program is for")]
fn main() -> Result<()> {
    if !std::env::args().any(|word| word == "--url") {
        return Ok(()); // `cargo bench` without arguments runs every bench; this one needs a server.
    }
    let (uri, concurrency): (http::Uri, usize) = (option("--url")?.parse()?, option("--concurrency")?.parse()?);
    let rows = RefCell::new(BufReader::with_capacity(1 << 16, File::open(option("--rows")?)?));
    let out = RefCell::new(BufWriter::with_capacity(1 << 16, File::create(option("--out")?)?));
    let job = Rc::new(Job { rows, out, done: Cell::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let start = Instant::now();
    LocalSet::new().block_on(&runtime, async {
        let slots: Vec<_> = (0..concurrency).map(|_| spawn_local(slot(job.clone(), uri.clone()))).collect();
        for slot in slots {
            slot.await??;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    job.out.borrow_mut().flush()?;
    let (wall, (cpu, memory), (requests, tokens)) = (start.elapsed().as_secs_f64(), usage()?, job.done.get());
    println!(r#"{{"requests":{requests},"tokens":{tokens},"wall_s":{wall:.3},"cpu_s":{cpu:.3},"rss_kb":{memory}}}"#);
    Ok(())
}
