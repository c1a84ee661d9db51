//! Runs entries of a program within limits, on machines that are kept for the next evaluation.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use regorus::Value;
use regorus::rvm::RegoVM;
use regorus::rvm::program::Program;
use regorus::rvm::vm::VmError;
use regorus::utils::limits::ExecutionTimerConfig;

use super::error::DecisionError;
use super::limits::{CHECK_EVERY, Limits};
use super::stack::panicked;

/// Machines kept ready; more than run at once on any host that this is for.
const KEPT: usize = 16;

/// Hands out machines that hold the program and its data.
#[derive(Debug)]
pub(crate) struct Pool {
    program: Arc<Program>,
    data: Value,
    idle: Mutex<Vec<RegoVM>>,
}

impl Pool {
    pub(crate) fn new(program: Arc<Program>, data: Value) -> Self {
        Self {
            program,
            data,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Runs `work` with a machine that has `input`. A machine that failed is not kept.
    pub(crate) fn with<T>(
        &self,
        input: Value,
        limits: &Limits,
        work: impl FnOnce(&mut Machine) -> Result<T, DecisionError>,
    ) -> Result<T, DecisionError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let vm = match idle {
            Some(vm) => vm,
            None => self.machine()?,
        };
        let mut machine = Machine {
            vm,
            limits: *limits,
            began: Instant::now(),
        };
        machine.prepare(input);
        let result = work(&mut machine)?;
        machine.vm.set_input(Value::Undefined);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(machine.vm);
        }
        Ok(result)
    }

    /// Whether the data fits the program: no path may belong to both.
    pub(crate) fn check(&self) -> Result<(), DecisionError> {
        self.machine().map(drop)
    }

    fn machine(&self) -> Result<RegoVM, DecisionError> {
        let mut vm = RegoVM::new();
        vm.load_program(Arc::clone(&self.program));
        vm.set_data(self.data.clone()).map_err(evaluation)?;
        Ok(vm)
    }
}

/// A machine in use.
pub(crate) struct Machine {
    vm: RegoVM,
    limits: Limits,
    began: Instant,
}

impl Machine {
    fn prepare(&mut self, input: Value) {
        self.vm.set_max_instructions(self.limits.steps);
        self.vm.set_input(input);
    }

    /// Runs one entry and returns the registers that it filled.
    ///
    /// Some built-ins panic on odd arguments, which come from models: a panic is an error here.
    pub(crate) fn run(&mut self, entry: usize) -> Result<&[Value], DecisionError> {
        // All runs for one answer together have the time of one.
        let limit = self.limits.wall.saturating_sub(self.began.elapsed());
        let vm = &mut self.vm;
        vm.set_execution_timer_config(Some(ExecutionTimerConfig {
            limit,
            check_interval: NonZeroU32::new(CHECK_EVERY).unwrap_or(NonZeroU32::MIN),
        }));
        match catch_unwind(AssertUnwindSafe(|| vm.execute_entry_point_by_index(entry))) {
            Ok(Ok(_)) => Ok(self.vm.get_registers()),
            Ok(Err(error)) => Err(self.explain(error)),
            Err(panic) => Err(DecisionError::Evaluation {
                reason: panicked(panic),
            }),
        }
    }

    fn explain(&self, error: VmError) -> DecisionError {
        match error {
            VmError::TimeLimitExceeded { .. } => DecisionError::TimeLimit {
                limit_ms: u64::try_from(self.limits.wall.as_millis()).unwrap_or(u64::MAX),
            },
            VmError::InstructionLimitExceeded { limit, .. } => DecisionError::StepLimit {
                limit: u64::try_from(limit).unwrap_or(u64::MAX),
            },
            VmError::EntryPointNotFound { .. } | VmError::InvalidEntryPointIndex { .. } => {
                DecisionError::MissingEntryPoint
            }
            other => evaluation(other),
        }
    }
}

/// Names the error without the values in it, which may be arguments that nobody should record.
fn evaluation(error: VmError) -> DecisionError {
    let reason = match error {
        VmError::NumericOverflow { operation, .. } => format!("a number overflowed in {operation}"),
        VmError::RegexSizeLimitExceeded { limit, .. } => {
            format!("a regular expression compiles to more than {limit} bytes")
        }
        VmError::RuleDataConflict { message, .. } => message,
        other => {
            let name = format!("{other:?}");
            let end = name.find([' ', '{', '(']).unwrap_or(name.len());
            name.get(..end).unwrap_or("error").to_owned()
        }
    };
    DecisionError::Evaluation { reason }
}
