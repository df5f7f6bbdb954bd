//! What the user reads: a projection of the journal's rows, in the format asked for.
//!
//! A projection is a function of the rows alone, in the order in which they were committed. So an output of lines can be
//! continued by appending, and made anew at any time with the same result. The one thing that it remembers is a CSV's
//! header, which the first row decides. Formats that cannot be continued, and packed files, are made as a whole at the end.
//!
//! | format | a line is | files |
//! |---|---|---|
//! | JSONL | the record as it is in the journal | OUT |
//! | JSONL with fields | an object of the chosen fields | OUT |
//! | CSV, TSV | the input's columns, then ours; or the chosen fields | OUT |
//! | OpenAI batch | a result line as the Batch API writes it | OUT, and `OUT.errors.jsonl` for failed rows |
//! | Parquet, Arrow | a row with the same columns as a CSV, typed | OUT, made at the end |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

#[cfg(feature = "parquet")]
mod arrays;
mod batch;
mod csv;
mod fields;
mod format;
mod jsonl;
#[cfg(feature = "parquet")]
mod table;
#[cfg(feature = "parquet")]
mod types;

use self::csv::Csv;
pub use self::format::Format;
use self::jsonl::{ChosenFields, Joined};
use super::journal::Row;
use super::packing::{Packer, Packing};
use super::record::Record;
use crate::error::{Error, Result};

/// How much of a projection is collected before it is written, when an output is made anew.
const CHUNK: usize = 1 << 20;

/// What a user may choose about the results.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputOptions {
    /// The format.
    pub format: Format,
    /// The fields to write, in this order: a record's own, or the input's columns. All of them if empty.
    pub fields: Vec<String>,
    /// What the field `output` is called.
    pub output_column: Option<String>,
    /// Fields of structured answers that become fields of their own.
    pub lift: Vec<String>,
    /// The input's columns, for a CSV whose input has a header; otherwise the first row's.
    pub columns: Vec<String>,
    /// How the file is packed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packing: Option<Packing>,
    /// The Arrow types of the input's columns, where the input says them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, String>,
    /// Whether every row of an input is written, with fields of ours behind its columns.
    #[serde(skip)]
    pub joined: bool,
    /// Whether rows have samples (`--repeat`).
    pub samples: bool,
    /// Whether there may be last resorts in the place of answers.
    pub fallbacks: bool,
    /// Whether answers may come from a cache.
    pub cached: bool,
    /// Whether identical rows may share an outcome.
    pub shared: bool,
    /// Whether rows may be asked together.
    pub packed: bool,
    /// Whether answers are judged: by a schema, checks or a ladder.
    pub checked: bool,
}

impl OutputOptions {
    /// Checks the chosen fields against the columns that every row has.
    ///
    /// # Errors
    /// [`Error::Usage`] names the field that there is not.
    pub(super) fn check(&self, columns: &[String]) -> Result<()> {
        fields::check(self, columns)
    }
}

/// Rows that can be gone through as often as they are needed.
pub(crate) trait Rows {
    /// Shows every row in order.
    ///
    /// # Errors
    /// Storage, and what `each` returns.
    fn visit(&self, each: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()>;
}

/// A file that is being made as a whole.
pub(crate) struct Making<'f> {
    /// What it is called in messages.
    pub(crate) path: &'f Path,
    /// Where its bytes go.
    pub(crate) file: &'f mut (dyn Write + Send),
}

/// Turns rows into lines, or into a file.
#[derive(Debug)]
pub struct Projection {
    shape: Shape,
    packing: Option<Packing>,
}

#[derive(Debug)]
enum Shape {
    Record,
    Chosen(ChosenFields),
    Joined(Joined),
    Csv(Box<Csv>),
    Batch,
    #[cfg(feature = "parquet")]
    Table(Box<table::Table>),
}

