//! The command line tool proxima.

fn main() {}
