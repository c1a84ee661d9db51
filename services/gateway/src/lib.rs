//! nexus-gateway
