//! The files of a run. Same seed, same build: same bytes, but for `env.json`.

use serde::Serialize;

use crate::event::{Stamped, describe};
use crate::measure::Latency;

use super::terminal::{Style, summary};
use super::{Cost, RunResult, SloVerdict, plot};

/// Name and content of every file that does not differ from run to run. `resolved` is the scenario as it was run.
pub fn files(result: &RunResult, resolved: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut json = serde_json::to_vec_pretty(result).expect("a result is plain data");
    json.push(b'\n');
    let plain = Style { colour: false, verbose: true };
    let mut list = vec![
        ("result.json", json),
        ("summary.txt", summary(result, plain).into_bytes()),
        ("scenario.resolved.toml", resolved.as_bytes().to_vec()),
        ("timeseries.csv", timeseries(result)),
        ("phases.csv", phases(result)),
        ("faults.csv", faults(result)),
        ("slo.csv", slo(result)),
    ];
    if result.measured.bins.iter().any(|bin| bin.offered > 0) {
        list.push(("plots/throughput.svg", plot::throughput(result).into_bytes()));
        list.push(("plots/latency.svg", plot::latency(result).into_bytes()));
    }
    list
}

/// `env.json`: what differs from run to run.
pub fn env_json(result: &RunResult, cost: &Cost, os: &str, arch: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Env<'a> {
        build: &'a super::Build,
        os: &'a str,
        arch: &'a str,
        #[serde(flatten)]
        cost: &'a Cost,
        simulated_s_per_cpu_s: f64,
        events_per_cpu_s: f64,
        cpu_us_per_acked_produce: Option<f64>,
        cpu_us_per_request: Option<f64>,
    }
    let cpu_s = cost.cpu_s.max(1e-9);
    let each = |number: u64| (number > 0).then(|| cost.cpu_s * 1e6 / number as f64);
    let env = Env {
        build: &result.build,
        os,
        arch,
        cost,
        simulated_s_per_cpu_s: result.virtual_ns as f64 / 1e9 / cpu_s,
        events_per_cpu_s: result.events as f64 / cpu_s,
        cpu_us_per_acked_produce: each(result.produce_requests),
        cpu_us_per_request: each(result.requests),
    };
    let mut json = serde_json::to_vec_pretty(&env).expect("plain data");
    json.push(b'\n');
    json
}

/// One line of `trace.jsonl`.
pub fn trace_line(event: &Stamped) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        id: u64,
        t_ns: u64,
        host: &'a str,
        cause: u64,
        kind: &'a str,
        text: String,
    }
    let debug = format!("{:?}", event.what);
    let kind = debug.split([' ', '{', '(']).next().unwrap_or_default();
    let line = Line {
        id: event.id,
        t_ns: event.at_ns,
        host: &event.host,
        cause: event.cause,
        kind,
        text: describe(&event.what),
    };
    serde_json::to_string(&line).expect("plain data")
}

fn csv_writer() -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new())
}

fn csv(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = csv_writer();
    writer.write_record(head).expect("a Vec takes everything");
    for row in rows {
        assert_eq!(row.len(), head.len(), "a row of {head:?}");
        writer.write_record(&row).expect("a Vec takes everything");
    }
    writer.into_inner().expect("a Vec takes everything")
}

/// One row of a table (RFC 4180), its end included.
pub fn csv_line(cells: &[String]) -> String {
    let mut writer = csv_writer();
    writer.write_record(cells).expect("a Vec takes everything");
    String::from_utf8(writer.into_inner().expect("a Vec takes everything")).expect("cells are text")
}

/// Seconds with nine digits, so that no instant is lost.
pub fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// A number of a distribution; empty without samples.
fn of(latency: &Latency, value: u64) -> String {
    if latency.samples == 0 { String::new() } else { value.to_string() }
}