impl Projection {
    /// Makes a projection.
    ///
    /// # Errors
    /// Fields or a column's name where the format has none, a field named twice, a format that this build cannot write, and
    /// one that has a packing of its own.
    pub fn new(options: &OutputOptions) -> Result<Projection> {
        if options.output_column.as_deref() == Some("") {
            return Err(Error::Usage("--output-column is empty: give the answer's field a name".to_owned()));
        }
        let plain = options.fields.is_empty() && options.output_column.is_none() && options.lift.is_empty();
        let lines =
            !matches!(options.format, Format::OpenaiBatch | Format::Parquet | Format::Arrow | Format::ArrowStream);
        if let Some(packing) = options.packing.filter(|_| !lines) {
            let (format, end) = (options.format.name(), packing.extension());
            return Err(Error::Usage(format!(
                "{format} is not packed as a whole: leave {end} away, or write JSONL or CSV"
            )));
        }
        let shape = match options.format {
            Format::Jsonl if options.joined => Shape::Joined(Joined::new(options)?),
            Format::Jsonl if plain => Shape::Record,
            Format::Jsonl => Shape::Chosen(ChosenFields::new(options)?),
            Format::Csv => Shape::Csv(Box::new(Csv::new(options, b',')?)),
            Format::Tsv => Shape::Csv(Box::new(Csv::new(options, b'\t')?)),
            Format::OpenaiBatch if plain && !options.joined => Shape::Batch,
            Format::OpenaiBatch => {
                let message = "batch results have fixed fields; leave away --fields, --lift, --output-column and --join, or write JSONL";
                return Err(Error::Usage(message.to_owned()));
            }
            #[cfg(feature = "parquet")]
            Format::Parquet | Format::Arrow | Format::ArrowStream => {
                Shape::Table(Box::new(table::Table::new(options)?))
            }
            #[cfg(not(feature = "parquet"))]
            Format::Parquet | Format::Arrow | Format::ArrowStream => {
                return Err(Error::Usage(format!(
                    "{} cannot be written: {}",
                    options.format.name(),
                    super::NO_PARQUET
                )));
            }
        };
        Ok(Projection { shape, packing: options.packing })
    }

    /// Returns whether the output cannot be appended to, so that it is made when the run ends.
    #[must_use]
    pub fn is_made_at_end(&self) -> bool {
        #[cfg(feature = "parquet")]
        if matches!(self.shape, Shape::Table(_)) {
            return true;
        }
        self.packing.is_some()
    }

    /// Makes the files as a whole.
    pub(crate) fn make(&mut self, rows: &dyn Rows, files: Vec<Making<'_>>) -> Result<()> {
        #[cfg(feature = "parquet")]
        if let Shape::Table(table) = &mut self.shape {
            return files.into_iter().try_for_each(|file| table.make(rows, file));
        }
        self.restart();
        let packing = self.packing;
        let mut files: Vec<(&Path, Packer<_>)> =
            files.into_iter().map(|Making { path, file }| (path, Packer::new(packing, file))).collect();
        let mut buffers = vec![Vec::new(); files.len()];
        rows.visit(&mut |row| {
            self.project(row, &mut buffers)?;
            drain(&mut buffers, &mut files, CHUNK)
        })?;
        drain(&mut buffers, &mut files, 1)?;
        files.into_iter().try_for_each(|(path, packer)| {
            packer.finish().map(drop).map_err(|source| Error::storage(path, "cannot be written", source))
        })
    }

    /// Returns the files that belong to an output.
    #[must_use]
    pub fn paths(&self, out: &Path) -> Vec<PathBuf> {
        match &self.shape {
            Shape::Batch => {
                let mut errors = OsString::from(out);
                errors.push(".errors.jsonl");
                vec![out.to_owned(), errors.into()]
            }
            _ => vec![out.to_owned()],
        }
    }

    /// Continues files that already begin with that row.
    pub(super) fn prime(&mut self, first: &Row<'_>) -> Result<()> {
        if let Shape::Csv(csv) = &mut self.shape {
            csv.begin(&parse(first)?)?;
        }
        Ok(())
    }

