//! Descriptors that go from one process to another, over a Unix socket.
#![allow(unsafe_code, reason = "no safe wrapper owns the descriptors that come")]

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

/// The most descriptors that one message carries: the kernel's `SCM_MAX_FD`.
pub const MAX_RIGHTS: usize = 253;

/// Room for a control message with [`MAX_RIGHTS`] descriptors, aligned as one has to be.
#[repr(C, align(8))]
struct Control([u8; Self::LENGTH]);

impl Control {
    /// A `struct cmsghdr`, and the descriptors.
    const LENGTH: usize = mem::size_of::<libc::cmsghdr>() + 256 * mem::size_of::<RawFd>();
}

/// Sends `bytes`, and with the first of them copies of `descriptors`. Returns how many bytes went; the descriptors have gone if
/// it is one or more.
///
/// # Errors
/// What the kernel says; `InvalidInput` for no bytes, or more than [`MAX_RIGHTS`] descriptors.
pub fn send_with_rights(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if bytes.is_empty() || descriptors.len() > MAX_RIGHTS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let length = mem::size_of_val(raw.as_slice());
    let mut control = Control([0; Control::LENGTH]);
    let mut parts = [IoSlice::new(bytes)];
    let mut message = message(parts.as_mut_ptr().cast(), &mut control);
    if raw.is_empty() {
        message.msg_control = ptr::null_mut();
        message.msg_controllen = 0;
    } else {
        // SAFETY: arithmetic on a length that is far below what overflows.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(length as u32) } as _;
        // SAFETY: `message` points to `control`, which has room for a header and MAX_RIGHTS descriptors and is aligned.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length as u32) as _;
            ptr::copy_nonoverlapping(raw.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), length);
        }
    }
    // SAFETY: `message` points to `parts` and `control`, which live until the call returns.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives into `buffer`, and into `descriptors` what came with that, closed on exec. Returns how many bytes came; none: the
/// other end is closed.
///
/// # Errors
/// What the kernel says; `InvalidData` when descriptors were lost, as when this process may have no more of them.
pub fn receive_with_rights(
    socket: impl AsFd,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = Control([0; Control::LENGTH]);
    let mut parts = [IoSliceMut::new(buffer)];
    let mut message = message(parts.as_mut_ptr().cast(), &mut control);
    // SAFETY: `message` points to `parts` and `control`, which live until the call returns.
    let received =
        unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled `control` in and set its length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: the macros gave it, so that it points to a whole header within `control`.
        let libc::cmsghdr { cmsg_level, cmsg_type, cmsg_len, .. } = unsafe { *header };
        if (cmsg_level, cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: arithmetic.
            let length = cmsg_len - unsafe { libc::CMSG_LEN(0) } as usize;
            for at in 0..length / mem::size_of::<RawFd>() {
                let mut raw = [0; mem::size_of::<RawFd>()];
                // SAFETY: the data is that many descriptors, which may stand at any address.
                let data = unsafe { libc::CMSG_DATA(header).add(at * raw.len()) };
                // SAFETY: the two don't overlap, and both have the length of one.
                unsafe { ptr::copy_nonoverlapping(data, raw.as_mut_ptr(), raw.len()) };
                // SAFETY: the kernel has just opened it for this process, and nobody else knows of it.
                let descriptor = unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(raw)) };
                descriptors.push(descriptor);
            }
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors were lost on the way"));
    }
    Ok(received)
}

/// A message of one part with this control buffer.
fn message(part: *mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: all zeros is a message without anything.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = Control::LENGTH as _;
    message
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn a_listener_goes_to_whoever_receives_it() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(send_with_rights(&here, b"one", &[listener.as_fd()]).unwrap(), 3);
        drop(listener);
        let (mut buffer, mut descriptors) = ([0; 8], Vec::new());
        assert_eq!(receive_with_rights(&there, &mut buffer, &mut descriptors).unwrap(), 3);
        let [descriptor] = descriptors.try_into().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"hello").unwrap();
        let (mut accepted, _) = TcpListener::from(descriptor).accept().unwrap();
        let mut said = [0; 5];
        accepted.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"hello");
    }

    #[test]
    fn as_many_go_as_the_kernel_takes_and_no_more() {
        let (here, there) = UnixStream::pair().unwrap();
        let many = vec![here.as_fd(); MAX_RIGHTS];
        assert_eq!(send_with_rights(&here, b"x", &many).unwrap(), 1);
        let mut descriptors = Vec::new();
        assert_eq!(receive_with_rights(&there, &mut [0; 1], &mut descriptors).unwrap(), 1);
        assert_eq!(descriptors.len(), MAX_RIGHTS);
        let too_many = vec![here.as_fd(); MAX_RIGHTS + 1];
        let error = send_with_rights(&here, b"x", &too_many).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn without_descriptors_it_is_a_write_and_an_end_is_told() {
        let (here, there) = UnixStream::pair().unwrap();
        assert_eq!(send_with_rights(&here, b"plain", &[]).unwrap(), 5);
        drop(here);
        let (mut buffer, mut descriptors) = ([0; 8], Vec::new());
        assert_eq!(receive_with_rights(&there, &mut buffer, &mut descriptors).unwrap(), 5);
        assert_eq!(receive_with_rights(&there, &mut buffer, &mut descriptors).unwrap(), 0);
        assert!(descriptors.is_empty());
    }
}
