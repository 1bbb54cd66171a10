//! Logs, metrics and the event journal.
