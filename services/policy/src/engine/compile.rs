//! Turns parsed modules into one program with one entry.
//!
//! The virtual machine reports neither which body of a rule fired nor that two bodies disagreed: a
//! rule with several values at once simply has none, which would let a `deny` pass unseen. So
//! the program is given an entry of its own. It evaluates, in one run and with one cache, the
//! rules that answer and every rule that could disagree with itself; and each of those rules has
//! further entries that evaluate its bodies one by one, run only when there is something to
//! explain. The interpreter would report both, at fifty times the cost.

use std::sync::Arc;

use regorus::languages::rego::compiler::{Compiler, CompilerError};
use regorus::rvm::Instruction;
use regorus::rvm::program::{Program, RuleInfo, RuleType};
use regorus::{CompiledPolicy, Value};

use super::error::{BundleError, BundleErrorKind};
use super::graph;
use super::index::Index;
use super::interpreted::has_reference_heads;
use super::rules::{self, Place};

/// Rules that one entry evaluates: each takes a register, and there are 255.
const RULES_PER_ENTRY: usize = 200;
/// Bodies that one entry evaluates: the search for the one that fired ends with the entry that has
/// it.
const BODIES_PER_ENTRY: usize = 32;
/// Entries for the bodies of tables, all together: a program has room for a thousand.
const TABLE_ENTRIES: usize = if cfg!(test) { 20 } else { 600 };

/// The program and the places in it that matter.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) program: Arc<Program>,
    /// The longest chain of rules that call one another.
    pub(crate) depth: usize,
    /// The entry that leaves the value of the path `i` in register `i`, and after those the values
    /// of `checks`.
    pub(crate) main: usize,
    /// How many paths there are.
    pub(crate) answers: usize,
    /// Rules that could have several values at once.
    pub(crate) checks: Vec<Check>,
    /// The bodies of `allow`.
    pub(crate) allow: Bodies,
    /// Rules of so many bodies that those are looked up.
    pub(crate) tables: Vec<Table>,
    /// The main entry without them.
    pub(crate) rest: usize,
}

/// A rule of many bodies, found by an index.
#[derive(Debug)]
pub(crate) struct Table {
    /// The register of the main entry that it leaves its value in.
    pub(crate) register: usize,
    pub(crate) index: Index,
    /// So many bodies are evaluated by each entry, each into a register of its own.
    pub(crate) group: usize,
    /// The entries, in the order of the bodies.
    pub(crate) entries: Vec<usize>,
    /// What it is when no body says anything.
    pub(crate) otherwise: Value,
    /// Whether its value is all that its bodies say, or what the first one says.
    pub(crate) collects: bool,
}

impl Table {
    /// The same entries, for whoever looks for the body that fired.
    fn bodies(&self, places: Vec<Place>) -> Bodies {
        Bodies {
            entries: (self.entries.iter())
                .map(|&entry| (entry, self.group))
                .collect(),
            places,
        }
    }
}

/// A rule of which the bodies may disagree.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) register: usize,
    pub(crate) path: String,
    /// With a default, no value at all can only mean a disagreement.
    pub(crate) has_default: bool,
    pub(crate) bodies: Bodies,
}

/// Entries that evaluate a rule's bodies one by one.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    /// Entry and how many registers it fills.
    pub(crate) entries: Vec<(usize, usize)>,
    pub(crate) places: Vec<Place>,
}

/// Compiles the rules at `paths` and all that they use; `None` for what the compiler does not take
/// and the interpreter does. Indexes change how long an answer takes, and nothing else.
pub(crate) fn compile(
    policy: &CompiledPolicy,
    paths: &[&str],
    indexed: bool,
) -> Result<Option<Compiled>, BundleError> {
    if has_reference_heads(policy) {
        return Ok(None);
    }
    match Compiler::compile_from_policy(policy, paths) {
        Ok(program) => {
            let depth = graph::depth(&program)?;
            extend(program, policy, paths, depth, indexed).map(Some)
        }
        Err(error) if is_gap(&error.error) => Ok(None),
        Err(error) => Err(BundleError::parse(
            BundleErrorKind::Compile,
            &error.to_string(),
        )),
    }
}

