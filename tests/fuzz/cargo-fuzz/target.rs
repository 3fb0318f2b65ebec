//! One target, chosen by the name of the binary that this is compiled to.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::try_by_name(env!("CARGO_BIN_NAME"), bytes));

#[path = "../main.rs"]
mod targets;