    /// Starts again with empty files.
    pub(super) fn restart(&mut self) {
        match &mut self.shape {
            Shape::Chosen(chosen) => chosen.restart(),
            Shape::Csv(csv) => csv.restart(),
            _ => {}
        }
    }

    /// Appends a row's lines, for each file to its own buffer.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn project(&mut self, row: &Row<'_>, out: &mut [Vec<u8>]) -> Result<()> {
        let Some((first, others)) = out.split_first_mut() else { return Ok(()) };
        match &mut self.shape {
            Shape::Record => {
                first.extend_from_slice(row.record);
                first.push(b'\n');
            }
            Shape::Chosen(chosen) => chosen.project(&parse(row)?, first),
            Shape::Joined(joined) => joined.project(&parse(row)?, first),
            Shape::Csv(csv) => csv.project(&parse(row)?, first)?,
            Shape::Batch => {
                let record = parse(row)?;
                let errors = others.first_mut().filter(|_| record.error.is_some());
                batch::project(row, &record, errors.unwrap_or(first));
            }
            // Has no lines.
            #[cfg(feature = "parquet")]
            Shape::Table(_) => {}
        }
        Ok(())
    }

    /// Returns what could not be shown, in sentences for the user.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match &self.shape {
            Shape::Chosen(chosen) => chosen.warnings(),
            Shape::Csv(csv) => csv.warnings(),
            #[cfg(feature = "parquet")]
            Shape::Table(table) => table.warnings(),
            Shape::Record | Shape::Joined(_) | Shape::Batch => Vec::new(),
        }
    }
}

/// Writes out each buffer that holds at least that many bytes.
fn drain(buffers: &mut [Vec<u8>], files: &mut [(&Path, Packer<impl Write>)], least: usize) -> Result<()> {
    for (buffer, (path, file)) in buffers.iter_mut().zip(files) {
        if buffer.len() >= least {
            file.write_all(buffer).map_err(|source| Error::storage(path, "cannot be written", source))?;
            buffer.clear();
        }
    }
    Ok(())
}

