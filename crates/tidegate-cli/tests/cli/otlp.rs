//! Telemetry: what a collector gets, and that one which is gone, slow or full harms no run.

use std::collections::BTreeMap;
use std::io::Read;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;

use crate::support::{Done, Place, Reply, Request, Server, Sim, done, rows};

const SCENARIO: &str =
    "script: [{contains: question 1, status: 500, times: 1}, {contains: question 2, status: 400, times: 1}]\n";
const RUN: &str = "run in.jsonl -m sim/x --price 1,2 -p About:{{text}} --scenario s.yaml -o out.jsonl";

fn place() -> Place {
    let place = Place::new();
    place.write("in.jsonl", rows(0..3));
    place.write("s.yaml", SCENARIO);
    place
}

fn run(place: &Place, arguments: &str, variables: &[(&str, &str)]) -> Done {
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    done(place.tidegate(&arguments).envs(variables.iter().copied()))
}

/// A collector that takes everything.
fn collector() -> Server {
    Server::start(|_| Reply::of("200 OK", "content-type: application/x-protobuf\r\n", ""))
}

fn origin(server: &Server) -> String {
    server.base_url().trim_end_matches("/v1").to_owned()
}

fn sent_to<'r>(requests: &'r [Request], path: &str) -> impl Iterator<Item = &'r Request> {
    let line = format!("POST {path} HTTP/1.1\r\n");
    requests.iter().filter(move |request| request.text.starts_with(&line))
}

fn spans(requests: &[Request]) -> Vec<Span> {
    sent_to(requests, "/v1/traces")
        .map(|request| ExportTraceServiceRequest::decode(&*request.body).unwrap())
        .flat_map(|message| message.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect()
}

/// Returns the last metrics by name.
fn metrics(requests: &[Request], path: &str) -> BTreeMap<String, Metric> {
    let last = sent_to(requests, path).last().expect("metrics");
    let message = ExportMetricsServiceRequest::decode(&*last.body).unwrap();
    let scopes = message.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).map(|metric| (metric.name.clone(), metric)).collect()
}

/// Returns an attribute as text; nothing if there is none of that name.
fn attribute(all: &[KeyValue], name: &str) -> Option<String> {
    let value = all.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::ArrayValue(array) => format!("{:?}", array.values.len()),
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_row_is_a_trace_with_a_span_for_each_call() {
    let (place, collector) = (place(), collector());
    let at = origin(&collector);
    run(&place, &format!("{RUN} --otlp {at}"), &[]).exits(1);
    let requests = collector.requests();
    let spans = spans(&requests);
    let rows: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!((rows.len(), spans.len()), (3, 7), "{spans:#?}");
    assert!(rows.iter().all(|row| row.name == "tidegate.row" && row.trace_id.len() == 16 && row.span_id.len() == 8));

    let of = |id: &str| -> (&Span, Vec<&Span>) {
        let row = rows.iter().find(|row| attribute(&row.attributes, "tidegate.row.id").as_deref() == Some(id)).unwrap();
        let calls = spans.iter().filter(|span| span.parent_span_id == row.span_id);
        (row, calls.inspect(|call| assert_eq!(call.trace_id, row.trace_id)).collect())
    };
    let (row, calls) = of("r1");
    assert_eq!((calls.len(), row.status.clone()), (2, None));
    let [failed, answered] = calls[..] else { panic!() };
    assert!(row.start_time_unix_nano <= failed.start_time_unix_nano);
    assert!(failed.end_time_unix_nano <= answered.start_time_unix_nano);
    assert!(answered.end_time_unix_nano <= row.end_time_unix_nano);
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "sim"),
        ("gen_ai.request.model", "x"),
        ("gen_ai.response.model", "x"),
        ("gen_ai.response.finish_reasons", "1"),
        ("tidegate.endpoint", "sim/x"),
    ] {
        assert_eq!(attribute(&answered.attributes, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!((answered.name.as_str(), answered.kind), ("chat x", SpanKind::Client.into()));
    assert!(attribute(&answered.attributes, "gen_ai.usage.input_tokens").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(attribute(&failed.attributes, "error.type").as_deref(), Some("server_error"));
    assert_eq!(attribute(&failed.attributes, "http.response.status_code").as_deref(), Some("500"));
    assert_eq!(failed.status.as_ref().map(|status| status.code), Some(StatusCode::Error.into()));
    let (row, _) = of("r2");
    assert_eq!(attribute(&row.attributes, "error.type").as_deref(), Some("bad_request"));
    for request in &requests {
        let body = String::from_utf8_lossy(&request.body);
        assert!(!body.contains("question") && !body.contains("About"), "a prompt is in {body}");
    }
}

#[test]
fn metrics_have_the_names_of_the_convention() {
    let (place, collector) = (place(), collector());
    run(&place, RUN, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &origin(&collector)), ("OTEL_SERVICE_NAME", "tides")]).exits(1);
    let requests = collector.requests();
    let found = metrics(&requests, "/v1/metrics");
    let duration = &found["gen_ai.client.operation.duration"];
    let Some(metric::Data::Histogram(histogram)) = &duration.data else { panic!("{duration:?}") };
    assert_eq!((duration.unit.as_str(), histogram.data_points.iter().map(|point| point.count).sum::<u64>()), ("s", 4));
    let failed = histogram.data_points.iter().filter_map(|point| attribute(&point.attributes, "error.type"));
    assert_eq!(failed.collect::<Vec<_>>(), ["bad_request", "server_error"]);
    for point in &histogram.data_points {
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
    }
    assert_eq!(found["gen_ai.client.token.usage"].unit, "{token}");
    let Some(metric::Data::Sum(rows)) = &found["tidegate.rows"].data else { panic!() };
    assert!(rows.is_monotonic && rows.data_points.len() == 2, "{rows:?}");
    let message =
        ExportMetricsServiceRequest::decode(&*sent_to(&requests, "/v1/metrics").last().unwrap().body).unwrap();
    let resource = message.resource_metrics[0].resource.as_ref().unwrap();
    assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("tides"));
}

