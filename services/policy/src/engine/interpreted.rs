//! Evaluates with the interpreter what the compiler does not take.
//!
//! The compiler lacks `with` outside tests, `some x in y[_]`, `walk` and `limits["a"] := 1`, and
//! misreads rules such as `limits.a := 1`. Refusing them would turn away policies that run
//! elsewhere; the interpreter takes all of them, in some 100 µs instead of a few.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use regorus::unstable::{Expr, Rule, RuleHead};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{CompiledPolicy, Engine, LimitError, Value};

use super::error::{BundleError, BundleErrorKind, DecisionError};
use super::limits::{CHECK_EVERY, Limits};
use super::rules::short;
use super::stack::{INTERPRETED_BYTES, on_stack};

/// A prepared engine, copied for each evaluation; the copy shares what is compiled.
#[derive(Debug)]
pub(crate) struct Interpreted {
    engine: Mutex<Engine>,
    paths: Vec<String>,
}

impl Interpreted {
    /// Takes an engine that has compiled its modules.
    pub(crate) fn new(mut engine: Engine, paths: &[&str]) -> Self {
        engine.set_strict_builtin_errors(false);
        Self {
            engine: Mutex::new(engine),
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        }
    }

    /// The values of the rules that answer.
    pub(crate) fn run(&self, input: Value, limits: &Limits) -> Result<Vec<Value>, DecisionError> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let mut engine = engine.clone();
        on_stack(INTERPRETED_BYTES, move || {
            engine.set_input(input);
            let start = Instant::now();
            let values = self.paths.iter().map(|path| {
                engine.set_execution_timer_config(ExecutionTimerConfig {
                    limit: limits.wall.saturating_sub(start.elapsed()),
                    check_interval: NonZeroU32::new(CHECK_EVERY).unwrap_or(NonZeroU32::MIN),
                });
                value_of(&mut engine, path, limits)
            });
            values.collect()
        })
        .unwrap_or_else(|reason| Err(DecisionError::Evaluation { reason }))
    }
}

fn value_of(engine: &mut Engine, path: &str, limits: &Limits) -> Result<Value, DecisionError> {
    let results = engine
        .eval_query(path.to_owned(), false)
        .map_err(|error| explain(&error, path, limits))?;
    let first = results.result.first().and_then(|r| r.expressions.first());
    Ok(first.map_or(Value::Undefined, |found| found.value.clone()))
}

fn explain<E>(error: &E, path: &str, limits: &Limits) -> DecisionError
where
    E: std::ops::Deref<Target = dyn std::error::Error + Send + Sync> + std::fmt::Display,
{
    if let Some(LimitError::TimeLimitExceeded { .. }) = error.downcast_ref::<LimitError>() {
        return DecisionError::TimeLimit {
            limit_ms: u64::try_from(limits.wall.as_millis()).unwrap_or(u64::MAX),
        };
    }
    let error = BundleError::parse(BundleErrorKind::Compile, &error.to_string());
    let conflict = ["multiple outputs", "rule conflicts with"];
    if conflict.iter().any(|text| error.reason.contains(text)) {
        return DecisionError::Conflict {
            rule: short(path).to_owned(),
        };
    }
    DecisionError::Evaluation {
        reason: error.to_string(),
    }
}

/// Whether a rule's head is one that the compiler misreads: `a.b := 1`, `a.b contains c`,
/// `a[b].c := 1`, `a[b] contains c`. Plain names and `a[b] := 1` it reads well.
pub(crate) fn has_reference_heads(policy: &CompiledPolicy) -> bool {
    policy.get_modules().iter().any(|module| {
        module.policy.iter().any(|rule| match rule.as_ref() {
            Rule::Spec { head, .. } => match head {
                RuleHead::Compr { refr, .. } => match refr.as_ref() {
                    Expr::RefBrack { refr, .. } => !is_name(refr),
                    other => !is_name(other),
                },
                RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. } => !is_name(refr),
            },
            Rule::Default { refr, .. } => !is_name(refr),
        })
    })
}

fn is_name(expr: &Expr) -> bool {
    matches!(expr, Expr::Var { .. })
}
