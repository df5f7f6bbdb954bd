//! From cells to Arrow arrays.
//!
//! Cells are kept as text until a batch is full: parsing them once more is cheap beside asking a model, and one function a
//! type then says both whether a text fits it and what it becomes.

use std::str::FromStr;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, ListArray, PrimitiveArray, StringArray, new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use serde_json::value::RawValue;

use crate::run::columnar::times;

/// A cell of a batch: its text without quotes, or nothing.
pub(super) type Text = Option<String>;

/// Returns whether a text can stand in a column of that type.
pub(super) fn fits(data_type: &DataType, text: &str) -> bool {
    let cells = [Some(text.to_owned())];
    match data_type {
        DataType::List(item) => items(text).is_some_and(|items| items.iter().all(|text| fits(item.data_type(), text))),
        DataType::FixedSizeList(item, size) => items(text).is_some_and(|items| {
            items.len() == *size as usize && items.iter().all(|text| fits(item.data_type(), text))
        }),
        _ => array(data_type, &cells).is_ok_and(|array| array.null_count() == 0),
    }
}

/// Makes an array of cells; what does not fit becomes null.
pub(super) fn array(data_type: &DataType, cells: &[Text]) -> Result<ArrayRef, ArrowError> {
    Ok(match data_type {
        DataType::Boolean => {
            Arc::new(BooleanArray::from_iter(cells.iter().map(|cell| cell.as_ref()?.parse::<bool>().ok())))
        }
        DataType::Int8 => numbers::<Int8Type>(cells),
        DataType::Int16 => numbers::<Int16Type>(cells),
        DataType::Int32 => numbers::<Int32Type>(cells),
        DataType::Int64 => numbers::<Int64Type>(cells),
        DataType::UInt8 => numbers::<UInt8Type>(cells),
        DataType::UInt16 => numbers::<UInt16Type>(cells),
        DataType::UInt32 => numbers::<UInt32Type>(cells),
        DataType::UInt64 => numbers::<UInt64Type>(cells),
        DataType::Float32 => numbers::<Float32Type>(cells),
        DataType::Float64 => numbers::<Float64Type>(cells),
        DataType::Date32 => Arc::new(parsed::<Date32Type>(cells, times::read_date)),
        DataType::Timestamp(unit, zone) => {
            let read = |text: &str| times::read_moment(text, *unit, zone.is_some());
            let zone = zone.clone();
            match unit {
                TimeUnit::Second => Arc::new(parsed::<TimestampSecondType>(cells, read).with_timezone_opt(zone)),
                TimeUnit::Millisecond => {
                    Arc::new(parsed::<TimestampMillisecondType>(cells, read).with_timezone_opt(zone))
                }
                TimeUnit::Microsecond => {
                    Arc::new(parsed::<TimestampMicrosecondType>(cells, read).with_timezone_opt(zone))
                }
                TimeUnit::Nanosecond => {
                    Arc::new(parsed::<TimestampNanosecondType>(cells, read).with_timezone_opt(zone))
                }
            }
        }
        DataType::Decimal128(precision, scale) => {
            let decimals = parsed::<Decimal128Type>(cells, |text| times::read_decimal(text, *scale));
            Arc::new(decimals.with_precision_and_scale(*precision, *scale)?)
        }
        DataType::List(item) => {
            let (values, lengths, nulls) = lists(cells, None);
            let values = array(item.data_type(), &values)?;
            Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), values, nulls)?)
        }
        DataType::FixedSizeList(item, size) => {
            let (values, _, nulls) = lists(cells, Some(*size as usize));
            let values = array(item.data_type(), &values)?;
            Arc::new(FixedSizeListArray::try_new(item.clone(), *size, values, nulls)?)
        }
        DataType::Utf8 => Arc::new(StringArray::from_iter(cells.iter().map(Option::as_deref))),
        other => new_null_array(other, cells.len()),
    })
}

fn numbers<T: ArrowPrimitiveType>(cells: &[Text]) -> ArrayRef
where
    T::Native: FromStr,
{
    Arc::new(parsed::<T>(cells, |text| text.parse().ok()))
}

fn parsed<T: ArrowPrimitiveType>(cells: &[Text], read: impl Fn(&str) -> Option<T::Native>) -> PrimitiveArray<T> {
    cells.iter().map(|cell| read(cell.as_deref()?)).collect()
}

/// Lays the items of all lists one behind the other; a list of a fixed size that is not there still takes its place.
fn lists(cells: &[Text], size: Option<usize>) -> (Vec<Text>, Vec<usize>, Option<NullBuffer>) {
    let (mut values, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for cell in cells {
        let found = cell.as_deref().and_then(items).filter(|items| size.is_none_or(|size| size == items.len()));
        valid.push(found.is_some());
        let before = values.len();
        match found {
            Some(found) => values.extend(found.into_iter().map(|text| Some(text.to_owned()))),
            None => values.extend(std::iter::repeat_n(None, size.unwrap_or(0))),
        }
        lengths.push(values.len() - before);
    }
    (values, lengths, Some(NullBuffer::from(valid)))
}

/// Returns the items of a JSON list of numbers; a list with anything else in it is none.
fn items(json: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}