#[test]
fn an_openai_compatible_server_is_called_openai_and_headers_go_along() {
    let (place, collector, sim) = (place(), collector(), Sim::start(""));
    let command = format!(
        "run in.jsonl --base-url {} -m org/m -p {{{{text}}}} -o out.jsonl --otlp {}",
        sim.base_url(),
        origin(&collector)
    );
    run(&place, &command, &[("OTEL_EXPORTER_OTLP_HEADERS", "x-team=low%20tide")]).exits(0);
    let requests = collector.requests();
    assert!(requests.iter().all(|request| request.text.contains("x-team: low tide\r\n")));
    let spans = spans(&requests);
    let call = spans.iter().find(|span| span.name == "chat org/m").unwrap();
    assert_eq!(attribute(&call.attributes, "gen_ai.provider.name").as_deref(), Some("openai"));
    assert_eq!(attribute(&call.attributes, "gen_ai.request.model").as_deref(), Some("org/m"));
}

#[test]
fn messages_are_packed_where_that_is_asked_for() {
    let (place, collector) = (place(), collector());
    let at = origin(&collector);
    let packing = [("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "lz4")];
    let told = run(&place, &format!("{RUN} --otlp {at}"), &packing).exits(1);
    told.says(&["OTEL_EXPORTER_OTLP_COMPRESSION is neither gzip nor none"]);
    let requests = collector.requests();
    let mut traces = Vec::new();
    for request in sent_to(&requests, "/v1/traces") {
        assert!(request.text.contains("content-encoding: gzip\r\n"), "{}", request.text);
        let mut body = Vec::new();
        flate2::read::GzDecoder::new(&*request.body).read_to_end(&mut body).unwrap();
        traces.extend(ExportTraceServiceRequest::decode(&*body).unwrap().resource_spans);
    }
    assert_eq!(traces.iter().map(|resource| resource.scope_spans[0].spans.len()).sum::<usize>(), 7);
    assert!(!metrics(&requests, "/v1/metrics").is_empty());
}

#[test]
fn nobody_is_contacted_who_was_not_named() {
    let (place, collector) = (place(), collector());
    run(&place, RUN, &[("OTEL_SERVICE_NAME", "tides"), ("OTEL_TRACES_EXPORTER", "otlp")]).exits(1);
    let at = origin(&collector);
    let off = [("OTEL_EXPORTER_OTLP_ENDPOINT", at.as_str()), ("OTEL_SDK_DISABLED", "true")];
    run(&place, &RUN.replace("out.jsonl", "two.jsonl"), &off).exits(1);
    assert_eq!(collector.seen().len(), 0);
}

#[test]
fn a_collector_that_is_gone_or_refuses_is_told_and_harms_nobody() {
    let place = place();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = run(&place, &format!("{RUN} --otlp http://{gone}"), &[]).exits(1);
    told.says(&["7 of 7 spans were not taken by the collector", "the last metrics were not taken"]);
    assert_eq!(place.records("out.jsonl").len(), 3);

    let refuses = Server::start(|_| Reply::of("400 Bad Request", "", "no"));
    let command = RUN.replace("out.jsonl", "two.jsonl --summary s.json");
    run(&place, &format!("{command} --otlp {}", origin(&refuses)), &[]).exits(1).says(&["HTTP 400"]);
    assert!(place.read("s.json").contains("7 of 7 spans were not taken"), "{}", place.read("s.json"));
    assert_eq!(refuses.seen().len(), 2, "what is refused for good is not sent again");
}

#[test]
fn what_a_collector_takes_in_part_is_counted() {
    let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: String::new() };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let body = String::from_utf8(body).unwrap();
    let some = Server::start(move |_| Reply::of("200 OK", "", &body));
    let place = place();
    run(&place, &format!("{RUN} --otlp {}", origin(&some)), &[]).exits(1).says(&["2 of 7 spans were not taken"]);
}

#[test]
fn a_wrong_variable_is_told_and_a_wrong_flag_is_refused() {
    let place = place();
    run(&place, RUN, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")])
        .exits(1)
        .says(&["warning: OTEL_EXPORTER_OTLP_ENDPOINT is not an address"]);
    run(&place, &format!("{RUN} --otlp collector:4317"), &[]).exits(2).says(&["--otlp"]);
}
