/* SPDX-License-Identifier: GPL-2.0-only */
/* Generated from src/abi.rs by tools/abi-header; docs/abi.md explains it. */
#ifndef COREVISOR_ABI_H
#define COREVISOR_ABI_H

/* SMCCC: the call is unknown. */
#define CV_NOT_SUPPORTED (-1)

/* SMCCC: an argument is out of range. */
#define CV_INVALID_PARAMETER (-3)

/* Ours: the page or object is not the caller's. */
#define CV_DENIED (-16)

/* Ours: the page or object is in use. */
#define CV_BUSY (-17)

/* Ours: page-table pages have run out. */
#define CV_NO_MEMORY (-18)

/*
 * Version of this interface: major in bits 31:16, minor in bits 15:0. A new major number breaks
 * callers.
 */
#define CV_VERSION 0x00010000U

/* Call UID of vendor-specific hypervisor services (DEN0028, "General service queries"). */
#define CV_CALL_UID 0x8600ff01U

/* Revision of the same: x0 = major, x1 = minor. */
#define CV_CALL_REVISION 0x8600ff03U

/* Who we are, as the four words that CV_CALL_UID returns: c0e5e150-2f6b-4f0e-9d0a-7be1a7c0de16. */
#define CV_UID_0 0x50e1e5c0U
#define CV_UID_1 0x0e4f6b2fU
#define CV_UID_2 0xe17b0a9dU
#define CV_UID_3 0x16dec0a7U

/* First id of the host's calls: fast, 64-bit, vendor-specific hypervisor service. */
#define CV_HOST_CALL_BASE 0xc6001000U

/*
 * Numbers of the host's calls, added to CV_HOST_CALL_BASE; to 29 they are the specification's
 * (spec/layers/10-abi-flows.md §10.1).
 */

/*
 * x1 = low half, x2 = high half of the virtual counter's offset for VMs whose first entry is on
 * this CPU. The host's own counter has none.
 */
#define CV_CALL_TIMER_SET_CNTVOFF 0xc600100dU

/* x1 = VM, x2 = first physical address, x3 = bytes. */
#define CV_CALL_CLEAR_VM_S2_RANGE 0xc600100eU

/*
 * x1 = VM, x2 = guest address, x3 = bytes, x4 to x11 = Ed25519 signature (RFC 8032) of
 * vm::measure::image_message, in little-endian words; not looked at for CV_VM_FLAG_*. Returns x0 =
 * number of the image.
 */
#define CV_CALL_SET_BOOT_INFO 0xc600100fU

/* x1 = VM, x2 = page frame number, x3 = image. */
#define CV_CALL_REMAP_VM_IMAGE 0xc6001010U

/*
 * x1 = VM. Returns x0 = pages that are left, to be moved or to be hashed: call again until it is 0.
 */
#define CV_CALL_VERIFY_VM_IMAGE 0xc6001011U

/* x1 = context bank, x2 = SMMU. */
#define CV_CALL_SMMU_FREE_PGD 0xc6001012U

/* x1 = context bank, x2 = VM or host, x3 = SMMU. */
#define CV_CALL_SMMU_ALLOC_PGD 0xc6001013U

/* x1 = I/O address, x2 = physical address, x3 = attributes, x4 = context bank, x5 = SMMU. */
#define CV_CALL_SMMU_LPAE_MAP 0xc6001014U

/* x1 = I/O address, x2 = context bank, x3 = SMMU. */
#define CV_CALL_SMMU_LPAE_IOVA_TO_PHYS 0xc6001015U

/* x1 = I/O address, x2 = context bank, x3 = SMMU. */
#define CV_CALL_SMMU_CLEAR 0xc6001016U

/* x1 = VM, x2 = guest address, x3 = physical address, x4 = bytes. */
#define CV_CALL_PHYS_ADDR_IOREMAP 0xc6001017U

/* x1 = CV_VM_FLAG_*. Returns x0 = VM. */
#define CV_CALL_REGISTER_KVM 0xc6001018U