fn timeseries(result: &RunResult) -> Vec<u8> {
    let head = [
        "t_s",
        "phase",
        "load",
        "topic",
        "offered_per_s",
        "acked_per_s",
        "consumed_per_s",
        "bytes_per_s",
        "errors_per_s",
        "lat_p50_us",
        "lat_p90_us",
        "lat_p99_us",
        "lat_max_us",
        "svc_p99_us",
        "e2e_p50_us",
        "e2e_p99_us",
        "lag_records",
        "inflight",
        "leaderless",
        "under_replicated",
        "samples",
    ];
    csv(
        &head,
        result.measured.bins.iter().map(|bin| {
            let per_s = |number: u64| (number * 4).to_string();
            vec![
                seconds(bin.at_ns),
                bin.phase.clone(),
                bin.load.clone(),
                bin.topic.clone(),
                per_s(bin.offered),
                per_s(bin.acked),
                per_s(bin.consumed),
                per_s(bin.bytes),
                per_s(bin.errors),
                of(&bin.latency, bin.latency.p50_us),
                of(&bin.latency, bin.latency.p90_us),
                of(&bin.latency, bin.latency.p99_us),
                of(&bin.latency, bin.latency.max_us),
                of(&bin.service, bin.service.p99_us),
                of(&bin.e2e, bin.e2e.p50_us),
                of(&bin.e2e, bin.e2e.p99_us),
                bin.lag.to_string(),
                bin.in_flight.to_string(),
                bin.leaderless.to_string(),
                bin.under_replicated.to_string(),
                bin.latency.samples.to_string(),
            ]
        }),
    )
}

fn phases(result: &RunResult) -> Vec<u8> {
    let head = [
        "phase",
        "start_s",
        "end_s",
        "load",
        "offered",
        "acked",
        "failed",
        "unresolved",
        "throughput_per_s",
        "mib_per_s",
        "p50_us",
        "p90_us",
        "p99_us",
        "p999_us",
        "p9999_us",
        "max_us",
        "mean_us",
        "svc_p99_us",
        "e2e_p50_us",
        "e2e_p99_us",
        "schedule_lag_p99_us",
    ];
    csv(
        &head,
        result.measured.phases.iter().map(|row| {
            let latency = &row.latency;
            let mib = if row.seconds() > 0.0 { row.bytes_within as f64 / row.seconds() / 1_048_576.0 } else { 0.0 };
            vec![
                row.phase.clone(),
                seconds(row.start_ns),
                seconds(row.end_ns),
                row.load.clone(),
                row.offered.to_string(),
                row.acked.to_string(),
                row.failed.to_string(),
                (row.unknown + row.unresolved).to_string(),
                format!("{:.3}", row.throughput()),
                format!("{mib:.6}"),
                of(latency, latency.p50_us),
                of(latency, latency.p90_us),
                of(latency, latency.p99_us),
                of(latency, latency.p999_us),
                of(latency, latency.p9999_us),
                of(latency, latency.max_us),
                of(latency, latency.mean_us),
                of(&row.service, row.service.p99_us),
                of(&row.e2e, row.e2e.p50_us),
                of(&row.e2e, row.e2e.p99_us),
                of(&row.schedule_lag, row.schedule_lag.p99_us),
            ]
        }),
    )
}

fn faults(result: &RunResult) -> Vec<u8> {
    let head = [
        "id",
        "kind",
        "args",
        "start_s",
        "end_s",
        "nodes",
        "partitions_affected",
        "unavailable_s",
        "recover_s",
        "rate_dip_pct",
        "records_delayed",
        "errors",
        "hits",
    ];
    csv(
        &head,
        result.measured.faults.iter().map(|row| {
            vec![
                row.span.label.clone(),
                row.span.kind.clone(),
                row.span.what.clone(),
                seconds(row.span.start_ns),
                seconds(row.span.end_ns),
                row.span.hosts.join(" "),
                row.partitions_affected.to_string(),
                seconds(row.unavailable_ns),
                row.recover_ns.map_or(String::new(), seconds),
                format!("{:.2}", row.dip_bp as f64 / 100.0),
                row.delayed.to_string(),
                row.errors.to_string(),
                row.span.hits.to_string(),
            ]
        }),
    )
}

fn slo(result: &RunResult) -> Vec<u8> {
    csv(
        &["expr", "value", "limit", "margin", "samples", "verdict"],
        result.slo.iter().map(|row| {
            let verdict = match row.verdict {
                SloVerdict::Met => "met",
                SloVerdict::Missed => "missed",
                SloVerdict::Allowed => "allowed",
                SloVerdict::NoSamples => "no-samples",
                SloVerdict::NotJudged => "not-judged",
            };
            vec![
                row.expr.clone(),
                row.value.clone(),
                row.limit.clone(),
                row.margin.map_or(String::new(), |margin| format!("{margin:.6}")),
                row.samples.to_string(),
                verdict.to_owned(),
            ]
        }),
    )
}
