//! BGP messages, capabilities and path attributes: bytes to types and back.
