//! nexus-projections
