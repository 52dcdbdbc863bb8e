// SPDX-License-Identifier: GPL-2.0-only
//! The specification's constants and range predicates.
//!
//! What Corevisor's library has, too, is taken from there, so that the two can't drift apart. What real hardware,
//! or Corevisor's own interface, replaces is in [`model_only`].

use corevisor::{addr, memory, mmio, npt, vm};

/// Nobody; no index; no count.
pub const INVALID: u32 = u32::MAX;
/// The same, 64 bits wide.
pub const INVALID64: u64 = u64::MAX;
/// Limit of guest addresses.
pub const KVM_ADDR_SPACE: u64 = addr::ADDR_SPACE;
/// Limit of guest page numbers.
pub const KVM_GFN_SPACE: u64 = addr::ADDR_SPACE / addr::PAGE_SIZE;
/// The host's principal.
pub const HOSTVISOR: u32 = addr::HOSTVISOR.index() as u32;
/// KCore's own principal.
pub const COREVISOR: u32 = addr::COREVISOR.index() as u32;
/// vCPUs of each principal.
pub const VCPU_PER_VM: u32 = addr::VCPU_PER_VM as u32;
/// Images of each VM.
pub const MAX_LOAD_INFO_NUM: u32 = vm::MAX_LOAD_INFO_NUM as u32;
/// RAM regions.
pub const MAX_MEMBLOCK_NUM: u32 = memory::MAX_REGIONS as u32;
/// Registers that an index can name.
pub const MAX_REGISTER_NUM: u32 = 256;
/// Outstanding grants of a page.
pub const MAX_SHARE_COUNT: u32 = 100;
/// SMMUs.
pub const SMMU_NUM: u32 = mmio::MAX_SMMUS as u32;
/// Context banks of an SMMU.
pub const SMMU_NUM_CTXT_BANKS: u32 = mmio::BANKS_PER_SMMU as u32;
/// Context banks of all SMMUs; the ceiling of a host page's DMA count (D-10).
pub const EL2_SMMU_CFG_SIZE: u32 = 16;
/// Bytes of a page.
pub const PAGE_SIZE: u64 = addr::PAGE_SIZE;
/// Bytes of a block.
pub const PMD_SIZE: u64 = addr::PMD_SIZE;
/// Pages of a block.
pub const PMD_PAGE_NUM: u64 = addr::PMD_SIZE / addr::PAGE_SIZE;
/// Entries of a table.
pub const PTRS_PER_PMD: u64 = 512;
/// The address part of a descriptor.
pub const PAGE_MASK: u64 = 0x0FFF_FFFF_FFFF_F000;
/// The 48 bits of an address.
pub const PHYS_MASK: u64 = addr::ADDR_SPACE - 1;
/// Shift of the root index.
pub const PGDIR_SHIFT: u32 = npt::Level::L0.shift();
/// Shift of the level-1 index.
pub const PUD_SHIFT: u32 = npt::Level::L1.shift();
/// Shift of the level-2 index.
pub const PMD_SHIFT: u32 = npt::Level::L2.shift();
/// Shift of the level-3 index.
pub const PAGE_SHIFT: u32 = npt::Level::L3.shift();
/// Entries of an SMMU root: two pages.
pub const PTRS_PER_S2_PGD: u64 = 1024;
/// Low bits of a table descriptor.
pub const TABLE: u64 = 3;
/// Clearing this bit of a page descriptor makes it a block.
pub const PMD_TABLE_BIT: u64 = 2;
/// The VMID's place in a VTTBR.
pub const VTTBR_VMID_SHIFT: u32 = 48;
/// Attributes of a device page.
pub const PAGE_S2_DEVICE: u64 = npt::PAGE_S2_DEVICE;
/// Stage-2 read and write.
pub const S2_RDWR: u64 = npt::S2_RDWR;
/// "This page was given away": an invalid descriptor.
pub const PAGE_GUEST: u64 = npt::PAGE_GUEST;
/// Guest addresses below are emulated devices.
pub const MAX_MMIO_ADDR: u64 = 0x4000_0000;
/// Dirty word: advance the PC on resume.
pub const DIRTY_PC_FLAG: u64 = 1 << 32;
/// Dirty word: inject an exception on resume.
pub const PENDING_EXCEPT_INJECT_FLAG: u64 = 7 << 33;
/// PSTATE of an injected exception: EL1h, DAIF masked.
pub const PSTATE_FAULT_BITS_64: u64 = 0x3C5;
/// PSCI CPU_ON (64 bit).
pub const PSCI_CPU_ON: u64 = 0xC400_0003;
/// PSCI AFFINITY_INFO (32 bit).
pub const PSCI_AFFINITY_INFO: u64 = 0x8400_0004;
/// PSCI SYSTEM_OFF.
pub const PSCI_SYSTEM_OFF: u64 = 0x8400_0008;
/// Syndrome: the access was a write.
pub const ESR_WNR: u64 = 0x40;
/// Syndrome: fault on a stage-1 walk.
pub const ESR_S1PTW: u64 = 0x80;
/// Syndrome: the exception class.
pub const ESR_EC_MASK: u64 = 0xFC00_0000;
/// Shift of the exception class.
pub const ESR_EC_SHIFT: u32 = 26;
/// Class: WFI or WFE.
pub const EC_WFX: u64 = 1;
/// Class: HVC from AArch32.
pub const EC_HVC32: u64 = 0x12;
/// Class: HVC from AArch64.
pub const EC_HVC64: u64 = 0x16;
/// Class: instruction abort from a lower level.
pub const EC_IABT_LOW: u64 = 0x20;
/// Class: data abort from a lower level.
pub const EC_DABT_LOW: u64 = 0x24;
/// The VM left by a synchronous exception.
pub const ARM_EXCEPTION_TRAP: u64 = 2;
/// SMMU: size of the register window, less one.
pub const SMMU_OFFSET_MASK: u64 = 0xFFFF;
/// SMMU: the context banks start here.
pub const SMMU_GLOBAL_BASE: u64 = 0x8000;
/// SMMU: shift of the page size.
pub const SMMU_PGSHIFT: u32 = 12;
/// SMMU: GR1 space.
pub const GR1_BASE: u64 = 0x1000;
/// SMMU: end of the context bank attribute registers.
pub const GR1_END: u64 = 0x1800;
/// SMMU: the registers that choose a stream's bank.
pub const S2CR_BASE: u64 = 0xC00;
/// SMMU: a context bank's control register.
pub const CB_SCTLR: u64 = 0;
/// SMMU: a context bank's translation control register.
pub const CB_TCR: u64 = 0x30;
/// SMMU: a context bank's root register.
pub const CB_TTBR0: u64 = 0x20;
/// SMMU: a context bank's context register.
pub const CB_CONTEXTIDR: u64 = 0x34;
/// SMMU: global configuration register 0.
pub const GR0_SCR0: u64 = 0;
/// SMMU: global configuration register 2.
pub const GR0_SCR2: u64 = 8;
/// SMMU: sCR0's "fault on stream match conflict".
pub const SCR0_SMCFCFG_SHIFT: u32 = 21;
/// SMMU: VMID field of CBAR and sCR2.
pub const CBAR_VMID_MASK: u64 = 0xFF;
/// SMMU: type field of CBAR.
pub const CBAR_TYPE_SHIFT: u32 = 16;

