//! A batch: what a stretch of the log changes in all read models, folded in memory, and written in
//! an order in which later tables may look at earlier ones.

use nexus_events::Timestamp;
use sqlx::PgConnection;

use crate::audit::chain::Chains;
use crate::fold::At;
use crate::log::{Facts, LogCommit};
use crate::model::agent_runs::AgentRuns;
use crate::model::api_keys::ApiKeys;
use crate::model::approvals::Approvals;
use crate::model::audit_logs::AuditLogs;
use crate::model::budgets::Budgets;
use crate::model::llm_calls::LlmCalls;
use crate::model::messages::Messages;
use crate::model::policy_bundles::PolicyBundles;
use crate::model::policy_shadows::PolicyShadows;
use crate::model::reservations::Reservations;
use crate::model::sessions::Sessions;
use crate::model::tool_calls::ToolCalls;
use crate::model::tools::Tools;

/// What a stretch of the log changes.
#[derive(Debug, Default)]
pub struct Batch {
    sessions: Sessions,
    agent_runs: AgentRuns,
    messages: Messages,
    tool_calls: ToolCalls,
    llm_calls: LlmCalls,
    approvals: Approvals,
    api_keys: ApiKeys,
    audit_logs: AuditLogs,
    budgets: Budgets,
    policy_bundles: PolicyBundles,
    policy_shadows: PolicyShadows,
    tools: Tools,
    first_seq: u64,
    last_seq: u64,
    last_time: Timestamp,
    commits: usize,
    events: usize,
    bytes: usize,
}

impl Batch {
    /// Takes a commit in. Commits come in the order of the log.
    pub fn apply(&mut self, commit: &LogCommit) {
        if self.commits == 0 {
            self.first_seq = commit.seq;
        }
        self.last_seq = commit.seq;
        self.last_time = commit.time();
        self.commits += 1;
        self.events += commit.len();
        self.bytes += commit.bytes;
        let at = |position, time, actor| At {
            tenant: &commit.tenant,
            seq: commit.seq,
            position,
            time,
            actor,
        };
        match &commit.facts {
            Facts::Run(run, facts) => {
                for (event, position) in facts.events.iter().zip(0..) {
                    let at = at(position, facts.time, facts.actor.as_ref());
                    self.sessions.run(&at, *run, event);
                    self.agent_runs.run(&at, *run, event);
                    self.messages.run(&at, *run, event);
                    self.approvals.run(&at, *run, event);
                    self.tool_calls.run(&at, *run, event);
                    self.llm_calls.run(&at, *run, event);
                    self.policy_shadows.run(&at, event);
                    self.audit_logs.run(&at, *run, event);
                }
            }
            Facts::Session(session, facts) => {
                for (event, position) in facts.events.iter().zip(0..) {
                    let at = at(position, facts.time, facts.actor.as_ref());
                    self.sessions.session(&at, *session, event);
                    self.audit_logs.session(&at, *session, event);
                }
            }
            Facts::Ledger(facts) => {
                for (event, position) in facts.events.iter().zip(0..) {
                    let at = at(position, facts.time, facts.actor.as_ref());
                    self.budgets.ledger(&at, event);
                    self.audit_logs.ledger(&at, event);
                }
            }
            Facts::Policy(facts) => {
                for (event, position) in facts.events.iter().zip(0..) {
                    let at = at(position, facts.time, facts.actor.as_ref());
                    self.policy_bundles.policy(&at, event);
                    self.audit_logs.policy(&at, event);
                }
            }
            Facts::Tools(facts) => {
                for (event, position) in facts.events.iter().zip(0..) {
                    let at = at(position, facts.time, facts.actor.as_ref());
                    self.tools.tools(&at, event);
                    self.audit_logs.tools(&at, event);
                }
            }
            // How they stand is asked of their own log and of whoever delivers.
            Facts::Webhooks(facts) => {
                for (event, position) in facts.events.iter().zip(0..) {
                    let at = at(position, facts.time, facts.actor.as_ref());
                    self.audit_logs.webhooks(&at, event);
                }
            }
            Facts::Access(facts) => {
                for (event, position) in facts.events.iter().zip(0..) {
                    let at = at(position, facts.time, facts.actor.as_ref());
                    self.audit_logs.access(&at, event);
                }
            }
            Facts::Keys(facts) => {
                for (event, position) in facts.events.iter().zip(0..) {
                    let at = at(position, facts.time, facts.actor.as_ref());
                    self.api_keys.keys(&at, event);
                    self.audit_logs.keys(&at, event);
                }
            }
        }
    }

    /// Sequence of the first commit.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Sequence of the last commit.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// When the last commit was decided.
    pub fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// How many commits it took in.
    pub fn commits(&self) -> usize {
        self.commits
    }

    /// How many events they hold.
    pub fn events(&self) -> usize {
        self.events
    }

    /// How long their messages were, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes everything but the checkpoint.
    pub(crate) async fn write(
        &self,
        held: &mut Reservations,
        chains: &mut Chains,
        db: &mut PgConnection,
    ) -> sqlx::Result<()> {
        self.sessions.write(db).await?;
        // Messages and audit entries look their run up.
        self.agent_runs.write(db).await?;
        self.messages.write(db).await?;
        // Tool calls look up which of them an answer was about.
        self.approvals.write(db).await?;
        self.tool_calls.write(db).await?;
        self.llm_calls.write(db).await?;
        self.audit_logs.write(chains, db).await?;
        self.api_keys.write(db).await?;
        self.policy_bundles.write(db).await?;
        self.policy_shadows.write(db).await?;
        self.tools.write(db).await?;
        self.budgets.write(held, db).await
    }
}
