//! Field sections that need no dynamic table (RFC 9204 §4.5).

use std::sync::LazyLock;

use super::{
    integer::{put, put_string},
    static_table::FIELDS,
};

/// The longest name in the static table.
const LONGEST: usize = 32;

/// The static table's entries by the length of their names.
static BY_LENGTH: LazyLock<[Vec<u8>; LONGEST + 1]> = LazyLock::new(|| {
    let mut lengths = [const { Vec::new() }; LONGEST + 1];
    for (index, (name, _)) in FIELDS.iter().enumerate() {
        lengths[name.len()].push(index as u8);
    }
    lengths
});

/// Begins a section: it needs no entry of the dynamic table.
pub(crate) fn begin_section(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0]);
}

/// Appends a field. `name` is written in lower case.
pub(crate) fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let mut of_name = None;
    for index in BY_LENGTH.get(name.len()).into_iter().flatten() {
        let (known, usual) = FIELDS[usize::from(*index)];
        if !known.as_bytes().eq_ignore_ascii_case(name) {
            continue;
        }
        if usual.as_bytes() == value {
            return put(out, 0xc0, 6, u64::from(*index));
        }
        of_name = of_name.or(Some(*index));
    }
    match of_name {
        Some(index) => put(out, 0x50 | never_kept(name), 4, u64::from(index)),
        None => put_string(out, 0x20 | never_kept(name) >> 1, 3, &name.to_ascii_lowercase()),
    }
    put_string(out, 0, 7, value);
}

/// RFC 9204 §7.1.3: what lets someone in is not to be put into a table by any hop.
fn never_kept(name: &[u8]) -> u8 {
    let is_secret = name.eq_ignore_ascii_case(b"set-cookie") || name.eq_ignore_ascii_case(b"authorization");
    if is_secret { 0x20 } else { 0 }
}