/* x1 = VM, x2 = vCPU, x3 = physical address of its run page (CV_RUN_*): a page of the host's. */
#define CV_CALL_REGISTER_VCPU 0xc6001019U

/*
 * x1 = VM, x2 = the VM's page (physical address), x3 = the host's page. Returns x0 = 0, x1 = nonce,
 * x2 and x3 = tag, x4 = guest page number, x5 = lineage, x6 = epoch.
 */
#define CV_CALL_ENCRYPT_BUF 0xc600101aU

/* x1 = VM, x2 = page (physical address), x3 to x8 = what ENCRYPT_BUF returned in x1 to x6. */
#define CV_CALL_DECRYPT_BUF 0xc600101bU

/* x1 = VM, x2 = vCPU. */
#define CV_CALL_SAVE_CRYPT_VCPU 0xc600101cU

/* x1 = VM, x2 = vCPU. */
#define CV_CALL_LOAD_CRYPT_VCPU 0xc600101dU

/* x1 = VM, x2 = vCPU. */
#define CV_CALL_VCPU_RUN 0xc600101eU

/* Reserved: the specification's boot call. Corevisor boots by itself. */
#define CV_CALL_BOOT 0xc600101fU

/* Returns x0 = CV_VERSION. */
#define CV_CALL_VERSION 0xc6001020U

/*
 * Returns x0 = 0, x1 = CV_FEATURE_*, x2 = number of counters, x3 = number of CPUs, x4 = number of
 * list registers (0: VMs have no virtual interrupt interface).
 */
#define CV_CALL_FEATURES 0xc6001021U

/* x1 = VM. Returns x0 = pages that are left: call again until it is 0. */
#define CV_CALL_DESTROY_VM 0xc6001022U

/*
 * x1 = position in the log, in bytes since boot. Returns x0 = number of bytes (0 at the end, at
 * most CV_LOG_READ_MAX), x1 = position of the first of them (later than asked for if that part has
 * been overwritten), x2… = the bytes, eight a register, little-endian.
 */
#define CV_CALL_LOG_READ 0xc6001023U

/* x1 = counter (CV_STAT_*). Returns x0 = 0, x1 = its value. */
#define CV_CALL_STATS 0xc6001024U

/*
 * x1 = VM. Returns x0 = 0, x1 to x4 = its measurement (vm::measure) in little-endian words, x5 =
 * CV_VM_FLAG_*. Refused until its images are verified.
 */
#define CV_CALL_VM_MEASUREMENT 0xc6001025U

/*
 * x1 = page frame number, of an address that a stage-2 table can translate. Returns x0 = 0, x1 =
 * whose it is (CV_PAGE_OWNER_*), x2 = how many pages from there on, this one included, are in the
 * same state, as far as one call looks, x3 = 1 if the host may access them, else 0.
 */
#define CV_CALL_PAGE_OWNER 0xc6001026U

/*
 * x1 = op0 << 14 | op1 << 11 | CRn << 7 | CRm << 3 | op2 of an ID register that VMs are trapped at.
 * Returns x0 = 0, x1 = what a VM that runs on this CPU reads there.
 */
#define CV_CALL_VM_ID_REGISTER 0xc6001027U

/*
 * x1 = stream of an SMMUv3, one that the device tree names, x2 = context bank that translates for
 * it from now on, or CV_HOST_DMA, x3 = SMMU.
 */
#define CV_CALL_SMMU_ATTACH_STREAM 0xc6001028U

/* x1 = stream, x2 = SMMU. What the stream does aborts until it is attached again. */
#define CV_CALL_SMMU_DETACH_STREAM 0xc6001029U

/* In the place of a context bank: the host's own DMA, of all memory that the host may access. */
#define CV_HOST_DMA 0xffffffffffffffffUL

/* Whose a page is: x1 of PAGE_OWNER. 1 to 15 are VMs. */

