use tempfile::TempDir;

use super::*;

fn key(number: u64) -> Key {
    ring::digest::digest(&ring::digest::SHA256, &number.to_le_bytes()).as_ref().try_into().unwrap()
}

fn open(folder: &TempDir, options: CacheOptions) -> Cache {
    Cache::open(folder.path(), options).unwrap()
}

/// Opens a cache that holds these, each answered `text`.
fn filled(folder: &TempDir, options: CacheOptions, numbers: std::ops::Range<u64>, text: &str) -> Cache {
    for first in numbers.clone().step_by(MOST_WAITING / 2) {
        let cache = open(folder, options);
        let group = first..numbers.end.min(first + MOST_WAITING as u64 / 2);
        group.for_each(|number| cache.keep(key(number), &Response::text(text)));
    }
    open(folder, options)
}

#[test]
fn every_kind_of_answer_comes_back_as_it_was() {
    let folder = TempDir::new().unwrap();
    let answers = [
        Response { raw: Bytes::from_static(b"{\xff}"), model: "m-2".to_owned(), ..Response::text("high \"tide\"\n") },
        Response { output: Output::Embedding(vec![0.1, -2.5e-7]), ..Response::default() },
        Response {
            output: Output::Json(serde_json::json!({"b": 1, "a": [0.5]})),
            finish: Finish::ToolCalls,
            warnings: vec!["odd".to_owned()],
            ..Response::default()
        },
    ];
    let cache = open(&folder, CacheOptions::default());
    (0..).zip(&answers).for_each(|(number, answer)| cache.keep(key(number), answer));
    drop(cache);
    let cache = open(&folder, CacheOptions::default());
    for (number, answer) in (0..).zip(answers) {
        assert_eq!(cache.find(&key(number)), Some(answer));
    }
    assert_eq!(cache.find(&key(9)), None);
}

#[test]
fn keys_that_begin_alike_are_not_mixed_up() {
    let folder = TempDir::new().unwrap();
    let (one, mut other) = (key(1), key(1));
    other[31] ^= 1;
    let cache = filled(&folder, CacheOptions::default(), 1..2, "one");
    assert!(cache.find(&one).is_some() && cache.find(&other).is_none());
}

#[test]
fn an_old_answer_is_asked_for_anew_and_replaced() {
    let folder = TempDir::new().unwrap();
    let hour = CacheOptions { ttl: Some(Duration::from_secs(3600)), ..CacheOptions::default() };
    drop(filled(&folder, hour, 1..2, "old"));
    let connection = connect(&file(folder.path())).unwrap();
    connection.execute("UPDATE answers_1 SET stored = stored - 3600001", []).unwrap();
    let cache = open(&folder, hour);
    assert_eq!(cache.find(&key(1)), None);
    assert!(open(&folder, CacheOptions::default()).find(&key(1)).is_some());
    cache.keep(key(1), &Response::text("new"));
    drop(cache);
    assert_eq!(open(&folder, hour).find(&key(1)), Some(Response::text("new")));
}

#[test]
fn the_oldest_answers_make_room() {
    let folder = TempDir::new().unwrap();
    let small = CacheOptions { max_bytes: 2 << 20, ..CacheOptions::default() };
    let text = "x".repeat(2000);
    let cache = filled(&folder, small, 0..4000, &text);
    assert!(cache.find(&key(3999)).is_some() && cache.find(&key(0)).is_none());
    let size = std::fs::metadata(file(folder.path())).unwrap().len();
    assert!(size < 5 << 20, "{size}");
}

#[test]
fn what_is_too_large_is_not_kept() {
    let folder = TempDir::new().unwrap();
    let cache = filled(&folder, CacheOptions::default(), 0..1, &"x".repeat(LARGEST));
    assert_eq!(cache.find(&key(0)), None);
}

#[test]
fn another_file_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "these are my notes, ".repeat(100)).unwrap();
    let error = Cache::open(&path, CacheOptions::default()).unwrap_err().to_string();
    assert!(error.contains("notes.txt: cannot be used as a cache: file is not a database"), "{error}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("these are my notes"));
}
