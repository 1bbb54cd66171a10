//! BGP over TCP: the listener and one task per peer.
