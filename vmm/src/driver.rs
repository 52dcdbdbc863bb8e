// SPDX-License-Identifier: GPL-2.0-only
//! What Corevisor's driver offers beyond the KVM API: `linux/uapi/corevisor.h`.

use crate::Problem;
use corevisor::vm::Measurement;
use number::{COREVISOR_ADD_IMAGE, COREVISOR_GET_MEASUREMENT, COREVISOR_GET_OWNERS, COREVISOR_GET_STATS};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use vmm_sys_util::ioctl::{ioctl_with_mut_ptr, ioctl_with_mut_ref, ioctl_with_ref};

/// The driver's device.
pub const DEVICE: &str = "/dev/kvm";
/// Of KVM_CREATE_VM: a protected VM.
pub const PROTECTED: u64 = 1 << 31;
/// More counters than Corevisor will ever have.
const COUNTERS: usize = 256;

#[repr(C)]
struct Image {
    guest_addr: u64,
    size: u64,
    signature: [u8; 64],
}

#[repr(C)]
#[derive(Default)]
struct Measured {
    sha256: Measurement,
    flags: u64,
}

/// Its header; the values follow.
#[repr(C)]
struct Stats {
    count: u32,
    reserved: u32,
}

#[repr(C)]
struct StatsWithRoom {
    header: Stats,
    values: [u64; COUNTERS],
}

/// Who owns a page, and how many from there on are in the same state.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The page's number.
    pub pfn: u64,
    /// Who owns it, as PAGE_OWNER says it.
    pub owner: u64,
    /// How many pages.
    pub count: u64,
    /// 1 if the host may access them.
    pub accessible: u64,
}

/// The calls' numbers.
mod number {
    use super::{Image, Measured, Owner, Stats};
    use vmm_sys_util::{ioctl_ior_nr, ioctl_iow_nr, ioctl_iowr_nr};

    const TYPE: u32 = 0xCE;
    ioctl_iow_nr!(COREVISOR_ADD_IMAGE, TYPE, 0x00, Image);
    ioctl_ior_nr!(COREVISOR_GET_MEASUREMENT, TYPE, 0x01, Measured);
    ioctl_iowr_nr!(COREVISOR_GET_STATS, TYPE, 0x10, Stats);
    ioctl_iowr_nr!(COREVISOR_GET_OWNERS, TYPE, 0x11, Owner);
}

/// The driver, for what is about the machine.
#[derive(Debug)]
pub struct Driver(File);

impl Driver {
    /// Opens it.
    ///
    /// # Errors
    /// If it is not there, or not for us.
    pub fn open() -> Result<Self, Problem> {
        OpenOptions::new().read(true).write(true).open(DEVICE).map(Self).map_err(|why| explain_open(&why))
    }

    /// All of Corevisor's counters, by number.
    ///
    /// # Errors
    /// If the driver is another one.
    pub fn counters(&self) -> Result<Vec<u64>, Problem> {
        let header = Stats { count: COUNTERS as u32, reserved: 0 };
        let mut stats = StatsWithRoom { header, values: [0; COUNTERS] };
        // SAFETY: the driver writes the header, and as many values as the header says there is room for.
        let result = unsafe { ioctl_with_mut_ptr(&self.0, COREVISOR_GET_STATS(), &raw mut stats) };
        check(result).map_err(|why| explain_foreign(&why))?;
        Ok(stats.values[..COUNTERS.min(stats.header.count as usize)].to_vec())
    }

    /// Who owns a page.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn owner(&self, pfn: u64) -> Result<Owner, Problem> {
        let mut owner = Owner { pfn, ..Owner::default() };
        // SAFETY: the driver reads and writes this structure, and nothing else.
        let result = unsafe { ioctl_with_mut_ref(&self.0, COREVISOR_GET_OWNERS(), &mut owner) };
        check(result).map_err(|why| explain_foreign(&why))?;
        Ok(owner)
    }
}

/// Announces an image of a protected VM.
///
/// # Errors
/// What the operating system says.
pub fn add_image(vm: &impl AsRawFd, guest_addr: u64, size: u64, signature: [u8; 64]) -> io::Result<()> {
    let image = Image { guest_addr, size, signature };
    // SAFETY: the driver reads this structure, and copies what the VM's memory slots hold.
    check(unsafe { ioctl_with_ref(vm, COREVISOR_ADD_IMAGE(), &image) })
}

/// The measurement of a VM that has run.
///
/// # Errors
/// What the operating system says.
pub fn measurement(vm: &impl AsRawFd) -> io::Result<Measurement> {
    let mut measured = Measured::default();
    // SAFETY: the driver writes this structure, and nothing else.
    check(unsafe { ioctl_with_mut_ref(vm, COREVISOR_GET_MEASUREMENT(), &mut measured) })?;
    Ok(measured.sha256)
}

/// Why the driver could not be opened, and what to do.
pub fn explain_open(why: &io::Error) -> Problem {
    let advice = match why.kind() {
        io::ErrorKind::NotFound => "is corevisor.ko loaded, and was this machine started by Corevisor? See dmesg",
        io::ErrorKind::PermissionDenied => "only root, or the group that owns it, may use it",
        _ => return format!("{DEVICE}: {why}"),
    };
    format!("{DEVICE}: {why}; {advice}")
}

/// Why it does not know our calls.
fn explain_foreign(why: &io::Error) -> Problem {
    match why.raw_os_error() {
        Some(libc::ENOTTY | libc::EINVAL) => format!("{DEVICE}: {why}; this is not Corevisor's driver"),
        _ => format!("{DEVICE}: {why}"),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{
        COREVISOR_ADD_IMAGE, COREVISOR_GET_MEASUREMENT, COREVISOR_GET_OWNERS, COREVISOR_GET_STATS, explain_open,
    };
    use std::io;

    /// As the C compiler has them, from linux/uapi/corevisor.h.
    #[test]
    fn numbers() {
        assert_eq!(COREVISOR_ADD_IMAGE(), 0x4050_CE00);
        assert_eq!(COREVISOR_GET_MEASUREMENT(), 0x8028_CE01);
        assert_eq!(COREVISOR_GET_STATS(), 0xC008_CE10);
        assert_eq!(COREVISOR_GET_OWNERS(), 0xC020_CE11);
    }

    #[test]
    fn what_to_do_is_told() {
        assert!(explain_open(&io::Error::from_raw_os_error(libc::ENOENT)).contains("is corevisor.ko loaded"));
        assert!(explain_open(&io::Error::from_raw_os_error(libc::EACCES)).contains("only root"));
    }
}
