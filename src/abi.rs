// SPDX-License-Identifier: GPL-2.0-only
//! The numbers of the interface between Corevisor and what runs above it: the one source for function ids, error
//! codes and counters (`docs/abi.md` explains them).
//!
//! Calls follow the SMC Calling Convention 1.2 (Arm DEN0028), with `HVC #0` or `SMC #0`: function id in w0, arguments
//! from x1, results from x0. Registers that a call does not return are unchanged.

/// SMCCC: the call is unknown.
pub const NOT_SUPPORTED: i64 = -1;
/// SMCCC: an argument is out of range.
pub const INVALID_PARAMETER: i64 = -3;
/// Ours: the page or object is not the caller's.
pub const DENIED: i64 = -16;
/// Ours: the page or object is in use.
pub const BUSY: i64 = -17;
/// Ours: page-table pages have run out.
pub const NO_MEMORY: i64 = -18;

/// Version of this interface: major in bits 31:16, minor in bits 15:0. A new major number breaks callers.
pub const VERSION: u32 = 0x0001_0000;

/// Call UID of vendor-specific hypervisor services (DEN0028, "General service queries").
pub const CALL_UID: u32 = 0x8600_FF01;
/// Revision of the same: x0 = major, x1 = minor.
pub const CALL_REVISION: u32 = 0x8600_FF03;
/// Who we are, as the four words that [`CALL_UID`] returns: c0e5e150-2f6b-4f0e-9d0a-7be1a7c0de16.
pub const UID: [u32; 4] = [0x50e1_e5c0, 0x0e4f_6b2f, 0xe17b_0a9d, 0x16de_c0a7];

/// First id of the host's calls: fast, 64-bit, vendor-specific hypervisor service.
pub const HOST_CALL_BASE: u32 = 0xC600_1000;

