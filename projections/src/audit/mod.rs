//! The audit log as a proof: each tenant's entries are a chain of hashes, in the order of the log.
//!
//! * [`entry`]: an entry, and the hash of one.
//! * [`draft`]: what the fold of an event says; who acted for the platform is found when it is
//!   written.
//! * [`chain`]: the end of each tenant's chain, which the projector adds to.
//! * [`walk`], [`verify`]: the chain walked again, in memory that does not grow with it.
//! * [`archive`]: the chain kept as files.
//! * [`compare`]: the entries against the log that they were made from.
//!
//! `docs/audit.md` has the canonical form for others, and says what is proved against whom.

mod archive;
pub(crate) mod chain;
mod compare;
pub(crate) mod draft;
mod entry;
mod verify;
mod walk;

pub use archive::{AuditChain, ChainGap};
pub use compare::{AuditDifference, Compared, Side, compare_audit};
pub(crate) use entry::VERSION;
pub use entry::{AuditHash, AuditRow};
pub(crate) use verify::read_hash;
pub use verify::{AuditHead, ChainBreak, ChainReport, Fault};
