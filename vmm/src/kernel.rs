// SPDX-License-Identifier: GPL-2.0-only
//! Linux kernels: the arm64 Image (Linux: `Documentation/arch/arm64/booting.rst`), plain or gzip-compressed.

use crate::Problem;
use crate::layout::BLOCK;
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::path::Path;

const HEADER: usize = 64;
const MAGIC: &[u8; 4] = b"ARM\x64";
const MAGIC_AT: usize = 56;
const GZIP: &[u8] = &[0x1F, 0x8B];
/// `zimg`, in the header of a kernel that is an EFI program which unpacks itself.
const ZBOOT: &[u8] = b"zimg";
const ZBOOT_AT: usize = 4;
const BIG_ENDIAN: u64 = 1;
/// Kernels whose header has no size, those before 3.17, begin here.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;
/// More than that, unpacked, is no kernel.
const MOST: u64 = 512 << 20;

/// A kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The Image.
    pub bytes: Vec<u8>,
    /// Where it wants to lie in a block of 2 MiB.
    pub text_offset: u64,
    /// The memory that it takes until it knows better: more than the Image, which lacks what begins as zeros.
    pub size: u64,
}

impl Kernel {
    /// Reads a kernel.
    ///
    /// # Errors
    /// If the file can't be read, or is no kernel that can be started.
    pub fn read(file: &Path) -> Result<Self, Problem> {
        Self::new(corevisor_sign::read(file)?).map_err(|why| format!("{}: {why}", file.display()))
    }

    /// The kernel of these bytes.
    ///
    /// # Errors
    /// If they are no kernel that can be started.
    pub fn new(bytes: Vec<u8>) -> Result<Self, Problem> {
        let bytes = if bytes.starts_with(GZIP) { unpack(&bytes)? } else { bytes };
        let header = bytes.get(..HEADER).ok_or("too short for a kernel")?;
        if header[ZBOOT_AT..].starts_with(ZBOOT) {
            return Err("a kernel that only EFI firmware unpacks (zboot); needed is the arm64 Image in it".into());
        }
        if !header[MAGIC_AT..].starts_with(MAGIC) {
            return Err("no arm64 Image, neither plain nor gzip-compressed".into());
        }
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
        let (text_offset, image_size, flags) = (word(8), word(16), word(24));
        if flags & BIG_ENDIAN != 0 {
            return Err("a big-endian kernel".into());
        }
        let (text_offset, size) = match image_size {
            0 => (OLD_TEXT_OFFSET, bytes.len() as u64),
            size => (text_offset, size.max(bytes.len() as u64)),
        };
        if text_offset >= BLOCK || !text_offset.is_multiple_of(4096) || size > MOST {
            return Err(format!("its header makes no sense: text offset {text_offset:#x}, size {size:#x}"));
        }
        Ok(Self { bytes, text_offset, size })
    }
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let unpacked = MultiGzDecoder::new(packed).take(MOST + 1).read_to_end(&mut bytes);
    unpacked.map_err(|why| format!("gzip-compressed, but broken: {why}"))?;
    if bytes.len() as u64 > MOST {
        return Err("too large for a kernel, unpacked".into());
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Kernel;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    /// An Image with nothing in it.
    pub(crate) fn image(text_offset: u64, size: u64, flags: u64) -> Vec<u8> {
        let mut bytes = vec![0; 5000];
        bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&size.to_le_bytes());
        bytes[24..32].copy_from_slice(&flags.to_le_bytes());
        bytes[56..60].copy_from_slice(b"ARM\x64");
        bytes
    }

    #[test]
    fn plain_and_compressed() {
        let plain = image(0, 0x1_0000, 0xA);
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&plain).unwrap();
        for bytes in [plain.clone(), packer.finish().unwrap()] {
            let kernel = Kernel::new(bytes).unwrap();
            assert_eq!((kernel.text_offset, kernel.size), (0, 0x1_0000));
            assert_eq!(kernel.bytes, plain);
        }
    }

    #[test]
    fn old_headers() {
        let kernel = Kernel::new(image(0x1000, 0, 0)).unwrap();
        assert_eq!((kernel.text_offset, kernel.size), (0x8_0000, 5000));
        assert_eq!(Kernel::new(image(0, 16, 0)).unwrap().size, 5000);
    }

    #[test]
    fn what_is_no_kernel() {
        let mut no_magic = image(0, 1, 0);
        no_magic[56] = 0;
        let mut zboot = image(0, 1, 0);
        zboot[4..8].copy_from_slice(b"zimg");
        let cases = [
            (vec![], "too short"),
            (no_magic, "no arm64 Image"),
            (zboot, "zboot"),
            (image(0, 1, 1), "big-endian"),
            (image(0x20_0000, 1, 0), "no sense"),
            (image(0x123, 1, 0), "no sense"),
            (image(0, u64::MAX, 0), "no sense"),
            (vec![0x1F, 0x8B, 8, 0, 0], "broken"),
        ];
        for (bytes, expected) in cases {
            let problem = Kernel::new(bytes).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
