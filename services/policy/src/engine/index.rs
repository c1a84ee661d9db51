//! Which bodies of a large rule can be true at all, found without evaluating them.
//!
//! Large policies are tables: a body for each tool, role or host, that begins with
//! `input.tool.name == "…"`. The machine tries them one after another. Conditions of a body are a
//! conjunction, so a body of which one such condition is false says nothing, whatever the others
//! are; those that are left are evaluated as they stand. A trie over all conditions at once finds
//! no fewer, and takes more memory than the rules do.

use std::collections::BTreeMap;

use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Rule};
use regorus::{CompiledPolicy, Value};

/// Rules with fewer bodies are as fast without.
pub(crate) const LEAST_BODIES: usize = 16;
/// With more candidates, trying all in one run is as fast.
const MOST_CANDIDATES: usize = 16;
/// Parts of the input that one rule's bodies are found by.
const MOST_PATHS: usize = 8;

/// Finds the bodies of one rule that can be true.
#[derive(Debug)]
pub(crate) struct Index {
    paths: Vec<Column>,
    /// Of each body, what it demands: the column, and the values that it takes.
    demands: Vec<Vec<(usize, Vec<Value>)>>,
}

/// One part of the input.
#[derive(Debug)]
struct Column {
    /// Field names below `input`.
    path: Vec<Value>,
    /// Bodies that demand a value here.
    bodies: BTreeMap<Value, Vec<usize>>,
    /// Bodies that demand nothing here.
    open: Vec<usize>,
}

impl Index {
    /// The index of a rule with so many definitions of one body each; none where it would not help.
    pub(crate) fn new(
        policy: &CompiledPolicy,
        path: &str,
        definitions: &[Vec<u32>],
    ) -> Option<Self> {
        let rules = policy.get_rules().get(path)?;
        if definitions.len() < LEAST_BODIES || rules.len() != definitions.len() {
            return None;
        }
        let conditions: Vec<Vec<Condition>> = (rules.iter().zip(definitions))
            .map(|(rule, bodies)| conditions(rule, bodies.len()))
            .collect();
        let mut index = Self {
            paths: columns(&conditions),
            demands: Vec::with_capacity(conditions.len()),
        };
        if index.paths.is_empty() {
            return None;
        }
        for (body, conditions) in conditions.into_iter().enumerate() {
            index.add(body, conditions);
        }
        Some(index)
    }

    fn add(&mut self, body: usize, conditions: Vec<Condition>) {
        let mut demands: Vec<(usize, Vec<Value>)> = vec![];
        for (at, column) in self.paths.iter_mut().enumerate() {
            let mut here = conditions.iter().filter(|c| c.path == column.path);
            let Some(first) = here.next() else {
                column.open.push(body);
                continue;
            };
            for value in &first.values {
                let bodies = column.bodies.entry(value.clone()).or_default();
                if bodies.last() != Some(&body) {
                    bodies.push(body);
                }
            }
            demands.push((at, first.values.clone()));
            demands.extend(here.map(|condition| (at, condition.values.clone())));
        }
        self.demands.push(demands);
    }

    /// The bodies that can be true of this input, in their order; none when there are too many for
    /// this to be of use.
    pub(crate) fn candidates(&self, input: &Value) -> Option<Vec<usize>> {
        let values: Vec<&Value> = self.paths.iter().map(|c| look_up(input, &c.path)).collect();
        let rarest = (self.paths.iter().zip(&values))
            .map(|(column, value)| (column.bodies.get(*value), &column.open))
            .min_by_key(|(bodies, open)| bodies.map_or(0, Vec::len) + open.len());
        let (bodies, open) = rarest?;
        let able = |body: &&usize| self.demands.get(**body).is_some_and(|d| met(d, &values));
        let mut found: Vec<usize> = (bodies.into_iter().flatten().chain(open))
            .filter(able)
            .take(MOST_CANDIDATES + 1)
            .copied()
            .collect();
        found.sort_unstable();
        (found.len() <= MOST_CANDIDATES).then_some(found)
    }
}

