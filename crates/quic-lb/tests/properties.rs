//! What holds for every configuration, server ID and nonce.

use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};
use proxima_quic_lb::{
    Address, AddressError, Config, ConfigError, ConfigId, DecodeError, EncodeError, Form, Issuer, LengthBits,
    Rotation,
};

/// A configuration, and a server ID and a nonce that fit.
fn fitting() -> impl Strategy<Value = (Config, Vec<u8>, Vec<u8>)> {
    let lengths = (1u8..=15).prop_flat_map(|server| (Just(server), 4..=19 - server));
    (lengths, 0u8..7, any::<Option<[u8; 16]>>(), any::<bool>()).prop_flat_map(
        |((server_id, nonce), id, key, length)| {
            let bits = if length { LengthBits::Length } else { LengthBits::Random };
            let form = Form { server_id, nonce, bits };
            let id = ConfigId::new(id).expect("below 7");
            let config = match key {
                Some(key) => Config::encrypted(id, form, &key),
                None => Config::plaintext(id, form),
            };
            let config = config.expect("lengths in range");
            (Just(config), vec(any::<u8>(), usize::from(server_id)), vec(any::<u8>(), usize::from(nonce)))
        },
    )
}

fn id(id: u8) -> ConfigId {
    ConfigId::new(id).expect("below 7")
}

fn one_block(config: u8, key: u8) -> Config {
    Config::encrypted(id(config), Address::ONE_BLOCK, &[key; 16]).expect("lengths in range")
}

proptest! {
    #[test]
    fn what_is_written_is_read((config, server_id, nonce) in fitting(), random: u8, more in vec(any::<u8>(), 0..4)) {
        let written = config.encode(&server_id, &nonce, random).expect("lengths as configured");
        prop_assert_eq!(written.len(), config.length());
        prop_assert!(written.len() <= 20);
        prop_assert_eq!(ConfigId::of(&written), Some(config.id()));
        let longer = [&*written, &more].concat();
        prop_assert_eq!(&*config.decode(&longer).expect("its own"), &*server_id);
        if config.form().bits == LengthBits::Length {
            prop_assert_eq!(usize::from(written[0] & 0x1f), written.len() - 1);
        } else {
            prop_assert_eq!(written[0] & 0x1f, random & 0x1f);
        }
    }

    /// As what is written is read, IDs of different servers differ; so do those of different nonces.
    #[test]
    fn no_two_nonces_make_the_same_id((config, server_id, nonce) in fitting(), at: prop::sample::Index, flip in 1u8..) {
        let mut other = nonce.clone();
        other[at.index(nonce.len())] ^= flip;
        let written = config.encode(&server_id, &nonce, 0).expect("lengths as configured");
        prop_assert_ne!(written, config.encode(&server_id, &other, 0).expect("lengths as configured"));
    }

    #[test]
    fn any_octets_are_read_or_refused((config, ..) in fitting(), octets in vec(any::<u8>(), 0..24)) {
        match config.decode(&octets) {
            Ok(server_id) => prop_assert_eq!(server_id.len(), usize::from(config.form().server_id)),
            Err(DecodeError::Configuration) => prop_assert_ne!(ConfigId::of(&octets), Some(config.id())),
            Err(DecodeError::Short { found, configured }) => {
                prop_assert_eq!((found, configured), (octets.len(), config.length()));
                prop_assert!(found < configured);
            }
        }
    }

    #[test]
    fn an_address_survives_as_a_server_id(pop: u16, host: u8, generation in 0u8..64, worker in 0u16..1024) {
        let address = Address::new(pop, host, generation, worker).expect("in range");
        prop_assert_eq!(Address::from_server_id(&address.server_id()), Some(address));
        prop_assert_eq!((address.generation(), address.worker()), (generation, worker));
    }

    #[test]
    fn an_issuer_never_repeats_itself((config, server_id, _) in fitting(), start: u128) {
        let encrypted = config.is_encrypted();
        let server_id = proxima_quic_lb::ServerId::new(&server_id).expect("15 octets at most");
        let mut issuer = Issuer::new(config, server_id, start).expect("lengths as configured");
        // Five random bits that stay the same: the nonces alone make the difference.
        let issued: HashSet<_> = (0..100u8).map(|n| issuer.issue([if encrypted { 0 } else { n }; 20])).collect();
        prop_assert_eq!(issued.len(), 100);
    }
}

