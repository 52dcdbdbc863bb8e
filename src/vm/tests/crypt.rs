// SPDX-License-Identifier: GPL-2.0-only
//! VMs that are saved and loaded again, by a host that tries to make something else of them.

use super::{
    BLOCK, GUEST, RUN_PAGE, assert_refused, boot, context, destroy, each_state, fill, info, page, register, run, stop,
    vcpu, verified, verify, vm,
};
use crate::abi::run_page;
use crate::addr::{HOSTVISOR, PAGE_SIZE, Pa, Pfn, Vmid};
use crate::lock::Held;
use crate::machine::Machine;
use crate::memory::{Count, S2Page};
use crate::refused::Refused;
use crate::vcpu::vgic::Vgic;
use crate::vcpu::{Fp, ShadowContext, SysRegs, Unfinished, VirtualTimer};
use crate::vm::{Power, SavedPage, VcpuState, VmFlags, VmState};
use crate::world::{Core, MIB, ipa, pfn, record, set_record, snapshot};
use std::collections::BTreeSet;
use std::vec::Vec;

/// Where the host puts ciphertext.
const STORE: u64 = BLOCK + 32 * MIB;
/// Run page of the VM that goes on.
const OTHER_RUN_PAGE: u64 = RUN_PAGE + PAGE_SIZE;

/// CPU_ON was called for it.
const PENDING: Power = Power::Pending { entry: 0x8000, argument: 18 };

/// Every register has a value of its own.
fn busy_context() -> ShadowContext {
    ShadowContext {
        x: core::array::from_fn(|i| 100 + i as u64),
        pc: 1,
        pstate: 2,
        sys: SysRegs(core::array::from_fn(|i| 200 + i as u64)),
        elr_el1: 3,
        spsr_el1: 4,
        sp_el0: 5,
        sp_el1: 6,
        far_el2: 7,
        hpfar_el2: 8,
        hcr_el2: 9,
        ec: 10,
        dirty: 11,
        flags: 12,
        esr_el2: 13,
        fp: Fp { q: core::array::from_fn(|i| (300 + i as u128) << 64 | (400 + i as u128)), fpsr: 14, fpcr: 15 },
        keys: core::array::from_fn(|i| 500 + i as u64),
        timer: VirtualTimer { ctl: 18, cval: 19 },
        vgic: Vgic { vmcr: 16, ap0r: [17, 18, 19, 20], ap1r: [21, 22, 23, 24] },
        unfinished: Some(Unfinished { call: 11, ipa: ipa(0x8000_0000), size: 16, done: 17 }),
        run_page: None,
    }
}

/// A VM of 512 private pages, the nth filled with n, and one vCPU.
fn original(core: &Core) -> Vmid {
    for n in 0..512 {
        fill(core, BLOCK + n * PAGE_SIZE, n as u8);
    }
    let v = verified(core, 512 * PAGE_SIZE);
    context(core, v, vcpu(0), |context| *context = busy_context());
    info(core, v, |info| info.vcpu_mut(vcpu(0)).power = PENDING);
    v
}

fn save_page(core: &Core, v: Vmid, n: u64) -> Result<SavedPage, Refused> {
    core.save_encrypt_buf(v, pfn(BLOCK + n * PAGE_SIZE), store(n), &mut Held::nothing())
}

fn store(n: u64) -> Pfn {
    pfn(STORE + n * PAGE_SIZE)
}

fn save_vcpu(core: &Core, v: Vmid) -> Result<(), Refused> {
    core.save_encrypted_vcpu(v, vcpu(0), &mut Held::nothing())
}

fn save_all(core: &Core, v: Vmid) -> Vec<SavedPage> {
    save_vcpu(core, v).unwrap();
    (0..512).map(|n| save_page(core, v, n).unwrap()).collect()
}

/// A new VM with one vCPU, in whose run page lies what was saved in [`RUN_PAGE`].
fn heir(core: &Core) -> Vmid {
    let v = register(core);
    core.register_vcpu(v, vcpu(0), pfn(OTHER_RUN_PAGE), &mut Held::nothing()).unwrap();
    let saved = page(core, pfn(RUN_PAGE));
    core.machine().write_page(pfn(OTHER_RUN_PAGE), &saved);
    v
}

