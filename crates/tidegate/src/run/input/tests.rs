use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use tempfile::TempDir;

use super::{Format, Input, InputOptions, Row};
use crate::Error;

/// A directory of input files.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Files {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        Files(dir)
    }

    fn options(&self, names: &[&str]) -> InputOptions {
        let path = |name: &&str| self.0.path().join(name).to_str().unwrap().to_owned();
        InputOptions { paths: names.iter().map(path).collect(), ..InputOptions::default() }
    }

    fn open(&self, names: &[&str]) -> Result<Input, Error> {
        Input::open(&self.options(names))
    }

    /// The message of the error, with the directory left out.
    fn error(&self, names: &[&str]) -> String {
        let dir = format!("{}/", self.0.path().display());
        match self.open(names) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.to_string().replace(&dir, ""),
        }
    }
}

fn rows(mut input: Input) -> Vec<Row> {
    std::iter::from_fn(|| input.next_row().unwrap()).collect()
}

/// Every row as its line and its JSON, or its fault in angle brackets.
fn shown(input: Input) -> Vec<(u64, String)> {
    let show = |row: Row| (row.place.line, row.text().map_or_else(|fault| format!("<{fault}>"), str::to_owned));
    rows(input).into_iter().map(show).collect()
}

fn read(name: &str, content: &[u8]) -> Vec<(u64, String)> {
    shown(Files::new(&[(name, content)]).open(&[name]).unwrap())
}

fn lines(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(line, json)| (*line, (*json).to_owned())).collect()
}

fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn jsonl_rows_are_the_bytes_of_their_lines() {
    let content = b"\xEF\xBB\xBF{\"a\": 1 }\r\n\n  \r\n{\"a\":\"\xFF\"}\nnot json\n{\"b\":2}";
    let expected = [
        (1, "{\"a\": 1 }"),
        (4, "<the row is not UTF-8; convert the file with iconv>"),
        (5, "not json"),
        (6, "{\"b\":2}"),
    ];
    assert_eq!(read("x.jsonl", content), lines(&expected));
    assert_eq!(Files::new(&[("x.jsonl", content)]).open(&["x.jsonl"]).unwrap().columns(), Some(&["a".to_owned()][..]));
}

