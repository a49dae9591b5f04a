//! The reports of runs made by hand, whole.

use super::*;
use crate::checker::Violation;
use crate::measure::{FaultSpan, Gauge, Input, measure};

const S: u64 = 1_000_000_000;

/// A run with an outage of two seconds; what it should look like is easy to tell.
pub(crate) fn result() -> RunResult {
    let history = crate::measure::tests::history(10 * S..12 * S);
    let windows = vec![
        Window { name: "warmup".into(), start_ns: 0, end_ns: 4 * S, measured: false },
        Window { name: "steady".into(), start_ns: 4 * S, end_ns: 10 * S, measured: true },
        Window { name: "failover".into(), start_ns: 10 * S, end_ns: 16 * S, measured: true },
        Window { name: "after".into(), start_ns: 16 * S, end_ns: 20 * S, measured: true },
    ];
    let fault = |label: &str, what: &str, start: u64, end: u64| FaultSpan {
        label: label.into(),
        kind: what.split(' ').next().unwrap_or_default().into(),
        what: what.into(),
        start_ns: start,
        end_ns: end,
        hosts: vec!["b2".into()],
        partitions: 1,
        hits: if label == "cut" { 0 } else { 1 },
    };
    let faults = [
        fault("kill-leader", "kill b2 (led 1/2)", 10 * S, 15 * S),
        fault("cut", "cut b1 -> {b2, b3} (one way), which is long", 15 * S, 17 * S),
    ];
    let gauges = [
        Gauge { at_ns: 0, leaderless: 0, under_replicated: 0, isr_min: 3 },
        Gauge { at_ns: 10 * S, leaderless: 1, under_replicated: 0, isr_min: 3 },
        Gauge { at_ns: 12 * S, leaderless: 0, under_replicated: 2, isr_min: 2 },
    ];
    let input = Input { history: &history, windows: &windows, faults: &faults, gauges: &gauges, end_ns: 20 * S };
    let held = |id: &str, slug: &str, judged: u64, unit: &str| CheckRow {
        id: id.into(),
        slug: slug.into(),
        outcome: CheckOutcome::Held { judged, unit: unit.into() },
    };
    let slo = |expr: &str, value: &str, op: &str, limit: &str, verdict: SloVerdict| SloRow {
        expr: expr.into(),
        value: value.into(),
        limit: limit.into(),
        op: op.into(),
        value_raw: Some(2e6),
        limit_raw: Some(25e6),
        margin: Some(0.92),
        samples: 6_000,
        verdict,
        why: None,
    };
    RunResult {
        schema_version: 1,
        scenario: "leader-failover".into(),
        about: "Kill the leader.".into(),
        path: "scenarios/leader-failover.toml".into(),
        sets: Vec::new(),
        plant: None,
        seed: 42,
        target: "sim".into(),
        hardware: "ideal".into(),
        build: Build { version: "0.1.0".into(), commit: "a1b2c3d".into(), profile: "release".into() },
        trace_hash: "9c3f81d2000000000000000000000000".into(),
        verdict: Verdict::Pass,
        why: Vec::new(),
        virtual_ns: 20 * S,
        events: 1_000_000,
        produce_requests: 20_000,
        requests: 70_000,
        keep: "committed".into(),
        allowed: Vec::new(),
        measured: measure(&input),
        windows,
        checks: vec![
            held("C-ACK", "acked-durable", 20_000, "acknowledged records"),
            held("C-OFF", "one-value-per-offset", 20_000, "offsets"),
            held("C-HWSAFE", "high-watermark-safe", 12_345, "advances"),
            CheckRow {
                id: "C-DISK".into(),
                slug: "recovery-sound".into(),
                outcome: CheckOutcome::NothingToJudge { why: "no log was opened after an unclean stop".into() },
            },
        ],
        slo: vec![
            slo("produce.p99 in steady <= 25ms", "2.0ms", "<=", "25.0ms", SloVerdict::Met),
            slo("unavailable(orders) in failover <= bound", "2.00s", "<=", "bound 3.26s", SloVerdict::Met),
        ],
        reached: vec![
            ReachRow { what: "leader_changed(orders/0)".into(), times: 1, first_ns: Some(11 * S) },
            ReachRow { what: "isr_shrunk(orders)".into(), times: 2, first_ns: Some(11 * S) },
        ],
        bound: Some(Bound {
            total_ns: 3_260_000_000,
            terms: vec![
                ("broker session".into(), 1_500_000_000),
                ("append linger".into(), 5_000_000),
                ("client request time-out".into(), 1_000_000_000),
                ("client back-off".into(), 500_000_000),
                ("metadata fetch".into(), 255_000_000),
            ],
        }),
        crashes: Vec::new(),
        stops: Vec::new(),
        skipped: Vec::new(),
        core: None,
        stuck: Vec::new(),
        losses: Vec::new(),
        sometimes: vec![("isr_shrunk".into(), 2)],
    }
}

