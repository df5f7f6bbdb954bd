//! One value of an Arrow array as JSON.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::run::columnar::times;
use crate::run::record::push_json;

/// Appends a value.
///
/// # Errors
/// Says what is wrong with it, to follow on its name.
pub(super) fn push(array: &dyn Array, at: usize, out: &mut Vec<u8>) -> Result<(), String> {
    if array.is_null(at) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Null => out.extend_from_slice(b"null"),
        DataType::Boolean => push_json(out, &array.as_boolean().value(at)),
        DataType::Int8 => number::<Int8Type>(array, at, out),
        DataType::Int16 => number::<Int16Type>(array, at, out),
        DataType::Int32 => number::<Int32Type>(array, at, out),
        DataType::Int64 => number::<Int64Type>(array, at, out),
        DataType::UInt8 => number::<UInt8Type>(array, at, out),
        DataType::UInt16 => number::<UInt16Type>(array, at, out),
        DataType::UInt32 => number::<UInt32Type>(array, at, out),
        DataType::UInt64 => number::<UInt64Type>(array, at, out),
        DataType::Float16 => push_json(out, &array.as_primitive::<Float16Type>().value(at).to_f32()),
        // What is not a number becomes null.
        DataType::Float32 => number::<Float32Type>(array, at, out),
        DataType::Float64 => number::<Float64Type>(array, at, out),
        DataType::Utf8 => push_json(out, array.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => push_json(out, array.as_string::<i64>().value(at)),
        DataType::Utf8View => push_json(out, array.as_string_view().value(at)),
        DataType::Binary => bytes(array.as_binary::<i32>().value(at), out),
        DataType::LargeBinary => bytes(array.as_binary::<i64>().value(at), out),
        DataType::BinaryView => bytes(array.as_binary_view().value(at), out),
        DataType::FixedSizeBinary(_) => bytes(array.as_fixed_size_binary().value(at), out),
        DataType::List(_) => items(&array.as_list::<i32>().value(at), out)?,
        DataType::LargeList(_) => items(&array.as_list::<i64>().value(at), out)?,
        DataType::FixedSizeList(..) => items(&array.as_fixed_size_list().value(at), out)?,
        DataType::Struct(_) => fields(array, at, out)?,
        DataType::Map(..) => entries(array, at, out)?,
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            // The keys are of one of eight types; their text is the same in all.
            let mut key = Vec::new();
            push(dictionary.keys(), at, &mut key)?;
            let key = std::str::from_utf8(&key).ok().and_then(|key| key.parse().ok());
            push(dictionary.values(), key.ok_or("has no such entry in its dictionary")?, out)?;
        }
        _ => push_json(out, &text(array, at)?),
    }
    Ok(())
}

fn number<T: ArrowPrimitiveType>(array: &dyn Array, at: usize, out: &mut Vec<u8>)
where
    T::Native: serde::Serialize,
{
    push_json(out, &array.as_primitive::<T>().value(at));
}

/// Returns a date, time or decimal as text.
fn text(array: &dyn Array, at: usize) -> Result<String, String> {
    let text = match array.data_type() {
        DataType::Date32 => times::date(array.as_primitive::<Date32Type>().value(at)),
        DataType::Date64 => times::moment(array.as_primitive::<Date64Type>().value(at), TimeUnit::Millisecond, false),
        DataType::Timestamp(unit, zone) => {
            let value = match unit {
                TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(at),
                TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(at),
                TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(at),
                TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(at),
            };
            times::moment(value, *unit, zone.is_some())
        }
        DataType::Time32(TimeUnit::Second) => {
            times::time(array.as_primitive::<Time32SecondType>().value(at).into(), TimeUnit::Second)
        }
        DataType::Time32(unit) => times::time(array.as_primitive::<Time32MillisecondType>().value(at).into(), *unit),
        DataType::Time64(TimeUnit::Microsecond) => {
            times::time(array.as_primitive::<Time64MicrosecondType>().value(at), TimeUnit::Microsecond)
        }
        DataType::Time64(unit) => times::time(array.as_primitive::<Time64NanosecondType>().value(at), *unit),
        DataType::Decimal32(_, scale) => {
            Some(times::decimal(array.as_primitive::<Decimal32Type>().value(at).into(), *scale))
        }
        DataType::Decimal64(_, scale) => {
            Some(times::decimal(array.as_primitive::<Decimal64Type>().value(at).into(), *scale))
        }
        DataType::Decimal128(_, scale) => {
            Some(times::decimal(array.as_primitive::<Decimal128Type>().value(at), *scale))
        }
        // Refused when the file was opened.
        other => return Err(format!("is of the type {other}")),
    };
    text.ok_or_else(|| "is a date or time that no calendar has".to_owned())
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    push_json(out, &STANDARD.encode(bytes));
}

fn items(items: &ArrayRef, out: &mut Vec<u8>) -> Result<(), String> {
    out.push(b'[');
    for at in 0..items.len() {
        if at > 0 {
            out.push(b',');
        }
        push(items, at, out)?;
    }
    out.push(b']');
    Ok(())
}

fn fields(array: &dyn Array, at: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let record = array.as_struct();
    out.push(b'{');
    for (number, (name, column)) in record.column_names().iter().zip(record.columns()).enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push_json(out, name);
        out.push(b':');
        push(column, at, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn entries(array: &dyn Array, at: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let entries = array.as_map().value(at);
    out.push(b'{');
    for entry in 0..entries.len() {
        if entry > 0 {
            out.push(b',');
        }
        push(entries.column(0), entry, out)?;
        out.push(b':');
        push(entries.column(1), entry, out)?;
    }
    out.push(b'}');
    Ok(())
}
