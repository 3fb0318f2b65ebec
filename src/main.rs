//! The program: arguments, configuration, logging, runtime, exit code; nothing else.

fn main() {}
