//! Every form of mistake is told, at its place, all of them at once; and good scenarios read back from what they resolve to.

use super::*;

/// A good scenario, to be spoilt.
const GOOD: &str = r#"schema = 1
name   = "good"
about  = "Nothing is wrong here."
tags   = ["test"]

[cluster]
brokers = 3
timers  = "fast"
config  = { "min.insync.replicas" = 2 }

[hardware]
profile = "ideal"
link    = { latency = "200us" }
disk    = { fsync = "1ms" }

[hardware.b3]
disk = { fsync = "9ms" }

[topics.orders]
partitions = 6
replicas   = 3

[load.writers]
produce = "orders"
clients = 4
rate    = "2k/s"
record  = "1KiB"

[load.readers]
consume = "orders"

[timeline]
phases = [
  { name = "warmup", for = "5s", measure = false },
  { name = "steady", for = "15s" },
  { name = "drain",  for = "30s", pause = ["writers"], until = "lag == 0" },
]
faults = [
  { at = "steady", kill = "leader(orders/0)", restart_after = "8s", label = "kill-leader" },
  { at = "steady+1s", cut = "b1 -> {b2, b3}", for = "6s" },
  { at = "21s", slow_disk = "b3", fsync = "x40" },
]

[expect]
safety = "all"
slo = [
  "produce.p99 in steady <= 25ms",
  "unavailable(orders) in steady <= bound",
  "throughput in steady >= 98% of steady",
]
reach = ["leader_changed(orders/0)", "isr_shrunk(orders)"]
"#;

fn problems(text: &str) -> (String, Vec<&'static str>) {
    match read("scenarios/test.toml", text.as_bytes(), &[]) {
        Ok(reading) => {
            let codes = reading.problems.list.iter().map(|problem| problem.code).collect();
            (reading.problems.render(&reading.source, false), codes)
        }
        Err(rejection) => {
            let codes = rejection.problems.list.iter().map(|problem| problem.code).collect();
            (rejection.problems.render(&rejection.source, false), codes)
        }
    }
}

/// What is said when `old` of the good scenario becomes `new`.
fn spoilt(old: &str, new: &str) -> (String, Vec<&'static str>) {
    assert!(GOOD.contains(old), "the good scenario has no {old:?}");
    problems(&GOOD.replacen(old, new, 1))
}

#[test]
fn a_good_scenario_has_no_errors_and_reads_back_from_its_resolved_form() {
    let reading = read("x.toml", GOOD.as_bytes(), &[]).unwrap_or_else(|rejection| {
        panic!("{}", rejection.problems.render(&rejection.source, false));
    });
    let resolved = reading.scenario.resolved();
    let again = read("y.toml", resolved.as_bytes(), &[]).unwrap_or_else(|rejection| {
        panic!("{}\n{resolved}", rejection.problems.render(&rejection.source, false));
    });
    assert_eq!(again.scenario.resolved(), resolved);
    assert_eq!(again.scenario.faults.len(), 3);
    insta::assert_snapshot!(resolved);
}

