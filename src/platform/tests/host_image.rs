// SPDX-License-Identifier: GPL-2.0-only
//! The host's kernel: plain, compressed, broken.

use crate::addr::{PMD_SIZE, Range};
use crate::platform::BootError;
use crate::platform::discover::Platform;
use crate::platform::host_image::{HostImage, Load, load, plan};
use crate::platform::layout::Busy;
use crate::world::{GIB, MIB, range};
use miniz_oxide::deflate::compress_to_vec;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

/// An Image of `size` bytes in the file and `image_size` in memory.
fn image(text_offset: u64, image_size: u64, size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
    bytes[16..24].copy_from_slice(&image_size.to_le_bytes());
    bytes[56..60].copy_from_slice(b"ARM\x64");
    bytes
}

const FTEXT: u8 = 1;
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;

/// A gzip file (RFC 1952) of `data`, with the optional fields that `flags` names.
fn gzip(data: &[u8], flags: u8, level: u8) -> Vec<u8> {
    let mut file = vec![0x1F, 0x8B, 8, flags, 1, 2, 3, 4, 2, 3];
    if flags & FEXTRA != 0 {
        file.extend([5, 0, b'a', 0, 1, 0, 0x1F]);
    }
    if flags & FNAME != 0 {
        file.extend(b"vmlinux-6.12\0");
    }
    if flags & FCOMMENT != 0 {
        file.extend(b"\0"); // an empty one
    }
    if flags & FHCRC != 0 {
        file.extend([0xAB, 0xCD]);
    }
    file.extend(compress_to_vec(data, level));
    file.extend(crc32fast::hash(data).to_le_bytes());
    file.extend((data.len() as u32).to_le_bytes());
    file
}

/// 256 MiB of RAM with the kernel module at `at`.
fn platform(at: u64, size: usize) -> (Platform<'static>, Busy) {
    let kernel = range(at, size.max(1) as u64);
    let ram = [range(GIB, 256 * MIB)].into_iter().collect();
    (Platform { ram, kernel, ..Platform::default() }, [kernel].into_iter().collect())
}

/// Plans and loads; what is then in the kernel's memory, from its first byte on.
fn run(bytes: &[u8]) -> Result<(HostImage, Vec<u8>), BootError> {
    let (platform, mut busy) = platform(GIB + 0x1000, bytes.len());
    let host = plan(&platform, &mut busy, bytes)?;
    let mut memory = vec![0xEE; host.range.size() as usize];
    let written = load(&host, bytes, &mut memory)?;
    memory.truncate(written);
    Ok((host, memory))
}

fn error<T>(result: Result<T, BootError>) -> std::string::String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn a_plain_image_is_copied_to_a_2_mib_boundary_plus_its_offset() {
    for (text_offset, image_size) in [(0, 3 * MIB), (0x8_0000, 3 * MIB), (PMD_SIZE - 0x1000, 0x4000), (0, 1)] {
        let bytes = image(text_offset, image_size, 100_000);
        let (host, memory) = run(&bytes).unwrap();
        let size = image_size.max(100_000);
        assert_eq!(host.load, Load::Copy);
        assert_eq!(host.range, range(GIB + PMD_SIZE + text_offset, size), "the lowest free, past the module");
        assert_eq!(memory, bytes);
    }
}

#[test]
fn compressed_images_of_all_kinds_are_decompressed() {
    let data = image(0, 2 * MIB, 100_000);
    for flags in 0..=FTEXT | FHCRC | FEXTRA | FNAME | FCOMMENT {
        for level in [0, 1, 9] {
            let (host, memory) = run(&gzip(&data, flags, level)).unwrap();
            assert_eq!(host, HostImage { range: range(GIB + PMD_SIZE, 2 * MIB), load: Load::Decompress });
            assert!(memory == data, "flags {flags:#b}, level {level}");
        }
    }
}

#[test]
fn a_compressed_image_may_fill_its_memory_but_no_more() {
    let size = 100_000;
    for level in [0, 1, 6, 9] {
        let exact = gzip(&image(0, size, size as usize), 0, level);
        assert_eq!(run(&exact).unwrap().1.len() as u64, size, "level {level}");
        let longer = gzip(&image(0, size - 1, size as usize), 0, level);
        // Stored, the file is longer than the image, and so is its memory.
        let expected = "host kernel is gzip-compressed but broken: longer than its image_size";
        assert_eq!(error(run(&longer)), if level == 0 { "" } else { expected }, "level {level}");
    }
}

#[test]
fn a_truncated_file_is_an_error_at_every_length() {
    let data = image(0, MIB, 3000);
    for flags in [0, FEXTRA | FNAME | FCOMMENT | FHCRC] {
        let file = gzip(&data, flags, 6);
        for length in 0..file.len() {
            let line = error(run(&file[..length]));
            let expected = if length < 10 {
                "host kernel has no arm64 Image magic"
            } else {
                "host kernel is gzip-compressed but broken: truncated"
            };
            assert!(line.starts_with(expected), "{length} of {} bytes: {line:?}", file.len());
        }
    }
}

