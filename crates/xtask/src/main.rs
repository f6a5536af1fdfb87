//! Code checks and generators.
fn main() {}
