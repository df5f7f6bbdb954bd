//! The cache on disk: one SQLite file that any number of processes of one machine may share.
//!
//! Reads happen where they are needed, because a read of a warm file takes a few microseconds; writes are handed to a
//! thread, which commits them in groups. The queue to it is bounded, and a full one drops answers: losing a stored answer
//! costs a call one day, waiting for a disk costs every call now.
//!
//! SQLite's write-ahead log makes a group whole or nothing, also when the process is killed in the middle of it, and lets
//! readers go on while another process writes. Its file must be on a disk of the machine, not on one shared by network.
//!
//! A row's number is the first eight bytes of its key, so that a lookup descends one tree; the whole key is compared, and
//! of two keys that begin alike the later one stays. When the file is full the oldest rows go.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Key, Shelf};
use crate::error::{Error, Result};
use crate::request::Part;
use crate::response::{Finish, Output, Response};

/// The file's name where a folder is given.
const NAME: &str = "answers.sqlite";
/// How long answers are collected before they are committed together.
const GROUP: Duration = Duration::from_millis(20);
/// The most answers that wait to be written, and the most that are committed together.
const MOST_WAITING: usize = 1024;
/// The largest answer that is kept, in bytes.
const LARGEST: usize = 1 << 20;
/// How long another process's commit is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many rows go at once when the file is full.
const EVICTED: i64 = 256;

// The name holds the version of the form: an old program and a new one do not see each other's rows.
const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS answers_1 (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL, stored INTEGER NOT NULL, answer TEXT NOT NULL, raw BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS answers_1_by_age ON answers_1 (stored);";
const FIND: &str = "SELECT answer, raw FROM answers_1 WHERE id = ?1 AND key = ?2 AND stored >= ?3";
const KEEP: &str = "INSERT OR REPLACE INTO answers_1 (id, key, stored, answer, raw) VALUES (?1, ?2, ?3, ?4, ?5)";
const EVICT: &str = "DELETE FROM answers_1 WHERE id IN (SELECT id FROM answers_1 ORDER BY stored LIMIT ?1)";
const USED: &str = "SELECT (page_count - freelist_count) * page_size
    FROM pragma_page_count, pragma_freelist_count, pragma_page_size";

/// How long stored answers are used, and how many there may be.
///
/// ```
/// use std::time::Duration;
/// use tidegate::CacheOptions;
/// let a_week = CacheOptions { ttl: Some(Duration::from_secs(7 * 24 * 3600)), ..CacheOptions::default() };
/// # let _ = a_week;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CacheOptions {
    /// The age from which a stored answer is asked for anew. Default: none.
    pub ttl: Option<Duration>,
    /// The size of the file, in bytes, above which the oldest answers go. Default: 1 GiB.
    pub max_bytes: u64,
}

impl Default for CacheOptions {
    fn default() -> CacheOptions {
        CacheOptions { ttl: None, max_bytes: 1 << 30 }
    }
}

/// Answers on disk that need not be paid for again.
///
/// A request that was answered before, by the same model at the same address, is answered from it at no cost; see
/// [`Outcome::cached`](crate::Outcome::cached). Several clients and several processes may share the file. Answers are written
/// in the background; dropping the cache writes what is left.
///
/// ```
/// use tidegate::{Cache, CacheOptions, Client, Request, Target};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tidegate::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path();
/// for asked_before in [false, true] {
///     let cache = Cache::open(path, CacheOptions::default())?;
///     let client = Client::builder().target(Target::new("sim/echo")?).cache(cache).build()?;
///     let outcome = client.send(&Request::prompt("When is high tide?")).await;
///     assert_eq!((outcome.cached.is_some(), outcome.calls()), (asked_before, u32::from(!asked_before)));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Cache {
    reader: Mutex<Connection>,
    ttl: Option<Duration>,
    /// Empty only while it is dropped.
    to_writer: Option<SyncSender<Row>>,
    writer: Option<JoinHandle<()>>,
    told: AtomicBool,
}

/// An answer on its way to the disk.
struct Row {
    key: Key,
    stored: i64,
    answer: String,
    raw: Bytes,
}

impl Cache {
    /// Opens a cache, and makes it if it is not there: a file, or a folder to have one in.
    ///
    /// # Errors
    ///
    /// A file that is no cache, or that cannot be written.
    pub fn open(path: impl AsRef<Path>, options: CacheOptions) -> Result<Cache> {
        let path = file(path.as_ref());
        let failed = |what: &dyn std::fmt::Display| {
            Error::damaged(&path, format!("cannot be used as a cache: {what}; name another file, or remove this one"))
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        }
        let written = connect(&path).map_err(|error| failed(&error))?;
        let reader = connect(&path).map_err(|error| failed(&error))?;
        let (to_writer, rows) = sync_channel(MOST_WAITING);
        let writer = Writer { connection: written, rows, max_bytes: options.max_bytes };
        let thread = std::thread::Builder::new().name("tidegate-cache".to_owned()).spawn(move || writer.work());
        Ok(Cache {
            reader: Mutex::new(reader),
            ttl: options.ttl,
            to_writer: Some(to_writer),
            writer: Some(thread.map_err(|error| failed(&error))?),
            told: AtomicBool::new(false),
        })
    }

