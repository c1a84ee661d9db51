//! Which rule calls which, to refuse recursion and very deep calls.
//!
//! The machine calls rules on the thread's own stack and its compiler does not see every cycle, so
//! that a policy could otherwise end the whole process.

use std::ops::Range;

use regorus::Value;
use regorus::rvm::Instruction;
use regorus::rvm::instructions::LiteralOrRegister;
use regorus::rvm::program::{Program, RuleInfo};

use super::error::{BundleError, BundleErrorKind};
use super::limits::MAX_CALL_DEPTH;
use super::rules::short;

/// The longest chain of rules that call one another.
///
/// # Errors
/// If there is a circle, or the chain is too long.
pub(crate) fn depth(program: &Program) -> Result<usize, BundleError> {
    let calls: Vec<Vec<usize>> = program
        .rule_infos
        .iter()
        .map(|info| calls_of(program, info))
        .collect();
    let mut depths = vec![Depth::Unknown; calls.len()];
    let mut deepest = 0;
    for rule in 0..calls.len() {
        let depth = depth_of(rule, &calls, &mut depths, 0).map_err(|()| {
            let name = program.rule_infos.get(rule).map_or("", |i| short(&i.name));
            BundleError::new(
                BundleErrorKind::Compile,
                format!(
                    "{name} calls itself, directly or through others, or calls more than \
                     {MAX_CALL_DEPTH} rules in a row"
                ),
            )
        })?;
        deepest = deepest.max(depth);
    }
    Ok(deepest)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Unknown,
    Open,
    Known(usize),
}

/// The longest chain below a rule. The recursion ends at `MAX_CALL_DEPTH`.
fn depth_of(
    rule: usize,
    calls: &[Vec<usize>],
    depths: &mut [Depth],
    level: usize,
) -> Result<usize, ()> {
    match depths.get(rule) {
        Some(Depth::Known(depth)) => return Ok(*depth),
        Some(Depth::Unknown) if level < MAX_CALL_DEPTH => {}
        _ => return Err(()),
    }
    set(depths, rule, Depth::Open);
    let mut deepest = 0;
    for &callee in calls.get(rule).into_iter().flatten() {
        deepest = deepest.max(depth_of(callee, calls, depths, level + 1)?);
    }
    let depth = deepest + 1;
    if depth > MAX_CALL_DEPTH {
        return Err(());
    }
    set(depths, rule, Depth::Known(depth));
    Ok(depth)
}

fn set(depths: &mut [Depth], rule: usize, depth: Depth) {
    if let Some(slot) = depths.get_mut(rule) {
        *slot = depth;
    }
}

/// The rules that a rule's code calls. A body is contiguous and ends with its return.
fn calls_of(program: &Program, info: &RuleInfo) -> Vec<usize> {
    let starts = info
        .definitions
        .iter()
        .flatten()
        .chain(info.destructuring_blocks.iter().flatten());
    let mut calls = Vec::new();
    for &start in starts {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let code = program.instructions.get(start..).unwrap_or_default();
        for instruction in code {
            match *instruction {
                Instruction::RuleReturn {} | Instruction::DestructuringSuccess {} => break,
                Instruction::CallRule { rule_index, .. } => calls.push(usize::from(rule_index)),
                Instruction::FunctionCall { params_index } => calls.extend(
                    program
                        .instruction_data
                        .get_function_call_params(params_index)
                        .map(|params| usize::from(params.func_rule_index)),
                ),
                Instruction::VirtualDataDocumentLookup { params_index } => {
                    calls.extend(looked_up(program, params_index));
                }
                _ => {}
            }
        }
    }
    calls.sort_unstable();
    calls.dedup();
    calls
}

/// `data.a.b[x]` may call whatever lies below `data.a.b`.
fn looked_up(program: &Program, params_index: u16) -> Vec<usize> {
    let mut prefix = "data".to_owned();
    let params = program
        .instruction_data
        .get_virtual_data_document_lookup_params(params_index);
    for component in params.into_iter().flat_map(|p| &p.path_components) {
        let LiteralOrRegister::Literal(index) = component else {
            break;
        };
        match program.literals.get(usize::from(*index)) {
            Some(Value::String(name)) => prefix = format!("{prefix}.{name}"),
            _ => break,
        }
    }
    let all: Range<usize> = 0..program.rule_infos.len();
    all.filter(|&index| {
        program.rule_infos.get(index).is_some_and(|info| {
            info.name
                .strip_prefix(&prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                || prefix.starts_with(&format!("{}.", info.name))
        })
    })
    .collect()
}
