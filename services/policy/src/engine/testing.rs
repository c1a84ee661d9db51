//! Runs the tests that a bundle carries.
//!
//! In the interpreter, because tests are written with `with input as …`, which the compiled form
//! does not have; and on a thread of its own, because the interpreter's depth is the policy's.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Instant;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};
use serde::Serialize;

use super::limits::{CHECK_EVERY, TEST_LIMIT};
use super::rules::short;
use super::source::{self, Loaded};
use super::stack::{INTERPRETED_BYTES, on_stack};
use super::value::type_name;

/// What became of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestOutcome {
    /// `package.test_rule`.
    pub name: String,
    /// The module that defines it.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// Whether it is true.
    pub passed: bool,
    /// Why it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

impl fmt::Display for TestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file, line, name, ..
        } = self;
        let outcome = if self.passed { "passed" } else { "failed" };
        write!(f, "{file}:{line}: test {name} {outcome}")?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

struct Test {
    path: String,
    file: String,
    line: u32,
}

/// Runs all tests, by name.
pub(crate) fn run(modules: &[Loaded], data: &Value) -> Vec<TestOutcome> {
    on_stack(INTERPRETED_BYTES, || run_here(modules, data))
        .and_then(|outcomes| outcomes)
        .unwrap_or_else(|reason| vec![broken(reason)])
}

fn run_here(modules: &[Loaded], data: &Value) -> Result<Vec<TestOutcome>, String> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: TEST_LIMIT,
        check_interval: NonZeroU32::new(CHECK_EVERY).unwrap_or(NonZeroU32::MIN),
    });
    source::reload(&mut engine, modules).map_err(|error| error.to_string())?;
    let prepared = engine.add_data(data.clone());
    prepared.map_err(|error| error.to_string())?;
    let tests = find(&mut engine)?;
    Ok(tests
        .into_iter()
        .map(|test| run_one(&mut engine, test))
        .collect())
}

/// The test rules, each once. Any rule will do to compile the modules and list what they define.
fn find(engine: &mut Engine) -> Result<Vec<Test>, String> {
    let root = super::entry::find(engine).map_err(|error| error.to_string())?;
    let root = root.paths().first().copied().unwrap_or_default().into();
    let policy = engine
        .compile_with_entrypoint(&root)
        .map_err(|error| error.to_string())?;
    let mut tests: Vec<Test> = policy
        .get_rules()
        .iter()
        .filter(|(path, _)| is_test(path))
        .filter_map(|(path, rules)| {
            let span = rules.first()?.span();
            Some(Test {
                path: path.clone(),
                file: span.source.get_path().clone(),
                line: span.line,
            })
        })
        .collect();
    tests.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tests)
}

fn is_test(path: &str) -> bool {
    path.rsplit('.')
        .next()
        .is_some_and(|name| name.starts_with("test_"))
}

fn run_one(engine: &mut Engine, test: Test) -> TestOutcome {
    let start = Instant::now();
    let reason = match engine.eval_rule(test.path.clone()) {
        Ok(Value::Bool(true)) => None,
        Ok(other) => Some(format!("it is {}, not true", found(&other))),
        Err(error) => Some(error.to_string().trim().to_owned()),
    };
    TestOutcome {
        name: short(&test.path).to_owned(),
        file: test.file,
        line: test.line,
        passed: reason.is_none(),
        reason,
        duration_us: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Bool(false) => "false",
        other => type_name(other),
    }
}

/// The tests could not be run at all: one failure that says so.
fn broken(reason: String) -> TestOutcome {
    TestOutcome {
        name: "bundle".to_owned(),
        file: String::new(),
        line: 0,
        passed: false,
        reason: Some(reason),
        duration_us: 0,
    }
}
