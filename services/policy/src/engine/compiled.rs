//! Evaluates with the compiled program: one run for the answer, further ones only to explain it.

use std::collections::BTreeSet;
use std::sync::Arc;

use regorus::Value;

use super::compile::{Bodies, Check, Compiled, Table};
use super::error::{BundleError, BundleErrorKind, DecisionError};
use super::limits::Limits;
use super::machine::{Machine, Pool};
use super::rules::{Place, short};
use super::stack::{COMPILED_BYTES, on_stack};

/// Rules that may call one another on the stack of whoever asks: 0.8 MB of the two that a worker
/// thread has, in a debug build.
const SHALLOW: usize = 16;

/// What the rules say.
#[derive(Debug)]
pub(crate) struct Answers {
    /// The values of the rules that answer, in their order.
    pub(crate) values: Vec<Value>,
    /// The body of `allow` that is true.
    pub(crate) fired: Option<Place>,
}

/// A program with its machines.
#[derive(Debug)]
pub(crate) struct Runner {
    pool: Pool,
    depth: usize,
    main: usize,
    answers: usize,
    checks: Vec<Check>,
    allow: Bodies,
    tables: Vec<Table>,
    rest: usize,
}

impl Runner {
    /// # Errors
    /// If the data claims a path that a rule defines.
    pub(crate) fn new(compiled: Compiled, data: Value) -> Result<Self, BundleError> {
        let pool = Pool::new(Arc::clone(&compiled.program), data);
        pool.check()
            .map_err(|error| BundleError::new(BundleErrorKind::Data, error.to_string()))?;
        Ok(Self {
            pool,
            depth: compiled.depth,
            main: compiled.main,
            answers: compiled.answers,
            checks: compiled.checks,
            allow: compiled.allow,
            tables: compiled.tables,
            rest: compiled.rest,
        })
    }

    /// Evaluates all rules that answer.
    pub(crate) fn run(&self, input: Value, limits: &Limits) -> Result<Answers, DecisionError> {
        let found = self.candidates(&input);
        let ask = || {
            self.pool
                .with(input, limits, |machine| self.ask(machine, found.as_deref()))
        };
        if self.depth <= SHALLOW {
            return ask();
        }
        on_stack(COMPILED_BYTES, ask)
            .unwrap_or_else(|reason| Err(DecisionError::Evaluation { reason }))
    }

    /// How many bodies are tried for this input; none when all are.
    #[cfg(test)]
    pub(crate) fn tries(&self, input: &Value) -> Option<usize> {
        let found = self.candidates(input)?;
        Some(found.iter().map(Vec::len).sum())
    }

    /// Of each table, the bodies to try; none when all are to be tried in one run.
    fn candidates(&self, input: &Value) -> Option<Vec<Vec<usize>>> {
        let found = self
            .tables
            .iter()
            .map(|table| table.index.candidates(input));
        found
            .collect::<Option<Vec<_>>>()
            .filter(|all| !all.is_empty())
    }

    fn ask(
        &self,
        machine: &mut Machine,
        found: Option<&[Vec<usize>]>,
    ) -> Result<Answers, DecisionError> {
        let entry = found.map_or(self.main, |_| self.rest);
        let registers = machine.run(entry)?;
        let mut values: Vec<Value> = registers.iter().take(self.answers).cloned().collect();
        let doubtful: Vec<&Check> = self
            .checks
            .iter()
            .filter(|check| matches!(registers.get(check.register), None | Some(Value::Undefined)))
            .collect();
        for check in doubtful {
            if check.has_default || count_values(machine, &check.bodies)? > 1 {
                return Err(DecisionError::Conflict {
                    rule: short(&check.path).to_owned(),
                });
            }
        }
        let mut body = None;
        for (table, bodies) in self.tables.iter().zip(found.unwrap_or_default()) {
            let (value, first) = try_bodies(machine, table, bodies)?;
            if let Some(slot) = values.get_mut(table.register) {
                *slot = value;
            }
            if table.register == 0 {
                body = first;
            }
        }
        let fired = match (values.first(), body) {
            (Some(Value::Bool(true)), Some(body)) => self.allow.places.get(body).cloned(),
            (Some(Value::Bool(true)), None) => self.fired(machine)?,
            _ => None,
        };
        Ok(Answers { values, fired })
    }

    /// The first body of `allow` that is true.
    fn fired(&self, machine: &mut Machine) -> Result<Option<Place>, DecisionError> {
        if let [] | [_] = self.allow.places.as_slice() {
            return Ok(self.allow.places.first().cloned());
        }
        let mut before = 0;
        for &(entry, registers) in &self.allow.entries {
            let values = machine.run(entry)?.iter().take(registers);
            let mut found = values.enumerate().filter(|(_, v)| **v == Value::Bool(true));
            if let Some((position, _)) = found.next() {
                return Ok(self.allow.places.get(before + position).cloned());
            }
            before += registers;
        }
        Ok(None)
    }
}

/// What a table's rule says if none but these bodies can be true, and which body said it.
fn try_bodies(
    machine: &mut Machine,
    table: &Table,
    bodies: &[usize],
) -> Result<(Value, Option<usize>), DecisionError> {
    let mut all = BTreeSet::new();
    for bodies in bodies.chunk_by(|one, next| one / table.group == next / table.group) {
        let group = bodies.first().map_or(0, |body| body / table.group);
        let entry = table.entries.get(group).copied();
        let registers = machine.run(entry.ok_or(DecisionError::MissingEntryPoint)?)?;
        for &body in bodies {
            match registers.get(body % table.group) {
                None | Some(Value::Undefined) => {}
                Some(Value::Set(said)) if table.collects => all.extend(said.iter().cloned()),
                Some(value) => return Ok((value.clone(), Some(body))),
            }
        }
    }
    let value = if table.collects {
        Value::from(all)
    } else {
        table.otherwise.clone()
    };
    Ok((value, None))
}

fn count_values(machine: &mut Machine, bodies: &Bodies) -> Result<usize, DecisionError> {
    let mut count = 0;
    for &(entry, registers) in &bodies.entries {
        let values = machine.run(entry)?.iter().take(registers);
        count += values.filter(|value| **value != Value::Undefined).count();
    }
    Ok(count)
}
