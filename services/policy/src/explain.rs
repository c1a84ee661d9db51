//! `policy.explain`: why a run's steps were judged as they were. The recorded decision, where its
//! rules are, and the same question asked again of the same bundle, now: where that differs, the
//! policy saw something that is not on the log.

use nexus_bus::{Delivery, Failure, read, topology};
use nexus_events::command::ExplainPolicy;
use nexus_events::policy::{Difference, Explained, Explanation};
use nexus_events::run::{PolicyDecided, PolicyPoint, Run, RunEvent};
use nexus_events::{AggregateId, AggregateKind, Commit, DomainError, RunId, Tenant, subject};

use crate::PolicyRole;
use crate::active::BundleInForce;
use crate::replay::{self, Folded};

/// Decisions in one answer.
const MOST_DECISIONS: usize = 64;
/// Bytes of an input that is shown.
const MOST_INPUT_BYTES: usize = 8 * 1024;

impl PolicyRole {
    pub(crate) async fn explain(
        &self,
        delivery: &Delivery,
        command: ExplainPolicy,
    ) -> Result<(), Failure> {
        let _place = match self.places.answer() {
            Ok(place) => place,
            Err(busy) => return self.say(delivery, &busy).await,
        };
        let tenant = &delivery.envelope.tenant;
        let explanation = self.explanation(tenant, &command).await?;
        self.say(delivery, &explanation).await
    }

    async fn explanation(
        &self,
        tenant: &Tenant,
        command: &ExplainPolicy,
    ) -> Result<Explanation, Failure> {
        let id = AggregateId::from(command.run_id);
        let log = subject::events(tenant, AggregateKind::Run, &id);
        let mut explanation = Explanation {
            run_id: command.run_id,
            decisions: vec![],
            truncated: false,
        };
        let mut folded = Folded::default();
        let mut from = 1;
        loop {
            let page = read::read_from(&self.bus, topology::EVENTS, &log, from, read::PAGE).await?;
            for stored in &page.messages {
                let commit = Commit::<RunEvent>::decode(&stored.body)
                    .map_err(|error| Failure::dead(format!("{log}: {error}")))?;
                for decided in replay::decisions(&commit).filter(|decided| asked(command, decided))
                {
                    if explanation.decisions.len() == MOST_DECISIONS {
                        explanation.truncated = true;
                        return Ok(explanation);
                    }
                    let explained = self
                        .explained(tenant, &folded.run, &commit, decided)
                        .await?;
                    explanation.decisions.push(Explained {
                        seq: stored.seq,
                        ..explained
                    });
                }
                folded.take(&commit, stored);
            }
            match page.messages.last() {
                Some(last) if page.pending > 0 => from = last.seq + 1,
                _ => break,
            }
        }
        match folded.seq {
            0 => Err(no_run(command.run_id)),
            _ => Ok(explanation),
        }
    }

    async fn explained(
        &self,
        tenant: &Tenant,
        run: &Run,
        commit: &Commit<RunEvent>,
        decided: &PolicyDecided,
    ) -> Result<Explained, Failure> {
        let mut explained = Explained {
            seq: 0,
            at: commit.time,
            recorded: decided.clone(),
            places: vec![],
            input: None,
            again: None,
            remarks: vec![],
        };
        let bundle = self.bundles.find(tenant, Some(&decided.bundle)).await?;
        if let Some(BundleInForce::Ready(bundle)) = &bundle {
            explained.places = bundle.places_of(&decided.rules);
        }
        let question = replay::question(run, tenant, &self.catalog, commit, decided);
        explained.input = question
            .as_ref()
            .and_then(|input| serde_json::to_value(input).ok())
            .filter(|input| input.to_string().len() <= MOST_INPUT_BYTES);
        match (bundle, question) {
            (None, _) => explained.remarks.push(format!(
                "the bundle {} is not here: it came with another release",
                decided.bundle
            )),
            (_, None) => {
                let what = "the log does not give the question any more";
                explained.remarks.push(what.to_owned());
            }
            (Some(bundle), Some(question)) => {
                let again = replay::judge_again(&bundle, run, &self.catalog, decided, question);
                explained.remarks = remarks(decided, &again);
                explained.again = Some(again);
            }
        }
        Ok(explained)
    }
}

/// Whether the question is about this decision.
fn asked(command: &ExplainPolicy, decided: &PolicyDecided) -> bool {
    let (turn, call) = match &decided.point {
        PolicyPoint::RunStart => (None, None),
        PolicyPoint::LlmCall { turn } => (Some(*turn), None),
        PolicyPoint::ToolCall { turn, call_id } => (Some(*turn), Some(call_id)),
    };
    (command.turn.is_none() || command.turn == turn)
        && (command.call_id.is_none() || command.call_id.as_ref() == call)
}

fn remarks(recorded: &PolicyDecided, again: &PolicyDecided) -> Vec<String> {
    let mut remarks = vec![];
    if let Some(difference) = Difference::between(recorded, again) {
        remarks.push(format!(
            "asked again, the answer is another: {}",
            difference.name()
        ));
    }
    if recorded.rules != again.rules {
        remarks.push(format!(
            "asked again, by other rules: {}",
            again.rules.join(", ")
        ));
    }
    remarks
}

fn no_run(run_id: RunId) -> Failure {
    let (what, id) = ("run", run_id.to_string());
    DomainError::NotFound { what, id }.into()
}