fn met(demands: &[(usize, Vec<Value>)], values: &[&Value]) -> bool {
    demands.iter().all(|(column, taken)| {
        values
            .get(*column)
            .is_some_and(|value| taken.contains(value))
    })
}

/// A field of a field; undefined where there is none, which is equal to no constant.
fn look_up<'a>(input: &'a Value, path: &[Value]) -> &'a Value {
    path.iter().fold(input, |value, field| match value {
        Value::Object(fields) => fields.get(field).unwrap_or(&Value::Undefined),
        _ => &Value::Undefined,
    })
}

/// A body demands that this part of the input is one of these values.
#[derive(Debug)]
struct Condition {
    path: Vec<Value>,
    values: Vec<Value>,
}

/// The parts that most bodies look at.
fn columns(conditions: &[Vec<Condition>]) -> Vec<Column> {
    let mut counts: BTreeMap<&[Value], usize> = BTreeMap::new();
    for condition in conditions.iter().flatten() {
        *counts.entry(&condition.path).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let column = |(path, _): (&[Value], usize)| Column {
        path: path.to_vec(),
        bodies: BTreeMap::new(),
        open: vec![],
    };
    counts.into_iter().take(MOST_PATHS).map(column).collect()
}

/// What a rule with one body demands before anything else. Only what stands first counts: a
/// statement before it could fail, and that must be seen.
fn conditions(rule: &Rule, bodies: usize) -> Vec<Condition> {
    let Rule::Spec {
        bodies: written, ..
    } = rule
    else {
        return vec![];
    };
    match (written.as_slice(), bodies) {
        ([body], 1) => (body.query.stmts.iter()).map_while(condition).collect(),
        _ => vec![],
    }
}

fn condition(statement: &LiteralStmt) -> Option<Condition> {
    let Literal::Expr { expr, .. } = &statement.literal else {
        return None;
    };
    if !statement.with_mods.is_empty() {
        return None;
    }
    match &**expr {
        Expr::BoolExpr {
            op: BoolOp::Eq,
            lhs,
            rhs,
            ..
        }
        | Expr::AssignExpr {
            op: AssignOp::Eq,
            lhs,
            rhs,
            ..
        } => equality(lhs, rhs).or_else(|| equality(rhs, lhs)),
        Expr::Membership {
            key: None,
            value,
            collection,
            ..
        } => match &**collection {
            Expr::Array { items, .. } | Expr::Set { items, .. } => Some(Condition {
                path: input_path(value)?,
                values: items
                    .iter()
                    .map(|item| constant(item))
                    .collect::<Option<_>>()?,
            }),
            _ => None,
        },
        _ => None,
    }
}

fn equality(part: &Expr, value: &Expr) -> Option<Condition> {
    Some(Condition {
        path: input_path(part)?,
        values: vec![constant(value)?],
    })
}

fn constant(expr: &Expr) -> Option<Value> {
    match expr {
        Expr::String { value, .. }
        | Expr::RawString { value, .. }
        | Expr::Number { value, .. }
        | Expr::Bool { value, .. }
        | Expr::Null { value, .. } => Some(value.clone()),
        _ => None,
    }
}

/// `input.a.b` or `input["a"].b`.
fn input_path(expr: &Expr) -> Option<Vec<Value>> {
    let (base, field) = match expr {
        Expr::Var { span, .. } => return (span.text() == "input").then(Vec::new),
        Expr::RefDot { refr, field, .. } => (refr, field.1.clone()),
        Expr::RefBrack { refr, index, .. } => match &**index {
            Expr::String { value, .. } | Expr::RawString { value, .. } => (refr, value.clone()),
            _ => return None,
        },
        _ => return None,
    };
    let mut path = input_path(base)?;
    path.push(field);
    Some(path)
}
