// SPDX-License-Identifier: GPL-2.0-only
//! Signed images, and a host that has others run in their place.

use super::{BLOCK, GUEST, RUN_PAGE, assert_refused, boot, destroy, info, register, run, vcpu, verify};
use crate::addr::{HOSTVISOR, PAGE_SIZE, PMD_SIZE, Vmid};
use crate::lock::Held;
use crate::machine::Machine;
use crate::machine::sim::set_cpu;
use crate::memory::{Count, S2Page};
use crate::npt::Desc;
use crate::platform::image_keys::ImageKeys;
use crate::refused::Refused;
use crate::vm::measure::{Digest, image_message, measure};
use crate::vm::{Measurement, Signature, VmFlags, VmState};
use crate::world::{Core, ipa, pfn, record, set_record};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use sha2::Sha256;
use std::vec;
use std::vec::Vec;

/// Two and a half pages into a block, to a part of a page in the next but one.
const SIZE: u64 = 2 * PMD_SIZE + 5 * PAGE_SIZE + 321;

/// The key of one who signs.
fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn keys(seeds: impl IntoIterator<Item = u8>) -> ImageKeys {
    let mut keys = ImageKeys::default();
    for seed in seeds {
        keys.add(signer(seed).verifying_key().as_bytes()).unwrap();
    }
    keys
}

/// Corevisor with the keys of signers 1 and 2.
fn boot_with_keys() -> Core {
    let core = boot();
    core.machine().set_image_keys(keys([1, 2]));
    core
}

fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest;
    Sha256::digest(bytes).into()
}

fn sign(seed: u8, guest: u64, bytes: &[u8]) -> Signature {
    signer(seed).sign(&image_message(guest, bytes.len() as u64, &sha256(bytes))).to_bytes()
}

/// Something of `size` bytes that is different in each place.
fn content(size: u64) -> Vec<u8> {
    (0..size).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 13) as u8).collect()
}

/// Writes `bytes` to memory of the host, and 0xEE behind them up to the end of the page.
fn put(core: &Core, address: u64, bytes: &[u8]) {
    for (n, part) in bytes.chunks(PAGE_SIZE as usize).enumerate() {
        let mut page = [0xEE; PAGE_SIZE as usize];
        page[..part.len()].copy_from_slice(part);
        core.machine().write_page(pfn(address + n as u64 * PAGE_SIZE), &page);
    }
}

/// Announces an image for `guest` and hands its pages over, which lie at `address`.
fn offer(core: &Core, v: Vmid, guest: u64, address: u64, size: u64, signature: Signature) {
    let held = &mut Held::nothing();
    let image = core.set_boot_info(v, ipa(guest), size, signature, held).unwrap();
    for at in (address..address + size).step_by(PAGE_SIZE as usize) {
        core.remap_vm_image(v, pfn(at), image, held).unwrap();
    }
}

/// A new VM with a vCPU.
fn with_vcpu(core: &Core, flags: VmFlags) -> Vmid {
    let v = core.register_kvm(flags, &mut Held::nothing()).unwrap();
    core.register_vcpu(v, vcpu(0), pfn(RUN_PAGE), &mut Held::nothing()).unwrap();
    v
}

/// VERIFY_VM_IMAGE to its end.
fn try_verify(core: &Core, v: Vmid) -> Result<(), Refused> {
    while core.verify_and_load_images(v, &mut Held::nothing())? > 0 {}
    Ok(())
}

fn measurement(core: &Core, v: Vmid) -> Result<(Measurement, VmFlags), Refused> {
    core.measurement(v, &mut Held::nothing())
}

/// That the VM, whose images are as they are, never runs; and that the host can't have the block before it is scrubbed.
#[track_caller]
fn assert_never_runs(core: &Core, v: Vmid, what: &str) {
    assert_eq!(try_verify(core, v), Err(Refused::NotSigned), "{what}");
    assert_eq!(info(core, v, |info| (info.state, info.measurement)), (VmState::Poweroff, None), "{what}");
    assert_refused(core, Refused::State(v), |core| core.verify_and_load_images(v, &mut Held::nothing()));
    assert_refused(core, Refused::State(v), |core| core.set_vcpu_active(v, vcpu(0), &mut Held::nothing()));
    assert_refused(core, Refused::State(v), |core| measurement(core, v));
    assert!(core.machine().access(HOSTVISOR, ipa(BLOCK)).is_err());
    destroy(core, v);
}