fn is_gap(error: &CompilerError) -> bool {
    match error {
        CompilerError::WithKeywordUnsupported
        | CompilerError::SomeInNotHoisted
        | CompilerError::PartialObjectConstantKeyUnsupported
        | CompilerError::PartialObjectNestedKeyUnsupported
        | CompilerError::RegisterOverflow { .. } => true,
        CompilerError::General { message } => message.contains("not yet supported"),
        _ => false,
    }
}

fn extend(
    program: Arc<Program>,
    policy: &CompiledPolicy,
    paths: &[&str],
    depth: usize,
    indexed: bool,
) -> Result<Compiled, BundleError> {
    let mut program = Arc::unwrap_or_clone(program);
    let mut main: Vec<usize> = Vec::new();
    for path in paths {
        main.push(index_of(&program, path)?);
    }
    let suspects: Vec<usize> = (0..program.rule_infos.len())
        .filter(|&index| program.rule_infos.get(index).is_some_and(may_conflict))
        .collect();
    if main.len() + suspects.len() > RULES_PER_ENTRY {
        return Err(BundleError::new(
            BundleErrorKind::Compile,
            format!("more than {RULES_PER_ENTRY} rules have several bodies with different values"),
        ));
    }
    let mut checks = Vec::new();
    for index in suspects {
        let register = main.len();
        main.push(index);
        let Some(info) = program.rule_infos.get(index).cloned() else {
            continue;
        };
        checks.push(Check {
            register,
            path: info.name.clone(),
            has_default: info.default_literal_index.is_some(),
            bodies: split(&mut program, &info, Vec::new())?,
        });
    }
    let mut allow = Bodies::default();
    let mut tables = Vec::new();
    for (register, path) in paths.iter().enumerate() {
        let Some(info) = (main.get(register)).and_then(|&rule| program.rule_infos.get(rule)) else {
            continue;
        };
        let info = info.clone();
        let table = match indexed {
            true => table(&mut program, policy, register, path, &info, paths.len())?,
            false => None,
        };
        if register == 0 {
            let places = rules::places(policy, path);
            allow = match &table {
                Some(table) => table.bodies(places),
                None => split(&mut program, &info, places)?,
            };
        }
        tables.extend(table);
    }
    let is_table = |register: usize| tables.iter().any(|table| table.register == register);
    let calls = main.iter().copied().enumerate();
    let rest: Vec<_> = calls.clone().filter(|(r, _)| !is_table(*r)).collect();
    let rest = add_calls(&mut program, &rest)?;
    let main = add_calls(&mut program, &calls.collect::<Vec<_>>())?;
    program.validate_limits().map_err(too_complex)?;
    program.rule_infos.iter_mut().for_each(slim);
    Ok(Compiled {
        program: Arc::new(program),
        depth,
        main,
        answers: paths.len(),
        checks,
        allow,
        tables,
        rest,
    })
}

/// The table of a rule, where an index helps: of a rule that is one constant or nothing, or that
/// collects what its bodies say. One of several values is left out, for those could disagree.
fn table(
    program: &mut Program,
    policy: &CompiledPolicy,
    register: usize,
    path: &str,
    info: &RuleInfo,
    tables: usize,
) -> Result<Option<Table>, BundleError> {
    let collects = match info.rule_type {
        RuleType::PartialSet => true,
        RuleType::Complete if info.early_exit_on_first_success => false,
        _ => return Ok(None),
    };
    let Some(index) = Index::new(policy, path, &info.definitions) else {
        return Ok(None);
    };
    let parts = parts(program, info);
    let group = parts.len().div_ceil(TABLE_ENTRIES / tables.max(1)).max(1);
    let mut entries = Vec::new();
    for parts in parts.chunks(group) {
        let calls: Vec<_> = parts.iter().copied().enumerate().collect();
        entries.push(add_calls(program, &calls)?);
    }
    let default = info.default_literal_index.map(usize::from);
    let otherwise = match default.and_then(|at| program.literals.get(at)) {
        Some(default) => default.clone(),
        None if collects => Value::new_set(),
        None => Value::Undefined,
    };
    Ok(Some(Table {
        register,
        index,
        group,
        entries,
        otherwise,
        collects,
    }))
}

