//! Writes what a journal holds into another file: any format, the records in the order of the input or beside its rows.
//!
//! The journal is read as it is at that moment and without its lock, so that a run may go on meanwhile. The file appears as a
//! whole or not at all.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::run::input::{Format as InputFormat, InputOptions, Row as InputRow};
use crate::run::journal::{Home, Manifest, Offsets, Row, RowHead, Snapshot, Staged};
use crate::run::matching::{self, Keys};
use crate::run::output::{Format, Making, OutputOptions, Projection, Rows};
use crate::run::packing::Packing;
use crate::run::record::{Json, Record, write_record};
use crate::run::store::{NO_STORE, Store, is_url};

/// Which records are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Only {
    /// All of them.
    #[default]
    All,
    /// Those with an answer.
    Ok,
    /// Those without.
    Failed,
}

/// What is to be written, and where: plain data.
///
/// ```
/// use tidegate::run::export::{Export, Only};
/// # fn export() -> tidegate::Result<()> {
/// let export = Export { from: "out.jsonl".into(), to: Some("failed.jsonl".into()), only: Only::Failed, ..Export::default() };
/// println!("{} rows", export.run()?.rows);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Export {
    /// The output whose journal is read, or the directory of a journal.
    pub from: PathBuf,
    /// The file to write; the standard output if absent.
    pub to: Option<PathBuf>,
    /// Its format.
    pub format: Format,
    /// How it is packed.
    pub packing: Option<Packing>,
    /// The fields to write; all if empty. Where an input is joined, those behind its columns.
    pub fields: Vec<String>,
    /// What the field `output` is called; as in the run's output if absent.
    pub output_column: Option<String>,
    /// Fields of structured answers that become fields of their own; as in the run's output if absent.
    pub lift: Option<Vec<String>>,
    /// Which records.
    pub only: Only,
    /// Whether records come in the order of the input of the last run, in place of that in which they were answered.
    pub ordered: bool,
    /// Where to read and write what has an address in place of a path.
    pub store: Option<Arc<dyn Store>>,
    /// An input whose rows are all written, in order, with what was answered behind their columns.
    pub join: Option<InputOptions>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Rows that were written.
    pub rows: u64,
    /// Rows of a joined input that have no record.
    pub unanswered: u64,
    /// What the format could not show, in sentences for the user.
    pub warnings: Vec<String>,
}

impl Export {
    /// Writes the file.
    ///
    /// # Errors
    ///
    /// No journal there, damage, a file that must not be overwritten, an input that cannot be read again, a format that this
    /// build cannot write, storage.
    pub fn run(&self) -> Result<Exported> {
        let home = Home::of_run(&self.from)?;
        let snapshot = Snapshot::open(&home.dir)?;
        self.check_target(&home, &snapshot.manifest().asked.input)?;
        let (only, unanswered) = (self.only, Cell::new(0));
        let (rows, options): (Box<dyn Rows>, OutputOptions) = match &self.join {
            Some(input) => {
                let input = input.clone();
                let opened = matching::open(&input)?;
                let options = OutputOptions {
                    columns: opened.columns().map(<[String]>::to_vec).unwrap_or_default(),
                    types: opened.types().clone(),
                    joined: true,
                    ..self.options(&snapshot)
                };
                let (keys, offsets) = (Keys::of(snapshot.manifest()), offsets(&snapshot, only)?);
                (Box::new(Joined { snapshot: &snapshot, keys, offsets, input, unanswered: &unanswered }), options)
            }
            None if self.ordered => {
                let arranged = snapshot.arranged(arrange(&snapshot, only, self.store.clone())?);
                (Box::new(arranged), self.options(&snapshot))
            }
            None => (Box::new(Committed { snapshot: &snapshot, only }), self.options(&snapshot)),
        };
        let exported = self.write(&*rows, &options, &home)?;
        Ok(Exported { unanswered: unanswered.get(), ..exported })
    }

    fn options(&self, snapshot: &Snapshot) -> OutputOptions {
        let before = &snapshot.manifest().output;
        OutputOptions {
            format: self.format,
            packing: self.packing,
            fields: self.fields.clone(),
            output_column: self.output_column.clone().or_else(|| before.output_column.clone()),
            lift: self.lift.clone().unwrap_or_else(|| before.lift.clone()),
            ..before.clone()
        }
    }

    /// Refuses to overwrite what a run writes or reads; `asked` are the inputs of the last one.
    fn check_target(&self, home: &Home, asked: &[String]) -> Result<()> {
        let Some(to) = &self.to else { return Ok(()) };
        let real = |path: &Path| path.canonicalize().ok();
        let same = |path: &Path| path == to.as_path() || (real(path).is_some() && real(path) == real(to));
        let matched = |pattern: &str| {
            let pattern = glob::Pattern::new(pattern).ok();
            pattern.zip(real(to)).is_some_and(|(pattern, to)| pattern.matches_path(&to))
        };
        let read = self.join.iter().flat_map(|input| &input.paths).chain(asked);
        let read = read.into_iter().any(|path| same(Path::new(path)) || matched(path));
        if read || same(&home.out) || Home::beside(to).exists() {
            let message = format!("{} is what a run writes or what is read; choose another file with -o", to.display());
            return Err(Error::Usage(message));
        }
        Ok(())
    }

