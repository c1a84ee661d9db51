//! The engine: one for all guests, made when the first is loaded.
//!
//! Instances come from a pool whose address space is reserved once, so that a fresh instance costs
//! microseconds and memory is used only while a call runs.

use std::path::Path;

use wasmtime::{
    Cache, CacheConfig, Config, Enabled, Engine, InstanceAllocationStrategy,
    PoolingAllocationConfig,
};

use crate::config::SandboxConfig;

/// A component may be made of many core instances: what componentize-py makes has 38.
pub(crate) const MAX_INSTANCES: u32 = 64;
const MAX_MEMORIES: u32 = 4;
const MAX_TABLES: u32 = 8;
const MAX_TABLE_ELEMENTS: usize = 100_000;
/// A guest's own stack, and what the host's functions may use on top of it.
const GUEST_STACK: usize = 2 << 20;
const HOST_STACK: usize = 1 << 20;
/// Memory that a free place keeps, so that the next call has fewer page faults.
const KEPT_MEMORY: usize = 1 << 20;
const KEPT_STACK: usize = 64 << 10;
/// Compiled code on disk: about twenty interpreters.
const MAX_CACHE: u64 = 512 << 20;

pub(crate) fn make(config: &SandboxConfig) -> wasmtime::Result<Engine> {
    let mut engine = Config::new();
    engine
        .epoch_interruption(true)
        .wasm_memory64(false)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(GUEST_STACK + HOST_STACK)
        .cache(Some(Cache::new(on_disk(&config.cache_dir))?))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)));
    Engine::new(&engine)
}

fn pool(config: &SandboxConfig) -> PoolingAllocationConfig {
    let calls = config.max_calls;
    let memory = usize::try_from(config.max_memory).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls * MAX_INSTANCES)
        .total_memories(calls * MAX_MEMORIES)
        .total_tables(calls * MAX_TABLES)
        .total_stacks(calls * 2)
        .max_core_instances_per_component(MAX_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memory_size(memory)
        .max_unused_warm_slots(4)
        .linear_memory_keep_resident(KEPT_MEMORY)
        .table_keep_resident(KEPT_STACK)
        .async_stack_keep_resident(KEPT_STACK)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Compiled code by the digest of what it was compiled from, the compiler's version and settings.
fn on_disk(dir: &Path) -> CacheConfig {
    let mut cache = CacheConfig::new();
    // Files that are used often would be compressed again, for seconds at a time.
    cache
        .with_directory(dir)
        .with_baseline_compression_level(1)
        .with_optimized_compression_level(1)
        .with_optimized_compression_usage_counter_threshold(u64::MAX)
        .with_files_total_size_soft_limit(MAX_CACHE);
    cache
}
