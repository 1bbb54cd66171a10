//! How server ID and nonce are hidden.
//!
//! ```text
//! 16 octets      one block of AES-128-ECB
//! other lengths  left  ──┬────────────⊕──┬────────────⊕── left      ⊕: with the first octets of
//!                        │1           │2 │3           │4                AES(half ‖ 0… ‖ length ‖ pass)
//!                right ──⊕──┬─────────┘──⊕──┬─────────┘── right
//! ```
//!
//! An odd octet in the middle is split: its high four bits end the left half, its low four begin the right one.

use aes::{
    Aes128, Block,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};

/// The octets of server ID and nonce together that are one block.
const BLOCK: usize = 16;
/// The longest half: of 19 octets.
const HALF: usize = 10;

/// Hides what it is given, of one length, or shows it again.
#[derive(Clone)]
pub(crate) enum Cipher {
    /// Neither.
    Plaintext,
    /// One block.
    Block(Aes128),
    /// Four passes.
    Passes(Aes128),
}

impl Cipher {
    /// The cipher for `length` octets with this key.
    pub(crate) fn new(key: &[u8; 16], length: usize) -> Self {
        let aes = Aes128::new(&(*key).into());
        if length == BLOCK { Self::Block(aes) } else { Self::Passes(aes) }
    }

    pub(crate) fn encrypt(&self, text: &mut [u8]) {
        match self {
            Self::Plaintext => {}
            Self::Block(aes) => in_one_block(text, |block| aes.encrypt_block(block)),
            Self::Passes(aes) => {
                let mut halves = Halves::of(text);
                halves.change_right(aes, 1);
                halves.change_left(aes, 2);
                halves.change_right(aes, 3);
                halves.change_left(aes, 4);
                halves.write_to(text);
            }
        }
    }

    /// Shows the first `wanted` octets; what the others are then is of no use. Takes three passes when the left half
    /// has all that is wanted.
    pub(crate) fn decrypt(&self, text: &mut [u8], wanted: usize) {
        match self {
            Self::Plaintext => {}
            Self::Block(aes) => in_one_block(text, |block| aes.decrypt_block(block)),
            Self::Passes(aes) => {
                let mut halves = Halves::of(text);
                halves.change_left(aes, 4);
                halves.change_right(aes, 3);
                halves.change_left(aes, 2);
                if wanted * 2 > text.len() {
                    halves.change_right(aes, 1);
                }
                halves.write_to(text);
            }
        }
    }
}

fn in_one_block(text: &mut [u8], change: impl FnOnce(&mut Block)) {
    let mut block = Block::default();
    block.copy_from_slice(text);
    change(&mut block);
    text.copy_from_slice(&block);
}

/// The two halves of a text.
struct Halves {
    left: [u8; HALF],
    right: [u8; HALF],
    /// Octets of the whole.
    length: usize,
}

impl Halves {
    fn of(text: &[u8]) -> Self {
        let length = text.len();
        let half = length.div_ceil(2);
        let mut halves = Self { left: [0; HALF], right: [0; HALF], length };
        halves.left[..half].copy_from_slice(&text[..half]);
        halves.right[..half].copy_from_slice(&text[length - half..]);
        halves.split_middle();
        halves
    }

    /// Leaves each half its four bits of an odd octet.
    fn split_middle(&mut self) {
        if self.length % 2 == 1 {
            self.left[self.length / 2] &= 0xf0;
            self.right[0] &= 0x0f;
        }
    }

    fn change_left(&mut self, aes: &Aes128, pass: u8) {
        mix(&mut self.left, &self.right, self.length, aes, pass);
        self.split_middle();
    }

    fn change_right(&mut self, aes: &Aes128, pass: u8) {
        mix(&mut self.right, &self.left, self.length, aes, pass);
        self.split_middle();
    }

    fn write_to(&self, text: &mut [u8]) {
        let half = self.length.div_ceil(2);
        text[..half].copy_from_slice(&self.left[..half]);
        let right = &mut text[self.length - half..];
        right[0] = if self.length % 2 == 1 { right[0] | self.right[0] } else { self.right[0] };
        right[1..].copy_from_slice(&self.right[1..half]);
    }
}

/// One pass: changes `half` by what AES makes of the `other` one.
fn mix(half: &mut [u8; HALF], other: &[u8; HALF], length: usize, aes: &Aes128, pass: u8) {
    let used = length.div_ceil(2);
    let mut block = Block::default();
    block[..used].copy_from_slice(&other[..used]);
    block[14] = length as u8;
    block[15] = pass;
    aes.encrypt_block(&mut block);
    half[..used].iter_mut().zip(&block).for_each(|(octet, mask)| *octet ^= mask);
}