#[test]
fn ten_mistakes_in_one_file_are_told_together() {
    let text = GOOD
        .replacen("tags   =", "tag    =", 1)
        .replacen("timers  = \"fast\"", "timers  = \"quick\"", 1)
        .replacen("\"min.insync.replicas\" = 2", "\"min.insync.replica\" = 2", 1)
        .replacen("latency = \"200us\"", "latency = \"200\"", 1)
        .replacen("replicas   = 3", "replicas   = 5\nmin_insync = 2", 1)
        .replacen("rate    = \"2k/s\"", "rate    = \"2k\"", 1)
        .replacen("record  = \"1KiB\"", "idempotent = true", 1)
        .replacen("at = \"steady\", kill", "at = \"stedy\", kill", 1)
        .replacen("b1 -> {b2, b3}", "b1 -> {b2, b7}", 1)
        .replacen("slow_disk = \"b3\"", "slow_disc = \"b3\"", 1)
        .replacen("unavailable(orders)", "unavailable(order)", 1)
        .replacen("produce.p99 in steady", "produce.p99 in warmup", 1)
        .replacen("isr_shrunk(orders)", "isr_shrank(orders)", 1);
    let (said, codes) = problems(&text);
    assert!(codes.len() >= 10, "{codes:?}\n{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn a_crash_at_an_unknown_effect_is_told_with_those_there_are_and_a_voter_gets_no_twin() {
    let old = r#"kill = "leader(orders/0)", restart_after = "8s""#;
    let mut said = String::new();
    for new in [
        r#"crash_at = "b1", effect = "quorum.persit", nth = 3"#,
        r#"crash_at = "b1", effect = "kitchen.sink""#,
        r#"crash_at = "b1""#,
        r#"twin = "b2", for = "5s""#,
        r#"wipe = "leader(orders/0)", restart_after = "8s""#,
        r#"roll = ["b1", "b2"], pause = "soon""#,
    ] {
        said.push_str(&spoilt(old, new).0);
        said.push('\n');
    }
    insta::assert_snapshot!(said);
}

#[test]
fn each_mistake_has_its_code_and_its_suggestion() {
    let table: &[(&str, &str, &str, &str)] = &[
        ("schema = 1\n", "", code::MISSING_KEY, "`schema` is missing"),
        ("schema = 1", "schema = 2", code::OUT_OF_RANGE, "from 1 to 1"),
        (
            "tags   = [\"test\"]",
            "extends = \"base.toml\"",
            code::LATER,
            "`extends` in a scenario comes with a later version",
        ),
        ("brokers = 3", "broker = 3", code::UNKNOWN_KEY, "did you mean `brokers`?"),
        ("brokers = 3", "brokers = \"3\"", code::WRONG_TYPE, "this is a string"),
        ("brokers = 3", "brokers = 0", code::OUT_OF_RANGE, "from 1 to 99"),
        ("timers  = \"fast\"", "timers = \"fsat\"", code::UNKNOWN_WORD, "did you mean `fast`?"),
        (
            "\"min.insync.replicas\" = 2",
            "\"min.insync.replica\" = 2",
            code::UNKNOWN_PROPERTY,
            "did you mean `min.insync.replicas`?",
        ),
        ("\"min.insync.replicas\" = 2", "\"node.id\" = 2", code::UNKNOWN_PROPERTY, "take this line out"),
        (
            "\"min.insync.replicas\" = 2",
            "\"min.insync.replicas\" = \"two\"",
            code::OUT_OF_RANGE,
            "a whole number from 0 on",
        ),
        ("\"min.insync.replicas\" = 2", "min.insync.replicas = 2", code::WRONG_TYPE, "write it in quotes"),
        ("profile = \"ideal\"", "profile = \"nvme-plp\"", code::LATER, "comes with a later version"),
        ("profile = \"ideal\"", "profile = \"ideel\"", code::UNKNOWN_WORD, "did you mean `ideal`?"),
        ("[hardware.b3]", "[hardware.b9]", code::NO_SUCH_HOST, "hosts: b1, b2, b3"),
        ("latency = \"200us\"", "latency = \"200 usec\"", code::BAD_DURATION, "`usec` is no unit of time"),
        ("replicas   = 3", "replicas = 4", code::TOO_FEW_BROKERS, "a broker of its own"),
        (
            "replicas   = 3",
            "replicas = 3\nmin_insync = 2",
            code::UNKNOWN_KEY,
            "did you mean `config = { \"min.insync.replicas\" = 2 }`?",
        ),
        ("produce = \"orders\"", "produce = \"order\"", code::NO_SUCH_TOPIC, "did you mean `orders`?"),
        ("produce = \"orders\"", "", code::MISSING_KEY, "it needs `produce`, `consume` or `echo`"),
        (
            "produce = \"orders\"",
            "produce = \"orders\"\nconsume = \"orders\"",
            code::NOT_TOGETHER,
            "both produces and consumes",
        ),
        ("rate    = \"2k/s\"", "rate = \"fast\"", code::BAD_RATE, "`fast` is no rate"),
        ("record  = \"1KiB\"", "record = \"1k\"", code::BAD_SIZE, "`k` is no unit of size"),
        ("record  = \"1KiB\"", "record = \"4B\"", code::OUT_OF_RANGE, "from 16B to 1MiB"),
        ("record  = \"1KiB\"", "keys = \"zipf(10, 1.1)\"", code::LATER, "`zipf` keys come with a later version"),
        ("record  = \"1KiB\"", "idempotent = true", code::LATER, "`idempotent = true` comes with a later version"),
        (
            "consume = \"orders\"",
            "consume = \"orders\"\ngroup = \"billing\"",
            code::LATER,
            "`group` in [load.readers] comes with a later version",
        ),
        ("for = \"15s\"", "for = \"0s\"", code::OUT_OF_RANGE, "a phase of no length"),
        ("name = \"steady\"", "name = \"warmup\"", code::NAMED_TWICE, "there is a phase `warmup` already"),
        ("pause = [\"writers\"]", "pause = [\"writer\"]", code::NO_SUCH_LOAD, "did you mean `writers`?"),
        ("at = \"steady\", kill", "at = \"stedy\", kill", code::NO_SUCH_PHASE, "did you mean `steady`?"),
        ("kill = \"leader(orders/0)\"", "crash = \"b1\"", code::UNKNOWN_WORD, "unknown fault `crash`"),
        (
            "kill = \"leader(orders/0)\"",
            "slow_cpu = \"b1\"",
            code::LATER,
            "the fault `slow_cpu` comes with a later version",
        ),
        ("kill = \"leader(orders/0)\"", "kill = \"leader(orders/9)\"", code::NO_SUCH_TOPIC, "0 to 5"),
        ("kill = \"leader(orders/0)\"", "kill = \"leader(order/0)\"", code::NO_SUCH_TOPIC, "did you mean `orders`?"),
        ("kill = \"leader(orders/0)\"", "kill = \"b4\"", code::NO_SUCH_HOST, "there is no host `b4`"),
        (
            "kill = \"leader(orders/0)\"",
            "kill = [\"b1\", \"b2\"]",
            code::QUORUM_LOSS,
            "2 of 3 voters of the quorum are down now",
        ),
        ("kill = \"leader(orders/0)\"", "kill = \"b1\", pause = \"b2\"", code::NOT_TOGETHER, "one fault, one line"),
        (
            "kill = \"leader(orders/0)\", restart_after",
            "kill = \"leader(orders/0)\", for",
            code::UNKNOWN_KEY,
            "did you mean `restart_after`?",
        ),
        ("cut = \"b1 -> {b2, b3}\"", "cut = \"b1 to b2\"", code::BAD_TERM, "`b1 to b2` is no link"),
        ("fsync = \"x40\"", "fsync = \"40\"", code::BAD_DURATION, "a factor like `x40`"),
        ("at = \"21s\"", "at = \"51s\"", code::AFTER_THE_END, "the last phase ends at 50s"),
        ("produce.p99 in steady", "produce.p98 in steady", code::BAD_SLO, "unknown metric `produce.p98`"),
        ("produce.p99 in steady", "produce.p99 in warmup", code::VACUOUS_SLO, "phase `warmup` is not measured"),
        ("produce.p99 in steady", "echo.p99 in steady", code::VACUOUS_SLO, "would have no samples"),
        ("produce.p99 in steady", "produce.p99 in drain", code::VACUOUS_SLO, "would have no samples"),
        ("produce.p99 in steady", "capacity in steady", code::LATER, "comes with a later version"),
        ("unavailable(orders)", "unavailable(order)", code::NO_SUCH_TOPIC, "`unavailable(order)`: no topic `order`"),
        ("98% of steady", "98% of stedy", code::NO_SUCH_PHASE, "did you mean `steady`?"),
        ("safety = \"all\"", "safety = [\"acked-durabel\"]", code::NOT_A_CHECK, "did you mean `acked-durable`?"),
        ("leader_changed(orders/0)", "leader_change(orders/0)", code::BAD_REACH, "did you mean `leader_changed`?"),
        ("[expect]", "[expect", code::SYNTAX, "not TOML"),
        ("[expect]", "[expects]", code::UNKNOWN_KEY, "did you mean `expect`?"),
    ];
    for (old, new, wanted, words) in table {
        let (said, codes) = spoilt(old, new);
        assert!(codes.contains(wanted), "{new:?} gave {codes:?}\n{said}");
        assert!(said.contains(words), "{new:?} did not say {words:?}:\n{said}");
    }
}

#[test]
fn an_allowed_quorum_loss_is_none() {
    let text = GOOD.replacen("kill = \"leader(orders/0)\"", "kill = [\"b1\", \"b2\"]", 1).replacen(
        "[expect]",
        "[expect]\nallow = [{ what = \"quorum-loss\", why = \"it is the point\" }]",
        1,
    );
    assert_eq!(problems(&text).1, [""; 0]);
}

#[test]
fn a_fault_after_the_last_measured_phase_is_a_warning_only() {
    let (said, codes) = spoilt("pause = [\"writers\"]", "pause = [\"writers\"], measure = false");
    assert_eq!(codes, [code::AFTER_THE_LAST_MEASURED]);
    assert!(said.starts_with("warning[S102]: slow_disk at 21s lies after the last measured phase"), "{said}");
}

#[test]
fn what_is_no_text_is_refused_without_a_panic() {
    for bytes in [&b"\xff\xfe\x00\x01binary"[..], b"name = \"x\0\"", &[0u8; 64]] {
        let rejection = read("scenarios/core.bin", bytes, &[]).unwrap_err();
        assert_eq!(rejection.problems.list[0].code, code::UNREADABLE);
    }
    assert!(read("empty.toml", b"", &[]).is_err());
}

#[test]
fn sets_of_the_command_line_lie_over_the_file() {
    let sets = [
        "load.writers.rate=4k/s".to_owned(),
        "cluster.brokers=5".to_owned(),
        "topics.orders.config.\"flush.messages\"=1".to_owned(),
    ];
    let reading = read("x.toml", GOOD.as_bytes(), &sets).unwrap();
    assert_eq!(reading.scenario.cluster.brokers, 5);
    assert_eq!(reading.scenario.topics[0].config["flush.messages"], "1");
    let Work::Produce(produce) = &reading.scenario.loads[0].work else { panic!("writers produce") };
    assert_eq!(produce.pace.rate, 4_000_000);
    let rejection = read("x.toml", GOOD.as_bytes(), &["load.writers.rat=4k/s".to_owned()]).unwrap_err();
    let said = rejection.problems.render(&rejection.source, false);
    assert!(said.contains("did you mean `rate`?"), "{said}");
}

proptest::proptest! {
    #[test]
    fn no_change_of_a_few_bytes_makes_the_reader_panic(at in 0usize..1200, with in "\\PC{0,3}", cut in 0usize..6) {
        let mut text = GOOD.to_owned();
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &with);
        let _ = problems(&text);
    }
}