    fn read(&self, key: &Key) -> rusqlite::Result<Option<(String, Vec<u8>)>> {
        let oldest = self.ttl.map_or(i64::MIN, |ttl| now() - millis(ttl));
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut find = reader.prepare_cached(FIND)?;
        find.query_row(params![id(key), key, oldest], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    }

    /// A cache that cannot be read is told of once: every request would say the same.
    fn warn(&self, error: &dyn std::fmt::Display) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!("the cache cannot be read, so answers are asked for: {error}");
        }
    }
}

impl Shelf for Cache {
    fn find(&self, key: &Key) -> Option<Response> {
        let (answer, raw) = self.read(key).inspect_err(|error| self.warn(error)).ok()??;
        let stored: Stored = serde_json::from_str(&answer).inspect_err(|error| self.warn(error)).ok()?;
        Some(stored.into_response(raw.into()))
    }

    fn keep(&self, key: Key, response: &Response) {
        let Ok(answer) = serde_json::to_string(&Stored::from(response)) else { return };
        if answer.len() + response.raw.len() > LARGEST {
            return;
        }
        if let Some(to_writer) = &self.to_writer {
            // A full queue, or a writer that has gone: the answer is asked for again one day.
            let _ = to_writer.try_send(Row { key, stored: now(), answer, raw: response.raw.clone() });
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.to_writer = None;
        if let Some(writer) = self.writer.take() {
            // It can only have panicked, which the thread has told.
            let _ = writer.join();
        }
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// The thread that writes.
struct Writer {
    connection: Connection,
    rows: Receiver<Row>,
    max_bytes: u64,
}

impl Writer {
    fn work(mut self) {
        let mut told = false;
        while let Ok(first) = self.rows.recv() {
            std::thread::sleep(GROUP);
            let rows: Vec<Row> = std::iter::once(first).chain(self.rows.try_iter()).take(MOST_WAITING).collect();
            if let Err(error) = self.commit(&rows)
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!("answers cannot be written to the cache: {error}");
            }
        }
    }

    fn commit(&mut self, rows: &[Row]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut keep = transaction.prepare_cached(KEEP)?;
        for row in rows {
            keep.execute(params![id(&row.key), row.key, row.stored, row.answer, &*row.raw])?;
        }
        drop(keep);
        make_room(&transaction, self.max_bytes)?;
        transaction.commit()
    }
}

/// Removes the oldest rows until what is used fits again.
fn make_room(connection: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    let most = i64::try_from(max_bytes).unwrap_or(i64::MAX);
    let mut used = connection.prepare_cached(USED)?;
    while used.query_row([], |row| row.get::<_, i64>(0))? > most {
        if connection.prepare_cached(EVICT)?.execute([EVICTED])? == 0 {
            break;
        }
    }
    Ok(())
}

fn file(path: &Path) -> PathBuf {
    let ends_like_a_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if ends_like_a_folder || path.is_dir() { path.join(NAME) } else { path.to_owned() }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    // Two processes that begin at the same moment: the first one's change of the mode is not waited for by SQLite itself.
    let mut tries = 0;
    while let Err(error) = prepare(&connection) {
        tries += 1;
        if error.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy) || tries > 100 {
            return Err(error);
        }
        std::thread::sleep(GROUP);
    }
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // Before the file has a page: an answer and its reply should fit on one.
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit may be lost with the machine's power, never the file's consistency.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // 16 MB: the upper levels of a tree of a million rows.
    connection.pragma_update(None, "cache_size", -16_000)?;
    connection.execute_batch(CREATE)
}

fn id(key: &Key) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Milliseconds of the wall clock: the file outlives the process.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// An answer as it stands in the file. What it once used and cost is not: using it again costs nothing.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Text(String),
    Embedding(Vec<f32>),
    Json(Value),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    content: Content,
    /// Whether it ended by itself, or to have tools called; nothing where the provider did not say.
    finish: Option<String>,
    model: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl From<&Response> for Stored {
    fn from(response: &Response) -> Stored {
        let response = response.clone();
        Stored {
            content: match response.output {
                Output::Text(text) => Content::Text(text),
                Output::Embedding(vector) => Content::Embedding(vector),
                Output::Json(value) => Content::Json(value),
            },
            finish: response.finish.name().map(str::to_owned),
            model: response.model,
            parts: response.parts,
            warnings: response.warnings,
        }
    }
}

impl Stored {
    fn into_response(self, raw: Bytes) -> Response {
        Response {
            output: match self.content {
                Content::Text(text) => Output::Text(text),
                Content::Embedding(vector) => Output::Embedding(vector),
                Content::Json(value) => Output::Json(value),
            },
            finish: match self.finish.as_deref() {
                None => Finish::None,
                Some("tool_calls") => Finish::ToolCalls,
                Some(_) => Finish::Stop,
            },
            model: self.model,
            raw,
            parts: self.parts,
            warnings: self.warnings,
            ..Response::default()
        }
    }
}

#[cfg(test)]
mod tests;