fn load_vcpu(core: &Core, v: Vmid) -> Result<(), Refused> {
    core.load_encrypted_vcpu(v, vcpu(0), &mut Held::nothing())
}

fn load_page(core: &Core, v: Vmid, n: u64, saved: SavedPage) -> Result<(), Refused> {
    core.load_decrypt_buf(v, store(n), saved, &mut Held::nothing())
}

// Tests: BO-14, BO-15, BO-16, BO-17, BO-18
#[test]
fn a_saved_vm_goes_on_in_another_one() {
    let core = boot();
    let v = original(&core);
    let saved = save_all(&core, v);
    assert!(page(&core, store(3)) != page(&core, pfn(BLOCK + 3 * PAGE_SIZE)), "it is encrypted");
    destroy(&core, v);
    let heir = heir(&core);
    for (n, saved) in saved.iter().enumerate() {
        load_page(&core, heir, n as u64, *saved).unwrap();
        core.machine().check();
    }
    load_vcpu(&core, heir).unwrap();
    assert!(core.is_inc_exe(heir, &mut Held::nothing()));
    assert_eq!(context(&core, heir, vcpu(0), |context| context.clone()), busy_context());
    assert_eq!(info(&core, heir, |info| info.vcpu(vcpu(0)).power), PENDING);
    for n in 0..512 {
        let at = ipa(GUEST + n * PAGE_SIZE);
        assert_eq!(core.machine().access(heir, at).unwrap().pa(at), STORE + n * PAGE_SIZE);
        assert_eq!(page(&core, store(n)), [n as u8; PAGE_SIZE as usize]);
        let now = record(&core, STORE + n * PAGE_SIZE);
        assert_eq!(
            (now.owner(), now.count(), now.gfn()),
            (Some(heir), Count::Shares(0), Some(at.as_u64() / PAGE_SIZE))
        );
        assert!(core.machine().access(HOSTVISOR, ipa(STORE + n * PAGE_SIZE)).is_err());
    }
    verify(&core, heir);
    run(&core, heir, vcpu(0));
    stop(&core, heir, vcpu(0));
    assert_eq!(save_page(&core, heir, 0), Err(Refused::NotVmPage(pfn(BLOCK))), "another page now");
}

// Tests: BO-17
#[test]
fn what_is_saved_is_a_page_of_a_vm_at_rest_and_where_it_goes_the_hosts_alone() {
    let core = boot();
    let v = original(&core);
    each_state(&core, v, |state| {
        if state != Some(VmState::Verified) {
            assert_refused(&core, Refused::State(v), |core| save_page(core, v, 0));
            assert_refused(&core, Refused::State(v), |core| save_vcpu(core, v));
        }
    });
    run(&core, v, vcpu(0));
    assert_refused(&core, Refused::State(v), |core| save_page(core, v, 0));
    assert_refused(&core, Refused::State(v), |core| save_vcpu(core, v));
    stop(&core, v, vcpu(0));
    assert_refused(&core, Refused::State(v), |core| core.save_encrypted_vcpu(v, vcpu(1), &mut Held::nothing()));
    let save =
        |from: u64, to: u64| move |core: &Core| core.save_encrypt_buf(v, pfn(from), pfn(to), &mut Held::nothing());
    let first = record(&core, BLOCK);
    for other in [
        S2Page::new(v, Count::Shares(1), first.gfn()),
        S2Page::new(v, Count::DmaPending, first.gfn()),
        S2Page::new(v, Count::Shares(0), None),
        S2Page::new(v, Count::Shares(0), first.gfn().map(|gfn| gfn + 1)), // another page is there
        S2Page::new(vm(9), Count::Shares(0), first.gfn()),
        S2Page::host(pfn(BLOCK)),
    ] {
        set_record(&core, BLOCK, other);
        assert_refused(&core, Refused::NotVmPage(pfn(BLOCK)), save(BLOCK, STORE));
    }
    set_record(&core, BLOCK, first);
    assert_refused(&core, Refused::NotVmPage(pfn(0x0900_0000)), save(0x0900_0000, STORE));
    assert_refused(&core, Refused::NotHostPage(pfn(BLOCK)), save(BLOCK, BLOCK));
    assert_refused(&core, Refused::NotHostPage(pfn(0x0900_0000)), save(BLOCK, 0x0900_0000));
    assert_refused(&core, Refused::Busy(pfn(RUN_PAGE)), save(BLOCK, RUN_PAGE));
    let before = core.machine().entropy();
    core.machine().set_entropy(None);
    assert_refused(&core, Refused::Unavailable, |core| save_page(core, v, 0));
    assert_refused(&core, Refused::Unavailable, |core| save_vcpu(core, v));
    core.machine().set_entropy(before);
    save_page(&core, v, 0).unwrap();
}

