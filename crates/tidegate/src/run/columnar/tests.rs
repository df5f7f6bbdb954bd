//! From a file of another program through rows and records into a file again.

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::{Float32Type, Int8Type};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationSecondArray,
    FixedSizeListArray, Float64Array, Int64Array, ListArray, RecordBatch, RecordBatchReader, StringArray, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt8Array,
};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::{ProptestConfig, any, proptest};

use super::{first_refused, is_carried, kept as kept_type};
use crate::error::Result;
use crate::run::input::{Input, InputOptions};
use crate::run::journal::Row;
use crate::run::output::{Format, Making, OutputOptions, Projection, Rows};
use crate::run::record::{Answer, Json, Record, write_record};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Two rows of every type that is kept, the second of nulls.
fn kept() -> RecordBatch {
    let vector = |values: Vec<Option<Vec<Option<f32>>>>| -> ArrayRef {
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(values, 3))
    };
    batch(vec![
        ("int", Arc::new(Int64Array::from(vec![Some(-5), None]))),
        ("small", Arc::new(UInt8Array::from(vec![Some(200), None]))),
        ("float", Arc::new(Float64Array::from(vec![Some(0.1), None]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("text", Arc::new(StringArray::from(vec![Some("a \"b\"\n"), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(19_782), None]))),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_709_211_600_500_000), None]).with_timezone("Europe/Zurich"),
            ),
        ),
        ("clock", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None]))),
        ("price", Arc::new(Decimal128Array::from(vec![Some(1230), None]).with_precision_and_scale(9, 2).unwrap())),
        ("vector", vector(vec![Some(vec![Some(0.1), Some(-2.0), Some(1e-7)]), None])),
        ("list", Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vec![Some(vec![Some(0.5)]), None]))),
    ])
}

fn write(path: &Path, batch: &RecordBatch) {
    let file = std::fs::File::create(path).unwrap();
    match path.extension().unwrap().to_str().unwrap() {
        "parquet" => {
            let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(batch).unwrap();
            writer.close().unwrap();
        }
        "arrow" => {
            let mut writer = FileWriter::try_new(file, &batch.schema()).unwrap();
            writer.write(batch).unwrap();
            writer.finish().unwrap();
        }
        _ => {
            let mut writer = StreamWriter::try_new(file, &batch.schema()).unwrap();
            writer.write(batch).unwrap();
            writer.finish().unwrap();
        }
    }
}

fn open(path: &Path) -> Result<Input> {
    Input::open(&InputOptions { paths: vec![path.display().to_string()], ..InputOptions::default() })
}

fn rows(input: &mut Input) -> Vec<String> {
    std::iter::from_fn(|| input.next_row().unwrap()).map(|row| row.text().unwrap().to_owned()).collect()
}

/// Records whose inputs are rows.
struct Records(Vec<String>, &'static str);

impl Rows for Records {
    fn visit(&self, each: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        self.0.iter().try_for_each(|row| {
            let mut line = Vec::new();
            let output = Some(Answer::Raw(Json::known(self.1)));
            write_record(&Record { input: Some(Json::known(row)), output, attempts: 1, ..Record::blank() }, &mut line);
            each(&Row { record: &line, ..Row::withdrawal(1) })
        })
    }
}

fn made(options: &OutputOptions, rows: &Records) -> Vec<u8> {
    let mut file = Vec::new();
    let making = Making { path: Path::new("out"), file: &mut file };
    Projection::new(options).unwrap().make(rows, vec![making]).unwrap();
    file
}

fn read_parquet(bytes: Vec<u8>) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    let schema = reader.schema();
    arrow_select_all(&schema, reader.map(|batch| batch.unwrap()).collect())
}

fn arrow_select_all(schema: &arrow_schema::SchemaRef, mut batches: Vec<RecordBatch>) -> RecordBatch {
    assert!(batches.len() <= 1, "small files are one batch");
    batches.pop().unwrap_or_else(|| RecordBatch::new_empty(schema.clone()))
}

