// SPDX-License-Identifier: GPL-2.0-only
//! Nothing of a VM is left in memory that the host can read.

use super::search::{Found, all_ram, has_seed};
use crate::rt::PAGE;
use crate::rt::call::{host, stat};
use crate::say;
use crate::world::memory::clear_free;
use crate::world::protocol::DESK;
use crate::world::protocol::desk::HOOK;
use crate::world::vm::Vm;
use crate::world::{BLOCK, Exit, Setup};
use corevisor::abi::{host_call as n, stat as id};

const SMALL: u64 = 30;
const LARGE: u64 = 2;
/// Of no other test's secrets.
const SEED: u8 = 0xE1;

fn secrets() -> Found {
    all_ram(|word| has_seed(word, SEED))
}

/// A VM whose memory and registers are full of secrets; `granted`: it lets the host see the small pages.
fn full_of_secrets(granted: bool) -> &'static Vm {
    clear_free();
    let vm = Setup::new("secret").arguments(&[SEED.into(), SMALL, LARGE, granted.into()]).start();
    loop {
        let exit = vm.enter(0).expect("VCPU_RUN");
        if matches!(exit, Exit::Device { address, store: Some(0), .. } if address == DESK + HOOK) {
            return vm;
        }
        vm.serve(0, exit);
    }
}

fn assert_clean(found: Found, refused: u64) {
    assert_eq!((found.words, found.refused), (0, refused), "{found:x?}");
    assert!(found.read + found.refused == stat(id::RAM_PAGES), "{found:x?}");
}

pub fn nothing_is_left_after_destroy() {
    let corevisor = secrets().refused;
    let vm = full_of_secrets(false);
    let pages = stat(id::VM_PAGES);
    assert_clean(secrets(), corevisor + pages);
    vm.destroy();
    assert_clean(secrets(), corevisor);
    say!("{corevisor} pages are Corevisor's, {pages} were the VM's");
}

/// Those that the VM lets the host see are found, all of them and no others: the search works.
pub fn secrets_of_granted_pages_are_found() {
    let corevisor = secrets().refused;
    let vm = full_of_secrets(true);
    let found = secrets();
    assert_eq!((found.words, found.refused), (SMALL * PAGE / 8, corevisor + stat(id::VM_PAGES) - SMALL), "{found:x?}");
    vm.destroy();
    assert_clean(secrets(), corevisor);
}

pub fn nothing_is_left_after_power_off_and_clear() {
    let corevisor = secrets().refused;
    let vm = full_of_secrets(false);
    while !vm.is_off() {
        let exit = vm.enter(0).expect("VCPU_RUN");
        vm.serve(0, exit);
    }
    assert_eq!(vm.finished(), 0);
    for block in vm.blocks() {
        // Parts of the last block are the host's still.
        let pages = (block..block + BLOCK).step_by(PAGE as usize);
        let mut refused = 0;
        for page in pages {
            refused += u64::from(host(n::CLEAR_VM_S2_RANGE, &[vm.id(), page, PAGE]) < 0);
        }
        assert!(refused <= BLOCK / PAGE - SMALL, "{refused} pages are not the VM's");
    }
    assert_eq!(stat(id::VM_PAGES), 0);
    assert_clean(secrets(), corevisor);
    vm.destroy();
    assert_clean(secrets(), corevisor);
}
