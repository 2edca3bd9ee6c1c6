//! The whole program: exit status, standard output, standard error and files, on a small random model.
//! Runs take the least time that they can; no test looks at a time.

mod bad_input;
mod fixture;
mod gate;
mod results;