/* The host's. */
#define CV_PAGE_OWNER_HOST 0UL

/* Corevisor's. */
#define CV_PAGE_OWNER_COREVISOR 16UL

/*
 * Nobody's: no RAM, or RAM that the machine's device tree withholds from everybody (no-map). The
 * host may access it, unless it is registers that Corevisor keeps to itself.
 */
#define CV_PAGE_OWNER_NOBODY 255UL

/*
 * What a VM is, for as long as it exists: x1 of REGISTER_KVM. A VM with neither is protected, and
 * runs signed images only.
 */

/*
 * Its images are hashed, but no signature is asked for. Only where FEATURES has
 * CV_FEATURE_UNSIGNED_VMS.
 */
#define CV_VM_FLAG_UNSIGNED 0x00000001UL

/*
 * The host can reach all of its memory: each page is granted to the host as it becomes the VM's. No
 * signature is asked for.
 */
#define CV_VM_FLAG_SHARED 0x00000002UL

/* Bytes that one LOG_READ returns at most: registers x2 to x17. */
#define CV_LOG_READ_MAX 128

/* Bits of FEATURES. */

/* This is a test image: the test calls exist, and boot failures end the emulator. */
#define CV_FEATURE_TEST_IMAGE 0x00000001UL

/* There are VMs: calls 13 to 30 and 34 are carried out. */
#define CV_FEATURE_VMS 0x00000002UL

/* VMs may be CV_VM_FLAG_UNSIGNED. */
#define CV_FEATURE_UNSIGNED_VMS 0x00000004UL

/* The counters of STATS. Those up to CV_STAT_TLB_INVALIDATIONS only grow. */

/* HVC instructions of the host. */
#define CV_STAT_TRAP_HVC 0UL

/* SMC instructions of the host. */
#define CV_STAT_TRAP_SMC 1UL

/* Data aborts taken from the host. */
#define CV_STAT_TRAP_DATA_ABORT 2UL

/* Instruction aborts taken from the host. */
#define CV_STAT_TRAP_INSTRUCTION_ABORT 3UL

/* Trapped system register accesses. */
#define CV_STAT_TRAP_SYSREG 4UL

/* System errors taken from the host. */
#define CV_STAT_TRAP_SERROR 5UL

/* Any other trap. */
#define CV_STAT_TRAP_OTHER 6UL

/* Host faults that mapped device memory. */
#define CV_STAT_HOST_FAULT_DEVICE 7UL

/*
 * Host faults on RAM that the host may access. None is expected before there are VMs: its RAM is
 * mapped at boot. A page that a VM has given back, or that is shared, is mapped when the host
 * touches it.
 */
#define CV_STAT_HOST_FAULT_RAM 8UL

/* Host accesses refused with an external abort. */
#define CV_STAT_REFUSED_ACCESS 9UL

/* Calls refused with an error. */
#define CV_STAT_REFUSED_CALL 10UL

/* Blocks of stage-2 tables split into smaller ones. */
#define CV_STAT_BLOCK_SPLIT 11UL

/* TLB invalidations by address or by VMID. */
#define CV_STAT_TLB_INVALIDATIONS 12UL

/* Number of the counters above. */
#define CV_STAT_COUNTERS 13

/* Pages of RAM in the ownership table. */
#define CV_STAT_RAM_PAGES 13UL

/* Pages that Corevisor owns. */
#define CV_STAT_COREVISOR_PAGES 14UL

/* Page-table pages in use by the host's stage-2 table. */
#define CV_STAT_HOST_TABLE_PAGES 15UL

/* CPUs that are on. */
#define CV_STAT_CPUS_ON 16UL

/* VMs that exist. */
#define CV_STAT_VMS 17UL

/* Pages of RAM that VMs own. */
#define CV_STAT_VM_PAGES 18UL

/* Page-table pages in use by VMs, the image window and SMMUs. */
#define CV_STAT_VM_TABLE_PAGES 19UL

