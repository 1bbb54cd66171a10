//! BMP messages (RFC 7854) and MRT records (RFC 6396): types to bytes.
