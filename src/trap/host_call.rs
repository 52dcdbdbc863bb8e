// SPDX-License-Identifier: GPL-2.0-only
//! The host's calls, parsed: every range test of `spec/layers/10-abi-flows.md` §10.1 and the stricter sides of
//! `spec/layers/09-traps.md` §9.5 are made here, once, before any call does anything.

use crate::abi::{HOST_DMA, host_call as number};
use crate::addr::{Ipa, PAGE_SIZE, Pa, Pfn, VcpuId, Vmid};
use crate::mmio::{ContextBank, SmmuIndex};
use crate::refused::Refused;
use crate::trap::RegisterName;
use crate::vm::{Generation, MAX_LOAD_INFO_NUM, SavedPage, Seal, Signature, VmFlags};

/// Exclusive bound of physical and I/O addresses in calls (specification: `KVM_PHYS_SIZE`).
const PHYS_SIZE: u64 = 1 << 40;
/// Exclusive bound of guest addresses in calls (specification: `KVM_ADDR_SPACE`).
const ADDR_SIZE: u64 = 1 << 48;
const PAGE_MASK: u64 = 0x0FFF_FFFF_FFFF_F000 & (ADDR_SIZE - 1);

/// A call whose arguments are all in range.
#[expect(missing_docs, reason = "the arguments are explained with the call's number")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostCall {
    /// [`number::TIMER_SET_CNTVOFF`].
    TimerSetCntvoff { offset: u64 },
    /// [`number::CLEAR_VM_S2_RANGE`].
    ClearVmS2Range { v: Vmid, start: Pa, size: u64 },
    /// [`number::SET_BOOT_INFO`].
    SetBootInfo { v: Vmid, addr: Ipa, size: u64, signature: Signature },
    /// [`number::REMAP_VM_IMAGE`].
    RemapVmImage { v: Vmid, page: Pfn, image: usize },
    /// [`number::VERIFY_VM_IMAGE`].
    VerifyVmImage { v: Vmid },
    /// [`number::SMMU_FREE_PGD`].
    SmmuFreePgd { bank: ContextBank, smmu: SmmuIndex },
    /// [`number::SMMU_ALLOC_PGD`].
    SmmuAllocPgd { bank: ContextBank, v: Vmid, smmu: SmmuIndex },
    /// [`number::SMMU_LPAE_MAP`].
    SmmuLpaeMap { iova: Ipa, pa: Pa, attributes: u64, bank: ContextBank, smmu: SmmuIndex },
    /// [`number::SMMU_LPAE_IOVA_TO_PHYS`].
    SmmuLpaeIovaToPhys { iova: Ipa, bank: ContextBank, smmu: SmmuIndex },
    /// [`number::SMMU_CLEAR`].
    SmmuClear { iova: Ipa, bank: ContextBank, smmu: SmmuIndex },
    /// [`number::PHYS_ADDR_IOREMAP`].
    PhysAddrIoremap { v: Vmid, gpa: Ipa, pa: Pa, size: u64 },
    /// [`number::REGISTER_KVM`].
    RegisterKvm { flags: VmFlags },
    /// [`number::REGISTER_VCPU`].
    RegisterVcpu { v: Vmid, vcpu: VcpuId, run_page: Pfn },
    /// [`number::ENCRYPT_BUF`].
    EncryptBuf { v: Vmid, page: Pfn, to: Pfn },
    /// [`number::DECRYPT_BUF`].
    DecryptBuf { v: Vmid, page: Pfn, saved: SavedPage },
    /// [`number::SAVE_CRYPT_VCPU`].
    SaveCryptVcpu { v: Vmid, vcpu: VcpuId },
    /// [`number::LOAD_CRYPT_VCPU`].
    LoadCryptVcpu { v: Vmid, vcpu: VcpuId },
    /// [`number::VCPU_RUN`]; the vCPU is AM-98 `get_int_run_vcpuid`.
    VcpuRun { v: Vmid, vcpu: VcpuId },
    /// [`number::VERSION`].
    Version,
    /// [`number::FEATURES`].
    Features,
    /// [`number::DESTROY_VM`].
    DestroyVm { v: Vmid },
    /// [`number::LOG_READ`].
    LogRead { position: u64 },
    /// [`number::STATS`].
    Stats { counter: u64 },
    /// [`number::VM_MEASUREMENT`].
    VmMeasurement { v: Vmid },
    /// [`number::PAGE_OWNER`].
    PageOwner { page: Pfn },
    /// [`number::VM_ID_REGISTER`].
    VmIdRegister { name: RegisterName },
    /// [`number::SMMU_ATTACH_STREAM`]; without a bank, to the host's DMA table.
    SmmuAttachStream { stream: u32, bank: Option<ContextBank>, smmu: SmmuIndex },
    /// [`number::SMMU_DETACH_STREAM`].
    SmmuDetachStream { stream: u32, smmu: SmmuIndex },
}

