// SPDX-License-Identifier: GPL-2.0-only
//! The VM that is attacked, and what must stay as it is.

use crate::rt::PAGE;
use crate::rt::call::{Conduit, host, primitive, stat, test_call, with_canaries};
use crate::rt::tree;
use crate::world::protocol::IMAGE;
use crate::world::{BLOCK, Exit, Setup, Vm, memory};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, Ordering};
use corevisor::abi::{host_call as n, run_page, stat as id};

/// What OWNER says of what is no RAM.
pub const NOBODY: u64 = u64::MAX;
/// The host.
pub const HOST: u64 = 0;
/// Pages and blocks that a victim asks for, besides its image.
pub const SMALL: u64 = 3;
pub const LARGE: u64 = 1;

/// Who has the page at `address`.
pub fn owner(address: u64) -> u64 {
    let registers = with_canaries(Conduit::Hvc, test_call::OWNER.into(), &[address / PAGE], 2);
    assert_eq!(registers[0], 0, "OWNER of {address:#x}");
    registers[1]
}

/// A word of memory that the host can't read.
pub fn peek(address: u64) -> u64 {
    let args = [primitive::SHARED_LOAD, address, 0];
    let registers = with_canaries(Conduit::Hvc, test_call::PRIMITIVE.into(), &args, 2);
    assert_eq!(registers[0], 0, "SHARED_LOAD of {address:#x}");
    registers[1]
}

