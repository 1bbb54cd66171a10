//! Bidirectional Forwarding Detection: packets and the session state machine (RFC 5880, 5881, 5883).
