//! Whom a packet is for, in packets from RFC 9001.

use proptest::{collection::vec, prelude::*};
use proxima_quic_lb::Destination;

#[test]
fn a_clients_first_packet_is_for_the_id_it_made_up() {
    // RFC 9001, appendix A.2: the header of a protected Initial.
    let initial = [0xc0, 0, 0, 0, 1, 8, 0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08, 0, 0, 0x44, 0x9e];
    let made_up: &[u8] = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
    assert_eq!(Destination::of(&initial, 17), Some(Destination::Long(made_up)));
}

#[test]
fn a_short_header_has_an_id_of_the_length_that_was_issued() {
    let packet = [0x4c, 1, 2, 3, 4, 5];
    assert_eq!(Destination::of(&packet, 4), Some(Destination::Short(&[1, 2, 3, 4])));
    assert_eq!(Destination::of(&packet, 5), Some(Destination::Short(&[1, 2, 3, 4, 5])));
    assert_eq!(Destination::of(&packet, 6), None);
}

#[test]
fn what_ends_before_its_destination_is_for_nobody() {
    for cut in [&[][..], &[0xc0], &[0xc0, 0, 0, 0, 1], &[0xc0, 0, 0, 0, 1, 2, 9]] {
        assert_eq!(Destination::of(cut, 4), None, "{cut:?}");
    }
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(datagram in vec(any::<u8>(), 0..64), issued in 0usize..=20) {
        match Destination::of(&datagram, issued) {
            Some(Destination::Short(id)) => prop_assert_eq!(id, &datagram[1..=issued]),
            Some(Destination::Long(id)) => prop_assert_eq!(id, &datagram[6..6 + usize::from(datagram[5])]),
            None => prop_assert!(datagram.len() < 6 + 255),
        }
    }
}
