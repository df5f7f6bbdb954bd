//! Arrow's types beside JSON: which of them rows can carry, and which are written again as they were read.
//!
//! A row is JSON text wherever it came from, so a value of a column must be told in JSON: numbers, booleans and text as
//! themselves; dates, times and decimals as text, which loses nothing; bytes as base64; lists and structs as JSON. The
//! types of the input's columns are kept beside the rows, so that a file of the same kind can have them again.

pub(crate) mod times;

use arrow_schema::{DataType, Schema};

/// Returns the first column whose type no row can carry.
pub(crate) fn first_refused(schema: &Schema) -> Option<(&str, &DataType)> {
    let refused = schema.fields().iter().find(|field| !is_carried(field.data_type()));
    refused.map(|field| (field.name().as_str(), field.data_type()))
}

fn is_carried(data_type: &DataType) -> bool {
    match data_type {
        DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..)
        | DataType::Decimal256(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => false,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_carried(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_carried(field.data_type())),
        DataType::Map(entries, _) => is_carried(entries.data_type()) && has_text_keys(entries.data_type()),
        DataType::Dictionary(_, value) => is_carried(value),
        _ => true,
    }
}

fn has_text_keys(entries: &DataType) -> bool {
    let DataType::Struct(fields) = entries else { return false };
    fields
        .first()
        .is_some_and(|key| matches!(key.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View))
}

/// Returns the type in which a column of that type is written again; nothing for what becomes text.
pub(crate) fn kept(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Decimal128(..) => Some(data_type.clone()),
        DataType::Float16 => Some(DataType::Float32),
        DataType::Dictionary(_, value) => kept(value),
        DataType::List(item) | DataType::LargeList(item) => match kept(item.data_type())? {
            number if number.is_integer() || number.is_floating() => Some(DataType::new_list(number, true)),
            _ => None,
        },
        DataType::FixedSizeList(item, size) => match kept(item.data_type())? {
            number if number.is_integer() || number.is_floating() => {
                Some(DataType::new_fixed_size_list(number, *size, true))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