/// Complete rules with several bodies that do not all give the same constant. Functions are left
/// out: their value depends on the arguments of a call.
fn may_conflict(info: &RuleInfo) -> bool {
    info.rule_type == RuleType::Complete
        && info.function_info.is_none()
        && info.definitions.len() > 1
        && !info.early_exit_on_first_success
}

/// Entries that evaluate a rule's bodies one by one.
fn split(
    program: &mut Program,
    info: &RuleInfo,
    places: Vec<Place>,
) -> Result<Bodies, BundleError> {
    let parts = parts(program, info);
    let places = if places.len() == parts.len() {
        places
    } else {
        Vec::new()
    };
    let entries: Result<Vec<_>, _> = parts
        .chunks(BODIES_PER_ENTRY)
        .map(|chunk| {
            let calls: Vec<_> = chunk.iter().copied().enumerate().collect();
            Ok((add_calls(program, &calls)?, chunk.len()))
        })
        .collect();
    Ok(Bodies {
        entries: entries?,
        places,
    })
}

/// Adds a copy of the rule for each of its bodies.
fn parts(program: &mut Program, info: &RuleInfo) -> Vec<usize> {
    let mut parts = Vec::new();
    for (index, definition) in info.definitions.iter().enumerate() {
        parts.push(program.rule_infos.len());
        let mut part = info.clone();
        part.definitions = Arc::new(vec![definition.clone()]);
        part.destructuring_blocks = pick(&info.destructuring_blocks, index);
        part.else_bodies = pick(&info.else_bodies, index);
        part.default_literal_index = None;
        part.early_exit_on_first_success = false;
        program.rule_infos.push(part);
    }
    parts
}

/// Drops what says nothing: the machine copies a rule's description for every call, and takes what
/// is not there for the same as what is dropped here.
fn slim(info: &mut RuleInfo) {
    info.name = String::new();
    if info.destructuring_blocks.iter().all(Option::is_none) {
        info.destructuring_blocks = Vec::new();
    }
    if !info.else_bodies.iter().flatten().any(|&is_else| is_else) {
        info.else_bodies = Vec::new();
    }
}

fn pick<T: Clone>(items: &[T], index: usize) -> Vec<T> {
    items.get(index).cloned().into_iter().collect()
}

/// Appends an entry that calls rules, each into its register, and names it.
fn add_calls(program: &mut Program, calls: &[(usize, usize)]) -> Result<usize, BundleError> {
    let start = program.instructions.len();
    let mut registers = 0;
    for &(register, rule) in calls {
        let dest = u8::try_from(register).map_err(too_complex)?;
        let rule_index = u16::try_from(rule).map_err(too_complex)?;
        program.add_instruction(Instruction::CallRule { dest, rule_index }, None);
        registers = registers.max(dest.saturating_add(1));
    }
    program.add_instruction(Instruction::Return { value: 0 }, None);
    program.dispatch_window_size = program.dispatch_window_size.max(registers);
    let entry = program.entry_points.len();
    program.add_entry_point(format!("nexus:{entry}"), start);
    Ok(entry)
}

fn index_of(program: &Program, path: &str) -> Result<usize, BundleError> {
    program
        .rule_infos
        .iter()
        .position(|info| info.name == path)
        .ok_or_else(|| {
            BundleError::new(
                BundleErrorKind::Compile,
                format!("{} is not one rule", rules::short(path)),
            )
        })
}

fn too_complex(reason: impl std::fmt::Display) -> BundleError {
    BundleError::new(
        BundleErrorKind::Compile,
        format!("too complex to compile: {reason}"),
    )
}
