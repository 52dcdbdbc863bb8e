// SPDX-License-Identifier: GPL-2.0-only
//! A VM that is stopped in the middle of its work, saved, destroyed and loaded goes on where it was; and it goes on from
//! nothing else, whatever the host makes of what was saved.

use super::search::has_seed;
use crate::rt::call::{Conduit, host, stat, with_canaries};
use crate::rt::random::Random;
use crate::rt::{PAGE, fault, machine};
use crate::say;
use crate::world::memory::{read, write};
use crate::world::protocol::{DESK, desk::HOOK};
use crate::world::vcpu::State;
use crate::world::vm::Vm;
use crate::world::{BLOCK, Exit, Setup, gic, scheduler};
use arrayvec::ArrayVec;
use corevisor::abi::{DENIED, HOST_CALL_BASE, NOT_SUPPORTED, host_call as n, run_page, stat as id};
use spin::Mutex;

const SMALL: u64 = 20;
const LARGE: u64 = 1;
/// Its image's block, and those.
const PAGES: u64 = 512 + SMALL + 512 * LARGE;
const VCPUS: usize = 2;

/// A page that was saved: where its ciphertext is, and what DECRYPT_BUF needs.
#[derive(Clone, Copy)]
struct Page {
    at: u64,
    words: [u64; 6],
}

type Pages = ArrayVec<Page, { PAGES as usize }>;
type Sealed = [u64; run_page::SEALED_WORDS];

/// What was saved last.
static PAGES_NOW: Mutex<Pages> = Mutex::new(Pages::new_const());

fn encrypt(v: u64, page: u64, to: u64) -> Result<[u64; 6], i64> {
    let registers = with_canaries(Conduit::Hvc, (HOST_CALL_BASE + n::ENCRYPT_BUF).into(), &[v, page, to], 7);
    match registers[0] as i64 {
        0 => Ok(core::array::from_fn(|i| registers[1 + i])),
        error => Err(error),
    }
}

fn decrypt(v: u64, at: u64, [a, b, c, d, e, f]: [u64; 6]) -> i64 {
    host(n::DECRYPT_BUF, &[v, at, a, b, c, d, e, f])
}

fn sealed(page: u64) -> Sealed {
    core::array::from_fn(|i| read(page + run_page::SEALED + 8 * i as u64))
}

fn set_sealed(page: u64, words: &Sealed) {
    words.iter().enumerate().for_each(|(i, word)| write(page + run_page::SEALED + 8 * i as u64, *word));
}

/// A number that tells one content from another.
fn digest(page: u64) -> u64 {
    (page..page + PAGE).step_by(8).fold(1, |sum, at| (sum ^ read(at)).wrapping_mul(0x100_0000_01B3).rotate_left(23))
}

/// Runs a VM's vCPUs in turn until each is at its `nth` store to the hook.
fn run_to_stores(vm: &Vm, nth: usize) {
    let mut stores = [0; VCPUS];
    while stores.iter().any(|&stores| stores < nth) {
        for (i, stores) in stores.iter_mut().enumerate() {
            if *stores >= nth || vm.vcpus[i].state() == State::Off {
                continue;
            }
            gic::set_alarm(500);
            let exit = vm.enter(i).expect("VCPU_RUN");
            let is_it = matches!(exit, Exit::Device { address, store: Some(0), .. } if address == DESK + HOOK);
            *stores += usize::from(is_it);
            vm.serve(i, exit);
        }
    }
    gic::quiet();
}

/// Saves all pages of `vm` to pages from `to` on, and its vCPUs to their run pages.
fn save(vm: &Vm, to: &[u64]) -> Pages {
    let mut places = to.iter().flat_map(|&block| (block..block + BLOCK).step_by(PAGE as usize));
    let mut pages = Pages::new();
    let mut at = places.next().expect("room");
    for page in vm.blocks().into_iter().flat_map(|block| (block..block + BLOCK).step_by(PAGE as usize)) {
        match encrypt(vm.id(), page, at) {
            Ok(words) => {
                // Both halves: noise can have one by chance.
                let is_plain = |at| read(at) >> 32 == read(at) & 0xFFFF_FFFF && has_seed(read(at), 0x31);
                assert!(!(at..at + PAGE).step_by(8).any(is_plain), "what is saved can be read");
                pages.push(Page { at, words });
                at = places.next().expect("room");
            }
            // Of the last block the VM has a part only.
            Err(error) => assert_eq!(error, DENIED),
        }
    }
    for i in 0..VCPUS {
        assert_eq!(host(n::SAVE_CRYPT_VCPU, &[vm.id(), i as u64]), 0);
    }
    pages
}

/// `call` is refused with DENIED, and neither the counters nor the page at `at` are touched.
fn assert_refused(at: u64, what: &str, call: impl FnOnce() -> i64) {
    let state = || ([id::VMS, id::VM_PAGES, id::VM_TABLE_PAGES].map(stat), digest(at));
    let before = state();
    assert_eq!(call(), DENIED, "{what}");
    assert!(fault::read(at).is_ok() && state() == before, "{what}: something has changed");
}

/// Everything that could be altered of a page, a bit at a time.
fn pages_altered(v: u64, page: Page, random: &mut Random) {
    let Page { at, words } = page;
    for _ in 0..8 {
        let (word, bit) = (at + 8 * random.below(512), random.below(64));
        write(word, read(word) ^ 1 << bit);
        assert_refused(at, "a bit of the ciphertext", || decrypt(v, at, words));
        write(word, read(word) ^ 1 << bit);
    }
    for (word, what) in ["nonce", "tag", "tag", "guest page", "lineage", "epoch"].iter().enumerate() {
        for bit in [0, 5, 31, 32, 63, random.below(64)] {
            let mut altered = words;
            altered[word] ^= 1 << bit;
            assert_refused(at, what, || decrypt(v, at, altered));
        }
    }
}

