mod applied; mod batch; mod connect; mod fold; mod ids; mod log; mod model; pub mod query; mod store; mod text;
pub use batch::Batch;
pub use connect::{ConnectError, Projections, ProjectionsOptions};
pub use log::{Facts, LogCommit, UnreadableCommit};
