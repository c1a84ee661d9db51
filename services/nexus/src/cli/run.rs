//! `nexus run` and `nexus watch`: start a run, follow it to its end, say how it ended.
//!
//! The run's id is made here unless the caller brings a key, so that a start whose answer got lost
//! is repeated without starting a second run, and Ctrl-C knows what to cancel from the beginning.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::time::Duration;

use nexus_events::command::{Budget, StartRun};
use nexus_events::{RunId, SessionId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::endpoint::Connection;
use super::error::CliError;
use super::exit::{self, Exit};
use super::follow::{Follow, Heard, may_pass};
use super::http::{Gateway, Request};
use super::parse;
use super::screen::Screen;
use super::story::{Item, Story};
use super::style::Tone;

/// More than any installation takes as input.
const INPUT_LIMIT_BYTES: u64 = 16 << 20;
const START_PAUSE: Duration = Duration::from_millis(300);

/// Start an agent run and show it live
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct RunArgs {
    /// What the agent is to do; `-`, or nothing with a pipe, reads it from standard input
    pub(crate) text: Option<String>,
    /// Continue this conversation
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
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
    /// A label of your own; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::label)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    budget: BudgetArgs,
    /// Starting with the same key again is the same run, for ever
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print the run's id and leave; the run goes on
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
    #[command(flatten)]
    pub(crate) connection: Connection,
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
}

impl BudgetArgs {
    /// As the command has it; none where nothing is limited.
    pub(crate) fn budget(self) -> Option<Budget> {
        let budget = Budget {
            tokens: self.budget_tokens,
            cost_usd_micros: self.budget_usd,
            time_seconds: self.budget_seconds,
        };
        (budget != Budget::default()).then_some(budget)
    }
}

/// How a run is followed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct FollowArgs {
    /// One JSON object a line: each event, at last the finished run
    #[arg(long)]
    pub(crate) json: bool,
    /// How long a platform that stopped answering is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    reconnect_seconds: u64,
}

impl FollowArgs {
    fn patience(self) -> Duration {
        Duration::from_secs(self.reconnect_seconds)
    }
}

/// Show a run, from its beginning to its end
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct WatchArgs {
    /// The run
    run_id: RunId,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Starts a run and follows it.
///
/// # Errors
/// [`CliError`]: it could not be started or followed. How it ended is the exit.
pub(crate) async fn run(args: RunArgs) -> Result<Exit, CliError> {
    let gateway = Gateway::new(&args.connection)?;
    let (follow, detach) = (args.follow, args.detach);
    let key = args.idempotency_key.clone();
    let command = command(args)?;
    let starting = start(&gateway, &command, key, follow.patience());
    let accepted = tokio::select! {
        accepted = starting => accepted?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("left before the start was confirmed; it may have been accepted");
            return Ok(Exit::Cancelled);
        }
    };
    let run_id = accepted.get("run_id").and_then(Value::as_str);
    let run_id = run_id.ok_or_else(|| gateway.unreadable("it names no run"))?.to_owned();
    if detach {
        let mut screen = Screen::standard();
        if follow.json {
            screen.json(&accepted)?;
        } else {
            println!("{run_id}");
        }
        return Ok(Exit::Done);
    }
    follow_to_end(&gateway, &run_id, follow, true).await
}

/// Follows a run that was started elsewhere. Ctrl-C leaves; the run goes on.
///
/// # Errors
/// As [`run`].
pub(crate) async fn watch(args: WatchArgs) -> Result<Exit, CliError> {
    let gateway = Gateway::new(&args.connection)?;
    follow_to_end(&gateway, &args.run_id.to_string(), args.follow, false).await
}