/// VM and vCPU states.
pub mod state {
    /// Not registered.
    pub const UNUSED: u32 = 0;
    /// Defined, never used.
    pub const MAPPED: u32 = 1;
    /// Registered.
    pub const READY: u32 = 2;
    /// Images verified.
    pub const VERIFIED: u32 = 3;
    /// Switched off, for good.
    pub const POWEROFF: u32 = 4;
    /// vCPU: running on some CPU.
    pub const ACTIVE: u32 = 5;
}

/// Host calls (11 and 12: VM calls).
pub mod hvc {
    use corevisor::abi::host_call;

    /// VM: share pages with the host.
    pub const SET_DESC_PFN: u64 = 11;
    /// VM: take them back.
    pub const UNSET_DESC_PFN: u64 = 12;
    /// Virtual counter offset.
    pub const TIMER_SET_CNTVOFF: u64 = host_call::TIMER_SET_CNTVOFF as u64;
    /// Reclaim pages of a VM that is off.
    pub const CLEAR_VM_S2_RANGE: u64 = host_call::CLEAR_VM_S2_RANGE as u64;
    /// Announce an image.
    pub const SET_BOOT_INFO: u64 = host_call::SET_BOOT_INFO as u64;
    /// Show KCore a page of an image.
    pub const REMAP_VM_IMAGE: u64 = host_call::REMAP_VM_IMAGE as u64;
    /// Verify and load all images.
    pub const VERIFY_VM_IMAGES: u64 = host_call::VERIFY_VM_IMAGE as u64;
    /// Free an SMMU bank.
    pub const SMMU_FREE_PGD: u64 = host_call::SMMU_FREE_PGD as u64;
    /// Take an SMMU bank.
    pub const SMMU_ALLOC_PGD: u64 = host_call::SMMU_ALLOC_PGD as u64;
    /// Map a page for a device.
    pub const SMMU_LPAE_MAP: u64 = host_call::SMMU_LPAE_MAP as u64;
    /// Look up an io address.
    pub const SMMU_LPAE_IOVA_TO_PHYS: u64 = host_call::SMMU_LPAE_IOVA_TO_PHYS as u64;
    /// Unmap a page from a device.
    pub const SMMU_CLEAR: u64 = host_call::SMMU_CLEAR as u64;
    /// Map a device into a VM.
    pub const PHYS_ADDR_IOREMAP: u64 = host_call::PHYS_ADDR_IOREMAP as u64;
    /// New VM.
    pub const REGISTER_KVM: u64 = host_call::REGISTER_KVM as u64;
    /// New vCPU.
    pub const REGISTER_VCPU: u64 = host_call::REGISTER_VCPU as u64;
    /// Encrypt a page.
    pub const ENCRYPT_BUF: u64 = host_call::ENCRYPT_BUF as u64;
    /// Decrypt a page.
    pub const DECRYPT_BUF: u64 = host_call::DECRYPT_BUF as u64;
    /// Encrypt a vCPU.
    pub const SAVE_CRYPT_VCPU: u64 = host_call::SAVE_CRYPT_VCPU as u64;
    /// Decrypt a vCPU.
    pub const LOAD_CRYPT_VCPU: u64 = host_call::LOAD_CRYPT_VCPU as u64;
}

