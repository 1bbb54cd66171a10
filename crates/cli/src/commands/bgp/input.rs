//! Octets from the command line, from a file, or from standard input; as they are, or in hexadecimal.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use crate::failure::Failure;

/// The octets that `words` stand for: `-`, the name of a file, or hexadecimal digits in one or many words.
///
/// # Errors
/// When they are none of these.
pub(super) fn read(words: &[String]) -> Result<Vec<u8>, Failure> {
    match words {
        [dash] if dash == "-" => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes)?;
            octets(bytes, "standard input")
        }
        [file] if fs::metadata(file).is_ok_and(|found| !found.is_dir()) => {
            let bytes = fs::read(file).map_err(|error| Failure::Input {
                message: format!("cannot read {file}: {error}"),
                hint: "name a file you may read".to_owned(),
            })?;
            octets(bytes, file)
        }
        words => {
            let text = words.join(" ");
            hexadecimal(&text).map_err(|wrong| Failure::Input {
                message: match words {
                    [word] => format!("`{}`: {}, and not hexadecimal: {wrong}", shortened(word), found(word)),
                    _ => format!("this is not hexadecimal: {wrong}"),
                },
                hint: "write two digits an octet, as in `ffff ffff`, `ff:ff` or `FFFF`, or name a file"
                    .to_owned(),
            })
        }
    }
}

/// What is there by the name of no file that can be read.
fn found(name: &str) -> &'static str {
    if Path::new(name).is_dir() { "a directory" } else { "no such file" }
}

/// Octets as they are, or what they stand for where they are hexadecimal digits.
fn octets(bytes: Vec<u8>, source: &str) -> Result<Vec<u8>, Failure> {
    // Every message begins with an octet that is no character: whatever is text is meant as digits.
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(bytes) };
    if !text.chars().all(|c| c.is_ascii_graphic() || c.is_ascii_whitespace()) {
        return Ok(bytes);
    }
    hexadecimal(text).map_err(|wrong| Failure::Input {
        message: format!("{source} holds text that is not hexadecimal: {wrong}"),
        hint: "two digits an octet; spaces, colons, line ends, `0x`, `\\x` and everything behind `#` are skipped"
            .to_owned(),
    })
}

/// Digits two by two; what people and tools put between them is skipped, and so are comments.
fn hexadecimal(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let line = line.replace("0x", " ").replace("0X", " ").replace("\\x", " ");
        for word in line.split(|c: char| c.is_ascii_whitespace() || matches!(c, ':' | '-' | ',' | ';' | '.'))
        {
            if let Some(odd) = word.chars().find(|c| !c.is_ascii_hexdigit()) {
                return Err(format!("`{}` is no digit", odd.escape_debug()));
            }
            if word.len() % 2 != 0 {
                return Err(format!("`{}` has an odd number of digits", shortened(word)));
            }
            octets.extend(word.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
        }
    }
    if octets.is_empty() { Err("there are no digits".to_owned()) } else { Ok(octets) }
}

fn digit(character: u8) -> u8 {
    match character {
        b'0'..=b'9' => character - b'0',
        _ => (character | 0x20) - b'a' + 10,
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 24;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_may_be_written_as_any_tool_writes_them() {
        for text in [
            "ff00a1",
            "FF00A1",
            "ff 00 a1",
            "ff:00:a1",
            "ff-00-a1",
            "0xff 0x00 0xa1",
            "0xff, 0x00, 0xa1",
            "\\xff\\x00\\xa1",
            "ff00\n  a1\n",
            "ff # the marker\n00a1",
            "# a comment\r\nff00 a1\r\n",
        ] {
            assert_eq!(hexadecimal(text).as_deref(), Ok(&[0xff, 0x00, 0xa1][..]), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_digit_is_named() {
        for (text, wrong) in [
            ("ff0g", "`g` is no digit"),
            ("fff", "`fff` has an odd number of digits"),
            ("f f", "`f` has an odd number of digits"),
            ("", "there are no digits"),
            ("# nothing", "there are no digits"),
        ] {
            assert_eq!(hexadecimal(text), Err(wrong.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn octets_are_taken_as_they_are() {
        assert_eq!(octets(vec![0xff, 0xff, b'0'], "x").unwrap(), [0xff, 0xff, b'0']);
        assert_eq!(octets(vec![0, 1, 2], "x").unwrap(), [0, 1, 2]);
        assert_eq!(octets(b"ffff\n".to_vec(), "x").unwrap(), [0xff, 0xff]);
        assert!(octets(b"hello".to_vec(), "x").is_err());
    }
}