// Tests: BO-8
#[test]
fn a_signed_image_runs() {
    let core = boot_with_keys();
    let bytes = content(SIZE);
    for seed in [1, 2] {
        put(&core, BLOCK + 2 * PAGE_SIZE, &bytes);
        let v = with_vcpu(&core, VmFlags::empty());
        let guest = GUEST + 2 * PAGE_SIZE;
        offer(&core, v, guest, BLOCK + 2 * PAGE_SIZE, SIZE, sign(seed, guest, &bytes));
        assert_refused(&core, Refused::State(v), |core| measurement(core, v));
        verify(&core, v);
        run(&core, v, vcpu(0));
        let mut expected = b"Corevisor VM, v1\0\0\0\0\0\0\0\0".to_vec();
        expected.extend([0, 1, guest, SIZE].map(u64::to_le_bytes).concat());
        expected.extend(sha256(&bytes));
        assert_eq!(measurement(&core, v), Ok((sha256(&expected), VmFlags::empty())));
        super::stop(&core, v, vcpu(0));
        core.set_vm_poweroff(v, &mut Held::nothing());
        assert!(measurement(&core, v).is_ok(), "it is what it was");
        destroy(&core, v);
        assert_refused(&core, Refused::State(v), |core| measurement(core, v));
    }
}

// Tests: BO-8
#[test]
fn a_changed_byte_in_any_place_is_noticed() {
    let core = boot_with_keys();
    let bytes = content(SIZE);
    let signature = sign(1, GUEST, &bytes);
    let last = SIZE - 1;
    let places = [0, 1, 63, 64, 4095, 4096, 64 * PAGE_SIZE - 1, 64 * PAGE_SIZE, PMD_SIZE - 1, PMD_SIZE, SIZE / 2];
    for at in places.into_iter().chain([last - last % PAGE_SIZE - 1, last - last % PAGE_SIZE, last - 1, last]) {
        let mut changed = bytes.clone();
        changed[at as usize] ^= 1 << (at % 8);
        put(&core, BLOCK, &changed);
        let v = with_vcpu(&core, VmFlags::empty());
        offer(&core, v, GUEST, BLOCK, SIZE, signature);
        assert_never_runs(&core, v, &std::format!("byte {at:#x}"));
    }
    // What follows the image is not signed, and is zero for the VM.
    put(&core, BLOCK, &bytes);
    let v = with_vcpu(&core, VmFlags::empty());
    offer(&core, v, GUEST, BLOCK, SIZE, signature);
    verify(&core, v);
    let page = super::page(&core, pfn(BLOCK + last));
    assert!(page[SIZE as usize % PAGE_SIZE as usize..].iter().all(|&byte| byte == 0));
}