/// Values that exist only in the model: on hardware something else stands in their place.
pub mod model_only {
    /// Shadow contexts. The library has one for each CPU of the host, and none for itself.
    pub const CTXT_POOL_SIZE: u32 = 136;
    /// Ownership records. On hardware the device tree says how many pages there are.
    pub const MAX_S2PAGE_NUM: u64 = 1 << 24;
    /// Limit of physical and io addresses. On hardware the CPU says how far they go.
    pub const KVM_PHYS_SIZE: u64 = 1 << 40;
    /// Limit of physical page numbers: the same.
    pub const KVM_PFN_SPACE: u64 = KVM_PHYS_SIZE / super::PAGE_SIZE;
    /// First table pool.
    pub const PT_POOL_START: u64 = 0x1_0000;
    /// Bytes of a table pool.
    pub const PT_POOL_PER_VM: u64 = 0x200_0000;
    /// Level-1 tables within a pool.
    pub const PGD_OFFSET: u64 = 0x1000;
    /// Level-2 tables within a pool.
    pub const PUD_OFFSET: u64 = 0x10_1000;
    /// Level-3 tables within a pool.
    pub const PMD_OFFSET: u64 = 0x90_1000;
    /// SMMU roots.
    pub const SMMU_POOL_START: u64 = 0x1_0000;
    /// SMMU middle tables.
    pub const SMMU_PGD_START: u64 = 0x11_0000;
    /// SMMU leaf tables.
    pub const SMMU_PMD_START: u64 = 0x21_0000;
    /// End of the SMMU pools.
    pub const SMMU_POOL_END: u64 = 0x31_0000;
    /// Bytes of an SMMU root.
    pub const SMMU_ROOT_SIZE: u64 = 0x2000;
    /// EL2 image window. The vectors' is a smaller one than the library's own.
    pub const REMAP_START: u64 = corevisor::corevisor::REMAP_WINDOW.start;
    /// End of the EL2 image window.
    pub const REMAP_END: u64 = 0x400_0000;
    /// The host's gfn of its own page p is p plus this (D-09).
    pub const SMMU_HOST_OFFSET: u64 = corevisor::memory::HOST_GFN_OFFSET;
    /// Attributes of a VM's or the host's page; bit 11 must be 0 on hardware.
    pub const PAGE_S2_KERNEL: u64 = 0xFFF;
    /// Attributes of KCore's window pages.
    pub const PAGE_HYP: u64 = 0x0040_0000_0000_0753;
    /// Attributes of an SMMU descriptor (D-61).
    pub const PTE_AF_OR_SH_IS: u64 = 0x1_0000;
    /// PSCI AFFINITY_INFO (64 bit); really 0xC400_0004 (D-34).
    pub const PSCI_AFFINITY_INFO_64: u64 = 0x4000_0004;
    /// Class of a trapped system register access; really 0x18 (D-47).
    pub const EC_SYS64: u64 = 30;
    /// The VM left by an interrupt; really 0 (D-47).
    pub const ARM_EXCEPTION_INTERRUPT: u64 = 31;
    /// Mask of HPFAR_EL2; really all but bits 3:0 (D-54).
    pub const HPFAR_MASK: u64 = 0xFFFF;
    /// HCR_EL2 of a VM: a token.
    pub const HCR_HYPSEC_VM_FLAGS: u64 = 3;
    /// HCR_EL2 of the host: a token.
    pub const HCR_HOST_NVHE_FLAGS: u64 = 8;
    /// PMUSERENR_EL0 of a VM: a token.
    pub const ARMV8_PMU_USERENR_MASK: u64 = 4;
    /// MDCR_EL2 of a VM: a token.
    pub const HYPSEC_MDCR_EL2_FLAG: u64 = 5;
    /// CPTR_EL2 of a VM: a token.
    pub const CPTR_VM: u64 = 6;
    /// CPTR_EL2 of the host: a token.
    pub const CPTR_EL2_DEFAULT: u64 = 7;
    /// CNTHCTL_EL2: a token (D-42).
    pub const CNTHCTL_EL1PCEN: u64 = 9;
    /// CNTHCTL_EL2: a token (D-42).
    pub const CNTHCTL_EL1PCTEN: u64 = 10;
    /// Shared events allowed between taking a lock and passing it on.
    pub const LOCAL_LOCK_BOUND: u32 = 10;
}

