//! The BGP connection state machine, adj-RIB-in and adj-RIB-out, without I/O.
