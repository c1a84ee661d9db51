//! nexus-tools
