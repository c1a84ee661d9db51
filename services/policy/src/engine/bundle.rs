//! A compiled bundle: what is activated, asked and named by its digest.

use std::sync::Arc;
use std::time::Instant;

use regorus::{Engine, Value};
use serde_json::Value as Json;

use super::compile::{self, Bodies, Check, Compiled};
use super::decision::{Decision, Effect, Obligations};
use super::digest::{canonical, digest};
use super::entry::{self, Entry};
use super::error::{BundleError, BundleErrorKind, DecisionError};
use super::input::{Approval, Input};
use super::limits::{Limits, MAX_DATA_BYTES, MAX_DATA_DEPTH};
use super::machine::{Machine, Pool};
use super::rules::{Place, short};
use super::source::{self, Dialect, Loaded, Module};
use super::testing::{self, TestOutcome};
use super::value::{self, Excess};
use super::verdict::{self, Verdict};

/// A set of modules and data, compiled. Cheap to clone, and evaluated from any thread.
#[derive(Debug, Clone)]
pub struct Bundle {
    inner: Arc<Inner>,
    limits: Limits,
}

#[derive(Debug)]
struct Inner {
    digest: String,
    modules: Vec<Loaded>,
    data: Value,
    entry: Entry,
    main: usize,
    checks: Vec<Check>,
    allow: Bodies,
    pool: Pool,
}

impl Bundle {
    /// Compiles modules and their data documents (an object, or null for none).
    ///
    /// # Errors
    /// The first fault, with file, line and column where it has a place.
    pub fn compile(sources: &[Module], data: Json) -> Result<Self, BundleError> {
        let mut engine = Engine::new();
        let modules = source::load(&mut engine, sources)?;
        let entry = entry::find(&engine)?;
        let Compiled {
            program,
            main,
            checks,
            allow,
        } = compile::compile(&mut engine, &entry)?;
        let data = if data.is_null() {
            Json::Object(serde_json::Map::new())
        } else {
            data
        };
        let canonical = canonical_data(&data)?;
        let data = value::from_json(&data, usize::MAX, MAX_DATA_DEPTH).map_err(too_large)?;
        let pool = Pool::new(program, data.clone());
        pool.check()
            .map_err(|error| BundleError::new(BundleErrorKind::Data, error.to_string()))?;
        let inner = Inner {
            digest: digest(sources, &canonical),
            modules,
            data,
            entry,
            main,
            checks,
            allow,
            pool,
        };
        Ok(Self {
            inner: Arc::new(inner),
            limits: Limits::default(),
        })
    }

    /// The same bundle under other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// `sha256:…` over modules and data, independent of their order.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// Each module's path and the dialect in which it was read, by path.
    pub fn dialects(&self) -> impl Iterator<Item = (&str, Dialect)> {
        let modules = self.inner.modules.iter();
        modules.map(|module| (module.path.as_str(), module.dialect))
    }

    /// The rules that answer, such as `data.nexus.agent.policy.allow`.
    pub fn entry_points(&self) -> Vec<&str> {
        self.inner.entry.paths()
    }

    /// Decides. Whatever fails is a denial that names the failure.
    pub fn evaluate(&self, input: &Input) -> Decision {
        let start = Instant::now();
        let json = serde_json::to_value(input).map_err(|error| DecisionError::InputInvalid {
            reason: error.to_string(),
        });
        self.finish(start, json.and_then(|json| self.decide(&json)))
    }

    /// Decides on an input that is not one of ours, for a dry run.
    pub fn evaluate_json(&self, input: &Json) -> Decision {
        let start = Instant::now();
        self.finish(start, self.decide(input))
    }

    /// Whether another person's approval would turn a denial into permission.
    ///
    /// A policy may say so only by what it allows once `input.approval.status` is `approved`: this
    /// asks the question again as if it were. Use it on a denial without an error to tell "ask
    /// somebody" from "no".
    pub fn approval_would_allow(&self, input: &Input) -> bool {
        let mut supposed = input.clone();
        supposed.approval = Some(Approval {
            status: "approved".to_owned(),
            approver: Some(format!("not {}", input.user.id)),
        });
        self.evaluate(&supposed).is_allow()
    }

    /// Runs every rule whose name begins with `test_`, in the interpreter, where `with` works.
    pub fn run_tests(&self) -> Vec<TestOutcome> {
        testing::run(&self.inner.modules, &self.inner.data)
    }

    fn finish(&self, start: Instant, result: Result<Decision, DecisionError>) -> Decision {
        let duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        match result {
            Ok(decision) => Decision {
                duration_us,
                ..decision
            },
            Err(error) => Decision::failed(error, &self.inner.digest, duration_us),
        }
    }

    fn decide(&self, json: &Json) -> Result<Decision, DecisionError> {
        let limits = &self.limits;
        let input = value::from_json(json, limits.input_bytes, limits.input_depth)
            .map_err(|excess| input_error(excess, limits))?;
        let inner = &*self.inner;
        let approved = approved(json);
        let (verdict, effect) = inner.pool.with(input, limits, |machine| {
            let verdict = inner.judge(machine)?;
            let effect = verdict.effect(approved);
            inner.explain(verdict, effect, machine)
        })?;
        Ok(Decision {
            obligations: match effect {
                Effect::Deny => Obligations::default(),
                _ => verdict.obligations,
            },
            effect,
            reasons: verdict.reasons,
            rules: verdict.rules,
            bundle_digest: inner.digest.clone(),
            duration_us: 0,
            error: None,
        })
    }
}

