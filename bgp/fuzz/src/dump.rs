//! What holds for whatever is in a file that is said to be a routing table dump or recorded BGP (MRT, RFC 6396).
//!
//! - No octets make the reader panic, and it comes to an end.
//! - It says no more than the file can hold.

use crate::mrt::{Record, Records};

/// The target `mrt`: a file.
pub fn mrt(input: &[u8]) {
    let mut records = Records::new(input);
    let mut count = 0;
    while let Ok(Some(timed)) = records.next() {
        count += 1;
        assert!(count * 12 <= input.len(), "{count} records");
        match timed.record {
            Record::Peers { peers, .. } => assert!(peers.len() * 9 <= input.len()),
            Record::Rib { entries, .. } => assert!(entries.len() * 8 <= input.len()),
            _ => {}
        }
    }
}
