//! The draft's own test vectors (draft-ietf-quic-load-balancers, appendix "Test Vectors").

use proxima_quic_lb::{Config, ConfigId, Form, LengthBits};

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn config(id: u8, server_id: &[u8], nonce: &[u8]) -> (ConfigId, Form) {
    let form = Form { server_id: server_id.len() as u8, nonce: nonce.len() as u8, bits: LengthBits::Length };
    (ConfigId::new(id).expect("below 7"), form)
}

#[test]
fn encrypted_ids_are_those_of_the_draft() {
    let key = octets("8f95f09245765f80256934e50c66207f").try_into().expect("16 octets");
    // The draft prints 12 as the last one's first octet; 3 in the high bits and a length of 18 are 72.
    let vectors = [
        (0, "ed793a", "ee080dbf", "0720b1d07b359d3c"),
        (1, "ed793a51d49b8f5fab65", "ee080dbf48", "2fcc381bc74cb4fbad2823a3d1f8fed2"),
        (2, "ed793a51d49b8f5f", "ee080dbf48c0d1e5", "504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
        (3, "ed793a51d49b8f5fab", "ee080dbf48c0d1e55d", "725779c9cc86beb3a3a4a3ca96fce4bfe0cdbc"),
    ];
    for (id, server_id, nonce, expected) in vectors {
        let (server_id, nonce, expected) = (octets(server_id), octets(nonce), octets(expected));
        let (id, form) = config(id, &server_id, &nonce);
        let config = Config::encrypted(id, form, &key).expect("lengths of the draft");
        let written = config.encode(&server_id, &nonce, 0xff).expect("lengths as configured");
        assert_eq!(*written, *expected, "{written:?}");
        assert_eq!(*config.decode(&expected).expect("its own"), *server_id);
    }
}

#[test]
fn an_unencrypted_id_is_its_parts_in_order() {
    // The second is written by hand: the draft prints a nonce of nine digits there.
    let vectors = [
        (0, "c4605e", "4504cc4f", "07c4605e4504cc4f"),
        (1, "350d28b420", "3487d970b5", "2a350d28b4203487d970b5"),
    ];
    for (id, server_id, nonce, expected) in vectors {
        let (server_id, nonce, expected) = (octets(server_id), octets(nonce), octets(expected));
        let (id, form) = config(id, &server_id, &nonce);
        let config = Config::plaintext(id, form).expect("lengths of the draft");
        assert_eq!(*config.encode(&server_id, &nonce, 0).expect("lengths as configured"), *expected);
        assert_eq!(*config.decode(&expected).expect("its own"), *server_id);
    }
}
