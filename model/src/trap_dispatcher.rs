// SPDX-License-Identifier: GPL-2.0-only
//! Layer: TrapDispatcher. The high and the low text are the same.

use crate::Spec;
use crate::abstract_machine::{
    check, core_handle_sys64, get_cur_vcpuid, get_cur_vmid, get_shadow_ctxt, panic, set_shadow_ctxt, timer_set_cntvoff,
};
use crate::boot_ops::{register_kvm, register_vcpu, remap_vm_image, set_boot_info, verify_and_load_images};
use crate::constants::model_only::EC_SYS64;
use crate::constants::{
    COREVISOR, EC_HVC64, ESR_EC_SHIFT, HOSTVISOR, KVM_ADDR_SPACE, KVM_PFN_SPACE, KVM_PHYS_SIZE, MAX_LOAD_INFO_NUM,
    PAGE_SIZE, SMMU_NUM, SMMU_NUM_CTXT_BANKS, VCPU_PER_VM, hvc, phys_page,
};
use crate::fault_handler::core_handle_pvops;
use crate::mem_handler::{clear_vm_stage2_range, el2_arm_lpae_map, kvm_phys_addr_ioremap};
use crate::mmio_ops::{el2_alloc_smmu_pgd, el2_arm_lpae_clear, el2_arm_lpae_iova_to_phys, el2_free_smmu_pgd};
use crate::rdata::RData;

/// Arguments of a host call: x1 to x5.
struct Args([u64; 5]);

impl Args {
    /// x`n`.
    fn x(&self, n: usize) -> u64 {
        self.0[n - 1]
    }

    /// x`n`, if below `limit`, as a number of 32 bits.
    fn below(&self, n: usize, limit: u32) -> Option<u32> {
        u32::try_from(self.x(n)).ok().filter(|x| *x < limit)
    }

    /// x`n`, if it is a VM.
    fn vm(&self, n: usize) -> Option<u32> {
        self.below(n, COREVISOR).filter(|vmid| *vmid > HOSTVISOR)
    }

    /// x`n`, if below `limit`.
    fn addr(&self, n: usize, limit: u64) -> Option<u64> {
        Some(self.x(n)).filter(|x| *x < limit)
    }

    /// x`n`, if it is a context bank.
    fn bank(&self, n: usize) -> Option<u32> {
        self.below(n, SMMU_NUM_CTXT_BANKS)
    }

    /// x`n`, if it is an SMMU.
    fn smmu(&self, n: usize) -> Option<u32> {
        self.below(n, SMMU_NUM)
    }
}

/// The sum of two numbers, if below `limit`.
fn sum_below(a: u64, b: u64, limit: u64) -> Option<()> {
    a.checked_add(b).filter(|sum| *sum < limit).map(|_| ())
}

/// Spec: TD-1. D-19: the index of an image is dropped. D-28: calls 26 to 29 are not dispatched. D-55: an unknown call has
/// no effect.
pub fn host_hvc_dispatcher(d: &mut RData) -> Spec {
    let vmid = get_cur_vmid(d)?;
    let vcpuid = get_cur_vcpuid(d)?;
    let call = get_shadow_ctxt(d, vmid, vcpuid, 0)?;
    let mut args = Args([0; 5]);
    for (i, arg) in (1..).zip(&mut args.0) {
        *arg = get_shadow_ctxt(d, vmid, vcpuid, i)?;
    }
    match dispatch(d, call, &args) {
        Some(step) => match step? {
            Some(result) => set_shadow_ctxt(d, vmid, vcpuid, 0, result),
            None => Some(()),
        },
        None => panic(d),
    }
}

