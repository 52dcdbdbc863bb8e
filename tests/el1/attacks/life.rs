// SPDX-License-Identifier: GPL-2.0-only
//! Calls in the wrong order, and lives that follow each other (17, 27, 29, 30, 37, 49).

use super::victim::{
    NOBODY, Watch, assert_scrubbed, balance, clock, destroy, owner, return_block, setup, stumble, turn, with_victim,
    with_young_victim,
};
use crate::rt::call::{Conduit, host, stat, with_canaries};
use crate::rt::{PAGE, console, tree};
use crate::world::protocol::{IMAGE, SMALL_PAGES};
use crate::world::vm::to_the_end;
use crate::world::{BLOCK, Setup, Vm, memory, scheduler};
use corevisor::abi::{DENIED, HOST_CALL_BASE, INVALID_PARAMETER, host_call as n, stat as id};

/// A guest address that no image has.
const FREE: u64 = 0x7000_0000;

pub fn a17_lives_leave_nothing() {
    const LIVES: usize = 10;
    for _ in 0..LIVES {
        with_young_victim(|vm| _ = stumble(vm));
    }
}

/// VM_MEASUREMENT of a VM.
fn measurement(v: u64) -> Result<[u64; 4], i64> {
    let registers = with_canaries(Conduit::Hvc, (HOST_CALL_BASE + n::VM_MEASUREMENT).into(), &[v, 0, 0, 0, 0], 6);
    match registers[0] as i64 {
        0 => Ok([registers[1], registers[2], registers[3], registers[4]]),
        error => Err(error),
    }
}

/// The image is measured as it is when the host can't reach it any more.
pub fn a27_an_image_altered_after_it_was_handed_over() {
    let measured = |alter: &dyn Fn(u64)| {
        let vm = Vm::register(&setup());
        let block = vm.load(&setup());
        alter(block);
        assert_eq!(vm.verify(), 0);
        let found = measurement(vm.id());
        destroy(vm);
        found.expect("a measurement")
    };
    let before = balance();
    let plain = measured(&|_| {});
    assert_eq!(measured(&|_| {}), plain);
    let last = (setup().image.bytes.len() as u64 - 1) & !7;
    for at in [0, 0x1008, last] {
        assert_ne!(
            measured(&|block| memory::write(block + at, memory::read(block + at) ^ 1)),
            plain,
            "word at {at:#x}"
        );
    }
    // What is in the block besides the image does not come with it.
    assert_eq!(measured(&|block| memory::write(block + BLOCK - 8, 0x0057_A7E5)), plain);
    assert_eq!(balance(), before);
}

pub fn a29_out_of_order() {
    with_victim(|victim, watch| {
        let page = memory::take_block();
        // It runs: nothing can be added.
        let v = victim.id();
        watch.assert_answer(n::SET_BOOT_INFO, &[v, FREE, PAGE], DENIED);
        watch.assert_answer(n::REMAP_VM_IMAGE, &[v, page / PAGE, 0], DENIED);
        watch.assert_answer(n::VERIFY_VM_IMAGE, &[v], DENIED);
        watch.assert_answer(n::REGISTER_VCPU, &[v, 1, page], DENIED);
        watch.assert_answer(n::REGISTER_VCPU, &[v, 0, page], DENIED);
        watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, FREE, clock(), PAGE], DENIED);
        watch.assert_answer(n::LOAD_CRYPT_VCPU, &[v, 0], DENIED);
        assert!(host(n::DECRYPT_BUF, &[v, page, 0, 0, 0, 0, 0, 0]) < 0);
        watch.assert_unchanged("DECRYPT_BUF");

        // It is being built: it can't run, and is not measured.
        let young = Vm::register(&setup());
        let v = young.id();
        let watch = Watch::over_blocks(victim.blocks().into_iter().chain([page]));
        let not_yet = |watch: &Watch| {
            watch.assert_answer(n::VCPU_RUN, &[v, 0], DENIED);
            watch.assert_answer(n::SAVE_CRYPT_VCPU, &[v, 0], DENIED);
            watch.assert_answer(n::VM_MEASUREMENT, &[v], DENIED);
            assert!(host(n::ENCRYPT_BUF, &[v, page, page + PAGE]) < 0);
            watch.assert_unchanged("ENCRYPT_BUF");
        };
        not_yet(&watch);
        assert_eq!(host(n::SET_BOOT_INFO, &[v, IMAGE, 2 * PAGE]), 0);
        let watch = Watch::over_blocks([page]);
        not_yet(&watch);
        watch.assert_answer(n::VERIFY_VM_IMAGE, &[v], DENIED);
        assert_eq!(host(n::REMAP_VM_IMAGE, &[v, page / PAGE, 0]), 0);
        watch.assert_answer(n::VERIFY_VM_IMAGE, &[v], DENIED);
        not_yet(&watch);
        destroy(young);
        return_block(page);
    });

    // It is off: it never runs again.
    let before = balance();
    let vm = setup().start();
    vm.set_hook(|_, _, _, _| 1);
    scheduler::run(&[vm], 1);
    let v = vm.id();
    let watch = Watch::over_blocks(vm.blocks());
    for (call, args) in [
        (n::VCPU_RUN, [v, 0, 0]),
        (n::SET_BOOT_INFO, [v, FREE, PAGE]),
        (n::VERIFY_VM_IMAGE, [v, 0, 0]),
        (n::SAVE_CRYPT_VCPU, [v, 0, 0]),
        (n::LOAD_CRYPT_VCPU, [v, 0, 0]),
    ] {
        watch.assert_answer(call, &args, DENIED);
    }
    destroy(vm);
    assert_eq!(balance(), before);
}