/// Numbers of the host's calls, added to [`HOST_CALL_BASE`]; to 29 they are the specification's
/// (`spec/layers/10-abi-flows.md` §10.1).
pub mod host_call {
    /// x1 = low half, x2 = high half of the virtual counter's offset for VMs whose first entry is on this CPU. The host's own
    /// counter has none.
    pub const TIMER_SET_CNTVOFF: u32 = 13;
    /// x1 = VM, x2 = first physical address, x3 = bytes.
    pub const CLEAR_VM_S2_RANGE: u32 = 14;
    /// x1 = VM, x2 = guest address, x3 = bytes, x4 to x11 = Ed25519 signature (RFC 8032) of
    /// [`crate::vm::measure::image_message`], in little-endian words; not looked at for [`super::vm_flags`]. Returns x0 =
    /// number of the image.
    pub const SET_BOOT_INFO: u32 = 15;
    /// x1 = VM, x2 = page frame number, x3 = image.
    pub const REMAP_VM_IMAGE: u32 = 16;
    /// x1 = VM. Returns x0 = pages that are left, to be moved or to be hashed: call again until it is 0.
    pub const VERIFY_VM_IMAGE: u32 = 17;
    /// x1 = context bank, x2 = SMMU.
    pub const SMMU_FREE_PGD: u32 = 18;
    /// x1 = context bank, x2 = VM or host, x3 = SMMU.
    pub const SMMU_ALLOC_PGD: u32 = 19;
    /// x1 = I/O address, x2 = physical address, x3 = attributes, x4 = context bank, x5 = SMMU.
    pub const SMMU_LPAE_MAP: u32 = 20;
    /// x1 = I/O address, x2 = context bank, x3 = SMMU.
    pub const SMMU_LPAE_IOVA_TO_PHYS: u32 = 21;
    /// x1 = I/O address, x2 = context bank, x3 = SMMU.
    pub const SMMU_CLEAR: u32 = 22;
    /// x1 = VM, x2 = guest address, x3 = physical address, x4 = bytes.
    pub const PHYS_ADDR_IOREMAP: u32 = 23;
    /// x1 = [`super::vm_flags`]. Returns x0 = VM.
    pub const REGISTER_KVM: u32 = 24;
    /// x1 = VM, x2 = vCPU, x3 = physical address of its run page ([`super::run_page`]): a page of the host's.
    pub const REGISTER_VCPU: u32 = 25;
    /// x1 = VM, x2 = the VM's page (physical address), x3 = the host's page. Returns x0 = 0, x1 = nonce, x2 and x3 = tag,
    /// x4 = guest page number, x5 = lineage, x6 = epoch.
    pub const ENCRYPT_BUF: u32 = 26;
    /// x1 = VM, x2 = page (physical address), x3 to x8 = what ENCRYPT_BUF returned in x1 to x6.
    pub const DECRYPT_BUF: u32 = 27;
    /// x1 = VM, x2 = vCPU.
    pub const SAVE_CRYPT_VCPU: u32 = 28;
    /// x1 = VM, x2 = vCPU.
    pub const LOAD_CRYPT_VCPU: u32 = 29;
    /// x1 = VM, x2 = vCPU.
    pub const VCPU_RUN: u32 = 30;
    /// Reserved: the specification's boot call. Corevisor boots by itself.
    pub const BOOT: u32 = 31;
    /// Returns x0 = [`super::VERSION`].
    pub const VERSION: u32 = 32;
    /// Returns x0 = 0, x1 = [`super::features`], x2 = number of counters, x3 = number of CPUs, x4 = number of list
    /// registers (0: VMs have no virtual interrupt interface).
    pub const FEATURES: u32 = 33;
    /// x1 = VM. Returns x0 = pages that are left: call again until it is 0.
    pub const DESTROY_VM: u32 = 34;
    /// x1 = position in the log, in bytes since boot. Returns x0 = number of bytes (0 at the end, at most
    /// [`super::LOG_READ_MAX`]), x1 = position of the first of them (later than asked for if that part has been
    /// overwritten), x2… = the bytes, eight a register, little-endian.
    pub const LOG_READ: u32 = 35;
    /// x1 = counter ([`super::stat`]). Returns x0 = 0, x1 = its value.
    pub const STATS: u32 = 36;
    /// x1 = VM. Returns x0 = 0, x1 to x4 = its measurement ([`crate::vm::measure`]) in little-endian words, x5 =
    /// [`super::vm_flags`]. Refused until its images are verified.
    pub const VM_MEASUREMENT: u32 = 37;
    /// x1 = page frame number, of an address that a stage-2 table can translate. Returns x0 = 0, x1 = whose it is
    /// ([`super::page_owner`]), x2 = how many pages from there on, this one included, are in the same state, as far as one
    /// call looks, x3 = 1 if the host may access them, else 0.
    pub const PAGE_OWNER: u32 = 38;
    /// x1 = op0 << 14 | op1 << 11 | CRn << 7 | CRm << 3 | op2 of an ID register that VMs are trapped at. Returns x0 = 0, x1 =
    /// what a VM that runs on this CPU reads there.
    pub const VM_ID_REGISTER: u32 = 39;
    /// x1 = stream of an SMMUv3, one that the device tree names, x2 = context bank that translates for it from now on, or
    /// [`super::HOST_DMA`], x3 = SMMU.
    pub const SMMU_ATTACH_STREAM: u32 = 40;
    /// x1 = stream, x2 = SMMU. What the stream does aborts until it is attached again.
    pub const SMMU_DETACH_STREAM: u32 = 41;
}

/// In the place of a context bank: the host's own DMA, of all memory that the host may access.
pub const HOST_DMA: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// Whose a page is: x1 of PAGE_OWNER. 1 to 15 are VMs.
pub mod page_owner {
    /// The host's.
    pub const HOST: u64 = 0;
    /// Corevisor's.
    pub const COREVISOR: u64 = 16;
    /// Nobody's: no RAM, or RAM that the machine's device tree withholds from everybody (`no-map`). The host may access it,
    /// unless it is registers that Corevisor keeps to itself.
    pub const NOBODY: u64 = 255;
}

/// What a VM is, for as long as it exists: x1 of REGISTER_KVM. A VM with neither is protected, and runs signed images only.
pub mod vm_flags {
    /// Its images are hashed, but no signature is asked for. Only where FEATURES has [`super::features::UNSIGNED_VMS`].
    pub const UNSIGNED: u64 = 1 << 0;
    /// The host can reach all of its memory: each page is granted to the host as it becomes the VM's. No signature is
    /// asked for.
    pub const SHARED: u64 = 1 << 1;
}

/// Bytes that one LOG_READ returns at most: registers x2 to x17.
pub const LOG_READ_MAX: usize = 128;

