//! nexus-run