// Tests: BO-15, BO-17
#[test]
fn no_nonce_is_used_twice() {
    let core = boot();
    let v = original(&core);
    let mut nonces = BTreeSet::new();
    for n in 0..20 {
        assert!(nonces.insert(save_page(&core, v, n % 3).unwrap().seal.nonce));
        save_vcpu(&core, v).unwrap();
        for word in [4, 7] {
            let at = RUN_PAGE + run_page::SEALED + 8 * word;
            assert!(nonces.insert(core.machine().shared_load(Pa::new(at).unwrap())));
        }
    }
    // The same page twice, in the same state: nothing says that it is the same.
    save_page(&core, v, 0).unwrap();
    let first = page(&core, store(0));
    save_page(&core, v, 0).unwrap();
    assert!(page(&core, store(0)) != first);
    core.sealer().lock(&mut Held::nothing()).0.exhaust_nonces();
    assert_refused(&core, Refused::Unavailable, |core| save_page(core, v, 0));
    assert_refused(&core, Refused::Unavailable, |core| save_vcpu(core, v));
}

// Tests: BO-18
#[test]
fn a_page_that_is_not_what_was_saved_is_refused() {
    let core = boot();
    let v = original(&core);
    let good = save_page(&core, v, 1).unwrap();
    let other = save_page(&core, v, 2).unwrap();
    destroy(&core, v);
    let heir = heir(&core);
    let refused = |saved| assert_refused(&core, Refused::NotAuthentic, |core| load_page(core, heir, 1, saved));
    let change = |f: fn(&mut SavedPage)| {
        let mut changed = good;
        f(&mut changed);
        changed
    };
    refused(change(|saved| saved.seal.nonce ^= 1));
    refused(change(|saved| saved.seal.tag[0] ^= 1));
    refused(change(|saved| saved.seal.tag[1] ^= 1 << 63));
    refused(change(|saved| saved.gfn += 1));
    refused(change(|saved| saved.gfn = u64::MAX));
    refused(change(|saved| saved.generation.lineage += 1));
    refused(change(|saved| saved.generation.epoch += 1));
    refused(SavedPage { seal: other.seal, ..good });
    refused(other);
    for at in [0, 2047, 4095] {
        let bytes = page(&core, store(1));
        let mut changed = bytes;
        changed[at] ^= 0x10;
        core.machine().write_page(store(1), &changed);
        refused(good);
        core.machine().write_page(store(1), &bytes);
    }
    load_page(&core, heir, 1, good).unwrap();
    // Once: the place is taken, and the ciphertext is not the host's any more.
    assert_refused(&core, Refused::NotHostPage(store(1)), |core| load_page(core, heir, 1, good));
}

// Tests: BO-18
#[test]
fn a_page_comes_back_once_where_it_was_in_a_vm_that_is_empty() {
    let core = boot();
    let v = original(&core);
    let saved = save_page(&core, v, 0).unwrap();
    let bytes = page(&core, store(0));
    destroy(&core, v);
    let heir = heir(&core);
    each_state(&core, heir, |state| {
        if state != Some(VmState::Ready) {
            assert_refused(&core, Refused::State(heir), |core| load_page(core, heir, 0, saved));
        }
    });
    super::set_count(&core, STORE, Count::Shares(1)); // D-24
    assert_refused(&core, Refused::Busy(store(0)), |core| load_page(core, heir, 0, saved));
    super::set_count(&core, STORE, Count::Shares(0));
    core.frames().lock(&mut Held::nothing()).0.set_vm_pages(0);
    assert_refused(&core, Refused::NoTables(heir), |core| load_page(core, heir, 0, saved));
    core.frames().lock(&mut Held::nothing()).0.set_vm_pages(100);
    load_page(&core, heir, 0, saved).unwrap();
    core.machine().write_page(store(1), &bytes);
    assert_refused(&core, Refused::LevelConflict, |core| load_page(core, heir, 1, saved));
    let announce = |core: &Core| core.set_boot_info(heir, ipa(GUEST), 1, [0; 64], &mut Held::nothing());
    assert_refused(&core, Refused::State(heir), announce);
    // A VM with an image of its own.
    let other = register(&core);
    core.set_boot_info(other, ipa(GUEST), 1, [0; 64], &mut Held::nothing()).unwrap();
    assert_refused(&core, Refused::State(other), |core| load_page(core, other, 1, saved));
}