/// Bits of FEATURES.
pub mod features {
    /// This is a test image: the test calls exist, and boot failures end the emulator.
    pub const TEST_IMAGE: u64 = 1 << 0;
    /// There are VMs: calls 13 to 30 and 34 are carried out.
    pub const VMS: u64 = 1 << 1;
    /// VMs may be [`super::vm_flags::UNSIGNED`].
    pub const UNSIGNED_VMS: u64 = 1 << 2;
}

/// Calls that exist in test images only; they drive transitions that no other call reaches yet.
#[cfg(feature = "semihosting")]
pub mod test_call {
    /// First id of the test calls.
    pub const BASE: u32 = 0xC600_1F00;
    /// x1 = page frame number. Makes a page of the host one of VM [`TAKER`], at the same address (MM-3).
    pub const TAKE_PAGE: u32 = BASE;
    /// x1 = page frame number. Gives a page taken by [`TAKE_PAGE`] back, zeroed (MM-2).
    pub const GIVE_PAGE: u32 = BASE + 1;
    /// The VM of these calls; it need not exist.
    pub const TAKER: u64 = 15;
    /// Provokes a fault at EL2 itself; x1 = 0: read through a null pointer, 1: overflow the stack, 2: panic, 3: read
    /// where a page of the host's was mapped a moment ago.
    pub const CRASH: u32 = BASE + 2;
    /// Has the machine carry out one of its primitives: x1 = which of [`primitive`], x2 = an address, x3 = a value.
    /// Returns x0 = 0, x1 = what the primitive returned.
    pub const PRIMITIVE: u32 = BASE + 3;
    /// x1 = page frame number. Asks for its owner (PM-1): returns x0 = 0, x1 = the principal, all ones for nobody.
    pub const OWNER: u32 = BASE + 4;
}

/// The first argument of [`test_call::PRIMITIVE`]; names are those of [`crate::machine::Machine`].
#[cfg(feature = "semihosting")]
pub mod primitive {
    /// `shared_load`.
    pub const SHARED_LOAD: u64 = 0;
    /// `shared_store`.
    pub const SHARED_STORE: u64 = 1;
    /// `clear_phys_page`.
    pub const CLEAR_PHYS_PAGE: u64 = 2;
    /// `fetch_from_doracle`.
    pub const FETCH_FROM_DORACLE: u64 = 3;
    /// `read_page`, and then `write_page` of the same to the address in x3.
    pub const COPY_PAGE: u64 = 4;
    /// `mmio_read` of 4 bytes.
    pub const MMIO_READ_WORD: u64 = 5;
    /// `mmio_read` of 8 bytes.
    pub const MMIO_READ_DOUBLE: u64 = 6;
    /// `mmio_write` of 4 bytes.
    pub const MMIO_WRITE_WORD: u64 = 7;
    /// `mmio_write` of 8 bytes.
    pub const MMIO_WRITE_DOUBLE: u64 = 8;
    /// `entropy`: the first 8 bytes of it; the address is not looked at.
    pub const ENTROPY: u64 = 9;
}