// Tests: BO-8
#[test]
fn a_signature_is_of_one_image_at_one_address_by_one_of_the_keys() {
    let core = boot_with_keys();
    let bytes = content(3 * PAGE_SIZE);
    let size = 3 * PAGE_SIZE;
    let good = sign(1, GUEST, &bytes);
    let mut tries: Vec<(&str, u64, u64, Signature)> = vec![
        ("an address that was not signed", GUEST + PMD_SIZE, size, good),
        ("one byte less", GUEST, size - 1, good),
        ("one page less", GUEST, size - PAGE_SIZE, good),
        ("one byte more", GUEST, size + 1, good),
        ("a key that is none of ours", GUEST, size, sign(3, GUEST, &bytes)),
        ("no signature", GUEST, size, [0; 64]),
        ("that of another image", GUEST, size, sign(1, GUEST, &content(2 * PAGE_SIZE))),
        ("that of the same one elsewhere", GUEST, size, sign(1, GUEST + PMD_SIZE, &bytes)),
        ("that of the bytes", GUEST, size, signer(1).sign(&bytes).to_bytes()),
        ("that of the digest", GUEST, size, signer(1).sign(&sha256(&bytes)).to_bytes()),
    ];
    for word in 0..8 {
        let mut changed = good;
        changed[8 * word + word] ^= 0x40;
        tries.push(("a bit of the signature", GUEST, size, changed));
    }
    // s + L, which says the same to those who do not look (RFC 8032, 8.4).
    let mut same = good;
    let order = b"\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";
    let mut carry = 0;
    for (byte, add) in same[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    tries.push(("another form of the signature", GUEST, size, same));
    for (what, guest, size, signature) in tries {
        put(&core, BLOCK, &content(4 * PAGE_SIZE));
        let v = with_vcpu(&core, VmFlags::empty());
        offer(&core, v, guest, BLOCK, size, signature);
        assert_never_runs(&core, v, what);
    }
    put(&core, BLOCK, &bytes);
    let v = with_vcpu(&core, VmFlags::empty());
    offer(&core, v, GUEST, BLOCK, size, good);
    verify(&core, v);
}

// Tests: BO-8
#[test]
fn each_of_several_images_has_its_own_signature() {
    let core = boot_with_keys();
    let images: Vec<_> = (0..5).map(|i| (GUEST + i * PMD_SIZE, BLOCK + i * PMD_SIZE, content(100 + i))).collect();
    let offer_all = |bad: Option<usize>| {
        let v = with_vcpu(&core, VmFlags::empty());
        for (i, (guest, address, bytes)) in images.iter().enumerate() {
            put(&core, *address, bytes);
            // The wrong one has the signature of its neighbour.
            let (of, content) =
                if bad == Some(i) { (images[(i + 1) % 5].0, &images[(i + 1) % 5].2) } else { (*guest, bytes) };
            offer(&core, v, *guest, *address, bytes.len() as u64, sign(1 + i as u8 % 2, of, content));
        }
        v
    };
    for bad in 0..5 {
        assert_never_runs(&core, offer_all(Some(bad)), "one of five");
    }
    let v = offer_all(None);
    verify(&core, v);
    let all = images.iter().map(|(guest, _, bytes)| (*guest, bytes.len() as u64, sha256(bytes)));
    assert_eq!(measurement(&core, v), Ok((measure(VmFlags::empty(), all), VmFlags::empty())));
}

// Tests: BO-7, BO-8
#[test]
fn what_the_host_changes_after_it_has_handed_the_pages_over_is_noticed() {
    let core = boot_with_keys();
    let size = 10 * PMD_SIZE;
    let bytes = content(size);
    let signature = sign(1, GUEST, &bytes);
    // Before anything is taken, and while the first blocks are, but not the last ones.
    for calls in [0, 1] {
        put(&core, BLOCK, &bytes);
        let v = with_vcpu(&core, VmFlags::empty());
        offer(&core, v, GUEST, BLOCK, size, signature);
        for _ in 0..calls {
            core.verify_and_load_images(v, &mut Held::nothing()).unwrap();
        }
        let last = BLOCK + size - PAGE_SIZE;
        for at in (BLOCK..BLOCK + size).step_by(PMD_SIZE as usize) {
            let taken = calls > 0 && at < BLOCK + 8 * PMD_SIZE;
            assert_eq!(record(&core, at).owner() == Some(v), taken, "{at:#x}");
        }
        core.machine().write_page(pfn(last), &[7; PAGE_SIZE as usize]);
        assert_never_runs(&core, v, "a page of the last block");
    }
}

// Tests: BO-6, BO-7, BO-8, BO-10, BO-11
#[test]
fn between_two_parts_nothing_gets_to_the_image() {
    use crate::mmio::{ContextBank, SmmuIndex};
    let core = boot_with_keys();
    let bytes = content(SIZE);
    put(&core, BLOCK, &bytes);
    let v = with_vcpu(&core, VmFlags::empty());
    let (bank, smmu) = (ContextBank::new(1).unwrap(), SmmuIndex::new(0).unwrap());
    core.el2_alloc_smmu_pgd(bank, v, smmu, &mut Held::nothing()).unwrap();
    offer(&core, v, GUEST, BLOCK, SIZE, sign(1, GUEST, &bytes));
    let left = core.verify_and_load_images(v, &mut Held::nothing()).unwrap();
    assert_refused(&core, Refused::State(v), |core| {
        core.set_boot_info(v, ipa(GUEST + 8 * PMD_SIZE), 1, [0; 64], &mut Held::nothing())
    });
    let other = pfn(BLOCK + 20 * PMD_SIZE);
    assert_refused(&core, Refused::State(v), |core| core.remap_vm_image(v, other, 0, &mut Held::nothing()));
    assert_refused(&core, Refused::State(v), |core| core.set_vcpu_active(v, vcpu(0), &mut Held::nothing()));
    assert_refused(&core, Refused::State(v), |core| measurement(core, v));
    // No device, either: neither to a page of the image, nor to one more.
    let pte = |address: u64| Desc::from_u64(address | 0xC3);
    for address in [BLOCK, BLOCK + SIZE - 1, BLOCK + 20 * PMD_SIZE] {
        let (iova, page) = (ipa(GUEST + (address - BLOCK)).align_down(PAGE_SIZE), pfn(address));
        assert_refused(&core, Refused::State(v), |core| {
            core.map_smmu(v, bank, smmu, iova, pte(page.base().as_u64()), &mut Held::nothing())
        });
        assert_refused(&core, Refused::State(v), |core| core.assign_smmu(v, page, iova.frame(), &mut Held::nothing()));
        assert_refused(&core, Refused::State(v), |core| {
            core.assign_and_map_smmu(v, bank, smmu, iova, pte(page.base().as_u64()), &mut Held::nothing())
        });
    }
    // Another CPU goes on where this one stopped.
    set_cpu(1);
    assert!(core.verify_and_load_images(v, &mut Held::nothing()).unwrap() < left);
    set_cpu(0);
    verify(&core, v);
    run(&core, v, vcpu(0));
}

// Tests: BO-8
#[test]
fn a_vm_destroyed_between_two_parts_leaves_nothing_to_the_next() {
    let core = boot_with_keys();
    let bytes = content(SIZE);
    put(&core, BLOCK, &bytes);
    let v = with_vcpu(&core, VmFlags::empty());
    offer(&core, v, GUEST, BLOCK, SIZE, sign(1, GUEST, &bytes));
    core.verify_and_load_images(v, &mut Held::nothing()).unwrap();
    assert!(info(&core, v, |info| info.hashed.0) > 0);
    destroy(&core, v);
    assert_eq!(info(&core, v, |info| info.clone()), Default::default());
    assert_eq!(super::page(&core, pfn(BLOCK)), [0; PAGE_SIZE as usize]);
    put(&core, BLOCK, &bytes);
    let v = with_vcpu(&core, VmFlags::empty());
    offer(&core, v, GUEST, BLOCK, SIZE, sign(1, GUEST, &bytes));
    verify(&core, v);
}

// Tests: BO-8
#[test]
fn only_pages_that_are_the_vms_alone_are_hashed() {
    let core = boot_with_keys();
    let bytes = content(SIZE);
    let elsewhere = BLOCK + 100 * PAGE_SIZE;
    for wrong in
        [S2Page::host(pfn(elsewhere)), S2Page::new(super::vm(9), Count::Shares(0), Some(GUEST / PAGE_SIZE + 100))]
    {
        put(&core, BLOCK, &bytes);
        let v = with_vcpu(&core, VmFlags::empty());
        offer(&core, v, GUEST, BLOCK, SIZE, sign(1, GUEST, &bytes));
        core.verify_and_load_images(v, &mut Held::nothing()).unwrap();
        let right = record(&core, elsewhere);
        set_record(&core, elsewhere, wrong);
        assert_eq!(try_verify(&core, v), Err(Refused::NotVmPage(pfn(elsewhere))));
        assert_eq!(info(&core, v, |info| info.state), VmState::Poweroff, "nobody knows what it would run");
        set_record(&core, elsewhere, right);
        destroy(&core, v);
    }
}

// Tests: BO-5, BO-6
#[test]
fn without_a_key_only_vms_that_need_no_signature_get_images() {
    let core = boot();
    core.machine().set_image_keys(ImageKeys::default());
    let v = register(&core);
    let announce = |v| move |core: &Core| core.set_boot_info(v, ipa(GUEST), 1, [1; 64], &mut Held::nothing());
    assert_refused(&core, Refused::NoKeys, announce(v));
    for flags in [VmFlags::UNSIGNED, VmFlags::SHARED, VmFlags::all()] {
        let v = core.register_kvm(flags, &mut Held::nothing()).unwrap();
        assert_eq!(announce(v)(&core), Ok(0));
        destroy(&core, v);
    }
}

// Tests: BO-8
#[test]
fn a_measurement_tells_what_kind_of_vm_it_is() {
    let core = boot_with_keys();
    let bytes = content(5000);
    let mut seen = Vec::new();
    for flags in [VmFlags::empty(), VmFlags::UNSIGNED, VmFlags::SHARED, VmFlags::all()] {
        put(&core, BLOCK, &bytes);
        let v = with_vcpu(&core, flags);
        let signature = if flags.is_signed() { sign(1, GUEST, &bytes) } else { [0xAB; 64] };
        offer(&core, v, GUEST, BLOCK, 5000, signature);
        verify(&core, v);
        let (of_this, kind) = measurement(&core, v).unwrap();
        assert_eq!((of_this, kind), (measure(flags, [(GUEST, 5000, sha256(&bytes))].into_iter()), flags));
        assert!(!seen.contains(&of_this));
        seen.push(of_this);
        destroy(&core, v);
    }
}

/// Two that any implementation must get, so that tools elsewhere can be checked, and nobody changes the layout unseen.
#[test]
fn what_is_signed_and_measured_is_laid_out_so() {
    let message = image_message(0x4000_0000, 5, &sha256(b"hello"));
    let mut expected = b"Corevisor VM image, v1\0\0".to_vec();
    expected.extend([0, 0, 0, 0x40, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend(b"\x2c\xf2\x4d\xba\x5f\xb0\xa3\x0e\x26\xe8\x3b\x2a\xc5\xb9\xe2\x9e");
    expected.extend(b"\x1b\x16\x1e\x5c\x1f\xa7\x42\x5e\x73\x04\x33\x62\x93\x8b\x98\x24");
    assert_eq!(message.to_vec(), expected);
    let none = measure(VmFlags::UNSIGNED, [].into_iter());
    let mut expected = b"Corevisor VM, v1\0\0\0\0\0\0\0\0".to_vec();
    expected.extend([1, 0].map(u64::to_le_bytes).concat());
    assert_eq!(none, sha256(&expected));
}

/// Images that fit: sizes, and where each begins in its first block, in pages.
fn shapes() -> impl proptest::strategy::Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((1..3 * PAGE_SIZE * 20, 0..512u64), 1..=5)
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    // Tests: BO-8
    #[test]
    fn random_images_run_as_they_were_signed_and_in_no_other_way(shapes in shapes(), seed in any::<u64>(), change in any::<u64>()) {
        let core = boot_with_keys();
        for spoil in [true, false] {
            let v = with_vcpu(&core, VmFlags::empty());
            let mut all = Vec::new();
            let mut unit = 0;
            let spoilt = if spoil { Some(change as usize % shapes.len()) } else { None };
            for (i, &(size, page)) in shapes.iter().enumerate() {
                let offset = unit * PMD_SIZE + page * PAGE_SIZE;
                unit += 2;
                let mut bytes: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(seed | 1) >> 7) as u8).collect();
                let (mut guest, digest) = (GUEST + offset, sha256(&bytes));
                let mut signature = sign(1, guest, &bytes);
                if spoilt == Some(i) {
                    match change >> 32 & 3 {
                        0 => signature[(change >> 34) as usize % 64] ^= 1 << (change >> 40 & 7),
                        1 => guest += 256 * PMD_SIZE,
                        _ => bytes[(change >> 34) as usize % size as usize] ^= 1 << (change & 7),
                    }
                }
                put(&core, BLOCK + offset, &bytes);
                offer(&core, v, guest, BLOCK + offset, size, signature);
                all.push((guest, size, digest));
            }
            let verdict = try_verify(&core, v);
            if spoil {
                prop_assert_eq!(verdict, Err(Refused::NotSigned));
                prop_assert!(measurement(&core, v).is_err());
            } else {
                prop_assert_eq!(verdict, Ok(()));
                prop_assert_eq!(measurement(&core, v), Ok((measure(VmFlags::empty(), all.into_iter()), VmFlags::empty())));
            }
            destroy(&core, v);
        }
    }
}
