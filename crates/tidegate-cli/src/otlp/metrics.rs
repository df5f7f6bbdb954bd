//! From a run's numbers to OTLP's: all of them are counted from the run's begin.

use std::time::SystemTime;

use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric,
    number_data_point,
};

use super::spans::{nanoseconds, text};
use crate::metrics::family::{Family, Measured, Point, Ranges, Type, Unit};

/// Makes the metrics of this moment.
pub(super) fn metrics(families: &[Family], begun: SystemTime) -> Vec<Metric> {
    let span = (nanoseconds(begun), nanoseconds(SystemTime::now()));
    families.iter().filter(|family| !family.points.is_empty()).map(|family| metric(family, span)).collect()
}

/// The times at which counting began, and at which a number was read.
type Times = (u64, u64);

fn metric(family: &Family, times: Times) -> Metric {
    let points = || family.points.iter().filter_map(|point| number(point, times)).collect();
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.kind {
        Type::Gauge => metric::Data::Gauge(Gauge { data_points: points() }),
        Type::Counter => {
            metric::Data::Sum(Sum { data_points: points(), aggregation_temporality: cumulative, is_monotonic: true })
        }
        Type::Histogram => metric::Data::Histogram(Histogram {
            data_points: family.points.iter().filter_map(|point| histogram(point, times)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: unit(family.unit).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// Units as UCUM has them.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Number => "",
        Unit::Tokens => "{token}",
        Unit::Seconds => "s",
        Unit::Bytes => "By",
    }
}

fn number(point: &Point, (start, time): Times) -> Option<NumberDataPoint> {
    let Measured::Number(value) = point.value else { return None };
    Some(NumberDataPoint {
        attributes: point.labels.iter().map(|(name, value)| text(name, value)).collect(),
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    })
}

fn histogram(point: &Point, (start, time): Times) -> Option<HistogramDataPoint> {
    let Measured::Ranges(ranges) = &point.value else { return None };
    let Ranges { bounds, within, sum } = ranges;
    Some(HistogramDataPoint {
        attributes: point.labels.iter().map(|(name, value)| text(name, value)).collect(),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: ranges.count(),
        sum: Some(*sum),
        bucket_counts: within.clone(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    })
}
