//! Field sections (RFC 9204 §4.5).
//!
//! | representation | begins with | here |
//! |---|---|---|
//! | a field of the static table | `11` | |
//! | a field of the dynamic table | `10`, `0001` | refused: there is none |
//! | a value, with a name of the static table | `01N1` | |
//! | a value, with a name of the dynamic table | `01N0`, `0000` | refused |
//! | name and value | `001N` | |

use super::{
    integer::{take, take_string},
    static_table::FIELDS,
};
use crate::{Code, Wrong};

const FAILED: Wrong = Wrong::Connection(Code::QpackDecompressionFailed);

/// Hands each field of `section` to `each`, until that fails.
///
/// # Errors
/// When the section is malformed, or refers to a dynamic table; and what `each` fails with.
pub(crate) fn decode(
    section: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let mut rest = prefix(section).ok_or(FAILED)?;
    let mut room = Vec::new();
    while let Some(&first) = rest.first() {
        room.clear();
        rest = match first {
            0xc0.. => {
                let (index, rest) = take(rest, 6).map_err(|_| FAILED)?;
                let (name, value) = known(index)?;
                each(name.as_bytes(), value.as_bytes())?;
                rest
            }
            0x40..0x80 if first & 0x10 != 0 => {
                let (index, rest) = take(rest, 4).map_err(|_| FAILED)?;
                let (name, _) = known(index)?;
                let (value, rest) = take_string(rest, 7, &mut room).map_err(|_| FAILED)?;
                each(name.as_bytes(), value.of(&room))?;
                rest
            }
            0x20..0x40 => {
                let (name, rest) = take_string(rest, 3, &mut room).map_err(|_| FAILED)?;
                let (value, rest) = take_string(rest, 7, &mut room).map_err(|_| FAILED)?;
                each(name.of(&room), value.of(&room))?;
                rest
            }
            _ => return Err(FAILED),
        };
    }
    Ok(())
}

/// The prefix has to say that no entry of the dynamic table is needed (RFC 9204 §4.5.1).
fn prefix(section: &[u8]) -> Option<&[u8]> {
    let (required, rest) = take(section, 8).ok()?;
    let is_negative = rest.first()? & 0x80 != 0;
    let (_, rest) = take(rest, 7).ok()?;
    (required == 0 && !is_negative).then_some(rest)
}

fn known(index: u64) -> Result<(&'static str, &'static str), Wrong> {
    let index = usize::try_from(index).map_err(|_| FAILED)?;
    FIELDS.get(index).copied().ok_or(FAILED)
}
