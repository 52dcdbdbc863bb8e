// SPDX-License-Identifier: GPL-2.0-only
//! Checked numbers: addresses, page frames and the ids of principals.
//!
//! They are made at the trap boundary, or from values that Corevisor made itself, and nowhere else: a function that
//! takes a [`Pfn`] need not ask whether it is one (`spec/SPEC.md` §0.7, predicates `is_addr`, `is_pfn`, `is_vmid`, …).

use core::fmt;

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page, and the translation granule.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// Bytes that one level-2 entry maps: 2 MiB (specification: `PMD_SIZE`).
pub const PMD_SIZE: u64 = 1 << 21;
/// Bytes that one level-1 entry maps: 1 GiB.
pub const PUD_SIZE: u64 = 1 << 30;
/// Bytes that one level-0 entry maps: 512 GiB.
pub const PGD_SIZE: u64 = 1 << 39;
/// Exclusive bound of every address here: 48 bits (specification: `KVM_ADDR_SPACE`).
pub const ADDR_SPACE: u64 = 1 << 48;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $frame:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The address, or `None` if it does not fit 48 bits.
            pub const fn new(address: u64) -> Option<Self> {
                if address < ADDR_SPACE { Some(Self(address)) } else { None }
            }

            /// The address in the low 48 bits of `word`, for words that have other things above.
            pub const fn low_48(word: u64) -> Self {
                Self(word & (ADDR_SPACE - 1))
            }

            /// The plain number.
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The page that the address lies in.
            pub const fn frame(self) -> $frame {
                $frame(self.0 >> PAGE_SHIFT)
            }

            /// The address rounded down to a multiple of `size`, a power of two.
            pub const fn align_down(self, size: u64) -> Self {
                Self(self.0 & !(size - 1))
            }

            /// Whether the address is a multiple of `size`, a power of two.
            pub const fn is_aligned(self, size: u64) -> bool {
                self.0 & (size - 1) == 0
            }

            /// The address `bytes` further on, or `None` past 48 bits.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Self::new(sum),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

macro_rules! frame {
    ($(#[$doc:meta])* $name:ident, $address:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The frame with number `number`, or `None` if it does not fit 36 bits.
            pub const fn new(number: u64) -> Option<Self> {
                if number < ADDR_SPACE >> PAGE_SHIFT { Some(Self(number)) } else { None }
            }

            /// The plain number.
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The address of the frame's first byte.
            pub const fn base(self) -> $address {
                $address(self.0 << PAGE_SHIFT)
            }
        }
    };
}

address!(
    /// A physical address.
    Pa,
    Pfn
);
address!(
    /// An intermediate physical address: what a stage-2 table translates. The host's are equal to physical ones.
    Ipa,
    Gfn
);
frame!(
    /// A physical page frame number (`is_pfn`; the platform's bound is 36 bits, not the model's 28).
    Pfn,
    Pa
);
frame!(
    /// A guest page frame number (`is_gfn`).
    Gfn,
    Ipa
);

/// Pages that one level-2 entry maps (specification: `PMD_PAGE_NUM`).
pub const PMD_PAGES: u64 = PMD_SIZE / PAGE_SIZE;

impl Pfn {
    /// The host page that is this frame: the host's stage 2 is the identity.
    pub const fn host_gfn(self) -> Gfn {
        Gfn(self.0)
    }
}

impl Ipa {
    /// The physical address that is this address of the host: its stage 2 is the identity.
    pub const fn host_pa(self) -> Pa {
        Pa(self.0)
    }
}

/// The id of a principal: 0 the host, 1 to 15 VMs, 16 Corevisor itself (`is_vmid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Vmid(u8);

/// Number of principals: the host, 15 VMs, Corevisor.
pub const VMID_COUNT: usize = 17;
/// The untrusted host (specification: `HOSTVISOR`).
pub const HOSTVISOR: Vmid = Vmid(0);
/// Corevisor itself (specification: `COREVISOR`).
pub const COREVISOR: Vmid = Vmid(16);

impl Vmid {
    /// The principal with id `id`, or `None` above 16.
    pub const fn new(id: u64) -> Option<Self> {
        if id < VMID_COUNT as u64 { Some(Self(id as u8)) } else { None }
    }

    /// The VM with id `id`, or `None` unless `0 < id < 16` (`is_vm`).
    pub const fn new_vm(id: u64) -> Option<Self> {
        if id > 0 && id < COREVISOR.0 as u64 { Some(Self(id as u8)) } else { None }
    }

    /// Whether it is a VM's (`is_vm`).
    pub const fn is_vm(self) -> bool {
        self.0 > 0 && self.0 < COREVISOR.0
    }

    /// The plain number, fit for an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            HOSTVISOR => f.write_str("host"),
            COREVISOR => f.write_str("corevisor"),
            Self(id) => write!(f, "vm{id}"),
        }
    }
}

