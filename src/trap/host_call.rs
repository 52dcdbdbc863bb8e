// SPDX-License-Identifier: GPL-2.0-only
//! The host's calls, parsed: every range test of `spec/layers/10-abi-flows.md` §10.1 and the stricter sides of
//! `spec/layers/09-traps.md` §9.5 are made here, once, before any call does anything.

use crate::abi::host_call as number;
use crate::addr::{VcpuId, Vmid};
use crate::refused::Refused;

/// Exclusive bound of physical and I/O addresses in calls (specification: `KVM_PHYS_SIZE`).
const PHYS_SIZE: u64 = 1 << 40;
/// Exclusive bound of guest addresses in calls (specification: `KVM_ADDR_SPACE`).
const ADDR_SIZE: u64 = 1 << 48;
const PAGE_MASK: u64 = 0x0FFF_FFFF_FFFF_F000 & (ADDR_SIZE - 1);

/// A call whose arguments are all in range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostCall {
    /// A call of the specification that a later version will carry out.
    Later,
    /// [`number::VCPU_RUN`].
    VcpuRun {
        /// Of which VM.
        v: Vmid,
        /// Which one.
        vcpu: VcpuId,
    },
    /// [`number::VERSION`].
    Version,
    /// [`number::FEATURES`].
    Features,
    /// [`number::LOG_READ`].
    LogRead {
        /// Bytes since boot.
        position: u64,
    },
    /// [`number::STATS`].
    Stats {
        /// Which one.
        counter: u64,
    },
}

/// `value`, if it is less than `bound`; else the refusal of argument `n`.
fn below(n: u8, value: u64, bound: u64) -> Result<u64, Refused> {
    if value < bound { Ok(value) } else { Err(Refused::Argument(n)) }
}

/// That `start + size`, rounded up to whole pages, stays below `bound`; `n` is the argument with the size.
fn span(n: u8, start: u64, size: u64, bound: u64) -> Result<(), Refused> {
    let end = size.checked_next_multiple_of(4096).and_then(|size| start.checked_add(size));
    match end {
        Some(end) if end < bound => Ok(()),
        _ => Err(Refused::Argument(n)),
    }
}

fn vm(n: u8, value: u64) -> Result<Vmid, Refused> {
    Vmid::new_vm(value).ok_or(Refused::Argument(n))
}