    fn write(&self, rows: &dyn Rows, options: &OutputOptions, home: &Home) -> Result<Exported> {
        let mut projection = Projection::new(options)?;
        let counted = Counted { rows, count: Cell::new(0) };
        match &self.to {
            None => {
                let mut stdout = std::io::stdout();
                let path = Path::new("standard output");
                let files = vec![Making { path, file: &mut stdout }];
                projection.make(&counted, files)?;
            }
            Some(to) if is_url(&to.to_string_lossy()) => {
                self.write_remote(&mut projection, &counted, &to.to_string_lossy(), &home.dir)?;
            }
            Some(to) => {
                let paths = projection.paths(to);
                let mut staged = paths.iter().map(|path| Staged::beside(path)).collect::<Result<Vec<_>>>()?;
                projection.make(&counted, staged.iter_mut().map(Staged::making).collect())?;
                staged.into_iter().zip(&paths).try_for_each(|(staged, path)| staged.publish(path))?;
            }
        }
        Ok(Exported { rows: counted.count.get(), unanswered: 0, warnings: projection.warnings() })
    }
}

impl Export {
    /// Makes the files in the journal's directory and uploads them from there.
    fn write_remote(&self, projection: &mut Projection, rows: &dyn Rows, url: &str, dir: &Path) -> Result<()> {
        let store = self.store.as_ref().ok_or_else(|| Error::Usage(format!("{url} cannot be written: {NO_STORE}")))?;
        let scratch = dir.join(format!("export-{}", std::process::id()));
        let paths = projection.paths(&scratch);
        let mut staged = paths.iter().map(|path| Staged::beside(path)).collect::<Result<Vec<_>>>()?;
        let mut made = projection.make(rows, staged.iter_mut().map(Staged::making).collect());
        let local = scratch.display().to_string();
        for (path, staged) in paths.iter().zip(staged) {
            let to = format!("{url}{}", path.display().to_string().strip_prefix(&local).unwrap_or_default());
            let uploaded = store.upload(staged.path(), &to);
            made = made.and(uploaded.map_err(|source| Error::storage(to.as_ref(), "cannot be uploaded", source)));
            staged.discard();
        }
        made
    }
}

/// Returns the input of the last run, from wherever this process is.
fn last_input(snapshot: &Snapshot, store: Option<Arc<dyn Store>>) -> InputOptions {
    let asked = &snapshot.manifest().asked;
    let format = asked.format.as_deref().and_then(InputFormat::from_name);
    InputOptions { paths: asked.input.clone(), format, store, ..InputOptions::default() }
}

/// Returns the names of the input of an output's last run, as far as they are known.
#[must_use]
pub fn last_input_of(from: &Path) -> Vec<String> {
    let manifest = Manifest::read(&Home::named(from).dir).ok().flatten();
    manifest.map(|manifest| manifest.asked.input).unwrap_or_default()
}

fn arrange(snapshot: &Snapshot, only: Only, store: Option<Arc<dyn Store>>) -> Result<Vec<u64>> {
    let input = last_input(snapshot, store);
    if input.paths.is_empty() {
        return Err(Error::Usage(
            "nothing tells which input the run had; give it with --join, or leave --ordered away".to_owned(),
        ));
    }
    let offsets = offsets(snapshot, only)?;
    Keys::of(snapshot.manifest()).arrange(&offsets, &input).map_err(|error| match error {
        Error::Input { place, message } => {
            let message = format!(
                "{message} (the input of the last run, whose order is wanted; give --join where it is elsewhere now)"
            );
            Error::Input { place, message }
        }
        other => other,
    })
}

fn offsets(snapshot: &Snapshot, only: Only) -> Result<Offsets> {
    let mut entries = Vec::new();
    snapshot.scan(|row, at| {
        if only.takes(&row.head) {
            entries.push((row.head.key, at));
        }
        Ok(())
    })?;
    Ok(Offsets::new(entries))
}

impl Only {
    fn takes(self, row: &RowHead<'_>) -> bool {
        match self {
            Only::All => true,
            Only::Ok => row.failed.is_none(),
            Only::Failed => row.failed.is_some(),
        }
    }
}

/// Records in the order in which they were committed.
struct Committed<'s> {
    snapshot: &'s Snapshot,
    only: Only,
}

impl Rows for Committed<'_> {
    fn visit(&self, each: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        self.snapshot.scan(|row, _| if self.only.takes(&row.head) { each(row) } else { Ok(()) })
    }
}

/// The rows of an input, each with its records.
struct Joined<'s> {
    snapshot: &'s Snapshot,
    keys: Keys,
    offsets: Offsets,
    input: InputOptions,
    /// How many rows had no record when they were last gone through.
    unanswered: &'s Cell<u64>,
}

impl Rows for Joined<'_> {
    fn visit(&self, each: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        let (mut input, mut taker) = (matching::open(&self.input)?, self.offsets.taker());
        let (mut rows, mut line) = (self.snapshot.rows_at()?, Vec::new());
        self.unanswered.set(0);
        while let Some(row) = input.next_row()? {
            let found = self.keys.take(&row, &mut taker);
            for &at in &found {
                let stored = rows.read(at)?;
                let record = Record::parse(stored.record)
                    .map_err(|error| Error::damaged("journal".as_ref(), format!("a record cannot be read: {error}")))?;
                join(&row, record, &mut line);
                each(&Row { record: &line, ..stored })?;
            }
            if found.is_empty() {
                self.unanswered.set(self.unanswered.get() + 1);
                join(&row, Record::blank(), &mut line);
                each(&Row { record: &line, ..Row::withdrawal(0) })?;
            }
        }
        Ok(())
    }
}

/// Writes a record with that row as its input.
fn join(row: &InputRow, record: Record<'_>, line: &mut Vec<u8>) {
    line.clear();
    write_record(&Record { input: row.text().ok().map(Json::known), ..record }, line);
}

/// Counts the rows of the last time that they were gone through.
struct Counted<'r> {
    rows: &'r dyn Rows,
    count: Cell<u64>,
}

impl Rows for Counted<'_> {
    fn visit(&self, each: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        self.count.set(0);
        self.rows.visit(&mut |row| {
            self.count.set(self.count.get() + 1);
            each(row)
        })
    }
}