/// `value`, if it is less than `bound`; else the refusal of argument `n`.
fn below(n: u8, value: u64, bound: u64) -> Result<u64, Refused> {
    if value < bound { Ok(value) } else { Err(Refused::Argument(n)) }
}

/// That `start + size`, rounded up to whole pages, stays below `bound`; `n` is the argument with the size.
fn span(n: u8, start: u64, size: u64, bound: u64) -> Result<(), Refused> {
    let end = size.checked_next_multiple_of(PAGE_SIZE).and_then(|size| start.checked_add(size));
    match end {
        Some(end) if end < bound => Ok(()),
        _ => Err(Refused::Argument(n)),
    }
}

fn vm(n: u8, value: u64) -> Result<Vmid, Refused> {
    Vmid::new_vm(value).ok_or(Refused::Argument(n))
}

fn vcpu(n: u8, value: u64) -> Result<VcpuId, Refused> {
    VcpuId::new(value).ok_or(Refused::Argument(n))
}

fn bank(n: u8, value: u64) -> Result<ContextBank, Refused> {
    ContextBank::new(value).ok_or(Refused::Argument(n))
}

/// The id of a stream.
fn stream(n: u8, value: u64) -> Result<u32, Refused> {
    u32::try_from(value).map_err(|_| Refused::Argument(n))
}

fn smmu(n: u8, value: u64) -> Result<SmmuIndex, Refused> {
    SmmuIndex::new(value).ok_or(Refused::Argument(n))
}

/// A physical address.
fn phys(n: u8, value: u64) -> Result<Pa, Refused> {
    below(n, value, PHYS_SIZE).and_then(|value| Pa::new(value).ok_or(Refused::Argument(n)))
}

/// A guest or I/O address below `bound`.
fn guest(n: u8, value: u64, bound: u64) -> Result<Ipa, Refused> {
    below(n, value, bound).and_then(|value| Ipa::new(value).ok_or(Refused::Argument(n)))
}

/// The signature in x4 to x11.
fn signature(args: &[u64; 11]) -> Signature {
    let mut bytes = [0; 64];
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&args[3..]) {
        *to = word.to_le_bytes();
    }
    bytes
}