/* VMs that are CV_VM_FLAG_UNSIGNED. */
#define CV_STAT_UNSIGNED_VMS 20UL

/* VMs that are CV_VM_FLAG_SHARED. */
#define CV_STAT_SHARED_VMS 21UL

/* Events that SMMUs have recorded: accesses of devices that were refused. */
#define CV_STAT_DMA_EVENTS 22UL

/* Whether SMMUs restrict what devices reach: one of CV_DMA_CONTROL_*. */
#define CV_STAT_DMA_CONTROL 23UL

/* Number of all counters. */
#define CV_STAT_COUNT 24UL

/* Values of CV_STAT_DMA_CONTROL. */

/* There is no SMMU: devices reach all memory. */
#define CV_DMA_CONTROL_NONE 0UL

/* Corevisor drives every SMMU that there is. */
#define CV_DMA_CONTROL_DRIVEN 1UL

/* There is one that it can't drive. VMs that need protection are refused. */
#define CV_DMA_CONTROL_FAILED 2UL

/* Calls of a VM, by HVC #0 with the call in x0. */

/*
 * x2 = first guest address, x3 = bytes. Shares pages with the host (specification:
 * HVC_KVM_SET_DESC_PFN). No result.
 */
#define CV_VM_CALL_SET_DESC_PFN 11UL

/* The same arguments. Ends that (specification: HVC_KVM_UNSET_DESC_PFN). No result. */
#define CV_VM_CALL_UNSET_DESC_PFN 12UL

/*
 * Whose calls these are, as the four words that CV_CALL_UID returns to a VM:
 * 28b46fb6-2ec5-11e9-a9ca-4b564d003a74, by which Linux knows KVM (Linux:
 * Documentation/virt/kvm/arm/hypercalls.rst, as for the following calls).
 */
#define CV_VM_CALL_KVM_UID_0 0xb66fb428U
#define CV_VM_CALL_KVM_UID_1 0xe911c52eU
#define CV_VM_CALL_KVM_UID_2 0x564bcaa9U
#define CV_VM_CALL_KVM_UID_3 0x743a004dU

/* Returns x0 = CV_VM_CALL_FEATURES_BITMAP, x1 to x3 = 0. */
#define CV_VM_CALL_FEATURES 0x86000000U

/* x1 to x3 = 0. Returns x0 = bytes of a page, which is what the next three calls are about. */
#define CV_VM_CALL_HYP_MEMINFO 0xc6000002U

/*
 * x1 = guest address of a page of RAM that the VM shares with nobody, x2 and x3 = 0. Shares it with
 * the host.
 */
#define CV_VM_CALL_MEM_SHARE 0xc6000003U

/* x1 = guest address of a page that the VM shares, x2 and x3 = 0. Ends that. */
#define CV_VM_CALL_MEM_UNSHARE 0xc6000004U

/* x1 = guest address of a page, x2 and x3 = 0. Whether the host emulates accesses there. */
#define CV_VM_CALL_MMIO_GUARD 0xc6000007U

/* Returns x0 = 0, x1 to x5 as CV_CALL_VM_MEASUREMENT, of the VM itself. */
#define CV_VM_CALL_MEASUREMENT 0xc6001025U

/* What CV_VM_CALL_FEATURES says of a shared VM, which needs none of the others. */
#define CV_VM_CALL_FEATURES_BITMAP_SHARED 0x00000001U

/* Bit n: the call with number n in 0x8600_0000 or 0xC600_0000 exists. */
#define CV_VM_CALL_FEATURES_BITMAP 0x0000009dU

/* Why a vCPU stopped running: what VCPU_RUN returns in x0. */

/* An interrupt for the host. */
#define CV_EXIT_IRQ 0UL

/* A system error. */
#define CV_EXIT_SERROR 1UL

/* The VM asks something of the host: see CV_RUN_ESR. */
#define CV_EXIT_TRAP 2UL