// Tests: BO-16
#[test]
fn a_vcpu_that_is_not_what_was_saved_is_refused() {
    let core = boot();
    let v = original(&core);
    save_vcpu(&core, v).unwrap();
    destroy(&core, v);
    let heir = heir(&core);
    let held = &mut Held::nothing();
    core.register_vcpu(heir, vcpu(1), pfn(OTHER_RUN_PAGE), held).unwrap();
    let word = |index: u64| Pa::new(OTHER_RUN_PAGE + run_page::SEALED + 8 * index).unwrap();
    for index in 0..run_page::SEALED_WORDS as u64 {
        let value = core.machine().shared_load(word(index));
        core.machine().shared_store(word(index), value ^ 1 << (index % 64));
        assert_refused(&core, Refused::NotAuthentic, |core| load_vcpu(core, heir));
        core.machine().shared_store(word(index), value);
    }
    // The two sets of registers are not each other, nor another vCPU's.
    let swap = || {
        for index in 4..7 {
            let (general, system) =
                (core.machine().shared_load(word(index)), core.machine().shared_load(word(index + 3)));
            core.machine().shared_store(word(index), system);
            core.machine().shared_store(word(index + 3), general);
        }
    };
    swap();
    assert_refused(&core, Refused::NotAuthentic, |core| load_vcpu(core, heir));
    swap();
    let as_second = |core: &Core| core.load_encrypted_vcpu(heir, vcpu(1), &mut Held::nothing());
    assert_refused(&core, Refused::NotAuthentic, as_second);
    let as_third = |core: &Core| core.load_encrypted_vcpu(heir, vcpu(2), &mut Held::nothing());
    assert_refused(&core, Refused::State(heir), as_third);
    info(&core, heir, |info| info.vcpu_mut(vcpu(0)).state = VcpuState::Active);
    assert_refused(&core, Refused::State(heir), |core| load_vcpu(core, heir));
    info(&core, heir, |info| info.vcpu_mut(vcpu(0)).state = VcpuState::Ready);
    each_state(&core, heir, |state| {
        if state != Some(VmState::Ready) {
            assert_refused(&core, Refused::State(heir), |core| load_vcpu(core, heir));
        }
    });
    load_vcpu(&core, heir).unwrap();
    load_vcpu(&core, heir).unwrap(); // the same again
    info(&core, heir, |info| info.resumed.as_mut().unwrap().manifest.pages += 1);
    assert_refused(&core, Refused::NotAuthentic, |core| load_vcpu(core, heir));
}

// Tests: BO-16
#[test]
fn each_word_of_a_saved_vcpu_is_read_once() {
    let core = boot();
    let v = original(&core);
    save_vcpu(&core, v).unwrap();
    destroy(&core, v);
    let heir = heir(&core);
    let reads = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let seen = reads.clone();
    core.machine().on_shared_load(move |at| {
        assert!(seen.lock().unwrap().insert(at), "{at} read twice");
        None
    });
    load_vcpu(&core, heir).unwrap();
    assert_eq!(reads.lock().unwrap().len(), run_page::SEALED_WORDS);
}