fn failing() -> RunResult {
    let mut result = result();
    let event = |id: u64, at_ns: u64, host: &str, what: runtime::Observation| Stamped {
        id,
        at_ns,
        host: host.into(),
        node: protocol::NodeId::NONE,
        cause: 0,
        what,
    };
    let wrong = event(
        900,
        10_113_000_000,
        "b2",
        runtime::Observation::HighWatermark {
            partition: protocol::TopicPartition::new("orders", 1),
            role: runtime::observation::ReplicaRole::Leader,
            leader_epoch: protocol::LeaderEpoch(7),
            from: protocol::Offset(18_190),
            to: protocol::Offset(18_205),
            maximal_isr: vec![protocol::NodeId(1), protocol::NodeId(2)],
            committed_isr: vec![protocol::NodeId(2)],
            min_isr: 2,
        },
    );
    let fault = |what: &str| runtime::Observation::FaultBegan { label: "x".into(), what: what.into() };
    let milestones = [
        event(800, 9_990_000_000, "world", fault("cut b1 -> b2 (one way)")),
        event(950, 10_900_000_000, "world", fault("power_off b2")),
        event(
            990,
            12_940_000_000,
            "b2",
            runtime::Observation::Truncated {
                partition: protocol::TopicPartition::new("orders", 1),
                from: protocol::Offset(18_205),
                to: protocol::Offset(18_190),
                leader_epoch: protocol::LeaderEpoch(8),
            },
        ),
    ];
    let mut violation = Violation::new("an acknowledged record is gone")
        .with("record", "orders/1 offset 18 204, acked to writers-2 at 10.114s (acks=all, leader b2 epoch 7)")
        .with("missing", "from b1, b3 (log end 18 190) and from every consumer; found on b2 only, truncated at 12.940s")
        .at(&wrong);
    violation.count = 15;
    let finding = Finding {
        id: "C-ACK",
        slug: "acked-durable",
        unit: "acknowledged records",
        judgement: Judgement::Violated(Box::new(violation)),
    };
    result.checks[0] = check_rows(vec![finding], &milestones, &[], &[]).remove(0);
    result.verdict = Verdict::Safety;
    result.why = vec!["1 of 3 checks broken".into()];
    for row in &mut result.slo {
        row.verdict = SloVerdict::NotJudged;
        row.why = Some("safety failed".into());
    }
    result
}

fn whole(result: &RunResult) -> String {
    let text = summary(result, Style::default())
        + &closing(result, Some("results/runs/leader-failover/42/summary.txt"), None, Style::default());
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        assert_eq!(line.trim_end(), line);
    }
    text
}

#[test]
fn a_passing_run_reads_at_a_glance() {
    insta::assert_snapshot!(whole(&result()));
}

#[test]
fn a_failing_run_tells_claim_evidence_story_and_the_command_that_repeats_it() {
    let text = whole(&failing());
    assert!(
        text.ends_with("repro  simctl run scenarios/leader-failover.toml --seed 42 --expect trace:9c3f81d2\n"),
        "{text}"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn files_are_complete_and_the_same_each_time() {
    let (one, two) = (files(&result(), "schema = 1\n"), files(&result(), "schema = 1\n"));
    assert_eq!(one, two);
    let names: Vec<&str> = one.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "result.json",
            "summary.txt",
            "scenario.resolved.toml",
            "timeseries.csv",
            "phases.csv",
            "faults.csv",
            "slo.csv",
            "plots/throughput.svg",
            "plots/latency.svg"
        ]
    );
    let text = |name: &str| {
        let (_, bytes) = one.iter().find(|(known, _)| *known == name).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    };
    assert_eq!(text("timeseries.csv").lines().count(), 81);
    assert!(text("faults.csv").starts_with("id,kind,args,start_s,end_s,nodes,partitions_affected,unavailable_s,"));
    let json: serde_json::Value = serde_json::from_str(&text("result.json")).unwrap();
    assert_eq!(json["verdict"], "pass");
    assert_eq!(json["checks"][0]["outcome"], "held");
    for plot in ["plots/throughput.svg", "plots/latency.svg"] {
        let svg = text(plot);
        for word in ["steady", "failover", "kill-leader", "simulated"] {
            assert!(svg.contains(word), "{plot} lacks {word}");
        }
    }
    if let Some(folder) = std::env::var_os("WAVETANK_PLOTS") {
        save(std::path::Path::new(&folder), &one);
    }
}

/// To look at the plots: `WAVETANK_PLOTS=folder cargo test -p wavetank-harness files_are`.
#[expect(clippy::disallowed_methods, reason = "a test that a person runs by hand")]
fn save(folder: &std::path::Path, files: &[(&'static str, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn colours_do_not_change_the_words() {
    let plain = summary(&failing(), Style::default());
    let colour = summary(&failing(), Style { colour: true, verbose: false });
    let mut stripped = String::new();
    let mut inside = false;
    for c in colour.chars() {
        match c {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            c if !inside => stripped.push(c),
            _ => {}
        }
    }
    assert_eq!(stripped, plain);
}
