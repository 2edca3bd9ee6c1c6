//! The native forward pass.