/// Runs a host call: nothing if an argument is out of its range; else what the specification gives, and of that, the
/// value for x0 if there is one.
fn dispatch(d: &mut RData, call: u64, args: &Args) -> Option<Spec<Option<u64>>> {
    let step = match call {
        hvc::TIMER_SET_CNTVOFF => timer_set_cntvoff(d),
        hvc::CLEAR_VM_S2_RANGE => {
            let (vmid, start, size) = (args.vm(1)?, args.addr(2, KVM_ADDR_SPACE)?, args.addr(3, KVM_ADDR_SPACE)?);
            // D-50: page numbers have 28 bits.
            if start + size.next_multiple_of(PAGE_SIZE) >= KVM_PHYS_SIZE {
                d.tag(50);
            }
            clear_vm_stage2_range(d, vmid, start, size)
        }
        hvc::SET_BOOT_INFO => {
            let (vmid, addr, size) = (args.vm(1)?, args.addr(2, KVM_PHYS_SIZE)?, args.addr(3, KVM_PHYS_SIZE)?);
            sum_below(addr, size, KVM_PHYS_SIZE)?;
            d.tag(19);
            set_boot_info(d, vmid, addr, size).map(|_| ())
        }
        hvc::REMAP_VM_IMAGE => {
            let (vmid, pfn, i) = (args.vm(1)?, args.addr(2, KVM_PFN_SPACE)?, args.below(3, MAX_LOAD_INFO_NUM)?);
            remap_vm_image(d, vmid, pfn, i)
        }
        hvc::VERIFY_VM_IMAGES => {
            let vmid = args.vm(1)?;
            verify_and_load_images(d, vmid)
        }
        hvc::SMMU_FREE_PGD => {
            let (cbndx, index) = (args.bank(1)?, args.smmu(2)?);
            el2_free_smmu_pgd(d, cbndx, index)
        }
        hvc::SMMU_ALLOC_PGD => {
            let (cbndx, vmid, index) = (args.bank(1)?, args.below(2, COREVISOR)?, args.smmu(3)?);
            el2_alloc_smmu_pgd(d, cbndx, vmid, index)
        }
        hvc::SMMU_LPAE_MAP => {
            let (iova, paddr) = (args.addr(1, KVM_PHYS_SIZE)?, args.addr(2, KVM_PHYS_SIZE)?);
            let prot = args.addr(3, (1 << 63) - 1).filter(|prot| phys_page(*prot) == 0)?;
            let (cbndx, index) = (args.bank(4)?, args.smmu(5)?);
            el2_arm_lpae_map(d, iova, paddr, prot, cbndx, index)
        }
        hvc::SMMU_LPAE_IOVA_TO_PHYS => {
            let (iova, cbndx, index) = (args.addr(1, KVM_PHYS_SIZE)?, args.bank(2)?, args.smmu(3)?);
            return Some(el2_arm_lpae_iova_to_phys(d, iova, cbndx, index).map(Some));
        }
        hvc::SMMU_CLEAR => {
            let (iova, cbndx, index) = (args.addr(1, KVM_PHYS_SIZE)?, args.bank(2)?, args.smmu(3)?);
            el2_arm_lpae_clear(d, iova, cbndx, index)
        }
        hvc::PHYS_ADDR_IOREMAP => {
            // D-52: 0 and 16 pass here, too.
            let vmid = args.below(1, COREVISOR + 1)?;
            sum_below(args.x(2), args.x(4), KVM_ADDR_SPACE)?;
            sum_below(args.x(3), args.x(4), KVM_PHYS_SIZE)?;
            kvm_phys_addr_ioremap(d, vmid, args.x(2), args.x(3), args.x(4))
        }
        hvc::REGISTER_KVM => return Some(register_kvm(d).map(|vmid| Some(vmid.into()))),
        hvc::REGISTER_VCPU => {
            let (vmid, vcpuid) = (args.vm(1)?, args.below(2, VCPU_PER_VM)?);
            register_vcpu(d, vmid, vcpuid)
        }
        hvc::ENCRYPT_BUF..=hvc::LOAD_CRYPT_VCPU => {
            d.tag(28);
            Some(())
        }
        _ => Some(()),
    };
    Some(step.map(|()| None))
}

/// Spec: TD-2. D-46: every class but two halts.
pub fn vm_exit_dispatcher(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u32> {
    let esr = get_shadow_ctxt(d, vmid, vcpuid, crate::registers::ESR_EL2)?;
    let result = match esr >> ESR_EC_SHIFT & 63 {
        EC_SYS64 => {
            core_handle_sys64(d)?;
            0
        }
        EC_HVC64 => core_handle_pvops(d)?,
        _ => {
            d.tag(46);
            panic(d)?;
            0
        }
    };
    check(d, result)
}
