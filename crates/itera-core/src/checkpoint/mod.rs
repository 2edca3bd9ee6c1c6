//! The checkpoint format.
