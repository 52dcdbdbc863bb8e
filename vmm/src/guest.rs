// SPDX-License-Identifier: GPL-2.0-only
//! What a guest starts from: kernel, device tree, RAM disk; and for a protected one their signatures and its measurement.

use crate::Problem;
use crate::arguments::{ConsoleKind, GuestOptions};
use crate::fdt::{Description, Seeds};
use crate::kernel::Kernel;
use crate::layout::{Place, VIRTIO_MAX};
use corevisor::vm::{Measurement, VmFlags};
use corevisor_sign::image::{Image, measurement};
use corevisor_sign::read;
use ed25519_dalek::{Signer, SigningKey};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// An Ed25519 signature (RFC 8032).
pub type Signature = [u8; 64];

/// What a guest starts from.
#[derive(Clone, Debug)]
pub struct Guest {
    /// What was asked for.
    pub options: GuestOptions,
    /// Where its images lie.
    pub place: Place,
    kernel: Kernel,
    initrd: Option<Vec<u8>>,
}

/// One image.
#[derive(Clone, Debug)]
pub struct BootImage<'a> {
    /// What people call it; the file of its signature has this name and `.sig`.
    pub name: &'static str,
    /// Guest address.
    pub address: u64,
    /// Content.
    pub bytes: Cow<'a, [u8]>,
}

impl Guest {
    /// Reads what `options` name.
    ///
    /// # Errors
    /// If a file can't be read or is not what it should be, or what is asked for does not go together.
    pub fn read(options: &GuestOptions) -> Result<Self, Problem> {
        let kernel = Kernel::read(&options.kernel)?;
        let initrd = options.initrd.as_deref().map(read).transpose()?;
        if let (Some(file), Some(true)) = (&options.initrd, initrd.as_ref().map(Vec::is_empty)) {
            return Err(format!("{}: an empty RAM disk", file.display()));
        }
        if options.kind.protected && options.console == ConsoleKind::Virtio {
            return Err("--console virtio: a protected guest has a serial port only".into());
        }
        if virtio_devices(options) > VIRTIO_MAX {
            return Err(format!("too many disks: a guest has up to {VIRTIO_MAX} virtio devices"));
        }
        let place = Place::new(&kernel, initrd.as_ref().map_or(0, |bytes| bytes.len() as u64), options.mem)?;
        Ok(Self { options: options.clone(), place, kernel, initrd })
    }

    /// Its images, in the order in which they are announced. `seeds` are for its device tree; with any, the measurement is
    /// another one each time.
    ///
    /// # Errors
    /// If there can't be such a device tree.
    pub fn images(&self, seeds: Option<Seeds>) -> Result<Vec<BootImage<'_>>, Problem> {
        let description = Description {
            ram: self.options.mem,
            cpus: self.options.cpus,
            command_line: &self.options.cmdline,
            initrd: self.initrd.as_ref().map(|bytes| (self.place.initrd, bytes.len() as u64)),
            virtio: virtio_devices(&self.options),
            seeds,
        };
        let kernel = BootImage { name: "kernel", address: self.place.kernel, bytes: (&self.kernel.bytes).into() };
        let fdt = BootImage { name: "fdt", address: self.place.fdt, bytes: description.device_tree()?.into() };
        let initrd = self.initrd.as_ref();
        let initrd = initrd.map(|bytes| BootImage { name: "initrd", address: self.place.initrd, bytes: bytes.into() });
        Ok([kernel, fdt].into_iter().chain(initrd).collect())
    }

    /// The measurement that it will have. Of a shared guest it says no more than that it is one.
    ///
    /// # Errors
    /// If Corevisor refuses its images, whoever signs them.
    pub fn measurement(&self) -> Result<Measurement, Problem> {
        if self.options.kind.shared {
            return Ok(measurement(VmFlags::SHARED, &[]));
        }
        let images = self.images(None)?;
        let images = images.iter().map(BootImage::signed).collect::<Result<Vec<_>, _>>()?;
        Ok(measurement(VmFlags::empty(), &images))
    }
}

impl BootImage<'_> {
    /// What of it is signed.
    fn signed(&self) -> Result<Image, Problem> {
        Image::of(&self.bytes, self.address).map_err(|why| format!("{}: {why}", self.name))
    }

    /// Its signature by `key`.
    ///
    /// # Errors
    /// If Corevisor refuses it, whoever signs it.
    pub fn sign(&self, key: &SigningKey) -> Result<Signature, Problem> {
        Ok(key.sign(&self.signed()?.message()).to_bytes())
    }

    /// Where a folder of signatures has its one.
    pub fn signature_file(&self, folder: &Path) -> PathBuf {
        folder.join(self.name).with_extension("sig")
    }

    /// Its signature, from a folder.
    ///
    /// # Errors
    /// If there is none.
    pub fn read_signature(&self, folder: &Path) -> Result<Signature, Problem> {
        let file = self.signature_file(folder);
        let signature = read(&file)?;
        signature.as_slice().try_into().map_err(|_| {
            format!("{}: a signature is 64 bytes long, this is not; see corevisor-vm sign", file.display())
        })
    }
}

