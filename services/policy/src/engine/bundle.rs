//! A compiled bundle: what is activated, asked and named by its digest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use regorus::{CompiledPolicy, Engine, Value};
use serde::Serialize;
use serde_json::Value as Json;

use super::compile::compile;
use super::compiled::{Answers, Runner};
use super::decision::{Decision, Effect, Obligations};
use super::digest::{canonical, digest};
use super::entry::{self, Entry};
use super::error::{BundleError, BundleErrorKind, DecisionError};
use super::forbidden;
use super::input::{Approval, Input};
use super::interpreted::Interpreted;
use super::limits::{Limits, MAX_DATA_BYTES, MAX_DATA_DEPTH, MAX_RULES};
use super::rules::{self, short};
use super::source::{self, Dialect, Loaded, Module};
use super::testing::{self, TestOutcome};
use super::value::{Refused, to_value};
use super::verdict;

/// A set of modules and data, compiled. Cheap to clone, and evaluated from any thread.
#[derive(Debug, Clone)]
pub struct Bundle {
    inner: Arc<Inner>,
    limits: Limits,
}

/// How a bundle is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// By the virtual machine, in a few microseconds.
    Compiled,
    /// By the interpreter, in some hundred, for it uses what the compiler lacks: `with` outside
    /// tests, `some x in y[_]`, or rules such as `limits.a := 1`.
    Interpreted,
}

#[derive(Debug)]
struct Inner {
    digest: String,
    modules: Vec<Loaded>,
    data: Value,
    entry: Entry,
    evaluator: Evaluator,
    /// `file:line` of each rule's bodies, by `package.rule`.
    places: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
enum Evaluator {
    Compiled(Runner),
    Interpreted(Box<Interpreted>),
}

impl Bundle {
    /// Compiles modules and their data documents (an object, or null for none).
    ///
    /// # Errors
    /// The first fault, with file, line and column where it has a place.
    pub fn compile(sources: &[Module], data: Json) -> Result<Self, BundleError> {
        Self::build(sources, data, true)
    }

    /// The same without indexes: every body is tried in turn.
    #[cfg(test)]
    pub(crate) fn compile_plain(sources: &[Module], data: Json) -> Result<Self, BundleError> {
        Self::build(sources, data, false)
    }

