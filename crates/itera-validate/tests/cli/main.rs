//! The whole program: exit status, standard output, standard error and files, on small random
//! models and small texts.

mod adapt;
mod bad_input;
mod bad_rows;
mod bench;
mod fixture;
mod forms;
mod mix;
mod precision;
mod real_data;
mod results;
mod rows;
mod scoring;
