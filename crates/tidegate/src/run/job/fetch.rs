//! Fetches what rows name in stores ahead of the row that is taken: several at once, in the order of the rows.
//!
//! A row's files are fetched on a thread of its own, through a [`Turn`] that waits while too many bytes lie ready. The first
//! row never waits, so that there is always one that can end: memory is bounded by [`MOST_BYTES`] and that row's files.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::error::Result;
use crate::run::input::Row;
use crate::run::prompt::{Attached, Fetching, Renderer};
use crate::run::store::{Object, Store};

/// How many rows are looked at ahead, and so fetched at once.
const ROWS_AHEAD: usize = 32;
/// How many bytes may lie ready, or be on their way, for rows behind the first.
const MOST_BYTES: u64 = 64 << 20;

/// What the files of a row have become.
type Files = Result<Attached, String>;

/// Rows that have been read, with their files under way.
#[derive(Default)]
pub(super) struct FetchAhead {
    rows: VecDeque<(Row, Option<JoinHandle<Files>>)>,
    /// How the input ended, once it has.
    ended: Option<Result<()>>,
    room: Arc<Room>,
    /// The number of the next row that is fetched for.
    next: u64,
}

impl FetchAhead {
    /// Returns the next row with its files; `read` reads another one, where `ahead` of the first too.
    pub(super) fn next(
        &mut self,
        renderer: &Arc<Renderer>,
        fetching: &Fetching,
        ahead: bool,
        mut read: impl FnMut() -> Result<Option<Row>>,
    ) -> Result<Option<(Row, Files)>> {
        let most = if ahead && fetching.store.is_some() { ROWS_AHEAD } else { 1 };
        while self.ended.is_none() && self.rows.len() < most {
            match read() {
                Ok(Some(row)) => {
                    let files = self.start(&row, renderer, fetching);
                    self.rows.push_back((row, files));
                }
                end => self.ended = Some(end.map(drop)),
            }
        }
        let Some((row, files)) = self.rows.pop_front() else {
            return self.ended.replace(Ok(())).unwrap_or(Ok(())).map(|()| None);
        };
        let files = match files {
            None => renderer.attach(&row, fetching),
            Some(thread) => {
                let files = thread.join().unwrap_or_else(|_| Err("the thread that fetches it has stopped".to_owned()));
                self.room.leave();
                files
            }
        };
        Ok(Some((row, files)))
    }

    /// Starts to fetch what a row names; none where it names nothing to fetch, or the system has no thread to spare.
    fn start(&mut self, row: &Row, renderer: &Arc<Renderer>, fetching: &Fetching) -> Option<JoinHandle<Files>> {
        let store = fetching.store.clone().filter(|_| row.fault.is_none() && renderer.fetches(row, fetching))?;
        let turn = Turn { store, room: self.room.clone(), row: self.next };
        let theirs = Fetching { store: Some(Arc::new(turn)), client: fetching.client.clone() };
        let (row, renderer) = (row.clone(), renderer.clone());
        let fetch = move || renderer.attach(&row, &theirs);
        self.room.lock().held.push_back(0);
        let Ok(thread) = std::thread::Builder::new().name("tidegate-fetch".to_owned()).spawn(fetch) else {
            self.room.lock().held.pop_back();
            return None;
        };
        self.next += 1;
        Some(thread)
    }
}

impl Drop for FetchAhead {
    fn drop(&mut self) {
        self.room.lock().closed = true;
        self.room.changed.notify_all();
    }
}

/// Room for bytes that lie ready.
#[derive(Debug, Default)]
struct Room {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the row that is taken next.
    first: u64,
    /// The bytes of that row and of those behind it.
    held: VecDeque<u64>,
    /// Nobody takes any more rows.
    closed: bool,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a row may hold so many bytes more; the first may at once.
    fn enter(&self, row: u64, bytes: u64) -> io::Result<()> {
        let may_not = |state: &mut State| {
            !state.closed && state.first < row && state.held.iter().sum::<u64>() + bytes > MOST_BYTES
        };
        let mut state = self.changed.wait_while(self.lock(), may_not).unwrap_or_else(PoisonError::into_inner);
        let (place, closed) = (usize::try_from(row - state.first).unwrap_or(usize::MAX), state.closed);
        match state.held.get_mut(place) {
            Some(held) if !closed => *held += bytes,
            _ => return Err(io::Error::other("is not wanted any more")),
        }
        Ok(())
    }

    /// Forgets the first row.
    fn leave(&self) {
        let mut state = self.lock();
        state.held.pop_front();
        state.first += 1;
        self.changed.notify_all();
    }
}

/// A store that reads for one row, when there is room.
#[derive(Debug)]
struct Turn {
    store: Arc<dyn Store>,
    room: Arc<Room>,
    row: u64,
}

