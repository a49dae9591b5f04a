//! What is left to a seed: read strictly, drawn purely, and written as an ordinary scenario.

use std::collections::BTreeSet;

use super::*;
use crate::scenario::{Action, At, Scenario, Severity, fault_is_here, fault_words, good, read as read_scenario};

/// A good scenario that leaves much to its seed, to be spoilt.
const GOOD: &str = r#"schema = 1
name   = "storm"
about  = "A seed decides."

[cluster]
brokers = 3
config  = { "min.insync.replicas" = 2 }

[topics.orders]
partitions = 4
replicas   = 3

[load.writers]
produce = "orders"
rate    = "20/s"

[load.readers]
consume = "orders"

[timeline]
phases = [
  { name = "warmup", for = "2s", measure = false },
  { name = "storm",  for = "40s" },
  { name = "after",  for = "5s" },
  { name = "drain",  for = "30s", pause = ["writers"], until = "lag == 0" },
]

[chaos]
window = "storm"
every  = "exp(2s)"
swarm  = true
keep   = "committed"
menu   = { cut = 5, isolate = 1, slow_link = 2, kill = 4, stop = 1, pause = 2, power_off = 1, slow_disk = 2 }

[swarm]
cluster.brokers     = [3, 4, 5]
cluster.controllers = [0, 0, 3]
cluster.config."wavetank.shards"   = "1..4"
cluster.config."log.segment.bytes" = "log(16KiB..1MiB)"
cluster.config."broker.session.timeout.ms" = "1s..2s"
hardware.link.latency = "log(100us..5ms)"
hardware.disk.fsync   = "log(100us..20ms)"
topics.orders.partitions = "1..8"
topics.orders.replicas   = [2, 3, 5]
topics.orders.config."min.insync.replicas" = [1, 2]
load.writers.rate     = "log(5/s..50/s)"
load.writers.record   = "log(16B..16KiB)"
load.writers.acks     = ["all", "all", 1]
load.writers.arrivals = ["uniform", "poisson"]

[expect]
safety = "all"
"#;

/// The good scenario with every word there is.
fn with_every_word() -> Scenario {
    let menu = GOOD.split_once("menu   = ").unwrap().1.lines().next().unwrap();
    let words: Vec<String> = ChaosWord::ALL.iter().map(|word| format!("{} = 1", word.word())).collect();
    let all = format!("{{ {} }}", words.join(", "));
    good(&GOOD.replacen(menu, &all, 1).replacen("exp(2s)", "exp(500ms)", 1))
}

/// What is said when `old` of the good scenario becomes `new`.
fn spoilt(old: &str, new: &str) -> (String, Vec<&'static str>) {
    assert!(GOOD.contains(old), "the good scenario has no {old:?}");
    match read_scenario("storm.toml", GOOD.replacen(old, new, 1).as_bytes(), &[]) {
        Ok(_) => (String::new(), Vec::new()),
        Err(rejection) => (
            rejection.problems.render(&rejection.source, false),
            rejection.problems.list.iter().map(|problem| problem.code).collect(),
        ),
    }
}

/// Everything of a scenario but where it stood in its file.
fn placeless(scenario: &Scenario) -> String {
    let text = format!("{scenario:?}");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("span: ") {
        out.push_str(&rest[..at]);
        rest = rest[at + 6..].trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    }
    out + rest
}

#[test]
fn a_plan_is_an_ordinary_scenario_that_reads_back() {
    let plan = good(GOOD).plan(7);
    assert!(!plan.scenario.is_drawn());
    let mut all = plan.taken.clone();
    all.extend(&plan.left_out);
    all.sort_unstable();
    assert_eq!(all.len(), 8, "each word of the menu is in or out");
    insta::assert_snapshot!(plan.scenario.resolved());
}

#[test]
fn what_is_left_to_seeds_reads_back_as_well() {
    let scenario = good(GOOD);
    let again = good(&scenario.resolved());
    assert_eq!(placeless(&again), placeless(&scenario));
    assert_eq!(again.derive(3).resolved(), scenario.derive(3).resolved());
}

#[test]
fn seeds_differ_and_a_seed_does_not() {
    let scenario = good(GOOD);
    assert_eq!(scenario.plan(1), scenario.plan(1));
    let plans: BTreeSet<String> = (0..50).map(|seed| scenario.derive(seed).resolved()).collect();
    assert_eq!(plans.len(), 50);
}

