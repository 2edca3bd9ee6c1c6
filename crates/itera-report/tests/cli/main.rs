//! The whole program: exit status, standard output, standard error and files, on small fixed
//! results.

mod bad_input;
mod compare;
mod figures;
mod fixture;
mod golden;
mod limits;
mod pages;
mod records;