/// The number of a vCPU in its VM (`is_vcpu`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct VcpuId(u8);

/// vCPUs of a VM, at most.
pub const VCPU_PER_VM: usize = 8;

impl VcpuId {
    /// vCPU number `id`, or `None` from 8 on.
    pub const fn new(id: u64) -> Option<Self> {
        if id < VCPU_PER_VM as u64 { Some(Self(id as u8)) } else { None }
    }

    /// The plain number, fit for an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for VcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vcpu{}", self.0)
    }
}

/// A half-open range of physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl Range {
    /// `size` bytes from `start`, or `None` if the range is empty or leaves the 48-bit address space.
    pub fn new(start: u64, size: u64) -> Option<Self> {
        let end = start.checked_add(size)?;
        (size > 0 && end <= ADDR_SPACE).then_some(Self { start, end })
    }

    /// Bytes in the range.
    pub const fn size(self) -> u64 {
        self.end - self.start
    }

    /// Whether `address` lies in it.
    pub const fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// Whether `other` lies wholly in it.
    pub const fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether the two share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// What is left of it, in order, when `hole` is taken away.
    pub fn minus(self, hole: Self) -> impl Iterator<Item = Self> {
        let before = Self { start: self.start, end: hole.start.clamp(self.start, self.end) };
        let after = Self { start: hole.end.clamp(self.start, self.end), end: self.end };
        [before, after].into_iter().filter(|part| part.start < part.end)
    }

    /// The range widened to whole multiples of `size`, a power of two.
    pub const fn align_out(self, size: u64) -> Self {
        Self { start: self.start & !(size - 1), end: self.end.next_multiple_of(size) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x} - {:#018x}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stop_at_48_bits() {
        assert_eq!(Pa::new(ADDR_SPACE - 1).map(Pa::as_u64), Some(ADDR_SPACE - 1));
        assert_eq!(Pa::new(ADDR_SPACE), None);
        assert_eq!(Pa::new(u64::MAX), None);
        assert_eq!(Pa::new(ADDR_SPACE - 1).unwrap().checked_add(1), None);
        assert_eq!(Pa::new(1).unwrap().checked_add(u64::MAX), None);
        assert_eq!(Pfn::new(1 << 36), None);
    }

    #[test]
    fn only_1_to_15_are_vms() {
        assert_eq!(Vmid::new_vm(0), None);
        assert_eq!(Vmid::new_vm(1).map(Vmid::index), Some(1));
        assert_eq!(Vmid::new_vm(15).map(Vmid::index), Some(15));
        assert_eq!(Vmid::new_vm(16), None);
        assert_eq!(Vmid::new_vm(1 << 32), None);
        for id in 0..17 {
            assert_eq!(Vmid::new(id).unwrap().is_vm(), Vmid::new_vm(id).is_some());
        }
        assert_eq!(Vmid::new(16), Some(COREVISOR));
        assert_eq!(Vmid::new(17), None);
    }

    #[test]
    fn a_vm_has_8_vcpus() {
        assert_eq!(VcpuId::new(7).map(VcpuId::index), Some(7));
        assert_eq!(VcpuId::new(8), None);
        assert_eq!(VcpuId::new(1 << 32), None);
        assert_eq!(std::format!("{}", VcpuId::new(7).unwrap()), "vcpu7");
    }

    #[test]
    fn a_hole_leaves_what_is_beside_it() {
        let range = |start, end| Range { start, end };
        let left = |hole| range(10, 20).minus(hole).collect::<std::vec::Vec<_>>();
        assert_eq!(left(range(12, 15)), [range(10, 12), range(15, 20)]);
        assert_eq!(left(range(5, 15)), [range(15, 20)]);
        assert_eq!(left(range(15, 25)), [range(10, 15)]);
        assert_eq!(left(range(5, 25)), []);
        assert_eq!(left(range(1, 5)), [range(10, 20)]);
        assert_eq!(left(range(25, 30)), [range(10, 20)]);
    }

    #[test]
    fn ranges_refuse_wrap_and_emptiness() {
        assert_eq!(Range::new(u64::MAX, 2), None);
        assert_eq!(Range::new(0, 0), None);
        assert_eq!(Range::new(ADDR_SPACE - 4096, 4097), None);
        assert!(Range::new(ADDR_SPACE - 4096, 4096).is_some());
        let r = Range::new(0x1000, 0x1000).unwrap();
        assert!(r.contains(0x1fff) && !r.contains(0x2000));
        assert!(!r.overlaps(Range::new(0x2000, 1).unwrap()));
        assert_eq!(Range::new(0x1001, 1).unwrap().align_out(PAGE_SIZE), r);
    }
}
