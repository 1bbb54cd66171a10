//! The configuration: parsing, checking with every error at once, resolving, comparing.