fn command(args: RunArgs) -> Result<StartRun, CliError> {
    let tools = match (args.no_tools, args.tool) {
        (true, _) => Some(vec![]),
        (false, tools) if tools.is_empty() => None,
        (false, tools) => Some(tools),
    };
    Ok(StartRun {
        input: input(args.text)?,
        run_id: args.idempotency_key.is_none().then(|| RunId::new(Uuid::now_v7())),
        idempotency_key: None,
        session_id: args.session,
        agent: args.agent,
        model: args.model,
        tools,
        budget: args.budget.budget(),
        metadata: BTreeMap::from_iter(args.metadata),
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
    limited.read_to_string(&mut text).map_err(CliError::io("cannot read standard input"))?;
    if text.len() as u64 > INPUT_LIMIT_BYTES {
        let limit = INPUT_LIMIT_BYTES >> 20;
        return Err(CliError::Usage(format!("standard input has more than {limit} MiB")));
    }
    Ok(text)
}

/// A start whose answer is lost is sent again: it names its run, so that it stays one run. Nothing
/// listening at all is said at once.
async fn start(
    gateway: &Gateway,
    command: &StartRun,
    key: Option<String>,
    patience: Duration,
) -> Result<Value, CliError> {
    let began = Instant::now();
    let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    let request = Request { path: &["v1", "runs"], headers: &headers, ..Request::default() };
    let mut reached = false;
    loop {
        match gateway.post::<Value>(request.clone(), command).await {
            Err(error @ CliError::Problem(_)) if may_pass(&error) => reached = true,
            Err(error) if !may_pass(&error) || !reached => return Err(error),
            Err(_) => {}
            Ok(accepted) => return Ok(accepted),
        }
        if began.elapsed() >= patience {
            return gateway.post(request, command).await;
        }
        sleep(START_PAUSE).await;
    }
}

async fn follow_to_end(
    gateway: &Gateway,
    run_id: &str,
    args: FollowArgs,
    own: bool,
) -> Result<Exit, CliError> {
    let mut follow = Follow::new(gateway, run_id, args.patience(), own);
    let mut screen = Screen::standard();
    let mut story = Story::default();
    let mut asked_to_stop = false;
    while story.ending.is_none() {
        let heard = tokio::select! {
            heard = follow.next() => heard?,
            _ = tokio::signal::ctrl_c() => {
                if asked_to_stop || !own {
                    screen.say(Tone::Warn, &left(run_id, asked_to_stop))?;
                    return Ok(Exit::Cancelled);
                }
                asked_to_stop = true;
                screen.say(Tone::Warn, "stopping the run and settling what it spent; Ctrl-C again leaves at once")?;
                cancel(gateway, run_id).await?;
                continue;
            }
        };
        match heard {
            Heard::Broken(reason) => {
                screen.remark(Tone::Warn, &format!("{reason}; connecting again"))?;
            }
            Heard::Event(event) => {
                let read = Item::read(&event.data);
                let item = read.map_err(|error| gateway.unreadable(&error.to_string()))?;
                if args.json {
                    screen.json(&serde_json::from_str(&event.data).unwrap_or_default())?;
                    story.take(item);
                } else {
                    let lines = story.take(item);
                    screen.show(lines)?;
                }
            }
        }
    }
    let exit = story.ending.as_ref().map_or(Exit::Failed, |ending| ending.exit);
    if args.json {
        let run: Value = finished(gateway, run_id, follow.last_seq()).await?;
        screen.json(&run)?;
    } else {
        let tone = if exit == Exit::Done { Tone::Dim } else { Tone::Bad };
        screen.say(tone, &story.summary())?;
    }
    Ok(exit)
}

fn left(run_id: &str, asked_to_stop: bool) -> String {
    let state = if asked_to_stop { "it is being stopped" } else { "the run goes on" };
    format!("left; {state}: nexus watch {run_id}")
}

async fn cancel(gateway: &Gateway, run_id: &str) -> Result<(), CliError> {
    let body = json!({ "reason": "Ctrl-C" });
    match gateway.post::<Value>(Request::at(&["v1", "runs", run_id, "cancel"]), &body).await {
        Ok(_) => Ok(()),
        // It ended meanwhile: its last event is on the way.
        Err(CliError::Problem(problem)) if problem.code == "wrong_state" => Ok(()),
        Err(error) => Err(error),
    }
}

/// The run as the read model has it, once that has its end.
async fn finished(gateway: &Gateway, run_id: &str, seq: Option<u64>) -> Result<Value, CliError> {
    let query = [("min_seq", seq.map(|seq| seq.to_string()))];
    let path = ["v1", "runs", run_id];
    gateway.get(Request { path: &path, query: &query, ..Request::default() }).await
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
            "hi", "--tool", "a", "--tool", "b", "--budget-usd", "0.05", "--budget-tokens", "10",
            "--metadata", "team=x", "--model", "m",
        ]);
        let command = command(args.unwrap()).unwrap();
        let budget = Budget { tokens: Some(10), cost_usd_micros: Some(50_000), time_seconds: None };
        assert_eq!(command.budget, Some(budget));
        assert_eq!(command.tools, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(command.metadata.get("team").map(String::as_str), Some("x"));
        assert!(command.run_id.is_some(), "a lost answer can be asked for again");
    }

    #[test]
    fn no_tools_is_not_the_agents_tools() {
        assert_eq!(command(parsed(&["hi"]).unwrap()).unwrap().tools, None);
        assert_eq!(command(parsed(&["hi", "--no-tools"]).unwrap()).unwrap().tools, Some(vec![]));
        assert!(parsed(&["hi", "--no-tools", "--tool", "a"]).is_err());
    }

    #[test]
    fn a_key_names_the_run_instead_of_an_id() {
        let args = parsed(&["hi", "--idempotency-key", "order-7"]).unwrap();
        assert_eq!(command(args).unwrap().run_id, None);
    }
}
