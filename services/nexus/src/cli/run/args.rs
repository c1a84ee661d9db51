//! What `nexus run` and `nexus watch` take, and the command that it makes.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::time::Duration;

use nexus_events::command::{Budget, StartRun};
use nexus_events::ledger::OnExhausted;
use nexus_events::session::OnBusy;
use nexus_events::{RunId, SessionId};
use uuid::Uuid;

use crate::cli::endpoint::Connection;
use crate::cli::error::CliError;
use crate::cli::{exit, parse};

/// More than any installation takes as input.
const INPUT_LIMIT_BYTES: u64 = 16 << 20;

/// Start an agent run and show it live
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct RunArgs {
    /// What the agent is to do; `-`, or nothing with a pipe, reads it from standard input
    text: Option<String>,
    /// Continue this conversation
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// Where another run of the conversation goes on: reject, enqueue (wait for its turn), interrupt
    /// (cancel the other and follow it) or rollback (cancel it and forget it); as the conversation
    /// says unless given
    #[arg(long, value_name = "RULE", value_parser = crate::cli::parse::on_busy, requires = "session")]
    on_busy: Option<OnBusy>,
    /// The agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// The model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// A tool that the model may call, instead of the agent's; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "no_tools")]
    tool: Vec<String>,
    /// The model may call no tool
    #[arg(long)]
    no_tools: bool,
    /// The run that it works for: it spends from that one's budgets, too
    #[arg(long, value_name = "RUN")]
    parent: Option<RunId>,
    /// A label of your own; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::label)]
    metadata: Vec<(String, String)>,
    /// Starting with the same key again is the same run, for ever
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
    /// Print the run's id and leave; the run goes on
    #[arg(long)]
    pub(super) detach: bool,
    #[command(flatten)]
    pub(super) follow: FollowArgs,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// What a run or a session may spend.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Budget")]
pub(crate) struct BudgetArgs {
    /// Tokens that it may use
    #[arg(long, value_name = "N")]
    budget_tokens: Option<u64>,
    /// What it may cost, such as 0.05
    #[arg(long, value_name = "USD", value_parser = parse::usd_micros)]
    budget_usd: Option<u64>,
    /// Seconds that its model calls and tools may take
    #[arg(long, value_name = "N")]
    budget_seconds: Option<u64>,
    /// Tools that it may call
    #[arg(long, value_name = "N")]
    budget_tool_calls: Option<u64>,
    /// Runs that may be in flight at a time, those that work for it included
    #[arg(long, value_name = "N")]
    budget_runs: Option<u64>,
    /// What happens when it has too little: reject, park, downgrade or approve
    #[arg(long, value_name = "RULE", value_parser = parse::on_exhausted, default_value = "reject")]
    budget_on_exhausted: OnExhausted,
}

impl BudgetArgs {
    /// As the command has it; none where nothing is limited.
    pub(crate) fn budget(self) -> Option<Budget> {
        let budget = Budget {
            tokens: self.budget_tokens,
            cost_usd_micros: self.budget_usd,
            time_seconds: self.budget_seconds,
            tool_calls: self.budget_tool_calls,
            runs: self.budget_runs,
            on_exhausted: self.budget_on_exhausted,
        };
        (budget != Budget::default()).then_some(budget)
    }
}

/// How a run is followed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct FollowArgs {
    /// One JSON object a line: each event, at last the finished run
    #[arg(long)]
    pub(super) json: bool,
    /// How long a platform that stopped answering is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    reconnect_seconds: u64,
}

impl FollowArgs {
    /// The same.
    pub(super) fn patience(self) -> Duration {
        Duration::from_secs(self.reconnect_seconds)
    }
}

/// Show a run, from its beginning to its end
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct WatchArgs {
    /// The run
    pub(super) run_id: RunId,
    #[command(flatten)]
    pub(super) follow: FollowArgs,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// The command; reads standard input where it has to.
///
/// # Errors
/// There is no input, or too much.
pub(super) fn command(args: RunArgs) -> Result<StartRun, CliError> {
    let tools = match (args.no_tools, args.tool) {
        (true, _) => Some(vec![]),
        (false, tools) if tools.is_empty() => None,
        (false, tools) => Some(tools),
    };
    Ok(StartRun {
        input: input(args.text)?,
        run_id: args
            .idempotency_key
            .is_none()
            .then(|| RunId::new(Uuid::now_v7())),
        idempotency_key: None,
        session_id: args.session,
        on_busy: args.on_busy,
        agent: args.agent,
        model: args.model,
        tools,
        budget: args.budget.budget(),
        parent_run_id: args.parent,
        metadata: BTreeMap::from_iter(args.metadata),
        ..StartRun::default()
    })
}

fn input(text: Option<String>) -> Result<String, CliError> {
    let stdin = std::io::stdin();
    match text {
        Some(text) if text != "-" => return Ok(text),
        None if stdin.is_terminal() => {
            let what = "say what the agent is to do: nexus run \"TEXT\"".to_owned();
            return Err(CliError::Usage(what));
        }
        _ => {}
    }
    let mut text = String::new();
    let mut limited = stdin.lock().take(INPUT_LIMIT_BYTES + 1);
    limited
        .read_to_string(&mut text)
        .map_err(CliError::io("cannot read standard input"))?;
    if text.len() as u64 > INPUT_LIMIT_BYTES {
        let limit = INPUT_LIMIT_BYTES >> 20;
        return Err(CliError::Usage(format!(
            "standard input has more than {limit} MiB"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    fn parsed(words: &[&str]) -> Result<RunArgs, clap::Error> {
        let words = std::iter::once(&"run").chain(words);
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn flags_become_the_command() {
        let args = parsed(&[
            "hi",
            "--tool",
            "a",
            "--tool",
            "b",
            "--budget-usd",
            "0.05",
            "--budget-tokens",
            "10",
            "--metadata",
            "team=x",
            "--model",
            "m",
        ]);
        let command = command(args.unwrap()).unwrap();
        let budget = Budget {
            tokens: Some(10),
            cost_usd_micros: Some(50_000),
            time_seconds: None,
            ..Budget::default()
        };
        assert_eq!(command.budget, Some(budget));
        assert_eq!(command.tools, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(command.metadata.get("team").map(String::as_str), Some("x"));
        assert!(
            command.run_id.is_some(),
            "a lost answer can be asked for again"
        );
    }

    #[test]
    fn no_tools_is_not_the_agents_tools() {
        assert_eq!(command(parsed(&["hi"]).unwrap()).unwrap().tools, None);
        assert_eq!(
            command(parsed(&["hi", "--no-tools"]).unwrap())
                .unwrap()
                .tools,
            Some(vec![])
        );
        assert!(parsed(&["hi", "--no-tools", "--tool", "a"]).is_err());
    }

    #[test]
    fn a_key_names_the_run_instead_of_an_id() {
        let args = parsed(&["hi", "--idempotency-key", "order-7"]).unwrap();
        assert_eq!(command(args).unwrap().run_id, None);
    }
}
