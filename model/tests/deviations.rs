// SPDX-License-Identifier: GPL-2.0-only
//! Steps at which a careful implementation departs from the letter carry the number of the difference; others carry none.

use model::constants::state::{POWEROFF, VERIFIED};
use model::constants::{INVALID, hvc};
use model::rdata::{RData, S2Index, S2Page, SMMUS};
use model::{boot_ops, mem_handler, mem_manager, memory_ops, mmio_ops, trap_dispatcher};

/// Host pages of the vectors' memory.
const PAGE: u64 = 0x4_0005;

/// A machine with one VM.
fn machine() -> RData {
    let mut d = RData::new(S2Index::Pfn);
    assert_eq!(boot_ops::register_kvm(&mut d), Some(1));
    d
}

/// The differences noted so far.
fn tags(d: &mut RData) -> Vec<u32> {
    d.take_tags().into_iter().collect()
}

#[test]
fn ordinary_steps_carry_none() {
    let mut d = machine();
    mem_manager::map_page_host(&mut d, PAGE * 4096).unwrap();
    mem_manager::assign_pfn_to_vm(&mut d, 1, 5, PAGE).unwrap();
    mem_manager::grant_vm_page(&mut d, 1, PAGE).unwrap();
    mem_manager::revoke_vm_page(&mut d, 1, PAGE).unwrap();
    boot_ops::register_vcpu(&mut d, 1, 0).unwrap();
    assert!(tags(&mut d).is_empty());
    assert!(!d.halt);
}

#[test]
fn a_host_mapping_that_clearing_leaves_is_noted() {
    let mut d = machine();
    mem_manager::assign_pfn_to_vm(&mut d, 1, 5, PAGE).unwrap();
    mem_manager::grant_vm_page(&mut d, 1, PAGE).unwrap();
    mem_manager::map_page_host(&mut d, PAGE * 4096).unwrap();
    assert!(tags(&mut d).is_empty());
    mem_manager::clear_vm_page(&mut d, 1, PAGE).unwrap();
    assert_eq!(tags(&mut d), [3]);
}

#[test]
fn a_vms_mapping_that_clearing_leaves_is_noted() {
    let mut d = machine();
    memory_ops::prot_and_map_vm_s2pt(&mut d, 1, 0x5000, PAGE * 4096, 3).unwrap();
    mem_manager::assign_pfn_to_vm(&mut d, 1, 6, PAGE + 1).unwrap();
    mem_manager::clear_vm_page(&mut d, 1, PAGE + 1).unwrap();
    assert!(tags(&mut d).is_empty(), "not mapped by the VM");
    mem_manager::clear_vm_page(&mut d, 1, PAGE).unwrap();
    assert_eq!(tags(&mut d), [82]);
    assert_eq!(d.npt(1).get(5).pfn, PAGE, "it is still there");
    // Another page may be there by now.
    mem_manager::assign_pfn_to_vm(&mut d, 1, 5, PAGE + 2).unwrap();
    mem_manager::clear_vm_page(&mut d, 1, PAGE + 2).unwrap();
    assert!(tags(&mut d).is_empty());
}

#[test]
fn registers_of_an_smmu_for_a_vm_are_noted() {
    let mut d = machine();
    let smmu = SMMUS[0];
    for page in [smmu.base - 4096, smmu.base + smmu.size] {
        mem_manager::map_vm_io(&mut d, 1, page, page).unwrap();
    }
    assert!(tags(&mut d).is_empty());
    mem_manager::map_vm_io(&mut d, 1, smmu.base, smmu.base).unwrap();
    assert_eq!(tags(&mut d), [83]);
    assert!(!d.halt);
}

#[test]
fn who_is_no_vm_and_owns_pages_like_one_is_noted() {
    for other in [0, 16] {
        let mut d = machine();
        mem_manager::grant_vm_page(&mut d, other, PAGE).unwrap();
        assert_eq!(tags(&mut d), [84]);
        mem_manager::assign_pfn_to_vm(&mut d, other, 5, PAGE + 1).unwrap();
        assert_eq!(tags(&mut d), [84]);
    }
}

#[test]
fn an_entry_that_replaces_another_is_noted() {
    let mut d = machine();
    for _ in 0..2 {
        mem_manager::map_pfn_vm(&mut d, 1, 0x5000, PAGE * 4096, 3).unwrap();
        mem_manager::map_pfn_vm(&mut d, 1, 0x4000_0000, 0x4000_0000, 2).unwrap();
    }
    assert!(tags(&mut d).is_empty(), "by itself");
    for (addr, pte, level) in [(0x5000, (PAGE + 1) * 4096, 3), (0x4000_0000, 0x4020_0000, 2), (0, 0x4000_0000, 2)] {
        mem_manager::map_pfn_vm(&mut d, 1, addr, pte, level).unwrap();
        assert_eq!(tags(&mut d), [7], "{addr:#x}");
    }
}

#[test]
fn pages_that_a_vcpu_or_a_device_may_still_use_are_noted() {
    let mut d = machine();
    d.vm(1).vm_state = POWEROFF;
    mem_handler::clear_vm_stage2_range(&mut d, 1, PAGE * 4096, 4096).unwrap();
    assert!(tags(&mut d).is_empty());
    d.smmu_vmid.insert(3, 1);
    mem_handler::clear_vm_stage2_range(&mut d, 1, PAGE * 4096, 4096).unwrap();
    assert_eq!(tags(&mut d), [68]);
}

#[test]
fn a_page_given_through_the_smmu_is_the_hosts_to_map() {
    let mut d = machine();
    d.s2page.set(PAGE, S2Page { owner: 1, count: INVALID, gfn: 5 });
    mem_manager::map_page_host(&mut d, PAGE * 4096).unwrap();
    assert_eq!(tags(&mut d), [1]);
}

#[test]
fn the_state_test_of_assign_smmu_is_the_wrong_way_round() {
    let mut d = machine();
    boot_ops::assign_smmu(&mut d, 1, PAGE, 5).unwrap();
    assert!(d.halt);
    assert_eq!(tags(&mut d), [12]);
    let mut d = machine();
    boot_ops::low::assign_smmu(&mut d, 1, PAGE, 5).unwrap();
    assert!(!d.halt);
}

#[test]
fn a_bank_for_a_verified_vm_is_noted() {
    let mut d = machine();
    mmio_ops::el2_alloc_smmu_pgd(&mut d, 0, 1, 0).unwrap();
    assert!(tags(&mut d).is_empty());
    d.vm(1).vm_state = VERIFIED;
    mmio_ops::el2_alloc_smmu_pgd(&mut d, 1, 1, 0).unwrap();
    assert_eq!(tags(&mut d), [13]);
}

#[test]
fn an_unaligned_block_is_noted() {
    let mut d = machine();
    memory_ops::prot_and_map_vm_s2pt(&mut d, 1, 0x4000_0000, 0x4010_0000, 2).unwrap();
    assert_eq!(tags(&mut d), [20]);
    let mut d = machine();
    memory_ops::prot_and_map_vm_s2pt(&mut d, 1, 0x4000_1000, 0x4020_0000, 2).unwrap();
    assert_eq!(tags(&mut d), [20]);
}

#[test]
fn calls_that_the_dispatcher_forgets_are_noted() {
    let mut d = machine();
    d.ctxt(0, 0).set("x0", hvc::SAVE_CRYPT_VCPU);
    trap_dispatcher::host_hvc_dispatcher(&mut d).unwrap();
    assert_eq!(tags(&mut d), [28]);
}