/// The counters of STATS. Those up to [`stat::TLB_INVALIDATIONS`] only grow.
pub mod stat {
    /// HVC instructions of the host.
    pub const TRAP_HVC: u64 = 0;
    /// SMC instructions of the host.
    pub const TRAP_SMC: u64 = 1;
    /// Data aborts taken from the host.
    pub const TRAP_DATA_ABORT: u64 = 2;
    /// Instruction aborts taken from the host.
    pub const TRAP_INSTRUCTION_ABORT: u64 = 3;
    /// Trapped system register accesses.
    pub const TRAP_SYSREG: u64 = 4;
    /// System errors taken from the host.
    pub const TRAP_SERROR: u64 = 5;
    /// Any other trap.
    pub const TRAP_OTHER: u64 = 6;
    /// Host faults that mapped device memory.
    pub const HOST_FAULT_DEVICE: u64 = 7;
    /// Host faults on RAM that the host may access. None is expected before there are VMs: its RAM is mapped at boot. A page
    /// that a VM has given back, or that is shared, is mapped when the host touches it.
    pub const HOST_FAULT_RAM: u64 = 8;
    /// Host accesses refused with an external abort.
    pub const REFUSED_ACCESS: u64 = 9;
    /// Calls refused with an error.
    pub const REFUSED_CALL: u64 = 10;
    /// Blocks of stage-2 tables split into smaller ones.
    pub const BLOCK_SPLIT: u64 = 11;
    /// TLB invalidations by address or by VMID.
    pub const TLB_INVALIDATIONS: u64 = 12;
    /// Number of the counters above.
    pub const COUNTERS: usize = 13;
    /// Pages of RAM in the ownership table.
    pub const RAM_PAGES: u64 = 13;
    /// Pages that Corevisor owns.
    pub const COREVISOR_PAGES: u64 = 14;
    /// Page-table pages in use by the host's stage-2 table.
    pub const HOST_TABLE_PAGES: u64 = 15;
    /// CPUs that are on.
    pub const CPUS_ON: u64 = 16;
    /// VMs that exist.
    pub const VMS: u64 = 17;
    /// Pages of RAM that VMs own.
    pub const VM_PAGES: u64 = 18;
    /// Page-table pages in use by VMs, the image window and SMMUs.
    pub const VM_TABLE_PAGES: u64 = 19;
    /// VMs that are [`super::vm_flags::UNSIGNED`].
    pub const UNSIGNED_VMS: u64 = 20;
    /// VMs that are [`super::vm_flags::SHARED`].
    pub const SHARED_VMS: u64 = 21;
    /// Events that SMMUs have recorded: accesses of devices that were refused.
    pub const DMA_EVENTS: u64 = 22;
    /// Whether SMMUs restrict what devices reach: one of [`super::dma_control`].
    pub const DMA_CONTROL: u64 = 23;
    /// Number of all counters.
    pub const COUNT: u64 = 24;
}

/// Values of [`stat::DMA_CONTROL`].
pub mod dma_control {
    /// There is no SMMU: devices reach all memory.
    pub const NONE: u64 = 0;
    /// Corevisor drives every SMMU that there is.
    pub const DRIVEN: u64 = 1;
    /// There is one that it can't drive. VMs that need protection are refused.
    pub const FAILED: u64 = 2;
}

/// Calls of a VM, by HVC #0 with the call in x0.
pub mod vm_call {
    /// x2 = first guest address, x3 = bytes. Shares pages with the host (specification: `HVC_KVM_SET_DESC_PFN`). No result.
    pub const SET_DESC_PFN: u64 = 11;
    /// The same arguments. Ends that (specification: `HVC_KVM_UNSET_DESC_PFN`). No result.
    pub const UNSET_DESC_PFN: u64 = 12;

    /// Whose calls these are, as the four words that [`super::CALL_UID`] returns to a VM:
    /// 28b46fb6-2ec5-11e9-a9ca-4b564d003a74, by which Linux knows KVM (Linux: `Documentation/virt/kvm/arm/hypercalls.rst`, as
    /// for the following calls).
    pub const KVM_UID: [u32; 4] = [0xB66F_B428, 0xE911_C52E, 0x564B_CAA9, 0x743A_004D];
    /// Returns x0 = [`FEATURES_BITMAP`], x1 to x3 = 0.
    pub const FEATURES: u32 = 0x8600_0000;
    /// x1 to x3 = 0. Returns x0 = bytes of a page, which is what the next three calls are about.
    pub const HYP_MEMINFO: u32 = 0xC600_0002;
    /// x1 = guest address of a page of RAM that the VM shares with nobody, x2 and x3 = 0. Shares it with the host.
    pub const MEM_SHARE: u32 = 0xC600_0003;
    /// x1 = guest address of a page that the VM shares, x2 and x3 = 0. Ends that.
    pub const MEM_UNSHARE: u32 = 0xC600_0004;
    /// x1 = guest address of a page, x2 and x3 = 0. Whether the host emulates accesses there.
    pub const MMIO_GUARD: u32 = 0xC600_0007;
    /// Returns x0 = 0, x1 to x5 as [`super::host_call::VM_MEASUREMENT`], of the VM itself.
    pub const MEASUREMENT: u32 = super::HOST_CALL_BASE + super::host_call::VM_MEASUREMENT;
    /// What [`FEATURES`] says of a shared VM, which needs none of the others.
    pub const FEATURES_BITMAP_SHARED: u32 = 1 << 0;
    /// Bit n: the call with number n in 0x8600_0000 or 0xC600_0000 exists.
    pub const FEATURES_BITMAP: u32 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7;
}

