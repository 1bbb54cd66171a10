//! Sorts what a socket gave: what is the worker's own stays, runs of datagrams that are another's are taken out.
//!
//! With GRO a buffer holds several datagrams of one sender, all of the same length but for the last one. They may belong to
//! different connections.

use std::ops::Range;

/// Calls `taken` with each run of datagrams that `own` denies, and returns how many octets are left at the beginning of
/// `buffer`. `taken` is told where in the buffer a run lies, before anything is moved over it.
///
/// `own` is asked once for each datagram, and answers with `None` for the worker's own.
pub(super) fn keep_own<T: Copy + PartialEq>(
    buffer: &mut [u8],
    stride: usize,
    mut owner: impl FnMut(&[u8]) -> Option<T>,
    mut taken: impl FnMut(T, &[u8]),
) -> usize {
    let mut kept = 0;
    let mut run: Option<(T, Range<usize>)> = None;
    let mut at = 0;
    while at < buffer.len() {
        let end = buffer.len().min(at + stride.max(1));
        let of = owner(&buffer[at..end]);
        match (&mut run, of) {
            (Some((running, range)), Some(of)) if *running == of => range.end = end,
            (_, of) => {
                if let Some((of, range)) = run.take() {
                    taken(of, &buffer[range]);
                }
                run = of.map(|of| (of, at..end));
            }
        }
        if of.is_none() {
            buffer.copy_within(at..end, kept);
            kept += end - at;
        }
        at = end;
    }
    if let Some((of, range)) = run {
        taken(of, &buffer[range]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// The first octet of each datagram says whose it is.
        #[test]
        fn every_datagram_gets_to_its_owner_whole_and_in_order(
            owners in vec(0u8..3, 0..20),
            stride in 1usize..6,
            last in 1usize..6,
        ) {
            let datagrams: Vec<Vec<u8>> = owners
                .iter()
                .enumerate()
                .map(|(number, owner)| {
                    let length = if number + 1 == owners.len() { last.min(stride) } else { stride };
                    let mut datagram = vec![number as u8; length];
                    datagram[0] = *owner;
                    datagram
                })
                .collect();
            let mut buffer = datagrams.concat();
            let mut got = [vec![], vec![], vec![]];
            let kept = keep_own(
                &mut buffer,
                stride,
                |datagram| (datagram[0] > 0).then_some(datagram[0]),
                |owner, run| got[usize::from(owner)].extend_from_slice(run),
            );
            got[0] = buffer[..kept].to_vec();
            for (owner, got) in got.iter().enumerate() {
                let expected: Vec<u8> =
                    datagrams.iter().filter(|datagram| usize::from(datagram[0]) == owner).flatten().copied().collect();
                prop_assert_eq!(got, &expected);
            }
        }
    }

    #[test]
    fn neighbours_of_one_owner_are_taken_as_one() {
        let mut runs = Vec::new();
        let mut buffer = [1, 1, 2, 0, 2, 2, 1];
        let kept =
            keep_own(&mut buffer, 1, |d| (d[0] > 0).then_some(d[0]), |of, run| runs.push((of, run.len())));
        assert_eq!(runs, [(1, 2), (2, 1), (2, 2), (1, 1)]);
        assert_eq!(buffer[..kept], [0]);
    }
}