/// Something that depends on what the page holds; of Corevisor's pages nothing is known.
fn digest(page: u64, owner: u64) -> u64 {
    let fold = |sum: u64, word: u64| (sum.rotate_left(7) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    match owner {
        HOST => (page..page + PAGE).step_by(248).map(memory::read).fold(1, fold),
        1..=15 => [0, 0x7F8, 0xFF8].map(|offset| peek(page + offset)).into_iter().fold(1, fold),
        _ => 0,
    }
}

/// What no refused call may change: counters, and owner and content of pages.
pub struct Watch {
    counters: [u64; COUNTERS.len()],
    pages: ArrayVec<(u64, u64, u64), 64>,
}

const COUNTERS: [u64; 11] = [
    id::HOST_FAULT_DEVICE,
    id::HOST_FAULT_RAM,
    id::BLOCK_SPLIT,
    id::RAM_PAGES,
    id::COREVISOR_PAGES,
    id::HOST_TABLE_PAGES,
    id::VMS,
    id::VM_PAGES,
    id::VM_TABLE_PAGES,
    id::UNSIGNED_VMS,
    id::SHARED_VMS,
];

impl Watch {
    /// Over some pages of each of these blocks.
    pub fn over_blocks(blocks: impl IntoIterator<Item = u64>) -> Self {
        Self::over(blocks.into_iter().flat_map(|block| [0, 1, 17, 511].map(|page| block + page * PAGE)))
    }

    /// Over these pages.
    pub fn over(pages: impl IntoIterator<Item = u64>) -> Self {
        let look = |page| {
            let owner = owner(page);
            (page, owner, digest(page, owner))
        };
        Self { pages: pages.into_iter().map(look).collect(), counters: COUNTERS.map(stat) }
    }

    /// That nothing has changed.
    pub fn assert_unchanged(&self, what: &str) {
        for (counter, before) in COUNTERS.into_iter().zip(self.counters) {
            assert_eq!(stat(counter), before, "counter {counter} after {what}");
        }
        self.assert_pages_unchanged(what);
    }

    /// That the pages have not: for when VMs have come and gone meanwhile.
    pub fn assert_pages_unchanged(&self, what: &str) {
        for &(page, before, content) in &self.pages {
            let now = owner(page);
            assert_eq!(now, before, "owner of {page:#x} after {what}");
            assert_eq!(digest(page, now), content, "content of {page:#x} after {what}");
        }
    }

    /// Makes the call, which must be answered by `code` and change nothing.
    pub fn assert_answer(&self, call: u32, args: &[u64], code: i64) {
        assert_eq!(host(call, args), code, "call {call} with {args:x?}");
        self.assert_unchanged("that call");
    }
}

/// Gauges that are the same when a VM is gone, and the host's free blocks.
pub fn balance() -> ([u64; 7], usize) {
    static WARM: AtomicBool = AtomicBool::new(false);
    if !WARM.swap(true, Ordering::Relaxed) {
        use_the_window();
    }
    let gauges = [
        id::RAM_PAGES,
        id::COREVISOR_PAGES,
        id::VMS,
        id::VM_PAGES,
        id::VM_TABLE_PAGES,
        id::UNSIGNED_VMS,
        id::SHARED_VMS,
    ];
    (gauges.map(stat), memory::available())
}

/// That all of a block is the host's, and zero.
pub fn assert_scrubbed(block: u64) {
    assert!((block..block + BLOCK).step_by(8).all(|at| memory::read(at) == 0), "{block:#x}");
}

/// Serves vCPU 0 until it has finished a round, in which it has found all that it keeps.
pub fn turn(vm: &Vm) {
    let before = vm.result(1);
    while vm.result(1) == before {
        match vm.enter(0) {
            Ok(exit) => vm.serve(0, exit),
            Err(error) => panic!("VCPU_RUN: {error}"),
        }
    }
    assert_eq!(vm.result(0), 0, "words that the VM has found altered");
}

/// Serves vCPU 0 until it stumbles over a page that is missing; its guest address.
pub fn stumble(vm: &Vm) -> u64 {
    loop {
        match vm.enter(0) {
            Ok(Exit::Fault { page, .. }) => return page,
            Ok(exit) => vm.serve(0, exit),
            Err(error) => panic!("VCPU_RUN: {error}"),
        }
    }
}

/// Runs vCPU 0, which has stumbled, with the page `memory` for the guest address `at`.
pub fn offer(vm: &Vm, at: u64, memory: u64, level: u64) -> Result<Exit, i64> {
    let vcpu = &vm.vcpus[0];
    vcpu.set_word(run_page::FAULT_ADDR, at);
    vcpu.set_word(run_page::NEW_PAGE, memory);
    vcpu.set_word(run_page::NEW_LEVEL, level);
    vm.enter(0)
}

/// The same, which must be answered by `code` and change nothing.
pub fn assert_offer_refused(watch: &Watch, vm: &Vm, at: u64, memory: u64, level: u64, code: i64) {
    assert_eq!(offer(vm, at, memory, level), Err(code), "page {memory:#x}, level {level}, for {at:#x}");
    watch.assert_unchanged("an offer");
}

/// A victim: it has its image's block, [`SMALL`] pages and [`LARGE`] blocks.
pub fn setup() -> Setup {
    Setup::new("keeper").arguments(&[SMALL, LARGE]).quiet()
}

/// Calls `attack` with a victim that has all its secrets, and a watch over its memory. Afterwards it still has them, and
/// nothing is lost when it is destroyed.
pub fn with_victim(attack: impl FnOnce(&'static Vm, &Watch)) {
    with_young_victim(|vm| {
        turn(vm);
        let watch = Watch::over_blocks(vm.blocks());
        attack(vm, &watch);
        watch.assert_pages_unchanged("the attack");
    });
}

/// The same with a victim that is about to ask for its first page.
pub fn with_young_victim(attack: impl FnOnce(&'static Vm)) {
    let before = balance();
    let vm = setup().start();
    attack(vm);
    turn(vm);
    turn(vm);
    destroy(vm);
    assert_eq!(balance(), before, "something is lost");
}

/// The image window keeps the tables that it has once used: those for an image of two blocks.
fn use_the_window() {
    let vm = Vm::register(&setup());
    let block = memory::take_block();
    assert_eq!(host(n::SET_BOOT_INFO, &[vm.id(), IMAGE, 3 * BLOCK]), 0);
    for page in 0..3 * BLOCK / PAGE {
        assert_eq!(host(n::REMAP_VM_IMAGE, &[vm.id(), (block + page % 512 * PAGE) / PAGE, 0]), 0);
    }
    memory::return_block(block);
    vm.destroy();
}

/// Destroys the VM, whose memory is empty then.
pub fn destroy(vm: &Vm) {
    let blocks = vm.blocks();
    vm.destroy();
    blocks.iter().for_each(|&block| assert_scrubbed(block));
}

/// CLEAR_VM_S2_RANGE to its end; the last call's x0.
pub fn clear(v: u64, start: u64, size: u64) -> i64 {
    let (mut at, end) = (start, start + size);
    loop {
        match host(n::CLEAR_VM_S2_RANGE, &[v, at, end - at]) {
            left @ 1.. => at = end - left as u64,
            done => return done,
        }
    }
}

/// Gives back a block that is the host's, and may hold anything.
pub fn return_block(block: u64) {
    (block..block + BLOCK).step_by(8).for_each(|at| memory::write(at, 0));
    memory::return_block(block);
}

/// The registers of the clock, a device that nobody uses.
pub fn clock() -> u64 {
    tree::ranges(tree::compatible("arm,pl031").expect("a clock")).next().expect("its registers").start
}