#[test]
fn rows_have_typed_values_and_files_get_their_types_back() {
    let (dir, batch) = (tempfile::tempdir().unwrap(), kept());
    for name in ["in.parquet", "in.arrow", "in.arrows"] {
        let path = dir.path().join(name);
        write(&path, &batch);
        let mut input = open(&path).unwrap();
        let types = input.types().clone();
        let columns = input.columns().unwrap().to_vec();
        let rows = rows(&mut input);
        assert_eq!(
            rows[0],
            r#"{"int":-5,"small":200,"float":0.1,"bool":true,"text":"a \"b\"\n","day":"2024-02-29","at":"2024-02-29T13:00:00.5Z","clock":"1970-01-01T00:00:00.000001","price":"12.30","vector":[0.1,-2.0,1e-7],"list":[0.5]}"#
        );
        assert!(rows[1].starts_with(r#"{"int":null,"small":null,"#) && rows.len() == 2, "{name}");
        let options = OutputOptions { format: Format::Parquet, columns, types, ..OutputOptions::default() };
        let back = read_parquet(made(&options, &Records(rows, "[0.25,1.5]")));
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let again = back.column_by_name(field.name()).unwrap();
            assert_eq!(again.data_type(), field.data_type(), "{name}");
            assert_eq!(again, column, "{name}: {}", field.name());
        }
        let vectors = back.column_by_name("output").unwrap();
        assert_eq!(vectors.data_type(), &DataType::new_fixed_size_list(DataType::Float32, 2, true));
    }
}

#[test]
fn what_is_nested_is_json_and_bytes_are_base64() {
    let dir = tempfile::tempdir().unwrap();
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    map.append(true).unwrap();
    let mut words = ListBuilder::new(StringBuilder::new());
    words.values().append_value("x");
    words.append(true);
    let nested = StructArray::from(vec![(
        Arc::new(Field::new("n", DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![1])) as ArrayRef,
    )]);
    let dictionary: DictionaryArray<Int8Type> = vec!["red"].into_iter().collect();
    let batch = batch(vec![
        ("map", Arc::new(map.finish())),
        ("words", Arc::new(words.finish())),
        ("nested", Arc::new(nested)),
        ("colour", Arc::new(dictionary)),
        ("bytes", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..]]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![49_500_500_000]))),
        ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
    ]);
    for name in ["in.parquet", "in.arrow"] {
        let path = dir.path().join(name);
        write(&path, &batch);
        let expected = r#"{"map":{"k":"v"},"words":["x"],"nested":{"n":1},"colour":"red","bytes":"/wA=","time":"13:45:00.5","nan":null}"#;
        assert_eq!(rows(&mut open(&path).unwrap()), [expected], "{name}");
    }
}

#[test]
fn a_type_that_no_row_can_carry_is_named_with_its_column_and_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.arrow");
    write(&path, &batch(vec![("took", Arc::new(DurationSecondArray::from(vec![1])))]));
    let message = open(&path).err().unwrap().to_string();
    assert!(
        message.ends_with(
            "in.arrow: the column `took` is of the type Duration(s), which a row cannot carry; cast it, or leave it out"
        ),
        "{message}"
    );
    let path = dir.path().join("in.parquet");
    std::fs::write(&path, "{}\n").unwrap();
    assert!(open(&path).err().unwrap().to_string().contains("in.parquet: is not what its name says: "));
}

#[test]
fn rows_of_different_columns_become_one_table() {
    let rows = ["{\"a\":1}", "{\"b\":\"x\",\"a\":2.5}", "{\"a\":null,\"c\":{\"d\":[1]}}"].map(str::to_owned).to_vec();
    let options = OutputOptions { format: Format::Parquet, ..OutputOptions::default() };
    let back = read_parquet(made(&options, &Records(rows, "{\"k\":1}")));
    let column = |name: &str| back.column_by_name(name).unwrap().clone();
    assert_eq!(*column("a"), Float64Array::from(vec![Some(1.0), Some(2.5), None]));
    assert_eq!(*column("b"), StringArray::from(vec![None, Some("x"), None]));
    assert_eq!(*column("c"), StringArray::from(vec![None, None, Some("{\"d\":[1]}")]));
    assert_eq!(*column("output"), StringArray::from(vec![Some("{\"k\":1}"); 3]));
    assert_eq!(column("cost_usd").data_type(), &DataType::Float64);
    let empty = read_parquet(made(&options, &Records(Vec::new(), "null")));
    assert_eq!(empty.num_rows(), 0);
    assert!(empty.column_by_name("output").is_some());
}

#[test]
fn what_cannot_be_carried_is_found_however_deep() {
    let interval = DataType::Interval(IntervalUnit::DayTime);
    let deep = DataType::new_list(DataType::Struct(Fields::from(vec![Field::new("i", interval, true)])), true);
    let schema = Schema::new(vec![Field::new("a", DataType::Int8, true), Field::new("b", deep, true)]);
    assert_eq!(first_refused(&schema).map(|(name, _)| name), Some("b"));
    assert!(is_carried(&DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))));
}

#[test]
fn kept_types_are_read_from_their_names() {
    let types = [
        DataType::UInt16,
        DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::from("Europe/Zurich"))),
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Decimal128(10, 2),
        DataType::new_list(DataType::Float32, true),
        DataType::new_fixed_size_list(DataType::Float64, 768, true),
    ];
    for data_type in types {
        assert_eq!(kept_type(&data_type).unwrap().to_string().parse::<DataType>().unwrap(), data_type);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in any::<Vec<u8>>(), cut in 0_usize..4000) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        write(&path, &kept());
        let mut whole = std::fs::read(&path).unwrap();
        let at = cut % whole.len();
        whole.splice(at..(at + bytes.len()).min(whole.len()), bytes);
        std::fs::write(&path, whole).unwrap();
        if let Ok(mut input) = open(&path) {
            while let Ok(Some(_)) = input.next_row() {}
        }
    }
}
