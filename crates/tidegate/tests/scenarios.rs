//! How fast the engine goes under limits: every file in `tests/scenarios` is a simulated provider, a workload, and what is
//! expected of them, run under paused time through the public client. Adding a case is adding a file.
//!
//! Utilisation is measured at the provider: calls that it accepted, against the calls that its tightest limit would have
//! let through in the same time. `TIDEGATE_SCENARIO=part-of-a-name` runs only some; `--nocapture` shows the table, and
//! `TIDEGATE_TRACE=1` every second of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the table of results is what a reader of this suite wants")]

#[path = "scenarios/kit/mod.rs"]
mod kit;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::kit::case::Case;
use self::kit::report::{Report, judge};
use self::kit::run::run;

#[test]
fn every_scenario_reaches_what_it_promises() {
    let files = files();
    let next = AtomicUsize::new(0);
    let reports: Mutex<Vec<(usize, Report)>> = Mutex::default();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(files.len()) {
            scope.spawn(|| {
                while let Some((name, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let case: Case = read(path);
                    let place = files.iter().position(|(other, _)| other == name).unwrap();
                    let began = std::time::SystemTime::now();
                    let report = judge(name, &case, run);
                    eprint!("{:5.1} s of real time {report}", began.elapsed().unwrap().as_secs_f64());
                    reports.lock().unwrap().push((place, report));
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap();
    reports.sort_by_key(|(place, _)| *place);
    assert_eq!(reports.len(), files.len(), "every scenario was run");
    println!("{}", Report::HEADER);
    reports.iter().for_each(|(_, report)| print!("{report}"));
    let missed: Vec<&str> = reports.iter().flat_map(|(_, report)| &report.missed).map(String::as_str).collect();
    assert!(missed.is_empty(), "missed:\n{}", missed.join("\n"));
}

fn files() -> Vec<(String, PathBuf)> {
    let only = std::env::var_os("TIDEGATE_SCENARIO").map(|only| only.into_string().unwrap()).unwrap_or_default();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<(String, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path))
        .filter(|(name, _)| name.contains(&only))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenario is called like `{only}`");
    files
}

fn read(path: &std::path::Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
