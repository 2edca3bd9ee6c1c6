//! The model in WebAssembly: everything that a page or a Node program needs, without imports from its host.
//!
//! | file | what |
//! |---|---|
//! | `session` | a model, what it has read, and how it writes on |
//! | `saved` | what it has read as bytes, in the form of the Python package |
//! | `error` | what can be refused, in words |
//! | `exports` | the functions that JavaScript calls |
//!
//! An instance of the module holds one model. `web/package/index.js` is its interface for people.

mod error;
pub mod exports;
mod saved;
mod session;

pub use crate::{
    error::WebError,
    session::{Session, TokenScore},
};
