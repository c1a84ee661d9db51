//! People who are asked about tool calls, and answer in every way that there is.

use nexus_events::policy::ApprovalRequirement;
use nexus_events::run::{
    ApprovalDenied, ApprovalEscalated, ApprovalExpired, ApprovalGranted, ApprovalRequested,
    ToolArgumentsChanged,
};

use super::*;

impl World {
    /// Asks about a call; `void` is the answer that was given before, to another bundle.
    pub(super) fn question(
        &mut self,
        run: &Going,
        call: &ToolCall,
        void: Option<ApprovalId>,
        events: &mut Vec<RunEvent>,
    ) -> ApprovalId {
        let (turn, call_id) = (run.turn, call.id.clone());
        let point = PolicyPoint::ToolCall { turn, call_id };
        let approval_id = ApprovalId::derive(&[&run.id.to_string(), &self.uuid().to_string()]);
        let judged = PolicyDecided {
            approval: Some(ApprovalRequirement::default()),
            void,
            ..decided(point.clone(), false)
        };
        events.push(judged.into());
        let asked = ApprovalRequested {
            approval_id,
            point,
            tool: Some(call.name.clone()),
            arguments: Some(call.arguments.clone()),
            subject: "sha256:22".into(),
            bundle: "builtin".into(),
            reasons: vec!["a second person".into()],
            requester: run.user.clone(),
            roles: vec!["admin".into(), "nul\0".into()],
            count: 2,
            expires_at: self.now.plus_millis(3_600_000),
            escalate_at: None,
            escalate_to: vec!["chief".into()],
        };
        events.push(asked.into());
        approval_id
    }

    /// Answers one question a step; when none is left the calls begin.
    pub(super) fn people(
        &mut self,
        run: &mut Going,
        mut asked: Vec<(ToolCall, ApprovalId)>,
        mut allowed: Vec<ToolCall>,
    ) {
        let Some((call, id)) = asked.pop() else {
            if allowed.is_empty() {
                run.turn += 1;
                run.round = 0;
            } else {
                run.step = Step::StartTools(allowed);
            }
            return;
        };
        let (turn, call_id) = (run.turn, call.id.clone());
        let mut events: Vec<RunEvent> = vec![];
        match self.rng.random_range(0..6) {
            0 => events.push(
                ApprovalDenied {
                    approval_id: id,
                    approver: "root".into(),
                    reason: Some("not \0 this".into()),
                }
                .into(),
            ),
            1 => events.push(ApprovalExpired { approval_id: id }.into()),
            2 => {
                let roles = vec!["chief".to_owned()];
                let approval_id = id;
                events.push(ApprovalEscalated { approval_id, roles }.into());
                asked.push((call, id));
            }
            3 => {
                self.agree(run, id, 1);
                self.agree(run, id, 0);
                let again = self.question(run, &call, Some(id), &mut events);
                asked.push((call, again));
            }
            other => {
                if other == 4 {
                    let changed = ToolArgumentsChanged {
                        turn,
                        call_id: call_id.clone(),
                        arguments: serde_json::json!({ "expression": "1 \0+ 1" }),
                        approval_id: id,
                        subject: "sha256:33".into(),
                    };
                    self.run(run, vec![changed.into()]);
                }
                self.agree(run, id, 1);
                self.agree(run, id, 0);
                events.push(decided(PolicyPoint::ToolCall { turn, call_id }, true).into());
                allowed.push(call);
            }
        }
        self.run(run, events);
        run.step = Step::People(asked, allowed);
    }

    fn agree(&mut self, run: &Going, approval_id: ApprovalId, missing: u32) {
        let granted = ApprovalGranted {
            approval_id,
            approver: format!("boss-{missing}"),
            reason: None,
            missing,
        };
        self.run(run, vec![granted.into()]);
    }
}
