//! What a query's steps select. Every node that is looked at is counted.

use std::cmp::Ordering;

use serde_json::Value;

use super::parse::{Comparison, Operand, Query, Selector, Step, Test};
use crate::ToolError;
use crate::builtin::error;

/// Nodes that one query may look at.
const MAX_STEPS: usize = 500_000;
const MAX_MATCHES: usize = 10_000;

/// Everything that matches, in order.
pub(super) fn evaluate(query: &Query, document: &Value) -> Result<Vec<Value>, ToolError> {
    let mut walk = Walk {
        document,
        left: MAX_STEPS,
    };
    let found = walk.query(query, document)?;
    if found.len() > MAX_MATCHES {
        return Err(too_much());
    }
    Ok(found.into_iter().cloned().collect())
}

fn too_much() -> ToolError {
    error("too_large", "the query selects too much; narrow it")
}

struct Walk<'v> {
    document: &'v Value,
    left: usize,
}

type Nodes<'v> = Result<Vec<&'v Value>, ToolError>;

impl<'v> Walk<'v> {
    fn count(&mut self, nodes: usize) -> Result<(), ToolError> {
        self.left = self.left.checked_sub(nodes).ok_or_else(too_much)?;
        Ok(())
    }

    fn query(&mut self, query: &Query, current: &'v Value) -> Nodes<'v> {
        let start = if query.from_root {
            self.document
        } else {
            current
        };
        let mut nodes = vec![start];
        for step in &query.steps {
            nodes = self.step(step, nodes)?;
        }
        Ok(nodes)
    }

    fn step(&mut self, step: &Step, nodes: Vec<&'v Value>) -> Nodes<'v> {
        let mut found = Vec::new();
        for node in nodes {
            if step.below {
                self.below(&step.selectors, node, &mut found)?;
            } else {
                self.select(&step.selectors, node, &mut found)?;
            }
        }
        Ok(found)
    }

    /// The depth is the document's, which is bounded where it is read.
    fn below(
        &mut self,
        selectors: &[Selector],
        node: &'v Value,
        found: &mut Vec<&'v Value>,
    ) -> Result<(), ToolError> {
        self.select(selectors, node, found)?;
        for child in children(node) {
            self.below(selectors, child, found)?;
        }
        Ok(())
    }

    fn select(
        &mut self,
        selectors: &[Selector],
        node: &'v Value,
        found: &mut Vec<&'v Value>,
    ) -> Result<(), ToolError> {
        for selector in selectors {
            self.count(1)?;
            match selector {
                Selector::Name(name) => found.extend(node.get(name)),
                Selector::Index(index) => found.extend(at(node, *index)),
                Selector::All => {
                    self.count(size(node))?;
                    found.extend(children(node));
                }
                Selector::Slice(start, end, step) => {
                    self.count(size(node))?;
                    slice(node, *start, *end, *step, found);
                }
                Selector::Filter(test) => {
                    for child in children(node) {
                        if self.test(test, child)? {
                            found.push(child);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn test(&mut self, test: &Test, current: &'v Value) -> Result<bool, ToolError> {
        self.count(1)?;
        match test {
            Test::Any(tests) => {
                for test in tests {
                    if self.test(test, current)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Test::All(tests) => {
                for test in tests {
                    if !self.test(test, current)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Test::Not(test) => Ok(!self.test(test, current)?),
            Test::Exists(query) => Ok(!self.query(query, current)?.is_empty()),
            Test::Compare(left, comparison, right) => {
                let left = self.operand(left, current)?;
                let right = self.operand(right, current)?;
                Ok(holds(left.as_ref(), *comparison, right.as_ref()))
            }
        }
    }

    /// A value; none where a query selects none, or more than one.
    fn operand(
        &mut self,
        operand: &Operand,
        current: &'v Value,
    ) -> Result<Option<Value>, ToolError> {
        let value = match operand {
            Operand::Literal(value) => return Ok(Some(value.clone())),
            Operand::Query(query) => match self.query(query, current)?.as_slice() {
                [one] => *one,
                _ => return Ok(None),
            },
        };
        // Comparing costs as much as the value is large.
        self.count(size_of(value))?;
        Ok(Some(value.clone()))
    }
}

fn children(node: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match node {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn size(node: &Value) -> usize {
    match node {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    }
}

fn size_of(value: &Value) -> usize {
    let own = value.as_str().map_or(0, |text| text.len() / 64);
    1 + own + children(value).map(size_of).sum::<usize>()
}

fn at(node: &Value, index: i64) -> Option<&Value> {
    let items = node.as_array()?;
    let index = if index < 0 {
        index.checked_add(i64::try_from(items.len()).ok()?)?
    } else {
        index
    };
    items.get(usize::try_from(index).ok()?)
}

/// As in Python, and RFC 9535.
fn slice<'v>(
    node: &'v Value,
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
    found: &mut Vec<&'v Value>,
) {
    let Some(items) = node.as_array() else { return };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let from_end = |index: i64| {
        if index < 0 {
            index.saturating_add(length)
        } else {
            index
        }
    };
    let mut take =
        |index: i64| found.extend(usize::try_from(index).ok().and_then(|i| items.get(i)));
    if step > 0 {
        let mut index = from_end(start.unwrap_or(0)).clamp(0, length);
        let end = from_end(end.unwrap_or(length)).clamp(0, length);
        while index < end {
            take(index);
            index = index.saturating_add(step);
        }
    } else if step < 0 {
        let mut index = from_end(start.unwrap_or(length - 1)).clamp(-1, length - 1);
        let end = end.map_or(-1, |end| from_end(end).clamp(-1, length - 1));
        while index > end {
            take(index);
            index = index.saturating_add(step);
        }
    }
}

fn holds(left: Option<&Value>, comparison: Comparison, right: Option<&Value>) -> bool {
    let equal = match (left, right) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => a.as_f64() == b.as_f64(),
        (left, right) => left == right,
    };
    let order = match (left, right) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => a
            .as_f64()
            .zip(b.as_f64())
            .and_then(|(a, b)| a.partial_cmp(&b)),
        (Some(Value::String(a)), Some(Value::String(b))) => Some(a.cmp(b)),
        _ => None,
    };
    match comparison {
        Comparison::Equal => equal,
        Comparison::Unequal => !equal,
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::LessOrEqual => equal || order == Some(Ordering::Less),
        Comparison::GreaterOrEqual => equal || order == Some(Ordering::Greater),
    }
}