/// Each word of a saved vCPU, altered.
fn vcpus_altered(vm: &Vm, good: &[Sealed; VCPUS], random: &mut Random) {
    for (i, good) in good.iter().enumerate() {
        let page = vm.vcpus[i].page();
        for word in 0..good.len() {
            let mut altered = *good;
            altered[word] ^= 1 << random.below(64);
            set_sealed(page, &altered);
            assert_refused(page, "a word of a vCPU", || host(n::LOAD_CRYPT_VCPU, &[vm.id(), i as u64]));
        }
    }
    set_sealed(vm.vcpus[0].page(), &good[1]);
    assert_refused(vm.vcpus[0].page(), "another vCPU", || host(n::LOAD_CRYPT_VCPU, &[vm.id(), 0]));
    for (i, good) in good.iter().enumerate() {
        set_sealed(vm.vcpus[i].page(), good);
    }
}

fn setup() -> Setup {
    Setup::new("journey").arguments(&[SMALL, LARGE]).vcpus(VCPUS)
}

/// A page of another VM, saved, at `at`.
fn page_of_another_vm(at: u64) -> Page {
    let other = Setup::new("spin").start();
    let image = other.blocks()[0];
    let page = Page { at, words: encrypt(other.id(), image, at).expect("a source of entropy") };
    other.destroy();
    page
}

pub fn a_vm_goes_on_after_it_was_saved() {
    let mut random = Random(5);
    // Tables of the window for images stay.
    Setup::new("spin").start().destroy();
    let before = [id::VMS, id::VM_PAGES, id::VM_TABLE_PAGES].map(stat);
    let vm = setup().start();
    gic::set_up();
    gic::set_up_cpu();
    run_to_stores(vm, 1);
    let heir = Vm::register(&setup());
    let rooms: [u64; 6] = core::array::from_fn(|_| heir.take_block());
    if machine::read!("id_aa64isar0_el1") >> 60 == 0 {
        assert_eq!(encrypt(vm.id(), vm.blocks()[0], rooms[0]), Err(NOT_SUPPORTED), "there is no source of entropy");
        assert_eq!(host(n::SAVE_CRYPT_VCPU, &[vm.id(), 0]), NOT_SUPPORTED);
        [vm, heir].iter().for_each(|vm| vm.destroy());
        return;
    }
    // Once; then it goes on, and what was saved is worthless.
    let older = save(vm, &rooms[..3]);
    assert_eq!(older.len() as u64, PAGES);
    let older_vcpus: [Sealed; VCPUS] = core::array::from_fn(|i| sealed(vm.vcpus[i].page()));
    run_to_stores(vm, 1);
    // Again.
    *PAGES_NOW.lock() = save(vm, &rooms[3..]);
    let pages = PAGES_NOW.lock();
    let vcpus: [Sealed; VCPUS] = core::array::from_fn(|i| sealed(vm.vcpus[i].page()));
    let v = heir.id();
    assert_refused(pages[0].at, "it still lives", || decrypt(v, pages[0].at, pages[0].words));
    vm.destroy();
    let stranger = page_of_another_vm(heir.take_block());

    let refuse_others = || {
        for page in [older[0], older[700], older[older.len() - 1]] {
            assert_refused(page.at, "an older save", || decrypt(v, page.at, page.words));
        }
        for (i, older) in older_vcpus.iter().enumerate() {
            set_sealed(heir.vcpus[i].page(), older);
            let load = || host(n::LOAD_CRYPT_VCPU, &[v, i as u64]);
            assert_refused(heir.vcpus[i].page(), "a vCPU of an older save", load);
        }
    };
    refuse_others();
    pages_altered(v, pages[0], &mut random);
    pages_altered(v, pages[600], &mut random);
    assert_refused(pages[1].at, "another page's words", || decrypt(v, pages[1].at, pages[2].words));
    vcpus_altered(heir, &vcpus, &mut random);

    let verify = || host(n::VERIFY_VM_IMAGE, &[v]);
    for (i, page) in pages.iter().enumerate() {
        if i % 300 == 299 || i + 1 == pages.len() {
            assert_refused(page.at, "there are pages missing", verify);
        }
        assert_eq!(decrypt(v, page.at, page.words), 0, "page {i}");
        assert!(fault::read(page.at).is_err(), "page {i} is the VM's");
    }
    assert_refused(stranger.at, "another VM's page", || decrypt(v, stranger.at, stranger.words));
    refuse_others();
    vcpus_altered(heir, &vcpus, &mut random);
    for i in 0..VCPUS {
        assert_refused(heir.vcpus[i].page(), "there are vCPUs missing", verify);
        assert_eq!(host(n::LOAD_CRYPT_VCPU, &[v, i as u64]), 0);
        heir.vcpus[i].set_state(State::Ready);
    }
    assert_eq!(heir.verify(), 0);
    drop(pages);
    scheduler::run(&[heir], 2);
    assert_eq!(heir.finished(), 0);
    // The sum of 0 to 99, four times.
    assert_eq!([heir.result(0), heir.result(1)], [4 * 4950, 0]);
    heir.destroy();
    assert_eq!([id::VMS, id::VM_PAGES, id::VM_TABLE_PAGES].map(stat), before);
    say!("{PAGES} pages and {VCPUS} vCPUs saved twice, loaded once");
}
