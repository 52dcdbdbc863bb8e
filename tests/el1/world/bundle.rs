// SPDX-License-Identifier: GPL-2.0-only
//! The images of VMs that came with the host, as its ramdisk. tools/harness/bundle.py makes it.
//!
//! Words of 8 bytes, little-endian: "CVGUESTS", the number of images, and 128 bytes for each: its name (16 bytes, filled up
//! with zeros), guest address, offset from the start of the bundle (a multiple of 4096), bytes, 0, signature (64 bytes).

use crate::rt::tree;
use core::ops::Range;
use dtoolkit::Node;
use dtoolkit::Property;

const MAGIC: &[u8; 8] = b"CVGUESTS";
const ENTRY: usize = 128;

/// An image.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// Guest address that it is signed for.
    pub address: u64,
    /// Its content.
    pub bytes: &'static [u8],
    /// What SET_BOOT_INFO takes in x4 to x11. All zero if it is not signed.
    pub signature: [u64; 8],
}

/// Where the ramdisk is; empty if there is none.
pub fn range() -> Range<u64> {
    let chosen = tree::node("/chosen").expect("/chosen");
    let number = |name| {
        let property = chosen.property(name);
        property.iter().flat_map(|property| property.value()).fold(0, |number, &byte| number << 8 | u64::from(byte))
    };
    number("linux,initrd-start")..number("linux,initrd-end")
}

fn word(bytes: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().expect("8 bytes"))
}

/// The image of this name.
pub fn image(name: &str) -> Image {
    let range = range();
    assert!(!range.is_empty(), "there is no ramdisk: see VM_HOSTS in tools/qemu-runner");
    // SAFETY: the host's memory, which nobody writes.
    let bundle = unsafe { core::slice::from_raw_parts(range.start as *const u8, (range.end - range.start) as usize) };
    assert_eq!(&bundle[..8], MAGIC, "the ramdisk is no bundle of images");
    let entries = bundle[16..].chunks_exact(ENTRY).take(word(bundle, 1) as usize);
    let entry = entries.into_iter().find(|entry| {
        let length = entry[..16].iter().position(|&byte| byte == 0).unwrap_or(16);
        &entry[..length] == name.as_bytes()
    });
    let entry = entry.unwrap_or_else(|| panic!("no image {name} in the bundle"));
    let (offset, size) = (word(entry, 3) as usize, word(entry, 4) as usize);
    Image {
        address: word(entry, 2),
        bytes: &bundle[offset..offset + size],
        signature: core::array::from_fn(|i| word(entry, 6 + i)),
    }
}
