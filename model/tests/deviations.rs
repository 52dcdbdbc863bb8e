// SPDX-License-Identifier: GPL-2.0-only
//! Steps at which a careful implementation departs from the letter carry the number of the difference; others carry none.

use model::constants::state::VERIFIED;
use model::constants::{INVALID, hvc};
use model::rdata::{RData, S2Index, S2Page};
use model::{boot_ops, mem_manager, memory_ops, mmio_ops, trap_dispatcher};

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
}

#[test]
fn calls_that_the_dispatcher_forgets_are_noted() {
    let mut d = machine();
    d.ctxt(0, 0).set("x0", hvc::SAVE_CRYPT_VCPU);
    trap_dispatcher::host_hvc_dispatcher(&mut d).unwrap();
    assert_eq!(tags(&mut d), [28]);
}