#[test]
fn a_damaged_file_is_an_error_or_makes_no_difference() {
    let data = image(0, MIB, 3000);
    let file = gzip(&data, FNAME, 6);
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            if let Ok((_, memory)) = run(&damaged) {
                assert!(memory == data, "byte {at}, bit {bit}");
                assert!(at < 23 || at == file.len() - 9, "byte {at} is no header, nor padding of the stream");
            }
        }
    }
    let trailer = file.len() - 8;
    let with = |at: usize| {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        error(run(&damaged))
    };
    assert_eq!(with(trailer), "host kernel is gzip-compressed but broken: checksum differs");
    assert_eq!(with(trailer + 4), "host kernel is gzip-compressed but broken: length differs");
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let rows = [
        (image(0, 0, 64), "host kernel has a bad Image header: image_size is 0"),
        (image(PMD_SIZE, MIB, 64), "host kernel has a bad Image header: text_offset"),
        (image(u64::MAX, MIB, 64), "host kernel has a bad Image header: text_offset"),
        (image(0, (1 << 32) + 1, 64), "host kernel has a bad Image header: image_size above 4 GiB"),
        (image(0, u64::MAX, 64), "host kernel has a bad Image header: image_size above 4 GiB"),
        (image(0, MIB, 64)[..59].to_vec(), "host kernel has no arm64 Image magic at 0x40001000"),
        (vec![], "host kernel has no arm64 Image magic at 0x40001000"),
        (vec![0; 4096], "host kernel has no arm64 Image magic at 0x40001000"),
        (image(0, 256 * MIB, 64), "too little RAM: no free 262144 KiB for the host's kernel"),
    ];
    for (bytes, start) in rows {
        for compressed in [false, true] {
            // A file too short for a header stays so.
            if compressed && bytes.len() < 60 {
                continue;
            }
            let line = error(run(&if compressed { gzip(&bytes, 0, 6) } else { bytes.clone() }));
            assert!(line.starts_with(start), "{line:?} is not {start:?}");
        }
    }
}

/// Where a kernel of 8 MiB, 1 MiB of which is in the file, runs when its module lies at `at`.
fn placed(at: u64, text_offset: u64, ram: &[Range], other: Option<Range>) -> (Load, Range) {
    let bytes = image(text_offset, 8 * MIB, MIB as usize);
    let (mut platform, mut busy) = platform(at, bytes.len());
    platform.ram = ram.iter().copied().collect();
    busy.extend(other);
    let host = plan(&platform, &mut busy, &bytes).unwrap();
    assert!(busy.contains(&host.range), "nothing else may go there");
    (host.load, host.range)
}

#[test]
fn a_kernel_stays_where_it_is_if_it_can_run_there() {
    let ram = [range(GIB, 256 * MIB)];
    let at = GIB + 64 * MIB;
    let in_place = (Load::InPlace, range(at, 8 * MIB));
    assert_eq!(placed(at, 0, &ram, None), in_place);
    assert_eq!(placed(at, 0, &ram, Some(range(at + 8 * MIB, 1))), in_place);
    assert_eq!(placed(at, 0, &ram, Some(range(at - 1, 1))), in_place);
    assert_eq!(placed(at + 0x8_0000, 0x8_0000, &ram, None), (Load::InPlace, range(at + 0x8_0000, 8 * MIB)));
    let copied = (Load::Copy, range(GIB, 8 * MIB));
    assert_eq!(placed(at + 0x1000, 0, &ram, None), copied, "not aligned");
    assert_eq!(placed(at, 0x8_0000, &ram, None), (Load::Copy, range(GIB + 0x8_0000, 8 * MIB)), "not at its offset");
    assert_eq!(placed(at, 0, &ram, Some(range(at + 8 * MIB - 1, 1))), copied, "its BSS is taken");
    assert_eq!(placed(at, 0, &ram, Some(range(at + MIB, 1))), copied);
    assert_eq!(
        placed(at, 0, &[range(GIB, 64 * MIB), range(at, 8 * MIB - 0x1000)], None),
        copied,
        "RAM ends in its BSS"
    );
    assert_eq!(placed(at, 0, &[range(GIB, 64 * MIB), range(at, 8 * MIB)], None), in_place);
    // The copy keeps clear of the module and of the rest.
    let busy = Some(range(GIB + MIB, MIB));
    assert_eq!(placed(GIB + 2 * MIB + 0x1000, 0, &ram, busy), (Load::Copy, range(GIB + 4 * MIB, 8 * MIB)));
}

#[test]
fn a_kernel_in_place_is_not_written() {
    let bytes = image(0, MIB, 4096);
    let (platform, mut busy) = platform(GIB, bytes.len());
    let host = plan(&platform, &mut busy, &bytes).unwrap();
    let mut memory = vec![0xEE; 4096];
    assert_eq!((host.load, load(&host, &bytes, &mut memory).unwrap()), (Load::InPlace, 0));
    assert!(memory.iter().all(|&b| b == 0xEE));
}
