//! The program as a user meets it: exit status, standard output, standard error, files.

mod ablate;
mod bad_input;
mod end_to_end;
mod files;
mod fit;
mod fixture;
mod help;
mod interrupted;
mod prune;
mod quantize;
mod resume;
mod sample;
mod tokenizer;
