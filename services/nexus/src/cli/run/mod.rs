//! `nexus run` and `nexus watch`: start a run, follow it to its end, say how it ended.
//!
//! The run's id is made here unless the caller brings a key, so that a start whose answer got lost
//! is repeated without starting a second run, and Ctrl-C knows what to cancel from the beginning.

mod args;
mod start;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

pub(crate) use args::{BudgetArgs, RunArgs, WatchArgs};

use super::error::CliError;
use super::exit::Exit;
use super::follow::{Follow, Heard};
use super::http::{Gateway, Request};
use super::screen::Screen;
use super::story::{Item, Story};
use super::style::Tone;
use args::FollowArgs;

const STOPPING: &str = "stopping the run and settling what it spent; Ctrl-C again leaves at once";
/// How often, and how long between, the settlement of a stopped call is looked for.
const SETTLE_LOOKS: u32 = 25;
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// Starts a run and follows it.
///
/// # Errors
/// [`CliError`]: it could not be started or followed. How it ended is the exit.
pub(crate) async fn run(args: RunArgs) -> Result<Exit, CliError> {
    let gateway = Gateway::new(&args.connection)?;
    let (follow, detach) = (args.follow, args.detach);
    let key = args.idempotency_key.clone();
    let command = args::command(args)?;
    let starting = start::start(&gateway, &command, key, follow.patience());
    let accepted = tokio::select! {
        accepted = starting => accepted?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("left before the start was confirmed; it may have been accepted");
            return Ok(Exit::Cancelled);
        }
    };
    let run_id = accepted.get("run_id").and_then(Value::as_str);
    let run_id = run_id
        .ok_or_else(|| gateway.unreadable("it names no run"))?
        .to_owned();
    if detach {
        let mut screen = Screen::standard();
        if follow.json {
            screen.json_line(&accepted.to_string())?;
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
                let said = match cancel(gateway, run_id).await {
                    Ok(()) => STOPPING.to_owned(),
                    Err(error) => format!("{error}: the run goes on; Ctrl-C again leaves"),
                };
                screen.say(Tone::Warn, &said)?;
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
                let lines = story.take(item);
                if args.json {
                    screen.json_line(&event.data)?;
                } else {
                    screen.show(lines)?;
                }
            }
        }
    }
    let exit = story
        .ending
        .as_ref()
        .map_or(Exit::Failed, |ending| ending.exit);
    if args.json {
        let run = finished(gateway, run_id).await?;
        screen.json_line(&run.to_string())?;
    } else {
        if story.has_open_call() {
            charge(gateway, run_id, &mut story).await?;
        }
        let tone = if exit == Exit::Done {
            Tone::Dim
        } else {
            Tone::Bad
        };
        screen.say(tone, &story.summary())?;
    }
    Ok(exit)
}

fn left(run_id: &str, asked_to_stop: bool) -> String {
    let state = if asked_to_stop {
        "it is being stopped"
    } else {
        "the run goes on"
    };
    format!("left; {state}: nexus watch {run_id}")
}

async fn cancel(gateway: &Gateway, run_id: &str) -> Result<(), CliError> {
    let body = json!({ "reason": "Ctrl-C" });
    match gateway
        .post::<Value>(Request::at(&["v1", "runs", run_id, "cancel"]), &body)
        .await
    {
        Ok(_) => Ok(()),
        // It ended meanwhile: its last event is on the way.
        Err(CliError::Problem(problem)) if problem.code == "wrong_state" => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a call that was stopped had spent is settled just after the run's end, which is the last
/// that a stream gives.
async fn charge(gateway: &Gateway, run_id: &str, story: &mut Story) -> Result<(), CliError> {
    for _ in 0..SETTLE_LOOKS {
        let run = finished(gateway, run_id).await?;
        let figure = |at: &str| run.pointer(at).and_then(Value::as_u64).unwrap_or(0);
        let calls = run
            .get("llm_calls")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        if calls as u64 >= u64::from(story.calls()) {
            story.charge(figure("/cost/tokens"), figure("/cost/cost_usd_micros"));
            return Ok(());
        }
        sleep(SETTLE_PAUSE).await;
    }
    Ok(())
}

/// The run with its end; from the log, should the read models be behind.
async fn finished(gateway: &Gateway, run_id: &str) -> Result<Value, CliError> {
    let query = [("wait", Some("30s".to_owned()))];
    let path = ["v1", "runs", run_id];
    gateway
        .get(Request {
            path: &path,
            query: &query,
            ..Request::default()
        })
        .await
}