#[test]
fn each_word_is_left_out_by_half_of_the_seeds_and_draws_itself() {
    let scenario = with_every_word();
    let plans: Vec<Plan> = (0..400).map(|seed| scenario.plan(seed)).collect();
    for word in ChaosWord::ALL {
        let name = word.word();
        let out = plans.iter().filter(|plan| plan.left_out.contains(word)).count();
        assert!((160..240).contains(&out), "{name} is left out by {out} of 400");
        let strikes = |plan: &Plan| plan.scenario.faults.iter().any(|fault| fault.action.word() == name);
        assert!(plans.iter().any(strikes), "{name} never strikes");
        // But for what another word brings: without it that would lie in wait for nothing.
        let brings = match word {
            ChaosWord::Kill => &[ChaosWord::ReadError][..],
            ChaosWord::PowerOff => &[ChaosWord::ZeroTail, ChaosWord::LostRename],
            ChaosWord::SlowDisk => &[ChaosWord::LostRename],
            _ => &[],
        };
        let brought = |plan: &Plan| plan.taken.iter().any(|taken| brings.contains(taken));
        let wrong = plans.iter().any(|plan| plan.left_out.contains(word) && !brought(plan) && strikes(plan));
        assert!(!wrong, "{name} strikes left out");
        let alone = |plan: &&Plan| plan.left_out.contains(word) && brought(plan);
        assert!(brings.is_empty() || plans.iter().filter(alone).any(strikes), "{name} is brought by {brings:?}");
    }
}

#[test]
fn every_word_that_scenarios_know_may_strike_by_chance_or_has_its_reason() {
    for word in fault_words().filter(|word| fault_is_here(word)) {
        let named = ChaosWord::named(word).is_some();
        let excused = NOT_RANDOM.iter().any(|(known, _)| *known == word);
        assert!(named != excused, "`{word}` needs a rule of chaos or a reason to have none");
    }
}

