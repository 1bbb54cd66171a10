//! Words of a stranger, made fit for a log line.

/// The most characters of it that are kept.
const MOST: usize = 200;

/// The text of `bytes`, on one line, without control characters, cut to a length for people.
pub(crate) fn said(bytes: impl AsRef<[u8]>) -> String {
    // Characters have at most four bytes: no more are looked at than can be kept.
    let bytes = bytes.as_ref();
    let looked_at = &bytes[..bytes.len().min(4 * (MOST + 1))];
    let text = String::from_utf8_lossy(looked_at);
    let mut said = String::with_capacity(text.len());
    for (n, character) in text.trim().chars().enumerate() {
        if n == MOST {
            said.push('…');
            break;
        }
        match character {
            '\n' | '\r' | '\t' => said.push(' '),
            // Bidirectional overrides and the like reorder what a terminal shows.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                said.extend(character.escape_unicode());
            }
            character if character.is_control() => said.extend(character.escape_unicode()),
            character => said.push(character),
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_s_words_are_one_harmless_line() {
        for (bytes, expected) in [
            (&b"plain words"[..], "plain words"),
            (b"  two\nlines\r\n", "two lines"),
            (b"\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("Datenbank fährt hoch".as_bytes(), "Datenbank fährt hoch"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            ("abc\u{202e}cba".as_bytes(), "abc\\u{202e}cba"),
            (b"", ""),
        ] {
            assert_eq!(said(bytes), expected);
        }
    }

    #[test]
    fn many_words_are_cut() {
        let said = said("ü".repeat(100_000));
        assert_eq!(said.chars().count(), MOST + 1);
        assert!(said.ends_with('…'));
    }
}