// Tests: BO-15, BO-16, BO-17, BO-18
#[test]
fn a_saved_state_goes_on_once_and_never_an_older_one() {
    let core = boot();
    let nothing_saved = register(&core);
    let any = SavedPage {
        seal: crate::vm::Seal { nonce: 1, tag: [2, 3] },
        gfn: 4,
        generation: crate::vm::Generation { lineage: 1, epoch: 1 },
    };
    assert_refused(&core, Refused::NotAuthentic, |core| load_page(core, nothing_saved, 0, any));
    let v = original(&core);
    let old = save_page(&core, v, 0).unwrap();
    let ciphertext = page(&core, store(0));
    let first = heir(&core);
    assert_refused(&core, Refused::State(v), |core| load_page(core, first, 0, old)); // the original lives
    save_vcpu(&core, v).unwrap();
    assert_eq!(save_page(&core, v, 1).unwrap().generation, old.generation, "nothing has happened in between");
    run(&core, v, vcpu(0));
    stop(&core, v, vcpu(0));
    let new = save_page(&core, v, 0).unwrap();
    assert_eq!(new.generation.lineage, old.generation.lineage);
    assert!(new.generation.epoch > old.generation.epoch);
    let new_ciphertext = page(&core, store(0));
    destroy(&core, v);
    // Rollback: authentic, but of an older state.
    core.machine().write_page(store(0), &ciphertext);
    assert_refused(&core, Refused::NotAuthentic, |core| load_page(core, first, 0, old));
    core.machine().write_page(store(0), &new_ciphertext);
    load_page(&core, first, 0, new).unwrap();
    // A second one: a copy.
    let second = register(&core);
    core.machine().write_page(store(1), &new_ciphertext);
    assert_refused(&core, Refused::State(first), |core| load_page(core, second, 1, new));
    // The first ends before it has run: the state has not gone on yet.
    destroy(&core, first);
    load_page(&core, second, 1, new).unwrap();
    // Pieces of two saved VMs do not become one.
    let another = verified(&core, PAGE_SIZE);
    let of_another = save_page(&core, another, 0).unwrap();
    assert_ne!(of_another.generation.lineage, new.generation.lineage);
    destroy(&core, another);
    assert_refused(&core, Refused::NotAuthentic, |core| load_page(core, second, 0, of_another));
    // The second has run when it ends.
    info(&core, second, |info| info.note_run(0));
    destroy(&core, second);
    let third = register(&core);
    core.machine().write_page(store(1), &new_ciphertext);
    assert_refused(&core, Refused::NotAuthentic, |core| load_page(core, third, 1, new));
}

// Tests: BO-8, BO-16, BO-18
#[test]
fn a_vm_goes_on_only_with_all_that_it_had_and_nothing_else() {
    let core = boot();
    let v = original(&core);
    // A page that the VM shares is not saved, and not missed.
    core.grant_vm_page(v, pfn(BLOCK + 511 * PAGE_SIZE), &mut Held::nothing());
    save_vcpu(&core, v).unwrap();
    let saved: Vec<_> = (0..511).map(|n| save_page(&core, v, n).unwrap()).collect();
    destroy(&core, v);
    let heir = heir(&core);
    let incomplete = || {
        assert_refused(&core, Refused::Image, |core| core.verify_and_load_images(heir, &mut Held::nothing()));
    };
    for (n, saved) in saved.iter().enumerate().skip(1) {
        load_page(&core, heir, n as u64, *saved).unwrap();
    }
    incomplete(); // no vCPU, and not all pages
    load_vcpu(&core, heir).unwrap();
    incomplete(); // not all pages
    // Not by a page of the host's, either.
    let of_device = S2Page::new(heir, Count::DmaPending, Some(GUEST / PAGE_SIZE));
    set_record(&core, STORE + 600 * PAGE_SIZE, of_device);
    incomplete();
    load_page(&core, heir, 0, saved[0]).unwrap();
    core.register_vcpu(heir, vcpu(1), pfn(OTHER_RUN_PAGE), &mut Held::nothing()).unwrap();
    incomplete(); // a vCPU that was not saved
    info(&core, heir, |info| *info.vcpu_mut(vcpu(1)) = Default::default());
    verify(&core, heir);
    assert_eq!(info(&core, heir, |info| info.state), VmState::Verified);
}

