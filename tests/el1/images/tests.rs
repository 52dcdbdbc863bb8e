// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod signer;
mod tampering;
mod whole;

crate::tests! {
    whole:
        a_signed_vm_runs,
        each_kind_of_vm_has_its_measurement;
    tampering:
        a_changed_byte_in_any_place,
        another_address_size_signature_or_key,
        an_image_that_is_being_verified;
    whole:
        a_signed_vm_runs;
}
