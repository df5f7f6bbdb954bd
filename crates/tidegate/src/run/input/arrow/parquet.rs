//! The frame of a Parquet file: how it is packed, and how many rows are read at once.

use std::io::BufReader;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::super::ranged::{Cursor, Ranged};
use super::{Batches, broken};
use crate::error::{Error, Result};

/// How much is unpacked at once, about.
const BATCH_BYTES: i64 = 1 << 20;
const MOST_ROWS: i64 = 1024;

/// Opens a file.
pub(super) fn open(ranged: Arc<dyn Ranged>, file: &str) -> Result<(SchemaRef, Batches)> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Chunks(ranged)).map_err(|error| broken(file, &error))?;
    if let Some((column, packing)) = unknown_packing(builder.metadata()) {
        let message = format!(
            "the column `{column}` is packed with {packing}, which cannot be read; write it with ZSTD or SNAPPY"
        );
        return Err(Error::input(file, message));
    }
    let rows = rows_at_once(builder.metadata());
    let schema = builder.schema().clone();
    let reader = builder.with_batch_size(rows).build().map_err(|error| broken(file, &error))?;
    Ok((schema, Box::new(reader)))
}

fn unknown_packing(metadata: &ParquetMetaData) -> Option<(String, String)> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let unknown = |packing: Compression| matches!(packing, Compression::BROTLI(_) | Compression::LZO);
    let mut found = columns.filter(|column| unknown(column.compression()));
    found.next().map(|column| (column.column_path().string(), column.compression().to_string()))
}

/// Returns how many rows make about a batch: of rows of megabytes only one.
fn rows_at_once(metadata: &ParquetMetaData) -> usize {
    let row_bytes = metadata.row_groups().iter().map(|group| group.total_byte_size() / group.num_rows().max(1)).max();
    let rows = BATCH_BYTES / row_bytes.unwrap_or(1).max(1);
    rows.clamp(1, MOST_ROWS) as usize
}

/// A file as the Parquet crate reads one.
struct Chunks(Arc<dyn Ranged>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> ParquetResult<BufReader<Cursor>> {
        Ok(BufReader::with_capacity(64 << 10, Cursor::new(self.0.clone(), start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut bytes = vec![0; length];
        std::io::Read::read_exact(&mut Cursor::new(self.0.clone(), start), &mut bytes)?;
        Ok(bytes.into())
    }
}