/// Images that are more than there can be, lie over each other, or not in memory as in the VM.
pub fn a30_images() {
    const TOO_MANY: i64 = 5;
    with_victim(|victim, _| {
        let block = memory::take_block();
        let pfn = block / PAGE;
        let young = Vm::register(&setup());
        let v = young.id();
        for i in 0..5 {
            assert_eq!(host(n::SET_BOOT_INFO, &[v, FREE + i * BLOCK, PAGE]), i as i64);
        }
        let watch = Watch::over_blocks(victim.blocks().into_iter().chain([block]));
        watch.assert_answer(n::SET_BOOT_INFO, &[v, FREE + 5 * BLOCK, PAGE], TOO_MANY);
        watch.assert_answer(n::REMAP_VM_IMAGE, &[v, pfn, 5], INVALID_PARAMETER);
        destroy(young);

        // (guest address, first page, pages) of two images.
        let wrong: [[(u64, u64, u64); 2]; 5] = [
            [(FREE, pfn, 2), (FREE + PAGE, pfn + 3, 1)], // in one block of the VM
            [(FREE, pfn, 2), (FREE + BLOCK + 2 * PAGE, pfn + 2, 1)], // in one block of memory
            [(FREE, pfn, 2), (FREE + BLOCK, pfn, 2)],    // the same memory
            [(FREE + PAGE, pfn, 1), (FREE + BLOCK, pfn + 512, 1)], // at another offset
            [(FREE + 1, pfn, 1), (FREE + 5 * BLOCK, pfn, 1)], // at no page's beginning
        ];
        for images in wrong {
            let young = Vm::register(&setup());
            for (i, (guest, first, pages)) in (0..).zip(images) {
                assert_eq!(host(n::SET_BOOT_INFO, &[young.id(), guest, pages * PAGE]), i);
                for page in first..first + pages {
                    let code = host(n::REMAP_VM_IMAGE, &[young.id(), page, i as u64]);
                    assert!(code == 0 || owner(page * PAGE) != 0, "{code}");
                }
            }
            let watch = Watch::over_blocks(victim.blocks().into_iter().chain([block]));
            watch.assert_answer(n::VERIFY_VM_IMAGE, &[young.id()], DENIED);
            watch.assert_answer(n::VCPU_RUN, &[young.id(), 0], DENIED);
            destroy(young);
        }
        return_block(block);
    });
}

/// A number that is used again brings nothing of the VM that had it before: not its memory, not its translations.
pub fn a37_a_number_that_is_used_again() {
    let before = balance();
    for _ in 0..3 {
        let mut numbers = 0_u32;
        for _ in 1..16 {
            let v = host(n::REGISTER_KVM, &[1]);
            assert!((1..16).contains(&v), "{v}");
            numbers |= 1 << v;
        }
        assert_eq!(numbers, 0xFFFE);
        assert!(host(n::REGISTER_KVM, &[1]) < 0, "there are no more");
        (1..16).for_each(|v| assert_eq!(to_the_end(n::DESTROY_VM, &[v]), 0));
        // The secrets of the first are where the second looks.
        for cpus in [1, tree::cpus()] {
            let first = setup().start();
            turn(first);
            let number = first.id();
            destroy(first);
            let second = Setup::new("memory").arguments(&[super::victim::SMALL, super::victim::LARGE]).start();
            scheduler::run(&[second], cpus);
            assert_eq!(second.finished(), 0);
            assert_eq!([second.result(0), second.result(1)], [0, 0], "words that were not zero, or not its own");
            assert!(second.id() == number || stat(id::VMS) == 1);
            second.blocks().into_iter().for_each(|block| assert_ne!(owner(block), NOBODY));
            let blocks = second.blocks();
            second.destroy();
            blocks.into_iter().for_each(assert_scrubbed);
        }
    }
    assert_eq!(balance(), before);
    const { assert!(SMALL_PAGES > IMAGE) };
}

/// Corevisor reads what the host points at only where it is the host's, page by page.
pub fn a49_pointers() {
    with_victim(|victim, _| {
        let young = Vm::register(&setup());
        let v = young.id();
        let watch = Watch::over_blocks(victim.blocks());
        let corevisors = tree::corevisor().flat_map(|range| [range.start, range.end - PAGE]);
        let not_the_hosts = corevisors.chain([0, console::uart(), clock(), victim.blocks()[0], (1 << 40) - PAGE]);
        for page in not_the_hosts {
            watch.assert_answer(n::REGISTER_VCPU, &[v, 1, page], DENIED);
            for call in [n::ENCRYPT_BUF, n::DECRYPT_BUF] {
                assert!(host(call, &[v, page, page]) < 0);
                assert!(host(call, &[victim.id(), page, page]) < 0);
                watch.assert_unchanged("a page that is not the host's");
            }
        }
        for address in [1, PAGE - 1, u64::MAX, 1 << 63, 0xFFFF_FFFF_FFFF_F000, 0xFFFF_8000_0000_0000] {
            watch.assert_answer(n::REGISTER_VCPU, &[v, 1, address], INVALID_PARAMETER);
        }
        destroy(young);
    });
}
