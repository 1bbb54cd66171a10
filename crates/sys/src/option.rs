//! `setsockopt` and `getsockopt` for any plain value.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd},
};

/// Sets a socket option.
///
/// `T` has to be the C type the option is documented with.
pub(crate) fn set<T: Copy>(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(mem::size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as it is borrowed; the pointer and the length describe `value`, which
    // the kernel only reads and keeps no reference to.
    #[allow(unsafe_code, reason = "no safe wrapper knows these options")]
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a socket option as octets; how many there are.
pub(crate) fn get(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes to `value` at most the octets that
    // `length` says there are, and how many it wrote to `length`. It keeps no reference to either.
    #[allow(unsafe_code, reason = "no safe wrapper knows these options")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            std::ptr::from_mut(&mut length),
        )
    };
    if result == 0 { Ok(value.len().min(length as usize)) } else { Err(io::Error::last_os_error()) }
}
