//! `nexus bench policy`: what a decision takes. In process, because that is where decisions are made:
//! for a policy as people write them and for a large one; and on the history of a platform that is
//! given, which is what a backtest takes.

use std::time::{Duration, Instant};

use nexus_events::policy::{BUILTIN, BacktestReport};
use nexus_policy::engine::{
    Approval, Budget, Bundle, EXAMPLE, Input, Module, Point, Session, Tool, User,
};
use serde_json::{Map, Value, json};

use super::error::BenchError;
use super::report::{Figure, Part, Unit};
use crate::cli::{Connection, Gateway, Request};

/// Rules and data entries of the large bundle.
const RULES: usize = 1_000;
const ENTRIES: usize = 10_000;
/// Decisions before anything is counted.
const WARM_UP: usize = 1_000;

/// Decisions of policy: in process, and made again on history
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    /// Seconds for each bundle
    #[arg(long, value_name = "S", default_value_t = 3)]
    seconds: u64,
    /// Measure a backtest too, on the history of the platform that runs already
    #[arg(long)]
    attach: bool,
    #[command(flatten)]
    connection: Connection,
}

/// One thread, one decision after another.
#[derive(Clone, Copy, Debug)]
struct Figures {
    decisions_per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

#[derive(Clone, Copy, Debug)]
struct Backtest {
    decisions: u64,
    decisions_per_second: f64,
}

/// Measures.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn part(args: &PolicyArgs) -> Result<Part, BenchError> {
    let time = Duration::from_secs(args.seconds.max(1));
    let mut part = Part::new(
        "policy",
        "Decisions in process, on one thread, one after another.",
    );
    let example = bundle(EXAMPLE.to_owned(), Value::Null)?;
    let found = measure(&example, &questions("text_processing"), time)?;
    found.add_to(&mut part, "the example policy", 5.0);
    let large = bundle(rules(), entries())?;
    let found = measure(&large, &questions("http"), time)?;
    found.add_to(&mut part, "1,000 rules with 10,000 data entries", 50.0);
    if args.attach {
        let found = backtest(&args.connection).await?;
        let name = format!("backtest of {} decisions, in a second", found.decisions);
        part.plain(name, found.decisions_per_second, Unit::PerSecond);
    }
    Ok(part)
}

impl Figures {
    fn add_to(&self, part: &mut Part, what: &str, aim_us: f64) {
        let rate = self.decisions_per_second;
        part.plain(format!("decisions a second, {what}"), rate, Unit::PerSecond);
        part.add(Figure::new(format!("{what}, p50"), self.p50_us, Unit::Us).at_most(aim_us));
        part.plain(format!("{what}, p99"), self.p99_us, Unit::Us);
    }
}

fn bundle(text: String, data: Value) -> Result<Bundle, BenchError> {
    let module = Module {
        path: "bench.rego".to_owned(),
        text,
    };
    Bundle::compile(&[module], data).map_err(|error| BenchError::Policy(error.to_string()))
}

/// Each rule is for a tool and asks for a level, which the data has for each user.
fn rules() -> String {
    let mut text =
        "package nexus.agent.policy\nimport rego.v1\ndefault allow := false\n".to_owned();
    for rule in 0..RULES {
        let level = rule % 10;
        text.push_str(&format!(
            "allow if {{\n\tinput.tool.name == \"tool_{rule}\"\n\tdata.levels[input.user.id] >= {level}\n}}\n"
        ));
    }
    text
}

fn entries() -> Value {
    let level = |entry: usize| (format!("user_{entry}"), json!(entry % 12));
    json!({ "levels": (0..ENTRIES).map(level).collect::<Map<_, _>>() })
}

/// Inputs that differ, as those of runs do.
fn questions(category: &str) -> Vec<Input> {
    (0..97)
        .map(|n: usize| {
            let user = User {
                id: format!("user_{}", n * 101 % ENTRIES),
                role: Some(
                    if n.is_multiple_of(10) {
                        "admin"
                    } else {
                        "user"
                    }
                    .to_owned(),
                ),
                ..User::default()
            };
            Input {
                session: Some(Session {
                    id: "s".to_owned(),
                    budget: Some(Budget {
                        tokens: Some(n as u64 * 100),
                        ..Budget::default()
                    }),
                    policy_context: None,
                }),
                tool: Some(Tool {
                    name: format!("tool_{}", n * 31 % RULES),
                    category: Some(
                        if n.is_multiple_of(5) {
                            "system"
                        } else {
                            category
                        }
                        .to_owned(),
                    ),
                    arguments: Some(json!({ "url": "https://example.org/" })),
                    ..Tool::default()
                }),
                approval: n.is_multiple_of(7).then(|| Approval {
                    status: "approved".to_owned(),
                    approver: Some("boss".to_owned()),
                    approvers: vec!["boss".to_owned()],
                }),
                ..Input::new(Point::ToolCall, "acme", user)
            }
        })
        .collect()
}

fn measure(bundle: &Bundle, inputs: &[Input], time: Duration) -> Result<Figures, BenchError> {
    for input in inputs.iter().cycle().take(WARM_UP) {
        let decision = bundle.evaluate(input);
        if let Some(error) = decision.error {
            return Err(BenchError::Policy(error.to_string()));
        }
    }
    let mut nanos: Vec<u128> = Vec::new();
    let began = Instant::now();
    for input in inputs.iter().cycle() {
        let start = Instant::now();
        std::hint::black_box(bundle.evaluate(input));
        nanos.push(start.elapsed().as_nanos());
        if began.elapsed() >= time {
            break;
        }
    }
    let decisions_per_second = nanos.len() as f64 / began.elapsed().as_secs_f64();
    nanos.sort_unstable();
    let rank = |percent: usize| {
        let at = (nanos.len() * percent / 100).min(nanos.len().saturating_sub(1));
        nanos.get(at).copied().unwrap_or(0) as f64 / 1_000.0
    };
    Ok(Figures {
        decisions_per_second,
        p50_us: rank(50),
        p99_us: rank(99),
    })
}

/// The bundle that ships with the platform, over all that its log holds.
async fn backtest(connection: &Connection) -> Result<Backtest, BenchError> {
    let gateway = Gateway::new(connection)?;
    let mut body = json!({ "digest": BUILTIN });
    let mut whole = BacktestReport::default();
    loop {
        let request = Request::at(&["v1", "policies", "backtest"]);
        whole.join(gateway.post(request, &body).await?);
        match whole.next_seq {
            Some(next) => body["from_seq"] = next.into(),
            None => break,
        }
    }
    let seconds = Duration::from_millis(whole.duration_ms.max(1)).as_secs_f64();
    Ok(Backtest {
        decisions: whole.decisions,
        decisions_per_second: whole.decisions as f64 / seconds,
    })
}
