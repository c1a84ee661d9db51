//! nexus-policy