/// Why a vCPU stopped running: what VCPU_RUN returns in x0.
pub mod exit {
    /// An interrupt for the host.
    pub const IRQ: u64 = 0;
    /// A system error.
    pub const SERROR: u64 = 1;
    /// The VM asks something of the host: see [`super::run_page::ESR`].
    pub const TRAP: u64 = 2;
    /// EL2's return to the VM was illegal.
    pub const ILLEGAL: u64 = 3;
    /// The VM has broken a rule. It is powered off.
    pub const STOPPED: u64 = 4;
}

/// The page that a vCPU shares with the host: offsets of its words of 8 bytes, little-endian. Corevisor reads each word
/// once, and only when it says so here.
pub mod run_page {
    /// x0 to x30. Written after an exit: those that the exit shows the host. Read at the next entry: those that it lets
    /// the host change.
    pub const X: u64 = 0;
    /// Where the vCPU starts. Read at its first entry.
    pub const PC: u64 = 31 * 8;
    /// PSTATE to start with: DAIF and the mode, one of EL1h, EL1t, EL0t. Read at the first entry.
    pub const PSTATE: u64 = 32 * 8;
    /// ESR_EL2 of the last exit, as far as it is the host's business; 0 unless that was a trap. Written after each exit.
    pub const ESR: u64 = 33 * 8;
    /// HPFAR_EL2 of the last exit, if that was an abort with a known address, else 0. Written after each exit.
    pub const HPFAR: u64 = 34 * 8;
    /// Bits 11:0 of the address, if the host is to emulate a device, else 0. Written after each exit.
    pub const FAR: u64 = 35 * 8;
    /// [`inject`]: what the vCPU is to take. Read at an entry after an abort.
    pub const FLAGS: u64 = 36 * 8;
    /// The guest address for which the host offers a page, any in the page that the vCPU stumbled over, or 0. Read at an
    /// entry after a fault that a page can answer.
    pub const FAULT_ADDR: u64 = 37 * 8;
    /// The physical address of that page. Read with it.
    pub const NEW_PAGE: u64 = 38 * 8;
    /// 2 if it is one of 2 MiB, else anything. Read with it.
    pub const NEW_LEVEL: u64 = 39 * 8;
    /// When the vCPU's virtual interrupt interface is to cause a maintenance interrupt: bits 7:1 of ICH_HCR_EL2. Read at
    /// each entry, if FEATURES says that there are list registers.
    pub const ICH_HCR: u64 = 40 * 8;
    /// List registers 0 to 15: interrupts of the vCPU, in the format of ICH_LR<n>_EL2 (with a GICv2, bits 12:10 are the
    /// source CPU of an SGI). As many as FEATURES says are read at each entry, and written after each exit, as the
    /// hardware left them.
    pub const LIST_REGISTER: u64 = 41 * 8;
    /// CNTV_CTL_EL0 of the vCPU, with ISTATUS as it was when it stopped. While the vCPU does not run, its virtual timer
    /// causes no interrupt: the host gives it one when the time has come. Written after each exit.
    pub const CNTV_CTL: u64 = 57 * 8;
    /// CNTV_CVAL_EL0: when that is, as virtual time, which is the counter less what TIMER_SET_CNTVOFF said. Written after
    /// each exit.
    pub const CNTV_CVAL: u64 = 58 * 8;
    /// ICH_MISR_EL2: why there is a maintenance interrupt; and in bits 31:27 EOIcount of ICH_HCR_EL2. Written after each
    /// exit.
    pub const ICH_MISR: u64 = 59 * 8;
    /// From here on: a saved vCPU, as SAVE_CRYPT_VCPU writes it. LOAD_CRYPT_VCPU reads it.
    pub const SEALED: u64 = 1024;
    /// Words of a saved vCPU.
    pub const SEALED_WORDS: usize = 173;

    /// Bits of [`FLAGS`]. What the exception says of the access is not the host's choice; an abort goes before an undefined
    /// instruction.
    pub mod inject {
        /// A synchronous external abort.
        pub const DATA_ABORT: u64 = 1 << 33;
        /// The same.
        pub const INSTRUCTION_ABORT: u64 = 1 << 34;
        /// An undefined instruction.
        pub const UNDEFINED: u64 = 1 << 35;
    }
}