    fn build(sources: &[Module], data: Json, indexed: bool) -> Result<Self, BundleError> {
        let mut engine = Engine::new();
        let modules = source::load(&mut engine, sources)?;
        forbidden::check(sources)?;
        let data = match data {
            Json::Null => Json::Object(serde_json::Map::new()),
            other => other,
        };
        let canonical = canonical_data(&data)?;
        let data = to_value(&data, usize::MAX, MAX_DATA_DEPTH).map_err(data_error)?;
        let entry = entry::find(&engine)?;
        let (evaluator, places) = evaluator(engine, &entry, &data, indexed)?;
        let inner = Inner {
            digest: digest(sources, &canonical),
            modules,
            data,
            entry,
            evaluator,
            places,
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

    /// How many bodies are tried for this input; none when all are.
    #[cfg(test)]
    pub(crate) fn tries(&self, input: &Json) -> Option<usize> {
        let input = to_value(input, usize::MAX, MAX_DATA_DEPTH).ok()?;
        match &self.inner.evaluator {
            Evaluator::Compiled(runner) => runner.tries(&input),
            Evaluator::Interpreted(_) => None,
        }
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

    /// How it is evaluated.
    pub fn form(&self) -> Form {
        match self.inner.evaluator {
            Evaluator::Compiled(_) => Form::Compiled,
            Evaluator::Interpreted(_) => Form::Interpreted,
        }
    }

    /// The rules that answer, such as `data.nexus.agent.policy.allow`.
    pub fn entry_points(&self) -> Vec<&str> {
        self.inner.entry.paths()
    }

    /// Where rules of a decision are, as `file:line`. A name that the policy made up stands for the
    /// rule that answers.
    pub fn places_of(&self, rules: &[String]) -> Vec<String> {
        let inner = &self.inner;
        let mut places: Vec<String> = vec![];
        for rule in rules {
            let known = |name: &str| inner.places.get(name).cloned().unwrap_or_default();
            match rule.split_once('@') {
                Some((name, place)) if inner.places.contains_key(name) => {
                    places.push(place.to_owned());
                }
                _ if inner.places.contains_key(rule) => places.extend(known(rule)),
                _ => places.extend(known(short(inner.entry.root()))),
            }
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Decides. Whatever fails is a denial that names the failure.
    pub fn evaluate(&self, input: &Input) -> Decision {
        self.evaluate_any(input)
    }

    /// Decides on an input that is not one of ours, for a dry run.
    pub fn evaluate_json(&self, input: &Json) -> Decision {
        self.evaluate_any(input)
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
            approvers: vec![format!("not {}", input.user.id)],
        });
        self.evaluate(&supposed).is_allow()
    }

    /// Runs every rule whose name begins with `test_`, in the interpreter, where `with` works.
    pub fn run_tests(&self) -> Vec<TestOutcome> {
        testing::run(&self.inner.modules, &self.inner.data)
    }

    fn evaluate_any(&self, input: &impl Serialize) -> Decision {
        let start = Instant::now();
        let result = self.decide(input);
        let duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        match result {
            Ok(decision) => Decision {
                duration_us,
                ..decision
            },
            Err(error) => Decision::failed(error, &self.inner.digest, duration_us),
        }
    }

    fn decide(&self, input: &impl Serialize) -> Result<Decision, DecisionError> {
        let limits = &self.limits;
        let input = to_value(input, limits.input_bytes, limits.input_depth)
            .map_err(|refused| input_error(refused, limits))?;
        let approved = approved(&input);
        let inner = &*self.inner;
        let answers = match &inner.evaluator {
            Evaluator::Compiled(runner) => runner.run(input, limits)?,
            Evaluator::Interpreted(interpreted) => Answers {
                values: interpreted.run(input, limits)?,
                fired: None,
            },
        };
        let verdict = verdict::read(&inner.entry, &answers.values)?;
        let effect = verdict.effect(approved);
        let (rules, reasons) = verdict.explanation(&inner.entry, &effect, answers.fired);
        Ok(Decision {
            rules,
            reasons,
            obligations: match effect {
                Effect::Deny => Obligations::default(),
                _ => verdict.obligations,
            },
            effect,
            bundle_digest: inner.digest.clone(),
            duration_us: 0,
            error: None,
        })
    }
}

type Places = BTreeMap<String, Vec<String>>;

fn evaluator(
    mut engine: Engine,
    entry: &Entry,
    data: &Value,
    indexed: bool,
) -> Result<(Evaluator, Places), BundleError> {
    let fault = |error: String| BundleError::parse(BundleErrorKind::Compile, &error);
    engine
        .add_data(data.clone())
        .map_err(|error| fault(error.to_string()))?;
    let paths = entry.paths();
    let policy = analyse(&mut engine, &paths)?;
    if policy.get_rules().len() > MAX_RULES {
        return Err(fault(format!("a bundle holds at most {MAX_RULES} rules")));
    }
    let places = rules::lines(&policy);
    let evaluator = match compile(&policy, &paths, indexed)? {
        Some(compiled) => Evaluator::Compiled(Runner::new(compiled, data.clone())?),
        None => Evaluator::Interpreted(Box::new(Interpreted::new(engine, &paths))),
    };
    Ok((evaluator, places))
}

/// Checks and schedules all modules. It wants a rule to begin with and does not care which.
fn analyse(engine: &mut Engine, paths: &[&str]) -> Result<CompiledPolicy, BundleError> {
    let root = paths.first().copied().unwrap_or_default().into();
    engine
        .compile_with_entrypoint(&root)
        .map_err(|error| BundleError::parse(BundleErrorKind::Compile, &error.to_string()))
}

/// An approval counts once it is given, and by somebody else than who asked.
fn approved(input: &Value) -> bool {
    // Not `as_string`: where there is no text, as for most questions, it makes an error to say so, which
    // with `RUST_BACKTRACE` set costs as much as the decision.
    let text = |part: &str, field: &str| match &input[part][field] {
        Value::String(text) => text.as_ref(),
        _ => "",
    };
    let approver = text("approval", "approver");
    text("approval", "status") == "approved"
        && !approver.is_empty()
        && approver != text("user", "id")
}

fn canonical_data(data: &Json) -> Result<String, BundleError> {
    let refuse = |reason: String| Err(BundleError::new(BundleErrorKind::Data, reason));
    if !data.is_object() {
        return refuse("the data of a bundle is an object".to_owned());
    }
    match canonical(data, MAX_DATA_DEPTH) {
        None => refuse(format!(
            "the data is nested deeper than {MAX_DATA_DEPTH} levels"
        )),
        Some(text) if text.len() > MAX_DATA_BYTES => {
            refuse(format!("the data exceeds {MAX_DATA_BYTES} bytes"))
        }
        Some(text) => Ok(text),
    }
}

fn data_error(refused: Refused) -> BundleError {
    BundleError::new(BundleErrorKind::Data, format!("the data is {refused}"))
}

fn input_error(refused: Refused, limits: &Limits) -> DecisionError {
    let wide = |limit: usize| u64::try_from(limit).unwrap_or(u64::MAX);
    match refused {
        Refused::Bytes => DecisionError::InputTooLarge {
            limit_bytes: wide(limits.input_bytes),
        },
        Refused::Depth => DecisionError::InputTooDeep {
            limit: wide(limits.input_depth),
        },
        Refused::Invalid(reason) => DecisionError::InputInvalid { reason },
    }
}
