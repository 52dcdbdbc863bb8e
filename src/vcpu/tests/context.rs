// SPDX-License-Identifier: GPL-2.0-only
//! The context itself.

use crate::vcpu::{ShadowContext, Sys};

/// The numbers that name a register: all but SP, SP_EL1, SPSR_abt to SPSR_fiq and MDCCINT_EL1 (D-44).
fn is_accessible(index: usize) -> bool {
    index <= 72 && ![31, 34, 37, 38, 39, 40, 69].contains(&index)
}

#[test]
fn each_number_is_a_register_of_its_own() {
    for index in 0..80 {
        let mut context = ShadowContext::ZERO;
        context.set_shadow_ctxt(index, 7);
        assert_eq!(context != ShadowContext::ZERO, is_accessible(index), "{index}");
        for other in 0..80 {
            let same = is_accessible(index) && (other == index || [other, index].iter().all(|i| [36, 71].contains(i)));
            assert_eq!(context.get_shadow_ctxt(other), if same { 7 } else { 0 }, "{other} after {index}");
        }
    }
}

#[test]
fn names_and_numbers_agree() {
    let mut context = ShadowContext::ZERO;
    context.sys[Sys::MpidrEl1] = 47;
    context.sys[Sys::EsrEl1] = 55;
    context.sys[Sys::TpidrEl1] = 64;
    context.sys[Sys::MdccintEl1] = 69;
    context.sys[Sys::ElrEl2] = 70;
    for index in [47, 55, 64, 70] {
        assert_eq!(context.get_shadow_ctxt(index), index as u64);
    }
    assert_eq!(context.get_shadow_ctxt(69), 0, "MDCCINT_EL1");
    context.pstate = 0x3C5;
    assert_eq!(context.get_shadow_ctxt(33), 0x3C5);
}
