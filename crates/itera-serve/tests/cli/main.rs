//! The command line: exit status, standard output and standard error.

mod bad_input;
mod feedback;
mod fixture;
mod versions;