fn parse<'a>(row: &Row<'a>) -> Result<Record<'a>> {
    Record::parse(row.record).map_err(|error| {
        let message = format!("the record of a stored row cannot be read: {error}");
        Error::damaged("journal".as_ref(), message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::journal::RowHead;

    /// Makes a record with that id, input and output, and the rest of an answer or a failure.
    fn record(id: &str, input: &str, output: &str, error: &str) -> String {
        let usage = r#"{"input_tokens":3,"output_tokens":2,"cached_tokens":0,"reasoning_tokens":0}"#;
        format!(
            r#"{{"id":{id},"input":{input},"output":{output},"model":"m","endpoint":"e","finish_reason":"stop","usage":{usage},"cost_usd":0.000031,"latency_ms":1.5,"attempts":1,"request_id":"r1","error":{error}}}"#
        )
    }

    fn row<'a>(record: &'a str, detail: Option<&'a str>) -> Row<'a> {
        let head = RowHead { key: 255, raw: 0, request: 0, sample: 0, replaces: false, failed: None, model: "m" };
        Row { head, record: record.as_bytes(), detail: detail.map(str::as_bytes) }
    }

    /// Projects records and returns the lines of both files, and the warnings.
    fn project(options: &OutputOptions, rows: &[Row<'_>]) -> (String, String, Vec<String>) {
        let mut projection = Projection::new(options).unwrap();
        let mut out = [Vec::new(), Vec::new()];
        rows.iter().for_each(|row| projection.project(row, &mut out).unwrap());
        let [first, second] = out.map(|lines| String::from_utf8(lines).unwrap());
        (first, second, projection.warnings())
    }

    fn lines(options: &OutputOptions, records: &[String]) -> String {
        let rows: Vec<Row<'_>> = records.iter().map(|record| row(record, None)).collect();
        project(options, &rows).0
    }

    fn options(format: Format, fields: &[&str]) -> OutputOptions {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        OutputOptions { format, fields, ..OutputOptions::default() }
    }

    #[test]
    fn plain_jsonl_is_the_record_byte_for_byte() {
        let record = record("1", r#"{"a":  1.00}"#, r#""x""#, "null");
        assert_eq!(lines(&options(Format::Jsonl, &[]), std::slice::from_ref(&record)), format!("{record}\n"));
    }

    #[test]
    fn chosen_fields_are_ours_or_the_inputs() {
        let record = record("\"i\"", r#"{"a":1.00,"output":[ 2 ]}"#, r#""x\n""#, "null");
        let chosen = ["id", "a", "output", "output_tokens", "cost_usd", "error"];
        let expected = r#"{"id":"i","a":1.00,"output":"x\n","output_tokens":2,"cost_usd":0.000031,"error":null}"#;
        assert_eq!(lines(&options(Format::Jsonl, &chosen), std::slice::from_ref(&record)), format!("{expected}\n"));
        let expected = "{\"output\":[ 2 ]}\n";
        assert_eq!(lines(&options(Format::Jsonl, &["input.output"]), &[record]), expected);
    }

    #[test]
    fn fields_of_the_answer_are_lifted() {
        let record =
            record("1", r#"{"text":"a","total":1}"#, r#"{"total": 2.50, "a": {"b": "x,y"}, "n": null}"#, "null");
        let lift = ["total", "a.b", "n", "none.at.all"].map(str::to_owned).to_vec();
        let lifted = OutputOptions { lift, ..OutputOptions::default() };
        let line = lines(&lifted, std::slice::from_ref(&record));
        assert!(
            line.ends_with(
                r#""error":null,"total":2.50,"a.b":"x,y","n":null,"none.at.all":null}
"#
            ),
            "{line}"
        );
        let csv = lines(&OutputOptions { format: Format::Csv, ..lifted.clone() }, std::slice::from_ref(&record));
        assert!(csv.starts_with("text,total,id,output,total_2,a.b,n,none.at.all,model,"), "{csv}");
        assert!(csv.contains(",2.50,\"x,y\",,,m,"), "{csv}");
        let fields = ["id", "a.b"].map(str::to_owned).to_vec();
        assert_eq!(lines(&OutputOptions { fields, ..lifted }, &[record]), "{\"id\":1,\"a.b\":\"x,y\"}\n");
    }

    #[test]
    fn the_output_may_have_another_name() {
        let named = OutputOptions { output_column: Some("summary".to_owned()), ..OutputOptions::default() };
        let line = lines(&named, &[record("1", "{}", "\"x\"", "null")]);
        assert!(line.starts_with(r#"{"id":1,"input":{},"summary":"x","model":"m","endpoint""#), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 12);
    }

    #[test]
    fn a_csv_has_the_inputs_columns_first_and_a_clash_gets_a_number() {
        let first = record("7", r#"{"id":7,"output":"old","text":"a,\"b\"\nc"}"#, "\"yes\"", "null");
        let failure = r#"{"kind":"timeout","message":"too slow","status":null}"#;
        let second = record("8", r#"{"text":null,"id":8,"more":true}"#, "null", failure);
        let rows = [row(&first, None), row(&second, None)];
        let (csv, _, warnings) = project(&options(Format::Csv, &[]), &rows);
        let header = "id,output,text,output_2,model,endpoint,finish_reason,input_tokens,output_tokens,cached_tokens,\
                      reasoning_tokens,cost_usd,latency_ms,attempts,request_id,error_kind,error_message,error_status";
        let rest = "m,e,stop,3,2,0,0,0.000031,1.5,1,r1";
        let expected = format!("{header}\n7,old,\"a,\"\"b\"\"\nc\",yes,{rest},,,\n8,,,,{rest},timeout,too slow,\n");
        assert_eq!(csv, expected);
        assert_eq!(warnings, ["1 rows have columns that the first row lacks; the CSV leaves them out"]);
    }

    #[test]
    fn a_csv_is_read_by_a_csv_reader_as_it_was_written() {
        let awkward = ["", "\"", "a\"b", "\r\n", ",", " x ", "é", "\u{feff}"];
        let records: Vec<String> =
            awkward.iter().map(|text| record("1", "{}", &serde_json::to_string(text).unwrap(), "null")).collect();
        let csv = lines(&options(Format::Csv, &["output"]), &records);
        let read: Vec<String> =
            ::csv::Reader::from_reader(csv.as_bytes()).records().map(|row| row.unwrap()[0].to_owned()).collect();
        assert_eq!(read, awkward);
    }

    #[test]
    fn samples_are_shown_only_where_there_are_some() {
        let csv =
            |samples| lines(&OutputOptions { samples, ..options(Format::Csv, &[]) }, &[record("1", "{}", "1", "null")]);
        assert!(csv(true).starts_with("id,output,model,sample,endpoint"));
        assert!(csv(false).starts_with("id,output,model,endpoint"));
    }

    #[test]
    fn a_column_that_no_row_has_is_named() {
        for format in [Format::Jsonl, Format::Csv] {
            let record = record("1", r#"{"text":1}"#, "1", "null");
            let (_, _, warnings) = project(&options(format, &["text", "txet"]), &[row(&record, None)]);
            assert_eq!(warnings, ["no row of this run has the column \"txet\" that --fields names"]);
        }
    }

    #[test]
    fn wrong_fields_are_refused() {
        for (format, fields) in
            [(Format::Jsonl, &["id", "id"][..]), (Format::Csv, &[""]), (Format::OpenaiBatch, &["output"])]
        {
            let error = Projection::new(&options(format, fields)).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{error}");
        }
        let nameless = OutputOptions { output_column: Some(String::new()), ..OutputOptions::default() };
        assert!(matches!(Projection::new(&nameless), Err(Error::Usage(_))));
    }

    #[test]
    fn a_batch_line_holds_the_providers_body_untouched_on_one_line() {
        let record = record("\"a-1\"", "{}", "\"x\"", "null");
        let (line, errors, _) =
            project(&options(Format::OpenaiBatch, &[]), &[row(&record, Some("{\n \"n\": 1.00, \"s\": \"a\\nb\"}"))]);
        let body = r#"{  "n": 1.00, "s": "a\nb"}"#;
        let expected = format!(
            r#"{{"id":"batch_req_00000000000000ff","custom_id":"a-1","response":{{"status_code":200,"request_id":"r1","body":{body}}},"error":null}}"#
        );
        assert_eq!((line, errors), (format!("{expected}\n"), String::new()));
    }

    #[test]
    fn failed_batch_rows_go_to_the_error_file() {
        let refused = record("1", "{}", "null", r#"{"kind":"bad_request","message":"no","status":400}"#);
        let lost = record("2", "{}", "null", r#"{"kind":"timeout","message":"slow","status":null}"#);
        let rows = [row(&refused, Some(r#"{"error":{"type":"x"}}"#)), row(&refused, Some("<html>")), row(&lost, None)];
        let (line, errors, _) = project(&options(Format::OpenaiBatch, &[]), &rows);
        assert_eq!(line, "");
        let tails: Vec<&str> = errors.lines().map(|line| line.split_once("\"response\":").unwrap().1).collect();
        let expected = [
            r#"{"status_code":400,"request_id":"r1","body":{"error":{"type":"x"}}},"error":null}"#,
            r#"{"status_code":400,"request_id":"r1","body":{"error":{"code":"bad_request","message":"no"}}},"error":null}"#,
            r#"null,"error":{"code":"timeout","message":"slow"}}"#,
        ];
        assert_eq!(tails, expected);
    }
}
