//! Clients that are slow: in a handshake, in a head, in a body, or in taking the response.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{
    strike::{Count, connect},
    victim::Ports,
};

/// Between two octets.
const PACE: Duration = Duration::from_secs(1);
/// Bodies are longer than anyone waits for.
const BODY: &str = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
const HEAD: &str = "GET /work HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
/// Asks for more than fits into the buffers on its way.
const LARGE: &str = "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The header of a TLS record with a ClientHello of 512 octets, which come one by one.
const HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

/// One such connection, until the other side ends it.
pub(super) async fn attack(number: u32, ports: Ports, count: &Count) -> io::Result<()> {
    let (port, begin): (_, &[u8]) = match number % 4 {
        0 => (ports.http1, HEAD.as_bytes()),
        1 => (ports.secure, HELLO),
        2 => (ports.http1, BODY.as_bytes()),
        _ => (ports.http1, LARGE.as_bytes()),
    };
    let mut connection = connect(number, port).await?;
    connection.write_all(begin).await?;
    let _held = count.hold();
    if number % 4 == 3 { take(&mut connection, count).await } else { say(&mut connection, count).await }
}

async fn say(connection: &mut TcpStream, count: &Count) -> io::Result<()> {
    let mut answer = [0; 256];
    loop {
        tokio::select! {
            () = sleep(PACE) => connection.write_all(b"x").await?,
            read = connection.read(&mut answer) => {
                if read? == 0 {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
        }
        count.step(1);
    }
}

async fn take(connection: &mut TcpStream, count: &Count) -> io::Result<()> {
    loop {
        sleep(PACE).await;
        if connection.read(&mut [0]).await? == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        count.step(1);
    }
}
