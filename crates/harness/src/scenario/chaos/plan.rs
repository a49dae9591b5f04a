//! From a scenario and a seed to the plan of that seed.

use crate::scenario::diagnostic::Spanned;
use crate::scenario::fault::{Action, At, FaultLine, Heal};
use crate::scenario::model::Scenario;
use crate::scenario::units::Distribution;

use super::Chaos;
use super::dice::Dice;
use super::swarm;
use super::targets::Targets;
use super::word::{ChaosWord, Hit};

/// What a seed makes of a scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// An ordinary scenario: nothing is left to the seed but what a run draws itself.
    pub scenario: Scenario,
    /// What `[swarm]` drew: the place and the value, line by line.
    pub drawn: Vec<(String, String)>,
    /// The words of the menu that this seed plays with.
    pub taken: Vec<ChaosWord>,
    /// The words of the menu that this seed leaves out.
    pub left_out: Vec<ChaosWord>,
    /// The mean interval that this seed drew is so many thousandths of the file's.
    pub pace: u64,
}

/// No window is so long that more would help; a plan has an end.
const FAULTS_MAX: usize = 2_000;

impl Scenario {
    /// What `seed` makes of this scenario. Pure and total: the same each time, for every seed.
    pub fn plan(&self, seed: u64) -> Plan {
        let mut scenario = self.clone();
        let drawn = swarm::draw(&mut scenario, seed);
        let mut plan = Plan { scenario, drawn, taken: Vec::new(), left_out: Vec::new(), pace: 1_000 };
        if let Some(chaos) = plan.scenario.chaos.take() {
            strike(&mut plan, &chaos, seed);
        }
        plan
    }

    /// The plan of `seed` as a scenario without `[chaos]` and `[swarm]`. A plain scenario is its own plan.
    pub fn derive(&self, seed: u64) -> Self {
        self.plan(seed).scenario
    }

    /// Whether anything is left to the seed.
    pub fn is_drawn(&self) -> bool {
        self.chaos.is_some() || !self.swarm.is_empty()
    }
}

fn strike(plan: &mut Plan, chaos: &Chaos, seed: u64) {
    let dice = |name: &str| Dice::new(seed, &format!("chaos/{name}"));
    let mut weights = Vec::new();
    for (word, weight) in &chaos.menu {
        let name = word.word();
        if chaos.swarm && dice(&format!("out/{name}")).one_in(2) {
            plan.left_out.push(*word);
            continue;
        }
        plan.taken.push(*word);
        let times = if chaos.swarm { dice(&format!("weight/{name}")).log(250, 4_000) } else { 1_000 };
        weights.push(u64::from(*weight) * times);
    }
    if chaos.swarm {
        plan.pace = dice("pace").log(333, 3_000);
    }
    let index = plan.scenario.phases.iter().position(|phase| phase.name.value == chaos.window.value);
    let Some(index) = index else { return };
    let length = plan.scenario.phases[index].length;
    let (mut when, mut which) = (dice("when"), dice("which"));
    let mut of_words: Vec<Dice> = plan.taken.iter().map(|word| dice(&format!("word/{}", word.word()))).collect();
    let targets = Targets::new(&plan.scenario);
    let mut lines = Vec::new();
    let mut at = 0u64;
    while lines.len() < FAULTS_MAX {
        let interval = match chaos.every {
            Distribution::Fixed(nanos) => nanos,
            Distribution::Exp(mean) => when.exp(mean),
            Distribution::Uniform(from, to) => when.even(from, to),
        };
        // At least a millisecond, so that time goes on, and whole ones, so that a plan can be read.
        let interval = (u128::from(interval) * u128::from(plan.pace) / 1_000 / 1_000_000).max(1);
        at = at.saturating_add(u64::try_from(interval * 1_000_000).unwrap_or(u64::MAX));
        if at >= length {
            break;
        }
        let Some(chosen) = which.weighted(&weights) else { break };
        let word = plan.taken[chosen];
        let Some(hit) = word.draw(&targets, &mut of_words[chosen]) else { continue };
        assert_eq!(ChaosWord::of(&hit.action), Some(word), "the rule of a word draws that word");
        let next = word.followed_by(&hit, &mut of_words[chosen]);
        let mut push = |word: ChaosWord, at, hit| {
            let label = format!("chaos-{:02}-{}", lines.len() + 1, word.word());
            lines.push(line(At::Phase(chaos.window.value.clone(), at), hit, label));
        };
        push(word, at, hit);
        // It belongs to the word that it follows, whether or not the seed plays with its own; but the menu must have it.
        for (word, after, hit) in next {
            if chaos.menu.iter().any(|(known, _)| *known == word) && at + after < length {
                push(word, at + after, hit);
            }
        }
    }
    plan.scenario.max_concurrent = Some(chaos.max_concurrent);
    plan.scenario.core_first = true;
    plan.scenario.faults.extend(lines);
    if chaos.heal_at_end
        && let Some(next) = plan.scenario.phases.get(index + 1)
    {
        plan.scenario.faults.push(FaultLine {
            at: Spanned::new(At::Phase(next.name.value.clone(), 0), 0..0),
            action: Action::Heal(Heal::All),
            lasts: None,
            restart_after: None,
            within_budget: false,
            label: "chaos-heal".to_owned(),
            span: 0..0,
        });
    }
}

fn line(at: At, hit: Hit, label: String) -> FaultLine {
    FaultLine {
        at: Spanned::new(at, 0..0),
        action: hit.action,
        lasts: hit.lasts,
        restart_after: hit.restart_after,
        within_budget: true,
        label,
        span: 0..0,
    }
}