impl Store for Turn {
    fn find(&self, url: &str) -> io::Result<Object> {
        self.store.find(url)
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Object>> {
        self.store.list(prefix)
    }

    fn read(&self, object: &Object, range: Range<u64>) -> io::Result<Bytes> {
        self.room.enter(self.row, range.end - range.start)?;
        self.store.read(object, range)
    }

    fn upload(&self, file: &Path, url: &str) -> io::Result<()> {
        self.store.upload(file, url)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::request::MediaKind;
    use crate::run::input::Place;
    use crate::run::prompt::{MediaColumn, PromptOptions};

    const PNG: &[u8] = b"\x89PNG\r\n\x1A\nrest";

    /// A store whose answers come only when so many are asked for at once.
    #[derive(Debug)]
    struct Together(Barrier);

    impl Store for Together {
        fn find(&self, url: &str) -> io::Result<Object> {
            self.0.wait();
            if url.ends_with("7.png") {
                return Err(io::Error::other("there is no such object"));
            }
            Ok(Object { url: url.into(), bytes: PNG.len() as u64, version: None })
        }

        fn list(&self, _: &str) -> io::Result<Vec<Object>> {
            unreachable!()
        }

        fn read(&self, _: &Object, _: Range<u64>) -> io::Result<Bytes> {
            Ok(Bytes::from_static(PNG))
        }

        fn upload(&self, _: &Path, _: &str) -> io::Result<()> {
            unreachable!()
        }
    }

    /// Rows of an input, one after the other, and then its end.
    fn rows(count: u64, read: &AtomicU64) -> impl FnMut() -> Result<Option<Row>> {
        move || {
            let number = read.fetch_add(1, Ordering::Relaxed);
            let place = Place { file: "rows.jsonl".into(), line: number + 1 };
            let json = format!(r#"{{"text":"{number}","photo":"s3://lake/{number}.png"}}"#);
            Ok((number < count).then(|| Row { place, json: json.into(), fault: None }))
        }
    }

    fn renderer() -> Arc<Renderer> {
        let media = vec![MediaColumn { column: "photo".to_owned(), kind: Some(MediaKind::Image) }];
        Arc::new(Renderer::new(&PromptOptions { media, ..PromptOptions::default() }, None).unwrap())
    }

    #[test]
    fn files_are_fetched_at_once_and_taken_in_order() {
        // Nothing would ever be answered if they were fetched one after the other.
        let store = Together(Barrier::new(ROWS_AHEAD));
        let fetching = Fetching { store: Some(Arc::new(store)), client: None };
        let (renderer, count) = (renderer(), ROWS_AHEAD as u64);
        let (mut ahead, told) = (FetchAhead::default(), AtomicU64::new(0));
        let mut read = rows(count, &told);
        for number in 0..count {
            let (row, files) = ahead.next(&renderer, &fetching, true, &mut read).unwrap().unwrap();
            assert_eq!(row.place.line, number + 1);
            match number % 10 {
                7 => {
                    assert_eq!(files.unwrap_err(), format!("`photo`: s3://lake/{number}.png: there is no such object"))
                }
                _ => assert_eq!(files.unwrap().parts.len(), 1),
            }
        }
        assert!(ahead.next(&renderer, &fetching, true, &mut read).unwrap().is_none());
    }

    #[test]
    fn no_row_is_read_ahead_from_a_pipe_or_where_nothing_is_fetched() {
        let lone = Fetching { store: Some(Arc::new(Together(Barrier::new(1)))), client: None };
        for (fetching, ahead) in [(lone, false), (Fetching::default(), true)] {
            let (mut rows_ahead, told) = (FetchAhead::default(), AtomicU64::new(0));
            rows_ahead.next(&renderer(), &fetching, ahead, rows(5, &told)).unwrap();
            assert_eq!(told.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_row_waits_for_room_until_it_is_the_first_or_nobody_wants_it() {
        let room = Arc::new(Room::default());
        room.lock().held.extend([0, 0, 0]);
        room.enter(1, MOST_BYTES).unwrap();
        // The first row goes past the bound, or nothing would ever end.
        room.enter(0, MOST_BYTES).unwrap();
        let theirs = room.clone();
        let waiting = std::thread::spawn(move || theirs.enter(2, 1));
        room.leave();
        assert_eq!(room.lock().held, [MOST_BYTES, 0]);
        room.leave();
        waiting.join().unwrap().unwrap();
        assert_eq!(room.lock().held, [1]);
        let mut ahead = FetchAhead::default();
        ahead.room = room.clone();
        drop(ahead);
        assert!(room.enter(2, 1).is_err());
    }
}