impl HostCall {
    /// Call `call` (the function id less [`crate::abi::HOST_CALL_BASE`]) with the arguments x1 to x11.
    ///
    /// # Errors
    /// [`Refused::NotSupported`] for a number that is no call; [`Refused::Argument`] for a value out of range.
    pub fn parse(call: u32, args: [u64; 11]) -> Result<Self, Refused> {
        let [x1, x2, x3, x4, x5, x6, x7, x8, ..] = args;
        Ok(match call {
            number::TIMER_SET_CNTVOFF => {
                Self::TimerSetCntvoff { offset: below(1, x1, 1 << 32)? | below(2, x2, 1 << 32)? << 32 }
            }
            number::CLEAR_VM_S2_RANGE => {
                let (v, start) = (vm(1, x1)?, phys(2, x2)?);
                below(3, x3, PHYS_SIZE)?;
                span(3, x2, x3, PHYS_SIZE)?;
                Self::ClearVmS2Range { v, start, size: x3 }
            }
            number::SET_BOOT_INFO => {
                let (v, addr) = (vm(1, x1)?, guest(2, x2, PHYS_SIZE)?);
                below(3, x3, PHYS_SIZE)?;
                span(3, x2, x3, PHYS_SIZE)?;
                Self::SetBootInfo { v, addr, size: x3, signature: signature(&args) }
            }
            number::REMAP_VM_IMAGE => {
                let (v, page) = (vm(1, x1)?, below(2, x2, PHYS_SIZE / PAGE_SIZE)?);
                let page = Pfn::new(page).ok_or(Refused::Argument(2))?;
                Self::RemapVmImage { v, page, image: below(3, x3, MAX_LOAD_INFO_NUM as u64)? as usize }
            }
            number::VERIFY_VM_IMAGE => Self::VerifyVmImage { v: vm(1, x1)? },
            number::DESTROY_VM => Self::DestroyVm { v: vm(1, x1)? },
            number::SMMU_FREE_PGD => Self::SmmuFreePgd { bank: bank(1, x1)?, smmu: smmu(2, x2)? },
            number::SMMU_ALLOC_PGD => {
                let bank = bank(1, x1)?;
                let v = below(2, x2, 16).and_then(|v| Vmid::new(v).ok_or(Refused::Argument(2)))?;
                Self::SmmuAllocPgd { bank, v, smmu: smmu(3, x3)? }
            }
            number::SMMU_LPAE_MAP => {
                let (iova, pa) = (guest(1, x1, PHYS_SIZE)?, phys(2, x2)?);
                below(3, x3, (1 << 63) - 1)?;
                below(3, x3 & PAGE_MASK, 1)?;
                Self::SmmuLpaeMap { iova, pa, attributes: x3, bank: bank(4, x4)?, smmu: smmu(5, x5)? }
            }
            number::SMMU_LPAE_IOVA_TO_PHYS => {
                Self::SmmuLpaeIovaToPhys { iova: guest(1, x1, PHYS_SIZE)?, bank: bank(2, x2)?, smmu: smmu(3, x3)? }
            }
            number::SMMU_CLEAR => {
                Self::SmmuClear { iova: guest(1, x1, PHYS_SIZE)?, bank: bank(2, x2)?, smmu: smmu(3, x3)? }
            }
            number::PHYS_ADDR_IOREMAP => {
                let v = vm(1, x1)?;
                span(4, x2, x4, ADDR_SIZE)?;
                span(4, x3, x4, PHYS_SIZE)?;
                Self::PhysAddrIoremap { v, gpa: guest(2, x2, ADDR_SIZE)?, pa: phys(3, x3)?, size: x4 }
            }
            number::REGISTER_KVM => Self::RegisterKvm { flags: VmFlags::from_bits(x1).ok_or(Refused::Argument(1))? },
            number::REGISTER_VCPU => {
                let (v, vcpu, run_page) = (vm(1, x1)?, vcpu(2, x2)?, phys(3, x3)?);
                below(3, x3 % PAGE_SIZE, 1)?;
                Self::RegisterVcpu { v, vcpu, run_page: run_page.frame() }
            }
            number::ENCRYPT_BUF => {
                Self::EncryptBuf { v: vm(1, x1)?, page: phys(2, x2)?.frame(), to: phys(3, x3)?.frame() }
            }
            number::DECRYPT_BUF => {
                let seal = Seal { nonce: x3, tag: [x4, x5] };
                let saved = SavedPage { seal, gfn: x6, generation: Generation { lineage: x7, epoch: x8 } };
                Self::DecryptBuf { v: vm(1, x1)?, page: phys(2, x2)?.frame(), saved }
            }
            number::SAVE_CRYPT_VCPU => Self::SaveCryptVcpu { v: vm(1, x1)?, vcpu: vcpu(2, x2)? },
            number::LOAD_CRYPT_VCPU => Self::LoadCryptVcpu { v: vm(1, x1)?, vcpu: vcpu(2, x2)? },
            number::VCPU_RUN => {
                let (v, vcpu) = Self::parse_vcpu_run(x1, x2)?;
                Self::VcpuRun { v, vcpu }
            }
            number::VERSION => Self::Version,
            number::FEATURES => Self::Features,
            number::LOG_READ => Self::LogRead { position: x1 },
            number::STATS => Self::Stats { counter: x1 },
            number::VM_MEASUREMENT => Self::VmMeasurement { v: vm(1, x1)? },
            number::PAGE_OWNER => Self::PageOwner { page: Pfn::new(x1).ok_or(Refused::Argument(1))? },
            number::SMMU_ATTACH_STREAM => {
                let stream = stream(1, x1)?;
                let bank = if x2 == HOST_DMA { None } else { Some(bank(2, x2)?) };
                Self::SmmuAttachStream { stream, bank, smmu: smmu(3, x3)? }
            }
            number::SMMU_DETACH_STREAM => Self::SmmuDetachStream { stream: stream(1, x1)?, smmu: smmu(2, x2)? },
            number::VM_ID_REGISTER => Self::VmIdRegister { name: RegisterName::new(x1).ok_or(Refused::Argument(1))? },
            _ => return Err(Refused::NotSupported),
        })
    }

    /// The vCPU that [`number::VCPU_RUN`] is to run.
    ///
    /// # Errors
    /// [`Refused::Argument`].
    #[inline(always)]
    pub fn parse_vcpu_run(x1: u64, x2: u64) -> Result<(Vmid, VcpuId), Refused> {
        Ok((vm(1, x1)?, vcpu(2, x2)?))
    }

