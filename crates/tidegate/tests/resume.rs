//! Whatever happens to a journal and its output, no stored row is lost and none is shown twice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};
use tempfile::TempDir;
use tidegate::run::journal::{
    Changed, Decision, Home, Identity, Journal, Manifest, Resume, Row, RowHead, Rules, Snapshot, Started, Writer,
};
use tidegate::run::output::{Format, OutputOptions, Projection};
use tidegate::{Error, Kind};

/// A row as the tests think of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plain {
    key: u64,
    record: String,
    failed: Option<Kind>,
    replaces: bool,
    model: &'static str,
}

impl Plain {
    /// Makes the row of a key, recognisable by the number of its answer.
    fn new(key: u64, answer: usize) -> Plain {
        let record = format!(
            r#"{{"id":{key},"input":{{"n":"{key}"}},"output":"answer {answer}","model":"sim/a","endpoint":"sim","finish_reason":"stop","usage":null,"cost_usd":null,"latency_ms":1,"attempts":1,"request_id":null,"error":null}}"#
        );
        Plain { key, record, failed: None, replaces: false, model: "sim/a" }
    }

    fn failed(key: u64, kind: Kind) -> Plain {
        Plain { failed: Some(kind), ..Plain::new(key, 0) }
    }

    fn replacing(self) -> Plain {
        Plain { replaces: true, ..self }
    }

    fn row(&self) -> Row<'_> {
        let Plain { key, failed, replaces, model, .. } = *self;
        let head = RowHead { key, raw: RAW, request: REQUEST, sample: 0, replaces, failed, model };
        Row { head, record: self.record.as_bytes(), detail: None }
    }
}

const RAW: u32 = 11;
const REQUEST: u32 = 22;

/// A temporary place with an output in it, in memory where there is such a place: these tests sync thousands of times.
struct Place {
    _dir: TempDir,
    out: PathBuf,
    manifest: Manifest,
}

