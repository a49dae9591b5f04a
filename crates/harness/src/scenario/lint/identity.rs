//! Faults that give a node's identity to two processes, or take its memory from it.

use super::Lint;
use crate::checker::Keep;
use crate::scenario::diagnostic::code;
use crate::scenario::fault::{Action, FaultLine, ProcessAction};
use crate::scenario::term::NodeTerm;

impl Lint<'_> {
    /// What a voter of a quorum without directory ids (`kraft.version` 0) must not go through.
    pub(super) fn identity(&mut self, fault: &FaultLine) {
        let (what, why) = match &fault.action {
            Action::Process(ProcessAction::Twin(_)) => {
                ("has a twin", "two voters of one id may each vote in an epoch, so that it gets two leaders")
            }
            Action::Process(ProcessAction::Wipe(_)) if self.scenario.expect.keep != Keep::Nothing => (
                "loses its disk",
                "a voter that forgets its vote may vote twice in an epoch, and one that forgets its log may elect who lacks it",
            ),
            _ => return,
        };
        let voters = self.scenario.cluster.controller_hosts();
        let votes = |term: &NodeTerm| match term {
            NodeTerm::Host(host) => voters.contains(host),
            NodeTerm::Controller | NodeTerm::Minority | NodeTerm::Majority => true,
            NodeTerm::Leader(..) | NodeTerm::Follower(..) | NodeTerm::Any | NodeTerm::Except(_) => {
                self.scenario.cluster.controllers == 0
            }
        };
        let voter = super::terms(&fault.action)
            .into_iter()
            .find(|(term, _)| votes(term))
            .map(|(term, span)| (term.clone(), span));
        if let Some((term, span)) = voter {
            self.problems
                .error(code::NOT_TOGETHER, span, format!("`{term}` votes, and {what}"))
                .label("give the controllers hosts of their own: `controllers = 3` in [cluster]")
                .note(why);
        }
    }
}