    /// Whether the call is about VMs or their devices, which not every machine holds ([`crate::machine::Machine::VMS`]).
    pub const fn needs_vms(&self) -> bool {
        !matches!(
            self,
            Self::Version | Self::Features | Self::LogRead { .. } | Self::Stats { .. } | Self::PageOwner { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every call of the specification with arguments at the very edge of what it accepts.
    const EDGE: [(u32, [u64; 5]); 23] = [
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
        (24, [3, u64::MAX, u64::MAX, u64::MAX, u64::MAX]),
        (25, [15, 7, PHYS_SIZE - 4096, 0, 0]),
        (26, [15, PHYS_SIZE - 1, PHYS_SIZE - 1, 0, 0]),
        (27, [15, PHYS_SIZE - 1, 0, 0, 0]),
        (28, [15, 7, 0, 0, 0]),
        (29, [15, 7, 0, 0, 0]),
        (30, [15, 7, 0, 0, 0]),
        (34, [15, 0, 0, 0, 0]),
        (37, [15, 0, 0, 0, 0]),
        (39, [0xFFFF, 0, 0, 0, 0]),
        (40, [u32::MAX as u64, 7, 1, 0, 0]),
        (41, [u32::MAX as u64, 1, 0, 0, 0]),
    ];

    /// `args`, and something for x6 to x11.
    fn with_11(args: [u64; 5]) -> [u64; 11] {
        core::array::from_fn(|i| args.get(i).copied().unwrap_or(u64::MAX))
    }

    // Tests: TD-1
    #[test]
    fn the_edge_of_every_range_is_accepted() {
        for (call, args) in EDGE {
            let parsed = HostCall::parse(call, with_11(args)).unwrap_or_else(|why| panic!("call {call}: {why}"));
            assert!(parsed.needs_vms(), "call {call}");
        }
    }

    /// One step past the edge, argument by argument.
    #[test]
    fn beyond_the_edge_is_refused_and_named() {
        let refused: [(u32, usize, u64); 58] = [
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
            (24, 1, 4),
            (24, 1, u64::MAX),
            (25, 2, 8),
            (25, 3, PHYS_SIZE),
            (25, 3, 1),
            (25, 3, u64::MAX),
            (26, 3, PHYS_SIZE),
            (27, 2, PHYS_SIZE),
            (28, 2, u64::MAX),
            (30, 2, 8),
            (34, 1, 16),
            (37, 1, 0),
            (37, 1, 16),
            (39, 1, 0x1_0000),
            (39, 1, u64::MAX),
            (40, 1, 1 << 32),
            (40, 2, 8),
            (40, 2, u64::MAX - 1),
            (40, 3, 2),
            (41, 1, u64::MAX),
            (41, 2, 2),
        ];
        for (call, argument, value) in refused {
            let (_, mut args) = EDGE.into_iter().find(|(c, _)| *c == call).unwrap();
            args[argument - 1] = value;
            let got = HostCall::parse(call, with_11(args));
            assert_eq!(got, Err(Refused::Argument(argument as u8)), "call {call} x{argument}={value:#x}");
        }
    }

    #[test]
    fn what_is_no_call_of_the_host_is_not_supported() {
        for call in (0..13).chain([31]).chain(42..0x1000) {
            assert_eq!(HostCall::parse(call, [0; 11]), Err(Refused::NotSupported), "call {call}");
        }
    }

    #[test]
    fn arguments_end_up_where_they_belong() {
        let v = Vmid::new_vm(3).unwrap();
        let pfn = |n| Pfn::new(n).unwrap();
        let parse = |call, args| HostCall::parse(call, args).unwrap();
        let halves = parse(13, [0x89AB_CDEF, 0x0123_4567, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(halves, HostCall::TimerSetCntvoff { offset: 0x0123_4567_89AB_CDEF });
        let page = parse(27, [3, 0x5_4321, 1, 2, 3, 4, 5, 6, 0, 0, 0]);
        let seal = Seal { nonce: 1, tag: [2, 3] };
        let saved = SavedPage { seal, gfn: 4, generation: Generation { lineage: 5, epoch: 6 } };
        assert_eq!(page, HostCall::DecryptBuf { v, page: pfn(0x54), saved });
        let pages = parse(26, [3, 0x5_4321, 0x6_5432, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(pages, HostCall::EncryptBuf { v, page: pfn(0x54), to: pfn(0x65) });
        let run_page = parse(25, [3, 7, 0x7_6000, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(run_page, HostCall::RegisterVcpu { v, vcpu: VcpuId::new(7).unwrap(), run_page: pfn(0x76) });
        let words: [u64; 11] = core::array::from_fn(|i| if i < 3 { 3 } else { 0x0101_0101_0101_0101 * i as u64 });
        let HostCall::SetBootInfo { signature, .. } = parse(15, words) else { panic!("not SET_BOOT_INFO") };
        assert_eq!(signature, core::array::from_fn(|i| 3 + i as u8 / 8));
        for call in [32, 33, 35, 36, 38] {
            assert!(!parse(call, [0; 11]).needs_vms(), "call {call}");
        }
        let of_page = |number| HostCall::parse(38, core::array::from_fn(|i| if i == 0 { number } else { 7 }));
        assert_eq!(of_page((1 << 36) - 1), Ok(HostCall::PageOwner { page: pfn((1 << 36) - 1) }));
        for number in [1 << 36, 1 << 48, u64::MAX] {
            assert_eq!(of_page(number), Err(Refused::Argument(1)), "page {number:#x}");
        }
    }
}