#[test]
fn what_each_word_draws_is_in_the_docs() {
    let docs = include_str!("../../../../../docs/random-plans.md");
    for word in ChaosWord::ALL {
        let row = docs.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{}`", word.word())));
        assert!(row, "docs/random-plans.md has no row for `{}`", word.word());
    }
}

#[test]
fn another_word_or_line_leaves_the_other_draws_alone() {
    let few = GOOD.replacen("cut = 5, isolate = 1, ", "", 1).replacen("topics.orders.partitions = \"1..8\"\n", "", 1);
    let (all, few) = (good(GOOD), good(&few));
    for seed in 0..50 {
        let (mut all, few) = (all.plan(seed), few.plan(seed));
        all.drawn.retain(|(place, _)| place != "topics.orders.partitions");
        assert_eq!(all.drawn, few.drawn, "the topology of seed {seed}");
        all.left_out.retain(|word| !matches!(word, ChaosWord::Cut | ChaosWord::Isolate));
        assert_eq!(all.left_out, few.left_out, "the families of seed {seed}");
        assert_eq!(all.pace, few.pace);
    }
}

#[test]
fn drawn_faults_strike_within_the_window_under_names_of_their_own() {
    let scenario = with_every_word();
    for seed in 0..100 {
        let plan = scenario.derive(seed);
        let labels: BTreeSet<&str> = plan.faults.iter().map(|fault| fault.label.as_str()).collect();
        assert_eq!(labels.len(), plan.faults.len());
        assert_eq!(plan.max_concurrent, Some(2));
        assert!(plan.core_first);
        for fault in &plan.faults {
            match (&fault.action, &fault.at.value) {
                (Action::Heal(_), At::Phase(phase, 0)) => assert_eq!(phase, "after"),
                (_, At::Phase(phase, offset)) => {
                    assert_eq!(phase, "storm");
                    assert!(*offset < 40_000_000_000);
                    assert!(fault.within_budget, "the budget has its say");
                    let ends = fault.lasts.is_some() || fault.restart_after.is_some();
                    let at_once = ["reset_connections", "clock_jump", "roll"].contains(&fault.action.word());
                    assert!(ends || at_once, "{fault:?} never ends");
                }
                (_, At::Absolute(_)) => panic!("{fault:?} counts from no phase"),
            }
        }
    }
}

#[test]
fn a_plain_scenario_is_its_own_plan() {
    let text = GOOD.split_once("[chaos]").unwrap().0.to_owned() + "[expect]\nsafety = \"all\"\n";
    let scenario = good(&text);
    assert!(!scenario.is_drawn());
    assert_eq!(scenario.derive(9), scenario);
}

#[test]
fn each_mistake_has_its_code_and_says_what_to_do() {
    let table: &[(&str, &str, &str, &str)] = &[
        ("window = \"storm\"", "window = \"strom\"", code::NO_SUCH_PHASE, "did you mean `storm`?"),
        ("window = \"storm\"", "window = \"drain\"", code::NOT_TOGETHER, "a phase of a fixed length"),
        ("window = \"storm\"", "", code::MISSING_KEY, "`window` is missing"),
        ("window = \"storm\"", "phase = \"storm\"", code::UNKNOWN_KEY, "did you mean `window`?"),
        ("every  = \"exp(2s)\"", "every = \"exp(2)\"", code::BAD_DURATION, "`2` has no unit"),
        ("every  = \"exp(2s)\"", "every = \"poisson(2s)\"", code::BAD_DURATION, "`uniform(1s..3s)`"),
        ("kill = 4", "kill = 0", code::OUT_OF_RANGE, "take the word out"),
        ("kill = 4", "kill = \"4\"", code::WRONG_TYPE, "from 1 to 1000"),
        ("kill = 4", "kil = 4", code::UNKNOWN_WORD, "did you mean `kill`?"),
        ("kill = 4", "heal = 4", code::UNKNOWN_WORD, "`heal` is no random fault"),
        ("kill = 4", "reassign = 4", code::LATER, "comes with a later version"),
        ("keep   = \"committed\"", "keep = \"comited\"", code::UNKNOWN_WORD, "did you mean `committed`?"),
        ("safety = \"all\"", "safety = \"all\"\nkeep = \"nothing\"", code::NOT_TOGETHER, "say it once"),
        ("cluster.brokers     = [3, 4, 5]", "cluster.brokers = 3", code::WRONG_TYPE, "leaves a seed no choice"),
        ("cluster.brokers     = [3, 4, 5]", "cluster.brokers = []", code::WRONG_TYPE, "an empty list"),
        ("cluster.brokers     = [3, 4, 5]", "cluster.brokers = [3, 400]", code::OUT_OF_RANGE, "from 1 to 99"),
        ("cluster.brokers     = [3, 4, 5]", "cluster.broker = [3]", code::UNKNOWN_KEY, "did you mean `brokers`?"),
        ("cluster.brokers     = [3, 4, 5]", "clusters.brokers = [3]", code::UNKNOWN_KEY, "did you mean `cluster`?"),
        ("\"1..8\"", "\"8..1\"", code::OUT_OF_RANGE, "ends before it begins"),
        ("\"1..8\"", "\"log(0..8)\"", code::OUT_OF_RANGE, "from 1 to 10000"),
        ("\"log(100us..5ms)\"", "\"log(0ms..5ms)\"", code::OUT_OF_RANGE, "cannot begin at 0"),
        ("\"log(100us..5ms)\"", "\"log(100us..5)\"", code::BAD_DURATION, "`5` has no unit"),
        ("\"log(5/s..50/s)\"", "\"5..50\"", code::BAD_RATE, "`5` is no rate"),
        (
            "\"log.segment.bytes\" = ",
            "\"log.segment.byte\" = ",
            code::UNKNOWN_PROPERTY,
            "did you mean `log.segment.bytes`?",
        ),
        ("config.\"log.segment.bytes\"", "config.log.segment.bytes", code::WRONG_TYPE, "write it in quotes"),
        ("topics.orders.replicas  ", "topics.order.replicas", code::NO_SUCH_TOPIC, "did you mean `orders`?"),
        ("load.writers.rate ", "load.writer.rate", code::NO_SUCH_LOAD, "did you mean `writers`?"),
        ("load.writers.rate ", "load.readers.rate", code::UNKNOWN_KEY, "the load `readers` has no `rate` to draw"),
        ("[\"uniform\", \"poisson\"]", "[\"uniform\", \"poison\"]", code::UNKNOWN_WORD, "did you mean `poisson`?"),
        (
            "\n]\n\n[chaos]",
            "\n]\nfaults = [{ at = \"after\", kill = \"c1\" }]\n[chaos]",
            code::NO_SUCH_HOST,
            "there is no host `c1`",
        ),
        (
            "\n]\n\n[chaos]",
            "\n]\nfaults = [{ at = \"after\", kill = \"leader(orders/3)\" }]\n[chaos]",
            code::NO_SUCH_TOPIC,
            "seeds that draw the smallest",
        ),
    ];
    for (old, new, wanted, words) in table {
        let (said, codes) = spoilt(old, new);
        assert!(codes.contains(wanted), "{new:?} gave {codes:?}\n{said}");
        assert!(said.contains(words), "{new:?} did not say {words:?}:\n{said}");
    }
}

#[test]
fn a_menu_without_weights_and_a_swarm_without_choices_are_taught() {
    let menu = GOOD.split_once("menu   = ").unwrap().1.lines().next().unwrap();
    let text = GOOD
        .replacen(menu, "[\"kill\", \"cut\"]", 1)
        .replacen("[3, 4, 5]", "\"log(5..3)\"", 1)
        .replacen("[0, 0, 3]", "3", 1)
        .replacen("load.writers.record", "load.writers.recrod", 1);
    let rejection = read_scenario("storm.toml", text.as_bytes(), &[]).unwrap_err();
    assert!(rejection.problems.list.iter().all(|problem| problem.severity == Severity::Error));
    insta::assert_snapshot!(rejection.problems.render(&rejection.source, false));
}

proptest::proptest! {
    #[test]
    fn the_plan_of_any_seed_reads_back_equal(seed: u64) {
        let plan = with_every_word().derive(seed);
        let text = plan.resolved();
        let again = good(&text);
        proptest::prop_assert_eq!(again.resolved(), text);
        proptest::prop_assert_eq!(placeless(&again), placeless(&plan));
        proptest::prop_assert_eq!(again.derive(seed), again);
    }

    #[test]
    fn no_choice_makes_the_reader_panic(text in "(log\\()?[0-9]{0,3}(ms|KiB|/s)?(\\.\\.)?[0-9]{0,3}(ms|KiB|/s)?\\)?") {
        let _ = spoilt("\"1..8\"", &format!("{text:?}"));
        let _ = spoilt("\"log(5/s..50/s)\"", &format!("{text:?}"));
        let _ = spoilt("\"log(16KiB..1MiB)\"", &format!("{text:?}"));
    }
}
