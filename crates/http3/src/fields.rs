//! What names and values of fields may be made of.

/// Whether it is a name as HTTP/3 writes it (RFC 9110 §5.6.2, RFC 9114 §4.2): a token in lower case.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|octet| is_token(*octet) && !octet.is_ascii_uppercase())
}

/// Whether it is a token.
pub(crate) fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

/// Whether it is a value (RFC 9110 §5.5): no control octets but tabs, no white space around it.
pub(crate) fn is_value(value: &[u8]) -> bool {
    let is_space = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    value.iter().all(|octet| matches!(octet, b'\t' | 0x20..=0x7e | 0x80..))
        && !is_space(value.first())
        && !is_space(value.last())
}

/// Whether it can stand in a request line or a Host field: visible ASCII.
pub(crate) fn is_visible(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_graphic)
}

/// Whether the field is one of HTTP/1.1 connections (RFC 9114 §4.2).
pub(crate) fn is_of_connection(name: &[u8]) -> bool {
    [&b"connection"[..], b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"].contains(&name)
}