pub use model_only::{KVM_PFN_SPACE, KVM_PHYS_SIZE, MAX_S2PAGE_NUM};
use model_only::{PGD_OFFSET, PMD_OFFSET, PT_POOL_PER_VM, PT_POOL_START, PUD_OFFSET, SMMU_POOL_START, SMMU_ROOT_SIZE};

/// Start of `vmid`'s table pool: its root table.
pub fn pool_start(vmid: u32) -> u64 {
    PT_POOL_START + u64::from(vmid) * PT_POOL_PER_VM
}

/// Start of `vmid`'s level-1 tables.
pub fn pgd_start(vmid: u32) -> u64 {
    pool_start(vmid) + PGD_OFFSET
}

/// Start of `vmid`'s level-2 tables.
pub fn pud_start(vmid: u32) -> u64 {
    pool_start(vmid) + PUD_OFFSET
}

/// Start of `vmid`'s level-3 tables.
pub fn pmd_start(vmid: u32) -> u64 {
    pool_start(vmid) + PMD_OFFSET
}

/// End of `vmid`'s table pool.
pub fn pool_end(vmid: u32) -> u64 {
    pool_start(vmid) + PT_POOL_PER_VM
}

/// VTTBR of `vmid`.
pub fn pt_vttbr(vmid: u32) -> u64 {
    pool_start(vmid) | u64::from(vmid) << VTTBR_VMID_SHIFT
}