impl HostCall {
    /// Call `call` (the function id less [`crate::abi::HOST_CALL_BASE`]) with the arguments x1 to x5.
    ///
    /// # Errors
    /// [`Refused::NotSupported`] for a number that is no call; [`Refused::Argument`] for a value out of range.
    pub fn parse(call: u32, args: [u64; 5]) -> Result<Self, Refused> {
        let [x1, x2, x3, x4, x5] = args;
        match call {
            number::TIMER_SET_CNTVOFF => {
                below(1, x1, 1 << 32)?;
                below(2, x2, 1 << 32)?;
            }
            number::CLEAR_VM_S2_RANGE | number::SET_BOOT_INFO => {
                vm(1, x1)?;
                below(2, x2, PHYS_SIZE)?;
                below(3, x3, PHYS_SIZE)?;
                span(3, x2, x3, PHYS_SIZE)?;
            }
            number::REMAP_VM_IMAGE => {
                vm(1, x1)?;
                below(2, x2, PHYS_SIZE >> 12)?;
                below(3, x3, 5)?;
            }
            number::VERIFY_VM_IMAGE | number::DESTROY_VM => {
                vm(1, x1)?;
            }
            number::SMMU_FREE_PGD => {
                below(1, x1, 8)?;
                below(2, x2, 2)?;
            }
            number::SMMU_ALLOC_PGD => {
                below(1, x1, 8)?;
                below(2, x2, 16)?;
                below(3, x3, 2)?;
            }
            number::SMMU_LPAE_MAP => {
                below(1, x1, PHYS_SIZE)?;
                below(2, x2, PHYS_SIZE)?;
                below(3, x3, (1 << 63) - 1)?;
                below(3, x3 & PAGE_MASK, 1)?;
                below(4, x4, 8)?;
                below(5, x5, 2)?;
            }
            number::SMMU_LPAE_IOVA_TO_PHYS | number::SMMU_CLEAR => {
                below(1, x1, PHYS_SIZE)?;
                below(2, x2, 8)?;
                below(3, x3, 2)?;
            }
            number::PHYS_ADDR_IOREMAP => {
                vm(1, x1)?;
                span(4, x2, x4, ADDR_SIZE)?;
                span(4, x3, x4, PHYS_SIZE)?;
            }
            number::REGISTER_KVM => {}
            number::REGISTER_VCPU | number::SAVE_CRYPT_VCPU | number::LOAD_CRYPT_VCPU => {
                vm(1, x1)?;
                below(2, x2, 8)?;
            }
            number::ENCRYPT_BUF => {
                vm(1, x1)?;
                below(2, x2, PHYS_SIZE)?;
                below(3, x3, PHYS_SIZE)?;
            }
            number::DECRYPT_BUF => {
                vm(1, x1)?;
                below(2, x2, PHYS_SIZE)?;
            }
            number::VCPU_RUN => {
                let vcpu = VcpuId::new(x2).ok_or(Refused::Argument(2));
                return Ok(Self::VcpuRun { v: vm(1, x1)?, vcpu: vcpu? });
            }
            number::VERSION => return Ok(Self::Version),
            number::FEATURES => return Ok(Self::Features),
            number::LOG_READ => return Ok(Self::LogRead { position: x1 }),
            number::STATS => return Ok(Self::Stats { counter: x1 }),
            _ => return Err(Refused::NotSupported),
        }
        Ok(Self::Later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Result<HostCall, Refused> = Ok(HostCall::Later);

    /// Every call of the specification with arguments at the very edge of what it accepts.
    const EDGE: [(u32, [u64; 5]); 19] = [
        (13, [u32::MAX as u64, u32::MAX as u64, 0, 0, 0]),
        (14, [15, 0, PHYS_SIZE - 4096, 0, 0]),
        (15, [1, PHYS_SIZE - 4097, 4096, 0, 0]),
        (16, [15, (1 << 28) - 1, 4, 0, 0]),
        (17, [15, 0, 0, 0, 0]),
        (18, [7, 1, 0, 0, 0]),
        (19, [7, 15, 1, 0, 0]),
        (20, [PHYS_SIZE - 1, PHYS_SIZE - 1, 0x7000_0000_0000_0FFF, 7, 1]),
        (21, [PHYS_SIZE - 1, 7, 1, 0, 0]),
        (22, [PHYS_SIZE - 1, 7, 1, 0, 0]),
        (23, [15, ADDR_SIZE - 4097, PHYS_SIZE - 4097, 4096, 0]),
        (24, [u64::MAX; 5]),
        (25, [15, 7, 0, 0, 0]),
        (26, [15, PHYS_SIZE - 1, PHYS_SIZE - 1, 0, 0]),
        (27, [15, PHYS_SIZE - 1, 0, 0, 0]),
        (28, [15, 7, 0, 0, 0]),
        (29, [15, 7, 0, 0, 0]),
        (30, [15, 7, 0, 0, 0]),
        (34, [15, 0, 0, 0, 0]),
    ];

    #[test]
    fn the_edge_of_every_range_is_accepted() {
        for (call, args) in EDGE {
            let expected = match call {
                number::VCPU_RUN => Ok(HostCall::VcpuRun { v: vm(1, 15).unwrap(), vcpu: VcpuId::new(7).unwrap() }),
                _ => LATER,
            };
            assert_eq!(HostCall::parse(call, args), expected, "call {call}");
        }
    }

    /// One step past the edge, argument by argument.
    #[test]
    fn beyond_the_edge_is_refused_and_named() {
        let refused: [(u32, usize, u64); 43] = [
            (13, 1, 1 << 32),
            (13, 2, 1 << 32),
            (14, 1, 0),
            (14, 1, 16),
            (14, 1, u64::MAX),
            (14, 2, PHYS_SIZE),
            (14, 3, PHYS_SIZE),
            (14, 3, u64::MAX),
            (15, 1, 1 << 32),
            (15, 2, u64::MAX),
            (15, 3, 4097),
            (15, 3, u64::MAX),
            (16, 1, 0),
            (16, 2, 1 << 28),
            (16, 3, 5),
            (17, 1, 0),
            (17, 1, 16),
            (18, 1, 8),
            (18, 2, 2),
            (19, 1, 8),
            (19, 2, 16),
            (19, 3, 2),
            (20, 1, PHYS_SIZE),
            (20, 2, PHYS_SIZE),
            (20, 3, (1 << 63) - 1),
            (20, 3, 0x1000),
            (20, 4, 8),
            (20, 5, 2),
            (21, 1, PHYS_SIZE),
            (21, 2, 8),
            (21, 3, 2),
            (22, 1, u64::MAX),
            (22, 2, 8),
            (22, 3, 2),
            (23, 1, 0),
            (23, 4, 4097),
            (23, 4, u64::MAX),
            (25, 2, 8),
            (26, 3, PHYS_SIZE),
            (27, 2, PHYS_SIZE),
            (28, 2, u64::MAX),
            (30, 2, 8),
            (34, 1, 16),
        ];
        for (call, argument, value) in refused {
            let (_, mut args) = EDGE.into_iter().find(|(c, _)| *c == call).unwrap();
            args[argument - 1] = value;
            let got = HostCall::parse(call, args);
            assert_eq!(got, Err(Refused::Argument(argument as u8)), "call {call} x{argument}={value:#x}");
        }
    }

    #[test]
    fn what_is_no_call_of_the_host_is_not_supported() {
        for call in (0..13).chain([31]).chain(37..0x1000) {
            assert_eq!(HostCall::parse(call, [0; 5]), Err(Refused::NotSupported), "call {call}");
        }
    }
}