impl Inner {
    /// Asks the rules; a rule that disagrees with itself is an error unless it is denied anyway.
    fn judge(&self, machine: &mut Machine) -> Result<Verdict, DecisionError> {
        let values = machine.run(self.main)?;
        let verdict = self.read(values);
        let doubtful: Vec<&Check> = self
            .checks
            .iter()
            .filter(|check| matches!(values.get(check.register), None | Some(Value::Undefined)))
            .collect();
        if !matches!(&verdict, Ok(verdict) if verdict.denied) {
            for check in doubtful {
                if check.has_default || count_values(machine, &check.bodies)? > 1 {
                    return Err(DecisionError::Conflict {
                        rule: short(&check.path).to_owned(),
                    });
                }
            }
        }
        verdict
    }

    fn read(&self, values: &[Value]) -> Result<Verdict, DecisionError> {
        let mut values = values.iter();
        let mut next = || values.next().unwrap_or(&Value::Undefined);
        match &self.entry {
            Entry::Object(path) => verdict::from_object(next(), short(path)),
            Entry::Boolean {
                allow,
                deny,
                require_approval,
                obligations,
            } => {
                let mut verdict = Verdict::default();
                let allowed = verdict::allow(next(), short(allow));
                if let Some(path) = deny
                    && let Some(reasons) = verdict::deny(next(), short(path))?
                {
                    verdict.denied = true;
                    verdict.reasons = reasons;
                    verdict.rules = vec![short(path).to_owned()];
                    return Ok(verdict);
                }
                verdict.allow = allowed?;
                if let Some(path) = require_approval {
                    verdict.require_approval = verdict::require_approval(next(), short(path))?;
                }
                if let Some(path) = obligations {
                    verdict.obligations = verdict::obligations_of(next(), short(path))?;
                }
                Ok(verdict)
            }
        }
    }

    /// Fills in rules and reasons that the policy did not give itself.
    fn explain(
        &self,
        mut verdict: Verdict,
        effect: Effect,
        machine: &mut Machine,
    ) -> Result<(Verdict, Effect), DecisionError> {
        let (rule, reason) = match (&effect, &self.entry) {
            (_, Entry::Object(path)) => (short(path).to_owned(), object_reason(&effect)),
            (Effect::RequireApproval(need), Entry::Boolean { require_approval, .. }) => {
                let rule = require_approval.as_deref().map_or("", short);
                (rule.to_owned(), format!("needs approval by {}", need.roles.join(", ")))
            }
            (Effect::Allow, Entry::Boolean { allow, .. }) => match self.fired(machine)? {
                Some(Place { name, comment }) => {
                    let reason = comment.clone().unwrap_or_else(|| format!("allowed by {name}"));
                    (name.clone(), reason)
                }
                None => (short(allow).to_owned(), "allowed by the policy".to_owned()),
            },
            (Effect::Deny, Entry::Boolean { allow, .. }) => {
                (short(allow).to_owned(), "no rule allows it".to_owned())
            }
        };
        if verdict.rules.is_empty() {
            verdict.rules.push(rule);
        }
        if verdict.reasons.is_empty() {
            verdict.reasons.push(reason);
        }
        Ok((verdict, effect))
    }

    /// The first body of `allow` that is true.
    fn fired(&self, machine: &mut Machine) -> Result<Option<&Place>, DecisionError> {
        match self.allow.places.as_slice() {
            [] => return Ok(None),
            [only] => return Ok(Some(only)),
            _ => {}
        }
        let mut before = 0;
        for &(entry, registers) in &self.allow.entries {
            let values = machine.run(entry)?;
            let found = values
                .iter()
                .take(registers)
                .position(|value| *value == Value::Bool(true));
            if let Some(position) = found {
                return Ok(self.allow.places.get(before + position));
            }
            before += registers;
        }
        Ok(None)
    }
}

fn count_values(machine: &mut Machine, bodies: &Bodies) -> Result<usize, DecisionError> {
    let mut count = 0;
    for &(entry, registers) in &bodies.entries {
        let values = machine.run(entry)?.iter().take(registers);
        count += values.filter(|value| **value != Value::Undefined).count();
    }
    Ok(count)
}

fn object_reason(effect: &Effect) -> String {
    match effect {
        Effect::Allow => "allowed by the policy".to_owned(),
        Effect::Deny => "denied by the policy".to_owned(),
        Effect::RequireApproval(need) => format!("needs approval by {}", need.roles.join(", ")),
    }
}

/// An approval counts once it is given, and by somebody else than who asked.
fn approved(input: &Json) -> bool {
    let text = |pointer| input.pointer(pointer).and_then(Json::as_str).unwrap_or("");
    let approver = text("/approval/approver");
    text("/approval/status") == "approved"
        && !approver.is_empty()
        && approver != text("/user/id")
}

fn canonical_data(data: &Json) -> Result<String, BundleError> {
    let refuse = |reason: String| Err(BundleError::new(BundleErrorKind::Data, reason));
    if !data.is_object() {
        return refuse("the data of a bundle is an object".to_owned());
    }
    match canonical(data, MAX_DATA_DEPTH) {
        None => refuse(format!("the data is nested deeper than {MAX_DATA_DEPTH} levels")),
        Some(text) if text.len() > MAX_DATA_BYTES => {
            refuse(format!("the data exceeds {MAX_DATA_BYTES} bytes"))
        }
        Some(text) => Ok(text),
    }
}

fn too_large(_: Excess) -> BundleError {
    BundleError::new(BundleErrorKind::Data, "the data is too large")
}

fn input_error(excess: Excess, limits: &Limits) -> DecisionError {
    let wide = |limit: usize| u64::try_from(limit).unwrap_or(u64::MAX);
    match excess {
        Excess::Bytes => DecisionError::InputTooLarge {
            limit_bytes: wide(limits.input_bytes),
        },
        Excess::Depth => DecisionError::InputTooDeep {
            limit: wide(limits.input_depth),
        },
    }
}