/// Root of context bank `cbndx` of SMMU `index`.
pub fn smmu_ttbr(index: u32, cbndx: u32) -> u64 {
    SMMU_POOL_START + u64::from(smmu_id(index, cbndx)) * SMMU_ROOT_SIZE
}

/// Number of context bank `cbndx` of SMMU `index` among all banks.
pub fn smmu_id(index: u32, cbndx: u32) -> u32 {
    index * SMMU_NUM_CTXT_BANKS + cbndx
}

/// Number of the shadow context of vCPU `vcpuid` of `vmid`.
pub fn ctxt_id(vmid: u32, vcpuid: u32) -> u32 {
    vmid * VCPU_PER_VM + vcpuid
}

/// `PP`: the page address inside a descriptor.
pub fn phys_page(pte: u64) -> u64 {
    pte & PHYS_MASK & PAGE_MASK
}

/// Index into the root table.
pub fn pgd_idx(addr: u64) -> u64 {
    addr >> PGDIR_SHIFT & 511
}

/// Index into a level-1 table.
pub fn pud_idx(addr: u64) -> u64 {
    addr >> PUD_SHIFT & 511
}

/// Index into a level-2 table.
pub fn pmd_idx(addr: u64) -> u64 {
    addr >> PMD_SHIFT & 511
}

/// Index into a level-3 table.
pub fn pte_idx(addr: u64) -> u64 {
    addr >> PAGE_SHIFT & 511
}

/// Index into an SMMU root.
pub fn s2_pgd_idx(addr: u64) -> u64 {
    addr >> PUD_SHIFT & (PTRS_PER_S2_PGD - 1)
}

/// `0 < vmid < 16`.
pub fn is_vm(vmid: u32) -> bool {
    HOSTVISOR < vmid && vmid < COREVISOR
}

/// `0 <= vmid <= 16`.
pub fn is_vmid(vmid: u32) -> bool {
    vmid <= COREVISOR
}

/// A vCPU number.
pub fn is_vcpu(vcpuid: u32) -> bool {
    vcpuid < VCPU_PER_VM
}

/// A guest address.
pub fn is_addr(addr: u64) -> bool {
    addr < KVM_ADDR_SPACE
}

/// A physical address.
pub fn is_paddr(addr: u64) -> bool {
    addr < KVM_PHYS_SIZE
}

/// An io address.
pub fn is_smmu_addr(addr: u64) -> bool {
    addr < KVM_PHYS_SIZE
}

/// A physical page number.
pub fn is_pfn(pfn: u64) -> bool {
    pfn < KVM_PFN_SPACE
}

/// A guest page number.
pub fn is_gfn(gfn: u64) -> bool {
    gfn < KVM_GFN_SPACE
}

/// The number of an ownership record.
pub fn is_s2page(index: u64) -> bool {
    index < MAX_S2PAGE_NUM
}

/// The number of a memory region.
pub fn is_memblock(index: u32) -> bool {
    index < MAX_MEMBLOCK_NUM
}

/// The number of an image.
pub fn is_load_idx(index: u32) -> bool {
    index < MAX_LOAD_INFO_NUM
}

/// The number of a register.
pub fn is_reg(index: u32) -> bool {
    index < MAX_REGISTER_NUM
}

/// The number of an SMMU.
pub fn is_smmu(index: u32) -> bool {
    index < SMMU_NUM
}

/// The number of a context bank.
pub fn is_smmu_cfg(cbndx: u32) -> bool {
    cbndx < SMMU_NUM_CTXT_BANKS
}

/// A value that fits 32 bits.
pub fn is_int(n: u64) -> bool {
    n <= u64::from(u32::MAX)
}