#[test]
fn csv_rows_are_objects_of_strings() {
    let content = b"\xEF\xBB\xBFid,\"the \"\"text\"\"\"\r\n1,\"a, \"\"b\"\"\r\nc\"\r\n\r\n2,it's 5\" long\n3\n\"4\"x,\n5,\xFF\n6,z";
    let expected = [
        (2, r#"{"id":"1","the \"text\"":"a, \"b\"\r\nc"}"#),
        (5, r#"{"id":"2","the \"text\"":"it's 5\" long"}"#),
        (6, "<the row has 1 fields, the header has 2>"),
        (7, r#"{"id":"4x","the \"text\"":""}"#),
        (8, "<the row is not UTF-8; convert the file with iconv>"),
        (9, r#"{"id":"6","the \"text\"":"z"}"#),
    ];
    assert_eq!(read("x.csv", content), lines(&expected));
    assert_eq!(read("x.tsv", b"a\tb\n1,5\t\"x\ty\"\n"), lines(&[(2, r#"{"a":"1,5","b":"x\ty"}"#)]));
}

#[test]
fn a_quote_that_is_never_closed_is_a_fault_and_not_a_row() {
    let expected = [(2, r#"{"a":"1"}"#), (3, "<a quote is opened in this row and never closed>")];
    assert_eq!(read("x.csv", b"a\n1\n\"2\n3\n4\n"), lines(&expected));
}

#[test]
fn text_lines_become_objects() {
    let expected = [(1, r#"{"text":"say \"hi\""}"#), (3, r#"{"text":"  é"}"#)];
    assert_eq!(read("x.txt", "say \"hi\"\r\n \t\r\n  é".as_bytes()), lines(&expected));
}

#[test]
fn files_without_rows_have_none() {
    for name in ["x.jsonl", "x.csv", "x.txt", "x.jsonl.gz"] {
        assert_eq!(read(name, b""), [], "{name}");
    }
    let input = Files::new(&[("x.csv", b"a,b\n")]).open(&["x.csv"]).unwrap();
    assert_eq!(input.columns().unwrap(), ["a", "b"]);
    assert_eq!(shown(input), []);
}

#[test]
fn gzip_is_recognised_by_its_first_bytes_and_read_to_the_last_member() {
    let packed = [gz(b"{\"a\":1}\n{\"a\""), gz(b":2}\n"), gz(b"")].concat();
    let expected = lines(&[(1, r#"{"a":1}"#), (2, r#"{"a":2}"#)]);
    assert_eq!(read("x.jsonl.gz", &packed), expected);
    assert_eq!(read("x.jsonl", &packed), expected);
    let files = Files::new(&[("plain.jsonl.gz", b"{}"), ("cut.jsonl.gz", &packed[..packed.len() - 30])]);
    let message = "plain.jsonl.gz: is not in gzip format; rename it if it is not packed";
    assert_eq!(files.error(&["plain.jsonl.gz"]), message);
    let mut cut = files.open(&["cut.jsonl.gz"]).unwrap();
    let error =
        std::iter::from_fn(|| cut.next_row().map_or_else(|e| Some(Err(e)), |row| row.map(Ok))).find_map(Result::err);
    assert!(error.unwrap().to_string().contains("cannot be read"));
}

#[test]
fn a_row_over_the_limit_is_skipped_and_named() {
    let content = [b"{\"a\":1}\n{\"a\":\"".to_vec(), vec![b'x'; 300_000], b"\"}\n{\"a\":2}\n".to_vec()].concat();
    let files = Files::new(&[("x.jsonl", &content)]);
    let options = InputOptions { max_row_bytes: 100_000, ..files.options(&["x.jsonl"]) };
    let expected = [(1, r#"{"a":1}"#), (2, "<the row is larger than 100000 bytes>"), (3, r#"{"a":2}"#)];
    assert_eq!(shown(Input::open(&options).unwrap()), lines(&expected));

    let content = [b"a\n\"1\n".to_vec(), vec![b'\n'; 300_000], b"\"\n2\n".to_vec()].concat();
    let files = Files::new(&[("x.csv", &content)]);
    let options = InputOptions { max_row_bytes: 100_000, ..files.options(&["x.csv"]) };
    let expected = [(2, "<the row is larger than 100000 bytes>"), (300_004, r#"{"a":"2"}"#)];
    assert_eq!(shown(Input::open(&options).unwrap()), lines(&expected));
}

#[test]
fn files_follow_one_another_and_globs_are_sorted() {
    let files =
        Files::new(&[("b1.jsonl", b"{\"n\":2}"), ("b0.jsonl", b""), ("b2.jsonl", b"{\"n\":3}\n"), ("a.txt", b"one\n")]);
    fs::create_dir(files.0.path().join("b3.jsonl")).unwrap();
    let rows = rows(files.open(&["a.txt", "b*.jsonl"]).unwrap());
    let name = |row: &Row| Path::new(&*row.place.file).file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(rows.iter().map(name).collect::<Vec<_>>(), ["a.txt", "b1.jsonl", "b2.jsonl"]);
    assert!(rows[1].place.to_string().ends_with("b1.jsonl:1"));
}

#[test]
fn the_position_is_counted_in_the_bytes_on_disk() {
    let packed = gz(&b"{\"a\":1}\n".repeat(50_000));
    let files = Files::new(&[("x.jsonl.gz", &packed), ("y.csv", b"a\n1\n"), ("z.csv", b"a\n1\n")]);
    let mut input = files.open(&["x.jsonl.gz", "y.csv", "z.csv"]).unwrap();
    assert_eq!(input.position().1, Some(packed.len() as u64 + 8));
    while input.next_row().unwrap().is_some() {}
    assert_eq!(input.position().0, packed.len() as u64 + 8);
}

#[test]
fn what_waits_in_a_buffer_is_not_counted_yet() {
    let content = b"{\"a\":1}\n".repeat(4_000);
    let packed = gz(&content);
    let files = Files::new(&[("x.jsonl", &content), ("y.jsonl.gz", &packed)]);
    for name in ["x.jsonl", "y.jsonl.gz"] {
        let mut input = files.open(&[name]).unwrap();
        (0..2_000).for_each(|_| drop(input.next_row().unwrap()));
        let (read, total) = input.position();
        let share = read as f64 / total.unwrap() as f64;
        assert!((0.45..0.55).contains(&share), "{name}: {share}");
    }
}

#[test]
fn what_is_wrong_with_files_is_said_before_the_first_row() {
    let files = Files::new(&[
        ("rows", b"x"),
        ("list.json", b"\n [{\"a\":1}]"),
        ("wide.txt", b"\xFF\xFEx\0"),
        ("sheet.csv", b"PK\x03\x04\x14\0"),
        ("parquet.jsonl", b"PAR1\x15\0"),
        ("one.csv", b"id,text\n1,a\n"),
        ("two.csv", b"text,id\n"),
        ("three.csv", b"id,txt\n"),
        ("four.csv", b"id,text,more\n"),
        ("twice.csv", b"\na,b,a\n"),
        ("unnamed.csv", b",text\n0,a\n"),
        ("latin.csv", b"\xE9\n"),
        ("mac.csv", b"id,text\r1,a\r"),
    ]);
    let dir = files.0.path().display().to_string();
    let cases: &[(&[&str], &str)] = &[
        (&["none.csv"], "none.csv: there is no such file"),
        (&["none*.csv"], "none*.csv: no file matches this pattern"),
        (&["rows"], "rows: the format is unknown; give --format jsonl, csv, tsv, text, files, parquet or arrow"),
        (&["one.csv", "o*.csv"], "one.csv: is named twice; its rows would be sent twice"),
        (
            &["list.json"],
            "list.json: is one JSON list, not an object a line; convert it with jq -c '.[]' FILE > FILE.jsonl",
        ),
        (&["wide.txt"], "wide.txt: is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"),
        (&["sheet.csv"], "sheet.csv: is a ZIP archive, as spreadsheets are; save its table as CSV"),
        (&["parquet.jsonl"], "parquet.jsonl: is a Parquet file; name it .parquet, or give --format parquet"),
        (&["one.csv", "two.csv"], "no error"),
        (&["one.csv", "two.csv", "three.csv"], "three.csv: there is no column `text`, which one.csv has"),
        (&["one.csv", "four.csv"], "four.csv: there is a column `more`, which one.csv has not"),
        (&["twice.csv"], "twice.csv:2: the header names the column `a` twice"),
        (&["one.csv", "unnamed.csv"], "unnamed.csv:1: column 1 has no name in the header"),
        (&["latin.csv"], "latin.csv:1: the header is not UTF-8; convert the file with iconv"),
        (&["mac.csv"], "mac.csv:1: lines end in bare carriage returns; convert the file with tr '\\r' '\\n'"),
    ];
    for (names, message) in cases {
        assert_eq!(files.error(names), *message);
    }
    let directory = Input::open(&InputOptions { paths: vec![dir.clone()], ..InputOptions::default() }).err().unwrap();
    assert_eq!(directory.to_string(), format!("{dir}: is a directory; name its files, such as '{dir}/*.jsonl'"));
}

#[test]
fn a_file_may_be_the_row_itself() {
    let files = Files::new(&[("b.pdf", b"%PDF-"), ("a.PDF", b"%PDF-"), ("c.txt", b"x")]);
    let input = files.open(&["*.[pP]*"]).unwrap();
    assert!(input.is_of_files());
    assert_eq!(input.columns(), Some(&["path".to_owned(), "name".to_owned()][..]));
    let total = input.position().1;
    let rows = rows(input);
    let name = |row: &Row| serde_json::from_str::<serde_json::Value>(row.text().unwrap()).unwrap()["name"].clone();
    assert_eq!(rows.iter().map(name).collect::<Vec<_>>(), ["a.PDF", "b.pdf"]);
    assert_eq!(total, Some(10));
    let text = Input::open(&InputOptions { format: Some(Format::Files), ..files.options(&["c.txt"]) }).unwrap();
    assert!(text.is_of_files());
}

#[test]
fn formats_have_names_and_extensions() {
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
    }
    assert_eq!(Format::from_path("a.b/rows"), None);
    assert_eq!(Format::from_path("rows.NDJSON.GZ"), Some(Format::Jsonl));
}

/// What the `csv` crate makes of a file, without rows that are ragged.
fn by_the_crate(content: &[u8]) -> Option<Vec<Vec<String>>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(content);
    let records: Vec<Vec<String>> =
        reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
    let width = records.first()?.len();
    Some(records.into_iter().skip(1).filter(|record| record.len() == width).collect())
}

proptest! {
    #[test]
    fn csv_is_read_as_the_csv_crate_reads_it(
        body in prop::collection::vec(prop::sample::select(vec!["\"", ",", "\n", "\r\n", "a", "é", " ", "\"\""]), 0..40),
    ) {
        let content = format!("h1,h2\n{}\n", body.concat());
        let input = Files::new(&[("x.csv", content.as_bytes())]).open(&["x.csv"]).unwrap();
        let all = rows(input);
        let unclosed = all.iter().any(|row| row.fault.as_ref().is_some_and(|fault| fault.contains("never closed")));
        let fields = |row: &Row| -> Option<Vec<String>> {
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row.text().ok()?).unwrap();
            Some(object.values().map(|value| value.as_str().unwrap().to_owned()).collect())
        };
        let mine: Vec<Vec<String>> = all.iter().filter_map(fields).collect();
        let mut theirs = by_the_crate(content.as_bytes()).unwrap();
        if unclosed {
            theirs.truncate(mine.len());
        }
        prop_assert_eq!(mine, theirs);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "[\\[{}\",:a\u{e9}\r\n\t0-9]{0,100}",
        format in prop::sample::select(Format::ALL.to_vec()),
        limit in 1usize..64,
    ) {
        for content in [&bytes[..], text.as_bytes()] {
            let files = Files::new(&[("x", content)]);
            let options = InputOptions { format: Some(format), max_row_bytes: limit, ..files.options(&["x"]) };
            if let Ok(mut input) = Input::open(&options) {
                while let Ok(Some(_)) = input.next_row() {}
            }
        }
    }
}
