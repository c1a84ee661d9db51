//! nexus-budget
