// SPDX-License-Identifier: GPL-2.0-only
//! The host's kernel: an arm64 Image, plain or gzip-compressed (Linux, "Booting AArch64 Linux").

use super::BootError;
use super::discover::Platform;
use super::layout::{Busy, lowest_hole};
use crate::addr::{PMD_SIZE, Range};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

const HEADER_SIZE: usize = 64;
/// "ARM\x64" at offset 56.
const MAGIC: u32 = 0x644d_5241;

/// What an Image's header says of where it must lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Header {
    /// Bytes from a 2 MiB boundary to the Image.
    text_offset: u64,
    /// Bytes that the kernel needs there, its BSS included.
    image_size: u64,
}

impl Header {
    /// Reads the header of `image`, which lies at `at`.
    fn parse(image: &[u8], at: u64) -> Result<Self, BootError> {
        let u64_at = |i: usize| image.get(i..i + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let u32_at = |i: usize| image.get(i..i + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        if u32_at(56) != Some(MAGIC) {
            return Err(BootError::NoImageMagic(at));
        }
        let (Some(text_offset), Some(image_size)) = (u64_at(8), u64_at(16)) else {
            return Err(BootError::NoImageMagic(at));
        };
        match (text_offset, image_size) {
            (_, 0) => Err(BootError::BadImageHeader("image_size is 0 (a kernel before 3.17)")),
            (PMD_SIZE.., _) => Err(BootError::BadImageHeader("text_offset of 2 MiB or more")),
            (_, size) if size > 1 << 32 => Err(BootError::BadImageHeader("image_size above 4 GiB")),
            _ => Ok(Self { text_offset, image_size }),
        }
    }
}

/// How the kernel gets to where it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// It lies there already.
    InPlace,
    /// It is copied.
    Copy,
    /// It is decompressed.
    Decompress,
}

/// Where the kernel will run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostImage {
    /// The Image and its BSS; its first byte is the entry point.
    pub range: Range,
    /// How it gets there.
    pub load: Load,
}

/// Plans where the kernel of `module`, whose bytes are `bytes`, will run; adds that to `busy`.
pub fn plan(platform: &Platform<'_>, busy: &mut Busy, bytes: &[u8]) -> Result<HostImage, BootError> {
    let module = platform.kernel;
    let mut start = [0; HEADER_SIZE];
    let (header, mut load) = match gzip_body(bytes)? {
        Some(body) => {
            inflate(body, &mut start)?;
            (Header::parse(&start, module.start)?, Load::Decompress)
        }
        None => (Header::parse(bytes, module.start)?, Load::Copy),
    };
    let in_place = Range { start: module.start, end: module.start + header.image_size.max(bytes.len() as u64) };
    let aligned = module.start % PMD_SIZE == header.text_offset;
    let free = |range: Range| {
        platform.ram.iter().any(|ram| ram.covers(range)) && busy.iter().all(|b| *b == module || !b.overlaps(range))
    };
    let range = if load == Load::Copy && aligned && free(in_place) {
        load = Load::InPlace;
        in_place
    } else {
        let size = header.text_offset + header.image_size.max(bytes.len() as u64);
        let hole = lowest_hole(platform, busy, size);
        let hole = hole.ok_or(BootError::TooLittleRam("the host's kernel", size))?;
        Range { start: hole.start + header.text_offset, end: hole.end }
    };
    busy.push(range);
    Ok(HostImage { range, load })
}

/// Puts the kernel `bytes` into `memory`, the range that [`plan`] chose (unless it is there already). Returns how many
/// bytes it wrote.
pub fn load(image: &HostImage, bytes: &[u8], memory: &mut [u8]) -> Result<usize, BootError> {
    match image.load {
        Load::InPlace => Ok(0),
        Load::Copy => {
            let to = memory.get_mut(..bytes.len()).ok_or(BootError::BadImageHeader("image_size too small"))?;
            to.copy_from_slice(bytes);
            Ok(bytes.len())
        }
        Load::Decompress => {
            let body = gzip_body(bytes)?.ok_or(BootError::BadGzip("header"))?;
            let (used, written) = match inflate(body, memory)? {
                Inflated::Whole { used, written } => (used, written),
                Inflated::Full => return Err(BootError::BadGzip("longer than its image_size")),
            };
            let trailer = body.get(used..used + 8).ok_or(BootError::BadGzip("truncated"))?;
            let (crc, size) = trailer.split_at(4);
            if size != (written as u32).to_le_bytes() {
                return Err(BootError::BadGzip("length differs"));
            }
            if crc != crc32fast::hash(&memory[..written]).to_le_bytes() {
                return Err(BootError::BadGzip("checksum differs"));
            }
            Ok(written)
        }
    }
}

enum Inflated {
    /// The stream ended.
    Whole { used: usize, written: usize },
    /// The output is full.
    Full,
}

fn inflate(body: &[u8], output: &mut [u8]) -> Result<Inflated, BootError> {
    let mut state = DecompressorOxide::new();
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    match decompress(&mut state, body, output, 0, flags) {
        (TINFLStatus::Done, used, written) => Ok(Inflated::Whole { used, written }),
        (TINFLStatus::HasMoreOutput, ..) => Ok(Inflated::Full),
        (TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput, ..) => {
            Err(BootError::BadGzip("truncated"))
        }
        _ => Err(BootError::BadGzip("not a deflate stream")),
    }
}

/// The deflate stream and trailer of a gzip file (RFC 1952), or `None` if `bytes` is no gzip file.
fn gzip_body(bytes: &[u8]) -> Result<Option<&[u8]>, BootError> {
    const DEFLATE: u8 = 8;
    const FHCRC: u8 = 1 << 1;
    const FEXTRA: u8 = 1 << 2;
    const FNAME: u8 = 1 << 3;
    const FCOMMENT: u8 = 1 << 4;
    let &[0x1F, 0x8B, DEFLATE, flags, _, _, _, _, _, _, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let truncated = BootError::BadGzip("truncated");
    let mut body = Some(rest);
    if flags & FEXTRA != 0 {
        body = body.and_then(|b| {
            let (length, b) = b.split_first_chunk()?;
            b.get(usize::from(u16::from_le_bytes(*length))..)
        });
    }
    for _ in 0..(flags & (FNAME | FCOMMENT)).count_ones() {
        body = body.and_then(|b| b.get(b.iter().position(|&c| c == 0)? + 1..));
    }
    if flags & FHCRC != 0 {
        body = body.and_then(|b| b.get(2..));
    }
    body.map(Some).ok_or(truncated)
}
