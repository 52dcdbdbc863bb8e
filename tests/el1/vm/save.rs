// SPDX-License-Identifier: GPL-2.0-only
//! Pages that leave Corevisor encrypted, and come back.

use super::calls::{GUEST, announce, assert_lost, balance, block, content, destroy, fill, register_kvm, verify};
use crate::rt::PAGE;
use crate::rt::call::{Conduit, host, with_canaries};
use crate::rt::fault::{Access, assert_refused, read};
use crate::rt::machine;
use corevisor::abi::{DENIED, HOST_CALL_BASE, NOT_SUPPORTED, host_call as n};

/// ENCRYPT_BUF: what DECRYPT_BUF needs.
fn encrypt(v: u64, page: u64, to: u64) -> Result<[u64; 6], i64> {
    let registers = with_canaries(Conduit::Hvc, (HOST_CALL_BASE + n::ENCRYPT_BUF).into(), &[v, page, to], 7);
    match registers[0] as i64 {
        0 => Ok(core::array::from_fn(|i| registers[1 + i])),
        error => Err(error),
    }
}

fn decrypt(v: u64, page: u64, [a, b, c, d, e, f]: [u64; 6]) -> i64 {
    host(n::DECRYPT_BUF, &[v, page, a, b, c, d, e, f])
}

fn words(page: u64) -> impl Iterator<Item = u64> {
    (page..page + PAGE).step_by(8)
}

fn store(at: u64, value: u64) {
    // SAFETY: RAM that nobody uses.
    unsafe { (at as *mut u64).write_volatile(value) };
}

pub fn pages_are_sealed() {
    let before = balance();
    let (image, out) = (block(2), block(3));
    fill(image);
    fill(out);
    words(image).for_each(|at| store(at, content(at)));
    let v = register_kvm();
    assert_eq!(host(n::REGISTER_VCPU, &[v, 0, block(16)]), 0);
    announce(v, GUEST, image, 1);
    assert_eq!(verify(v), 0);

    if machine::read!("id_aa64isar0_el1") >> 60 == 0 {
        assert_eq!(encrypt(v, image, out), Err(NOT_SUPPORTED), "there is no source of entropy");
        assert_eq!(read(out), Ok(content(out)));
        destroy(v);
        assert_eq!(balance(), before);
        return;
    }
    let saved = encrypt(v, image, out).expect("a source of entropy");
    assert_eq!(saved[3], GUEST / PAGE);
    let again = encrypt(v, image, out + PAGE).expect("once more");
    assert_ne!(saved[0], again[0], "the nonce");
    for (one, other) in words(out).zip(words(out + PAGE)) {
        let plain = content(image + one - out);
        let (one, other) = (read(one).expect("the host's"), read(other).expect("the host's"));
        assert!(one != plain && other != plain && one != other);
    }
    // Not from the host, nor to the VM or Corevisor.
    assert_eq!(encrypt(v, out, out + 2 * PAGE), Err(DENIED));
    assert_eq!(encrypt(v, image, image + PAGE), Err(DENIED));
    assert_lost(image);
    destroy(v);

    let v = register_kvm();
    let first = read(out).expect("the host's");
    store(out, first ^ 1);
    assert_eq!(decrypt(v, out, saved), DENIED, "altered");
    store(out, first);
    for word in 0..6 {
        let mut altered = saved;
        altered[word] ^= 1;
        assert!(decrypt(v, out, altered) < 0, "word {word} of what came with it is altered");
    }
    assert_eq!(decrypt(v, out + PAGE, saved), DENIED, "another page's");
    assert_eq!(read(out), Ok(first));
    assert_eq!(decrypt(v, out, saved), 0);
    assert_refused(Access::Read, out);
    assert_refused(Access::Write, out + PAGE - 8);
    assert!(decrypt(v, out + PAGE, again) < 0, "there is a page in that place");
    destroy(v);
    words(out).for_each(|at| assert_eq!(read(at), Ok(0), "at {at:#x}"));
    assert_eq!(balance(), before);
}