impl Place {
    fn new(format: Format) -> Place {
        let dir = match Path::new("/dev/shm").is_dir() {
            true => tempfile::tempdir_in("/dev/shm").unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let options = OutputOptions { format, ..OutputOptions::default() };
        let manifest = Manifest::new("2026-01-01T00:00:00Z".to_owned(), options, Default::default());
        Place { out: dir.path().join("out"), _dir: dir, manifest }
    }

    fn journal(&self) -> PathBuf {
        self.out.with_file_name("out.tidegate").join("journal")
    }

    fn start(&self) -> Started {
        let opened = Journal::open(&self.out).unwrap();
        opened.journal.start(&self.manifest).unwrap()
    }

    fn run(&self, rows: &[Plain]) {
        let writer = self.start().writer;
        rows.iter().for_each(|row| writer.append(&row.row()).unwrap());
        writer.close().unwrap();
    }

    /// Opens and closes the output without adding anything, and returns what was moved away.
    fn reopen(&self) -> Vec<PathBuf> {
        let Started { writer, kept } = self.start();
        writer.close().unwrap();
        kept
    }

    fn stored(&self) -> Vec<String> {
        let mut records = Vec::new();
        Snapshot::open(&Home::beside(&self.out).dir)
            .unwrap()
            .scan(|row, _| {
                records.push(String::from_utf8(row.record.to_vec()).unwrap());
                Ok(())
            })
            .unwrap();
        records
    }

    fn shown(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// Returns what the output must be if these rows count.
    fn projected(&self, rows: &[Plain]) -> String {
        let mut projection = Projection::new(&self.manifest.output).unwrap();
        let mut out = [Vec::new()];
        rows.iter().for_each(|row| projection.project(&row.row(), &mut out).unwrap());
        String::from_utf8(out[0].clone()).unwrap()
    }
}

fn commit(writer: &Writer) {
    writer.flush();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(writer.wait_below(0));
    assert!(writer.failure().is_none());
}

fn records(rows: &[Plain]) -> Vec<String> {
    rows.iter().map(|row| row.record.clone()).collect()
}

// --- what a crash leaves -----------------------------------------------------------------------------------------

/// A commit as the disk shows it: how long both files were just after it, and the output just before.
#[derive(Debug, Clone)]
struct Point {
    journal: u64,
    known_good: u64,
    shown: u64,
    rows: Vec<Plain>,
}

/// Adds a row to those that count.
fn count(live: &mut Vec<Plain>, row: &Plain) {
    live.retain(|old| !(row.replaces && old.key == row.key));
    live.push(row.clone());
}

/// Turns random numbers into rows: most are new, some take the place of an earlier one.
fn rows_of(choices: &[u8], live: &[Plain], answers: &mut usize) -> Vec<Plain> {
    let mut rows: Vec<Plain> = Vec::new();
    for choice in choices {
        *answers += 1;
        let old = live.get(*choice as usize).filter(|old| rows.iter().all(|row| row.key != old.key));
        rows.push(match old {
            Some(old) => Plain::new(old.key, *answers).replacing(),
            None => Plain::new(1000 + *answers as u64, *answers),
        });
    }
    rows
}

/// Runs batches, then stops as a killed machine would: the journal cut somewhere behind what was synced, the output
/// somewhere behind its known-good length. Returns the rows that count.
fn crash(place: &Place, batches: &[Vec<u8>], live: Vec<Plain>, answers: &mut usize, cuts: (u64, u64)) -> Vec<Plain> {
    let writer = place.start().writer;
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    let (journal, shown) = (length(&place.journal()), length(&place.out));
    let mut points = vec![Point { journal, known_good: shown, shown, rows: live }];
    for batch in batches {
        let last = points.last().unwrap();
        let (known_good, mut rows) = (last.shown, last.rows.clone());
        let added = rows_of(batch, &rows, answers);
        let framed: Vec<Row<'_>> = added.iter().map(Plain::row).collect();
        writer.append_all(&framed).unwrap();
        commit(&writer);
        added.iter().for_each(|row| count(&mut rows, row));
        points.push(Point { journal: length(&place.journal()), known_good, shown: length(&place.out), rows });
    }
    drop(writer);
    let (first, last) = (points.first().unwrap().journal, points.last().unwrap().journal);
    let cut = first + cuts.0 % (last - first + 1);
    let point = points.iter().rfind(|point| point.journal <= cut).unwrap().clone();
    let shown = point.known_good + cuts.1 % (point.shown - point.known_good + 1);
    let file = |path: &Path| fs::OpenOptions::new().write(true).open(path).unwrap();
    file(&place.journal()).set_len(cut).unwrap();
    file(&place.out).set_len(shown).unwrap();
    point.rows
}

fn crashes() -> impl Strategy<Value = Vec<(Vec<Vec<u8>>, u64, u64)>> {
    let batch = proptest::collection::vec(any::<u8>().prop_map(|choice| choice % 24), 1..5);
    proptest::collection::vec((proptest::collection::vec(batch, 0..5), any::<u64>(), any::<u64>()), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn no_stored_row_is_lost_and_none_shown_twice(runs in crashes(), csv in any::<bool>()) {
        let place = Place::new(if csv { Format::Csv } else { Format::Jsonl });
        let (mut live, mut answers) = (Vec::new(), 0);
        for (batches, journal_cut, out_cut) in runs {
            live = crash(&place, &batches, live, &mut answers, (journal_cut, out_cut));
            let Started { writer, kept } = place.start();
            prop_assert_eq!(&kept, &Vec::<PathBuf>::new());
            prop_assert_eq!(place.stored(), records(&live));
            prop_assert_eq!(place.shown(), place.projected(&live));
            writer.close().unwrap();
            prop_assert_eq!(place.shown(), place.projected(&live));
        }
    }
}

#[test]
fn a_journal_cut_at_any_byte_keeps_every_commit_before_it() {
    let place = Place::new(Format::Jsonl);
    let mut ends = vec![(12, 0)];
    let rows: Vec<Plain> = (0..5).map(|key| Plain::new(key, key as usize)).collect();
    for batch in rows.chunks(2) {
        place.run(batch);
        ends.push((fs::metadata(place.journal()).unwrap().len(), ends.last().unwrap().1 + batch.len()));
    }
    let (journal, out) = (fs::read(place.journal()).unwrap(), fs::read(&place.out).unwrap());
    for cut in 0..=journal.len() {
        fs::write(place.journal(), &journal[..cut]).unwrap();
        fs::write(&place.out, &out).unwrap();
        if cut < 12 {
            assert!(Journal::open(&place.out).unwrap_err().to_string().contains("too short"), "cut at {cut}");
            continue;
        }
        let opened = Journal::open(&place.out).unwrap();
        let found = opened.journal.rows() as usize;
        let whole = ends.iter().rfind(|(end, _)| *end <= cut as u64).unwrap().1;
        assert!(found >= whole && found <= rows.len(), "cut at {cut}: {found} rows of {whole}");
        match opened.journal.start(&place.manifest) {
            Ok(Started { writer, kept }) => {
                drop(writer);
                assert_eq!(place.shown(), place.projected(&rows[..found]), "cut at {cut}");
                assert_eq!(kept.is_empty(), found == rows.len(), "cut at {cut}");
                for kept in kept {
                    assert_eq!(fs::read(&kept).unwrap(), out, "what the journal cannot explain is not destroyed");
                    fs::remove_file(kept).unwrap();
                }
            }
            Err(error) => {
                assert_eq!(found, 0, "cut at {cut}: {error}");
                assert!(error.to_string().contains("refusing to overwrite"), "{error}");
                assert_eq!(fs::read(&place.out).unwrap(), out);
            }
        }
    }
}

#[test]
fn garbage_at_any_byte_is_noticed_or_does_no_harm() {
    let place = Place::new(Format::Jsonl);
    let rows: Vec<Plain> = (0..4).map(|key| Plain::new(key, key as usize)).collect();
    place.run(&rows[..2]);
    place.run(&rows[2..]);
    let (journal, out) = (fs::read(place.journal()).unwrap(), place.shown());
    let mut noticed = 0;
    for at in 0..journal.len() {
        let mut damaged = journal.clone();
        damaged[at] ^= 0x5a;
        fs::write(place.journal(), &damaged).unwrap();
        match Journal::open(&place.out) {
            Err(Error::Storage { message, .. }) => {
                noticed += 1;
                assert!(message.contains("byte") || message.contains("newer"), "byte {at}: {message}");
                assert_eq!(fs::read(place.journal()).unwrap(), damaged, "byte {at}: a damaged journal is left alone");
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok(opened) => {
                let Started { writer, kept } = opened.journal.start(&place.manifest).unwrap();
                writer.close().unwrap();
                assert_eq!((place.stored(), place.shown()), (records(&rows), out.clone()), "byte {at}");
                assert!(kept.is_empty(), "byte {at}");
            }
        }
    }
    // Only the empty commit that ends a run may go unnoticed.
    assert!(journal.len() - noticed < 40, "{noticed} of {}", journal.len());
}

// --- what users do to an output ----------------------------------------------------------------------------------

#[test]
fn a_lost_or_cut_output_is_made_anew() {
    let place = Place::new(Format::Csv);
    let rows: Vec<Plain> = (0..9).map(|key| Plain::new(key, key as usize)).collect();
    place.run(&rows[..5]);
    place.run(&rows[5..]);
    let out = place.shown();
    for length in [None, Some(0), Some(1), Some(out.len() / 2), Some(out.len() - 1)] {
        fs::remove_file(&place.out).unwrap();
        if let Some(length) = length {
            fs::write(&place.out, &out[..length]).unwrap();
        }
        assert!(place.reopen().is_empty());
        assert_eq!(place.shown(), out, "cut to {length:?}");
    }
}

#[test]
fn what_a_user_added_to_an_output_is_kept_aside() {
    let place = Place::new(Format::Jsonl);
    place.run(&[Plain::new(1, 1)]);
    let out = place.shown();
    fs::write(&place.out, format!("{out}my own line\n")).unwrap();
    let kept = place.reopen();
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), format!("{out}my own line\n"));
    assert_eq!(place.shown(), out);
}

#[test]
fn an_output_that_is_not_ours_is_refused_and_left_alone() {
    let place = Place::new(Format::Jsonl);
    fs::write(&place.out, "precious").unwrap();
    let error = Journal::open(&place.out).unwrap_err();
    assert!(matches!(&error, Error::Usage(message) if message.contains("refusing to overwrite")), "{error}");
    assert_eq!(place.shown(), "precious");
    assert!(!place.journal().exists());
}

#[test]
fn a_second_process_is_refused_while_the_first_one_lives() {
    let place = Place::new(Format::Jsonl);
    let writer = place.start().writer;
    assert!(matches!(Journal::open(&place.out), Err(Error::InUse(_))));
    let closed = writer.close().unwrap();
    assert!(matches!(Journal::open(&place.out), Err(Error::InUse(_))));
    drop(closed);
    assert!(Journal::open(&place.out).is_ok());
}

#[test]
fn a_journal_of_a_newer_version_is_refused() {
    let place = Place::new(Format::Jsonl);
    place.run(&[Plain::new(1, 1)]);
    let mut journal = fs::read(place.journal()).unwrap();
    journal[8] = 2;
    fs::write(place.journal(), &journal).unwrap();
    let error = Journal::open(&place.out).unwrap_err().to_string();
    assert!(error.contains("newer tidegate (format 2"), "{error}");
}

#[test]
fn a_journal_whose_manifest_is_lost_is_refused() {
    let place = Place::new(Format::Jsonl);
    place.run(&[Plain::new(1, 1)]);
    fs::remove_file(place.journal().with_file_name("manifest.json")).unwrap();
    assert!(Journal::open(&place.out).unwrap_err().to_string().contains("manifest.json: is missing"));
}

#[cfg(unix)]
#[test]
fn prompts_and_answers_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new(Format::Jsonl);
    place.run(&[Plain::failed(1, Kind::Timeout)]);
    place.run(&[Plain::new(1, 1).replacing()]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let dir = place.journal().parent().unwrap().to_owned();
    assert_eq!(mode(&dir), 0o700);
    for file in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).chain([place.out.clone()]) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

// --- rows that take the place of others --------------------------------------------------------------------------

#[test]
fn a_replaced_row_is_gone_from_the_output_when_the_run_ends() {
    let place = Place::new(Format::Jsonl);
    place.run(&[Plain::failed(1, Kind::Timeout), Plain::new(2, 2)]);
    let writer = place.start().writer;
    writer.append(&Plain::new(1, 3).replacing().row()).unwrap();
    commit(&writer);
    assert_eq!(place.shown().lines().count(), 3, "while it runs the old one is still there");
    assert!(writer.close().unwrap().rewritten);
    assert_eq!(place.shown(), place.projected(&[Plain::new(2, 2), Plain::new(1, 3)]));
    assert!(!place.start().writer.close().unwrap().rewritten);
}

#[test]
fn identical_rows_without_an_id_each_count() {
    let place = Place::new(Format::Jsonl);
    let (one, two, lost) = (Plain::new(7, 1), Plain::new(7, 2), Plain::failed(7, Kind::Timeout));
    place.run(&[one.clone(), lost, two.clone()]);
    let rules = Rules { retry: vec![Kind::Timeout], ..Rules::default() };
    let mut resume = Resume::load(&Journal::open(&place.out).unwrap().journal, &rules).unwrap();
    let mut decide = || resume.decide(7, RAW, Identity::Content, || Ok(REQUEST)).unwrap();
    let decisions = [decide(), decide(), decide(), decide()];
    assert_eq!(decisions, [Decision::Skip, Decision::Skip, Decision::Replace, Decision::Send]);
    place.run(&[Plain::new(7, 3).replacing(), Plain::new(7, 4)]);
    assert_eq!(place.stored(), records(&[one, two, Plain::new(7, 3), Plain::new(7, 4)]));
}

#[test]
fn another_format_makes_the_output_anew() {
    let mut place = Place::new(Format::Jsonl);
    let rows = [Plain::new(1, 1), Plain::new(2, 2)];
    place.run(&rows);
    place.manifest.output.format = Format::Csv;
    place.reopen();
    assert_eq!(place.shown(), place.projected(&rows));
    assert!(place.shown().starts_with("n,id,output,"), "{}", place.shown());
    assert_eq!(Manifest::read(&place.out).unwrap().unwrap().output.format, Format::Csv);
    place.manifest.output.format = Format::OpenaiBatch;
    place.reopen();
    assert_eq!(place.shown().lines().count(), 2);
    assert!(place.out.with_file_name("out.errors.jsonl").exists());
}

// --- whether a row is sent ---------------------------------------------------------------------------------------

/// What the journal holds about the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Nothing,
    Answered,
    AnsweredByAnother,
    TimedOut,
    Refused,
    BrokenLine,
}

/// How the row and the run compare with those of then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Same,
    /// An unused column changed: the raw bytes differ, what is asked does not.
    SameRequest,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Flags {
    changed: Changed,
    retry: &'static [Kind],
    listed: bool,
}

const NO_FLAGS: Flags = Flags { changed: Changed::Ask, retry: &[], listed: false };
const LISTED: Flags = Flags { listed: true, ..NO_FLAGS };
const RETRY: Flags = Flags { retry: &[Kind::Timeout], ..NO_FLAGS };
const REDO: Flags = Flags { changed: Changed::Redo, ..NO_FLAGS };
const KEEP: Flags = Flags { changed: Changed::Keep, ..NO_FLAGS };

const TABLE: [(State, Asked, Flags, Decision); 20] = [
    (State::Nothing, Asked::Same, NO_FLAGS, Decision::Send),
    (State::Nothing, Asked::Other, KEEP, Decision::Send),
    (State::Answered, Asked::Same, NO_FLAGS, Decision::Skip),
    (State::Answered, Asked::Same, LISTED, Decision::Skip),
    (State::Answered, Asked::Same, REDO, Decision::Skip),
    (State::Answered, Asked::SameRequest, NO_FLAGS, Decision::Skip),
    (State::Answered, Asked::SameRequest, REDO, Decision::Skip),
    (State::Answered, Asked::Other, NO_FLAGS, Decision::Differs),
    (State::Answered, Asked::Other, REDO, Decision::Replace),
    (State::Answered, Asked::Other, KEEP, Decision::Skip),
    (State::AnsweredByAnother, Asked::Same, NO_FLAGS, Decision::Skip),
    (State::AnsweredByAnother, Asked::Same, LISTED, Decision::Replace),
    (State::TimedOut, Asked::Same, NO_FLAGS, Decision::Skip),
    (State::TimedOut, Asked::Same, RETRY, Decision::Replace),
    (State::TimedOut, Asked::Other, RETRY, Decision::Replace),
    (State::TimedOut, Asked::Other, NO_FLAGS, Decision::Differs),
    (State::Refused, Asked::Same, RETRY, Decision::Skip),
    (State::Refused, Asked::Other, REDO, Decision::Replace),
    (State::BrokenLine, Asked::Same, LISTED, Decision::Skip),
    (State::BrokenLine, Asked::Same, RETRY, Decision::Skip),
];

/// The rule in one piece, to be compared with what the journal and its index do.
fn oracle(state: State, asked: Asked, flags: Flags) -> Decision {
    let gone = flags.listed && state == State::AnsweredByAnother;
    let retried = state == State::TimedOut && flags.retry.contains(&Kind::Timeout)
        || state == State::Refused && flags.retry.contains(&Kind::BadRequest)
        || state == State::BrokenLine && flags.retry.contains(&Kind::BadRow);
    match (state, asked, flags.changed) {
        (State::Nothing, _, _) => Decision::Send,
        _ if gone || retried => Decision::Replace,
        (_, Asked::Same | Asked::SameRequest, _) | (_, Asked::Other, Changed::Keep) => Decision::Skip,
        (_, Asked::Other, Changed::Ask) => Decision::Differs,
        (_, Asked::Other, Changed::Redo) => Decision::Replace,
    }
}

const STATES: [State; 6] =
    [State::Nothing, State::Answered, State::AnsweredByAnother, State::TimedOut, State::Refused, State::BrokenLine];

/// Writes one row of each state that leaves one; its key is the state's number.
fn every_state() -> Place {
    let place = Place::new(Format::Jsonl);
    let rows = [
        Plain::new(State::Answered as u64, 0),
        Plain { model: "sim/b", ..Plain::new(State::AnsweredByAnother as u64, 0) },
        Plain::failed(State::TimedOut as u64, Kind::Timeout),
        Plain::failed(State::Refused as u64, Kind::BadRequest),
        Plain { model: "", ..Plain::failed(State::BrokenLine as u64, Kind::BadRow) },
    ];
    place.run(&rows);
    place
}

/// Returns what is decided about a row, and about the same row once more.
fn decide(journal: &Journal, state: State, asked: Asked, flags: Flags, identity: Identity) -> (Decision, Decision) {
    let models = if flags.listed { vec!["sim/a".to_owned()] } else { Vec::new() };
    let rules = Rules { models, retry: flags.retry.to_vec(), changed: flags.changed };
    let mut resume = Resume::load(journal, &rules).unwrap();
    let raw = if asked == Asked::Same { RAW } else { RAW + 1 };
    let request = if asked == Asked::Other { REQUEST + 1 } else { REQUEST };
    let mut once = || resume.decide(state as u64, raw, identity, || Ok(request)).unwrap();
    (once(), once())
}

#[test]
fn the_decision_table_holds() {
    let place = every_state();
    let journal = Journal::open(&place.out).unwrap().journal;
    for (state, asked, flags, expected) in TABLE {
        assert_eq!(oracle(state, asked, flags), expected, "oracle: {state:?} {asked:?} {flags:?}");
        let (decision, _) = decide(&journal, state, asked, flags, Identity::Id);
        assert_eq!(decision, expected, "{state:?} {asked:?} {flags:?}");
    }
}

#[test]
fn every_combination_is_decided_as_the_rule_says() {
    let place = every_state();
    let journal = Journal::open(&place.out).unwrap().journal;
    for state in STATES {
        for asked in [Asked::Same, Asked::SameRequest, Asked::Other] {
            for changed in [Changed::Ask, Changed::Redo, Changed::Keep] {
                for retry in [&[], RETRY.retry, &Kind::ALL] {
                    for listed in [false, true] {
                        let flags = Flags { changed, retry, listed };
                        let expected = oracle(state, asked, flags);
                        let by_id = decide(&journal, state, asked, flags, Identity::Id);
                        assert_eq!(by_id, (expected, Decision::Repeated), "{state:?} {asked:?} {flags:?}");
                        let by_content = decide(&journal, state, asked, flags, Identity::Content);
                        assert_eq!(by_content, (expected, Decision::Send), "{state:?} {asked:?} {flags:?}");
                    }
                }
            }
        }
    }
}
