//! What becomes of the tool calls of made-up runs, and the tools that tenants register.

use super::*;

impl World {
    pub(super) fn judge_tools(&mut self, run: &mut Going, calls: Vec<ToolCall>) {
        let (turn, mut allowed, mut events) = (run.turn, vec![], vec![]);
        let mut asked = vec![];
        for call in calls {
            if self.strange && self.rng.random_ratio(1, 3) {
                asked.push((call.clone(), self.question(run, &call, None, &mut events)));
                continue;
            }
            let may = self.rng.random_ratio(4, 5);
            let call_id = call.id.clone();
            events.push(decided(PolicyPoint::ToolCall { turn, call_id }, may).into());
            if may {
                allowed.push(call);
            }
        }
        self.run(run, events);
        run.step = Step::People(asked, allowed);
    }

    /// Each call is held before it is made. True where one was refused and the run has ended.
    pub(super) fn start_tools(&mut self, run: &mut Going, calls: Vec<ToolCall>) -> bool {
        for call in &calls {
            let ask = run.ask(Some(&call.id));
            let id = ask.reservation_id;
            match ledger::reserve(&self.ledgers[&run.tenant], &ask, self.now) {
                Ok(events) => self.ledger(&run.tenant, events, None),
                Err(refusal) => return self.too_little(run, Some(call.id.clone()), refusal),
            }
            self.held_or_parked(run, Some(call.id.clone()), id);
            if matches!(run.step, Step::Parked) {
                self.answer_of(run, id, 0);
            }
            let Some(held) = self.ledgers[&run.tenant].reservation(id).cloned() else {
                // It waits for something else now; the run is given up.
                let (code, message) = ("budget_exhausted".into(), "too little".into());
                self.run(run, vec![RunFailed { code, message }.into()]);
                self.settle_call(run, &call.id, Amounts::default());
                self.leave(run);
                return true;
            };
            self.granted(run, Some(&call.id), &held);
            let started = ToolStarted {
                turn: run.turn,
                call_id: call.id.clone(),
                tool: call.name.clone(),
                version: "1.0.0".into(),
                attempt: 1,
            };
            self.run(run, vec![started.into()]);
        }
        run.step = Step::EndTools(calls);
        false
    }

    pub(super) fn end_tools(&mut self, run: &mut Going, calls: Vec<ToolCall>) {
        for call in calls {
            let spent = Amounts {
                time_ms: 12,
                tool_calls: 1,
                ..Amounts::default()
            };
            self.settle_call(run, &call.id, spent);
            let (turn, call_id, duration_ms) = (run.turn, call.id, 12);
            let chance = self.rng.random_range(0..4);
            if self.count.is_multiple_of(8) {
                self.doubt(run, turn, &call_id, &call.name);
                continue;
            }
            let event: RunEvent = match chance {
                0 => {
                    let (code, message) = ("bad_arguments".into(), "not \0 a number".into());
                    ToolFailed {
                        turn,
                        call_id,
                        code,
                        message,
                        duration_ms,
                    }
                    .into()
                }
                1 => {
                    let output = Body::Stored {
                        object: "sha256:11".into(),
                        bytes: 99_999,
                    };
                    ToolCompleted {
                        turn,
                        call_id,
                        output,
                        duration_ms,
                        tokens: None,
                        reused: None,
                    }
                    .into()
                }
                _ => {
                    let output = "{\"value\":10,\"note\":\"\\u0000\"}".into();
                    ToolCompleted {
                        turn,
                        call_id,
                        output,
                        duration_ms,
                        tokens: None,
                        reused: None,
                    }
                    .into()
                }
            };
            self.run(run, vec![event]);
        }
        run.turn += 1;
        run.round = 0;
    }

    /// Nobody knows what became of a call; now and then somebody says so, or the run ends first.
    pub(super) fn doubt(&mut self, run: &mut Going, turn: u32, call_id: &str, tool: &str) {
        let doubt = ToolInDoubt {
            turn,
            call_id: call_id.to_owned(),
            tool: tool.to_owned(),
            attempt: 1,
            message: "its worker \0 died".into(),
            duration_ms: 12,
        };
        self.run(run, vec![doubt.into()]);
        let resolution = match self.count / 8 % 4 {
            0 => Resolution::Done,
            1 => Resolution::Failed,
            2 => Resolution::Retry,
            _ => return,
        };
        let done = resolution == Resolution::Done;
        let resolved = ToolResolved {
            turn,
            call_id: call_id.to_owned(),
            resolution,
            output: done.then(|| "{\"booking\":7}".into()),
            tokens: None,
            by: "grace".into(),
            reason: Some("I \0 looked".into()),
        };
        self.run(run, vec![resolved.into()]);
    }

    /// Somebody registers a version of a tool, or takes one back.
    pub(super) fn tools(&mut self, tenant: &Tenant) {
        let (name, version) = ("book", format!("1.{}.0", self.count / 3 % 3));
        let reason = Some("there \0 is a better one".to_owned());
        let event: ToolsEvent = match self.count / 9 % 4 {
            0 => ToolDeprecated {
                name: name.into(),
                version,
                reason,
            }
            .into(),
            1 => ToolRemoved {
                name: name.into(),
                version,
                reason: None,
            }
            .into(),
            _ => {
                let definition = serde_json::json!({
                    "name": name, "version": version, "description": "Books \0 a room.",
                    "category": "http", "kind": "nats", "input_schema": { "type": "object" },
                });
                let definition = serde_json::from_value(definition).unwrap();
                let digest = format!("sha256:{version}");
                ToolRegistered { digest, definition }.into()
            }
        };
        self.commit(
            tenant,
            &AggregateId::ONLY,
            AggregateKind::Tools,
            vec![event],
            Some("root"),
        );
    }
}