// Tests: BO-8, BO-15, BO-16, BO-17, BO-18
#[test]
fn a_saved_vm_stays_what_it_was() {
    let all = [VmFlags::empty(), VmFlags::UNSIGNED, VmFlags::SHARED, VmFlags::all()];
    for flags in all {
        let core = boot();
        let v = original(&core);
        // As if it had been made so; what it is shows in its measurement.
        info(&core, v, |info| (info.flags, info.measurement) = (flags, Some([flags.bits() as u8; 32])));
        let saved = save_all(&core, v);
        destroy(&core, v);
        for other in all.into_iter().filter(|other| *other != flags) {
            let v = core.register_kvm(other, &mut Held::nothing()).unwrap();
            core.register_vcpu(v, vcpu(0), pfn(OTHER_RUN_PAGE), &mut Held::nothing()).unwrap();
            let ciphertext = page(&core, pfn(RUN_PAGE));
            core.machine().write_page(pfn(OTHER_RUN_PAGE), &ciphertext);
            assert_refused(&core, Refused::NotAuthentic, |core| load_page(core, v, 0, saved[0]));
            assert_refused(&core, Refused::NotAuthentic, |core| load_vcpu(core, v));
            destroy(&core, v);
        }
        let heir = core.register_kvm(flags, &mut Held::nothing()).unwrap();
        core.register_vcpu(heir, vcpu(0), pfn(OTHER_RUN_PAGE), &mut Held::nothing()).unwrap();
        let ciphertext = page(&core, pfn(RUN_PAGE));
        core.machine().write_page(pfn(OTHER_RUN_PAGE), &ciphertext);
        for (n, saved) in saved.iter().enumerate() {
            load_page(&core, heir, n as u64, *saved).unwrap();
        }
        load_vcpu(&core, heir).unwrap();
        let measurement = |core: &Core| core.measurement(heir, &mut Held::nothing());
        assert_refused(&core, Refused::State(heir), measurement);
        verify(&core, heir);
        assert_eq!(measurement(&core), Ok(([flags.bits() as u8; 32], flags)));
        // And when it is saved again.
        run(&core, heir, vcpu(0));
        stop(&core, heir, vcpu(0));
        core.save_encrypted_vcpu(heir, vcpu(0), &mut Held::nothing()).unwrap();
        assert_eq!(measurement(&core), Ok(([flags.bits() as u8; 32], flags)));
    }
}

// Tests: BO-10, BO-11
#[test]
fn no_device_gets_to_what_was_saved() {
    use crate::mmio::{ContextBank, SmmuIndex};
    let core = boot();
    let v = original(&core);
    let saved = save_page(&core, v, 0).unwrap();
    destroy(&core, v);
    let heir = heir(&core);
    let (bank, smmu) = (ContextBank::new(1).unwrap(), SmmuIndex::new(0).unwrap());
    core.el2_alloc_smmu_pgd(bank, heir, smmu, &mut Held::nothing()).unwrap();
    load_page(&core, heir, 0, saved).unwrap();
    let pte = crate::npt::Desc::from_u64(STORE | 0xC3);
    assert_refused(&core, Refused::State(heir), |core| {
        core.map_smmu(heir, bank, smmu, ipa(GUEST), pte, &mut Held::nothing())
    });
}

// Tests: BO-17, BO-18
#[test]
fn the_oldest_saved_vm_is_forgotten_first_but_none_that_lives() {
    let core = boot();
    let living = original(&core);
    let of_living = save_page(&core, living, 0).unwrap();
    let mut all = Vec::new();
    for i in 0..33 {
        let v = register(&core);
        super::add_image(&core, v, GUEST, BLOCK + 64 * MIB, PAGE_SIZE);
        verify(&core, v);
        let to = STORE + (i + 1) * PAGE_SIZE;
        all.push(core.save_encrypt_buf(v, pfn(BLOCK + 64 * MIB), pfn(to), &mut Held::nothing()).unwrap());
        destroy(&core, v);
    }
    let heir = register(&core);
    for (i, &saved) in all.iter().enumerate() {
        let forgotten = i < 2; // 31 places besides the living one's
        let n = i as u64 + 1;
        let before = snapshot(&core);
        match load_page(&core, heir, n, saved) {
            Ok(()) => {
                assert!(!forgotten, "{i}");
                destroy(&core, heir);
                assert_eq!(register(&core), heir);
            }
            Err(why) => {
                assert_eq!((why, forgotten), (Refused::NotAuthentic, true), "{i}");
                assert_eq!(snapshot(&core), before);
            }
        }
    }
    destroy(&core, living);
    load_page(&core, heir, 0, of_living).unwrap();
    assert_eq!(core.machine().access(heir, ipa(GUEST)).unwrap().pa(ipa(GUEST)), STORE);
}
