//! The program as a user runs it.

mod bad_input;
mod controller;
mod exporting;
mod fixture;
mod granite;
mod measuring;
mod python;
mod verifying;