/* EL2's return to the VM was illegal. */
#define CV_EXIT_ILLEGAL 3UL

/* The VM has broken a rule. It is powered off. */
#define CV_EXIT_STOPPED 4UL

/*
 * The page that a vCPU shares with the host: offsets of its words of 8 bytes, little-endian.
 * Corevisor reads each word once, and only when it says so here.
 */

/*
 * x0 to x30. Written after an exit: those that the exit shows the host. Read at the next entry:
 * those that it lets the host change.
 */
#define CV_RUN_X 0UL

/* Where the vCPU starts. Read at its first entry. */
#define CV_RUN_PC 248UL

/* PSTATE to start with: DAIF and the mode, one of EL1h, EL1t, EL0t. Read at the first entry. */
#define CV_RUN_PSTATE 256UL

/*
 * ESR_EL2 of the last exit, as far as it is the host's business; 0 unless that was a trap. Written
 * after each exit.
 */
#define CV_RUN_ESR 264UL

/*
 * HPFAR_EL2 of the last exit, if that was an abort with a known address, else 0. Written after each
 * exit.
 */
#define CV_RUN_HPFAR 272UL

/* Bits 11:0 of the address, if the host is to emulate a device, else 0. Written after each exit. */
#define CV_RUN_FAR 280UL

/* CV_INJECT_*: what the vCPU is to take. Read at an entry after an abort. */
#define CV_RUN_FLAGS 288UL

/*
 * The guest address for which the host offers a page, any in the page that the vCPU stumbled over,
 * or 0. Read at an entry after a fault that a page can answer.
 */
#define CV_RUN_FAULT_ADDR 296UL

/* The physical address of that page. Read with it. */
#define CV_RUN_NEW_PAGE 304UL

/* 2 if it is one of 2 MiB, else anything. Read with it. */
#define CV_RUN_NEW_LEVEL 312UL

/*
 * When the vCPU's virtual interrupt interface is to cause a maintenance interrupt: bits 7:1 of
 * ICH_HCR_EL2. Read at each entry, if FEATURES says that there are list registers.
 */
#define CV_RUN_ICH_HCR 320UL

/*
 * List registers 0 to 15: interrupts of the vCPU, in the format of ICH_LR<n>_EL2 (with a GICv2,
 * bits 12:10 are the source CPU of an SGI). As many as FEATURES says are read at each entry, and
 * written after each exit, as the hardware left them.
 */
#define CV_RUN_LIST_REGISTER 328UL

/*
 * CNTV_CTL_EL0 of the vCPU, with ISTATUS as it was when it stopped. While the vCPU does not run,
 * its virtual timer causes no interrupt: the host gives it one when the time has come. Written
 * after each exit.
 */
#define CV_RUN_CNTV_CTL 456UL

/*
 * CNTV_CVAL_EL0: when that is, as virtual time, which is the counter less what TIMER_SET_CNTVOFF
 * said. Written after each exit.
 */
#define CV_RUN_CNTV_CVAL 464UL

/*
 * ICH_MISR_EL2: why there is a maintenance interrupt; and in bits 31:27 EOIcount of ICH_HCR_EL2.
 * Written after each exit.
 */
#define CV_RUN_ICH_MISR 472UL

/* From here on: a saved vCPU, as SAVE_CRYPT_VCPU writes it. LOAD_CRYPT_VCPU reads it. */
#define CV_RUN_SEALED 1024UL

/* Words of a saved vCPU. */
#define CV_RUN_SEALED_WORDS 173

/*
 * Bits of CV_RUN_FLAGS. What the exception says of the access is not the host's choice; an abort
 * goes before an undefined instruction.
 */

/* A synchronous external abort. */
#define CV_INJECT_DATA_ABORT 0x200000000UL

/* The same. */
#define CV_INJECT_INSTRUCTION_ABORT 0x400000000UL

/* An undefined instruction. */
#define CV_INJECT_UNDEFINED 0x800000000UL

#endif