/// How many virtio devices a guest has: its disks, and its console after them.
pub fn virtio_devices(options: &GuestOptions) -> usize {
    options.disks.len() + usize::from(options.console == ConsoleKind::Virtio)
}

#[cfg(test)]
mod tests {
    use super::Guest;
    use crate::arguments::{Arguments, Command, GuestOptions};
    use crate::fdt::Seeds;
    use crate::kernel;
    use clap::Parser;
    use corevisor_sign::hex;
    use ed25519_dalek::{Signature, SigningKey};
    use std::path::PathBuf;

    struct Files(PathBuf);

    impl Files {
        /// A kernel and a RAM disk, in a folder of the test's own.
        fn new(test: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("corevisor-vm-{}-{test}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("kernel"), kernel::tests::image(0, 0x30_0000, 0)).unwrap();
            std::fs::write(folder.join("initrd"), [7; 9000]).unwrap();
            Self(folder)
        }

        fn options(&self, more: &str) -> GuestOptions {
            let folder = self.0.display();
            let line = format!("corevisor-vm measure --kernel {folder}/kernel --initrd {folder}/initrd {more}");
            match Arguments::try_parse_from(line.split_whitespace()).unwrap().command {
                Command::Measure { guest } => guest,
                _ => unreachable!(),
            }
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn measured_as_corevisor_sign_measures() {
        let files = Files::new("measure");
        let guest = Guest::read(&files.options("--protected")).unwrap();
        let images = guest.images(None).unwrap();
        let places: Vec<_> = images.iter().map(|image| (image.name, image.address)).collect();
        assert_eq!(places, [("kernel", 0x4000_0000), ("fdt", 0x4040_0000), ("initrd", 0x4060_0000)]);
        let shown = images.iter().map(|image| corevisor_sign::image::Image::of(&image.bytes, image.address).unwrap());
        let shown: Vec<_> = shown.collect();
        let measured = corevisor_sign::image::measurement(corevisor::vm::VmFlags::empty(), &shown);
        assert_eq!(guest.measurement().unwrap(), measured);
    }

    #[test]
    fn each_option_is_measured() {
        let files = Files::new("options");
        let measured = |more: &str| hex(&Guest::read(&files.options(more)).unwrap().measurement().unwrap());
        let base = measured("--protected");
        assert_eq!(base, measured("--protected --mem 256M --cpus 1"));
        for other in ["--mem 258M", "--cpus 2", "--cmdline quiet"] {
            assert_ne!(base, measured(&format!("--protected {other}")), "{other}");
        }
        assert_eq!(measured("--shared --mem 258M"), measured("--shared"));
        std::fs::write(files.0.join("initrd"), [8; 9000]).unwrap();
        assert_ne!(base, measured("--protected"));
    }

    #[test]
    fn signatures_fit_their_images() {
        let files = Files::new("sign");
        let guest = Guest::read(&files.options("--protected")).unwrap();
        let key = SigningKey::from_bytes(&[3; 32]);
        for image in guest.images(None).unwrap() {
            let signature = image.sign(&key).unwrap();
            let message = image.signed().unwrap().message();
            assert!(key.verifying_key().verify_strict(&message, &Signature::from_bytes(&signature)).is_ok());
            assert!(image.read_signature(&files.0).is_err());
            std::fs::write(image.signature_file(&files.0), &signature[1..]).unwrap();
            assert!(image.read_signature(&files.0).unwrap_err().contains("64 bytes"));
            std::fs::write(image.signature_file(&files.0), signature).unwrap();
            assert_eq!(image.read_signature(&files.0), Ok(signature));
        }
    }

    #[test]
    fn seeds_are_in_the_device_tree_only() {
        let files = Files::new("seeds");
        let guest = Guest::read(&files.options("--shared")).unwrap();
        let seeds = Seeds { rng: [1; 64], kaslr: 2 };
        let (with, without) = (guest.images(Some(seeds)).unwrap(), guest.images(None).unwrap());
        let differ: Vec<_> =
            with.iter().zip(&without).filter(|(a, b)| a.bytes != b.bytes).map(|(a, _)| a.name).collect();
        assert_eq!(differ, ["fdt"]);
    }

    #[test]
    fn what_does_not_go_together() {
        let files = Files::new("together");
        let problem = |more: &str| Guest::read(&files.options(more)).unwrap_err();
        assert!(problem("--protected --console virtio").contains("serial port only"));
        assert!(problem("--protected --mem 2M").contains("--mem"));
        assert!(problem(&format!("--shared{}", " --disk a".repeat(33))).contains("too many"));
        std::fs::write(files.0.join("initrd"), []).unwrap();
        assert!(problem("--protected").contains("empty"));
        std::fs::remove_file(files.0.join("initrd")).unwrap();
        assert!(problem("--protected").contains("initrd: No such file"));
    }
}