#[test]
fn lengths_out_of_range_are_refused() {
    let form = |server_id, nonce| Form { server_id, nonce, bits: LengthBits::Random };
    let cases = [
        (form(0, 8), ConfigError::ServerId(0)),
        (form(16, 3), ConfigError::ServerId(16)),
        (form(1, 3), ConfigError::Nonce(3)),
        (form(15, 5), ConfigError::Both(20)),
        (form(1, 255), ConfigError::Both(255)),
    ];
    for (form, expected) in cases {
        assert_eq!(Config::plaintext(id(0), form).map(|_| ()), Err(expected));
        assert_eq!(Config::encrypted(id(0), form, &[0; 16]).map(|_| ()), Err(expected));
    }
    assert_eq!(ConfigId::new(7), None, "the eighth code point means that there is no configuration");
    assert_eq!(ConfigId::of(&[0b1110_0000]), None);
    assert_eq!(ConfigId::of(&[]), None);
}

#[test]
fn parts_of_other_lengths_than_configured_are_refused() {
    let config = one_block(0, 1);
    assert_eq!(config.encode(&[0; 4], &[0; 11], 0), Err(EncodeError::ServerId { found: 4, configured: 5 }));
    assert_eq!(config.encode(&[0; 5], &[0; 12], 0), Err(EncodeError::Nonce { found: 12, configured: 11 }));
}

#[test]
fn numbers_that_do_not_fit_an_address_are_refused() {
    assert_eq!(Address::new(0, 0, 0, 1024), Err(AddressError::Worker(1024)));
    assert_eq!(Address::new(0, 0, 64, 0), Err(AddressError::Generation(64)));
    assert_eq!(Address::from_server_id(&[0; 4]), None);
}

#[test]
fn two_addresses_of_one_process_are_told_from_those_of_others() {
    let address =
        |pop, host, generation, worker| Address::new(pop, host, generation, worker).expect("in range");
    let own = address(1, 2, 3, 4);
    assert!(own.is_of_process(&address(1, 2, 3, 0)));
    for other in [address(0, 2, 3, 4), address(1, 0, 3, 4), address(1, 2, 0, 4)] {
        assert!(!own.is_of_process(&other), "{other:?}");
    }
}

#[test]
fn old_ids_are_read_until_their_configuration_is_removed() {
    let server_id = Address::new(7, 1, 0, 3).expect("in range").server_id();
    let issue = |config: &Config| config.encode(&server_id, &[9; 11], 0).expect("lengths as configured");
    let mut rotation = Rotation::new(one_block(0, 1));
    let old = issue(rotation.active());
    assert!(!rotation.activate(id(1)), "it is not known yet");
    assert!(!rotation.add(one_block(0, 9)), "the active one is not replaced under its own IDs");
    assert!(rotation.add(one_block(1, 2)));
    assert!(rotation.activate(id(1)));
    let new = issue(rotation.active());
    assert_eq!(rotation.decode(&old), Ok(server_id));
    assert_eq!(rotation.decode(&new), Ok(server_id));
    assert!(!rotation.remove(id(1)), "the active one stays");
    assert!(rotation.remove(id(0)));
    assert_eq!(rotation.decode(&old), Err(DecodeError::Configuration));
    assert_eq!(rotation.decode(&new), Ok(server_id));
}

#[test]
fn a_key_does_not_show() {
    let config = format!("{:?}", one_block(3, 0xab));
    assert!(!config.contains("ab") && !config.contains("171"), "{config}");
}
