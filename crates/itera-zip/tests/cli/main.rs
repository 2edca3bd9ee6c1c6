//! The whole program: exit status, standard output, standard error and files.

mod bad_input;
mod bench;
mod fixture;
mod round_trip;
