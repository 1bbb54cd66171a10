//! Heads of a megabyte.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    http2::large_head,
    strike::{Count, connect},
    victim::Ports,
};

pub(super) const LENGTH: usize = 1 << 20;

/// One head, over HTTP/1.1 or HTTP/2, and whatever is answered.
pub(super) async fn attack(number: u32, ports: Ports, count: &Count) -> io::Result<()> {
    if number.is_multiple_of(2) {
        return large_head(number, ports.http2, count).await;
    }
    let mut connection = connect(number, ports.http1).await?;
    let field = "x".repeat(LENGTH);
    // It may be refused before it is whole, which is what it is there for.
    let _ = connection
        .write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: {field}\r\n\r\n").as_bytes())
        .await;
    count.step(1);
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.map(drop)
}
