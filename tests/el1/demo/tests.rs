// SPDX-License-Identifier: GPL-2.0-only
//! The story.

use crate::report::Report;
use crate::rt::call::{self, host, stat};
use crate::rt::fault::{Access, access};
use crate::rt::{console, cpu, tree};
use crate::say;
use crate::world::vm::{Vm, to_the_end};
use crate::world::{BLOCK, Exit, Kind, Setup, memory, scheduler};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::{host_call as n, run_page, stat as id};

crate::tests! {
    demo: story;
}

/// Pages with a VM's secret.
const PAGES: u64 = 64;
/// Whether VMs are to tell their secrets, and end.
static OVER: AtomicU64 = AtomicU64::new(0);

/// What an access of the host to `address` comes to.
fn attempt(report: &mut Report, what: &'static str, kind: Access, address: u64) {
    match access(kind, address, 0x6060_6060_6060_6060) {
        Err(fault) if fault.esr & 0x3F == 0x10 => {
            report.note("host", what, format_args!("refused: external abort"), true)
        }
        Err(fault) => report.note("host", what, format_args!("another fault: esr {:#x}", fault.esr), false),
        Ok(value) => report.note("host", what, format_args!("it went through: {value:#x}"), false),
    }
}

/// What a call of the host that must be refused comes to.
fn refused(report: &mut Report, what: &'static str, call: u32, args: &[u64]) {
    let result = host(call, args);
    report.note("host", what, format_args!("refused: error {result}"), result < 0);
}

mod demo {
    use super::{
        Access, BLOCK, Exit, Kind, OVER, Ordering, PAGES, Report, Setup, Vm, attempt, call, console, cpu, host, id,
        memory, n, refused, run_page, say, scheduler, stat, to_the_end, tree,
    };

    pub fn story() {
        let mut report = Report::new();
        let cpus = tree::cpus();
        let before = [id::VMS, id::VM_PAGES].map(stat);
        say!("\n1. I am the host. Corevisor runs below me, at EL2; I have {cpus} CPUs, and run VMs by its leave.");
        say!(
            "   I start two VMs, Alice and Bob, from an image whose signature Corevisor verifies, and let each make up a"
        );
        say!("   secret that I do not know.");
        let vault = Setup::new("vault").arguments(&[PAGES]).kind(Kind::Signed);
        let (alice, bob) = (vault.name("Alice: VM").start(), vault.name("Bob: VM").start());
        for vm in [alice, bob] {
            vm.set_hook(|_, _, _, _| OVER.load(Ordering::SeqCst));
        }
        OVER.store(0, Ordering::SeqCst);
        scheduler::begin(&[alice, bob], cpus);
        cpu::wait_until("the VMs' secrets", 30, || [alice, bob].iter().all(|vm| vm.result(1) > 0));
        let count = stat(id::VM_PAGES);
        let unsigned = stat(id::UNSIGNED_VMS);
        report.note("host", "start two signed VMs", format_args!("both are verified"), unsigned == 0);
        report.note("Alice", "keeps a secret in her memory", format_args!("it is in place"), alice.result(0) == 1);
        report.note("Bob", "keeps another in his", format_args!("it is in place"), bob.result(0) == 1);
        say!("   The two have {count} pages, and go on, on my other CPUs, looking after their secrets.");

        say!("\n2. I want to know what Alice has. I know where it is: I gave her the memory.");
        let image = alice.blocks()[0];
        let data = alice.blocks()[1];
        attempt(&mut report, "read Alice's data", Access::Read, data);
        attempt(&mut report, "overwrite Alice's data", Access::Write, data);
        attempt(&mut report, "overwrite Alice's program", Access::Write, image);
        attempt(&mut report, "execute Alice's program", Access::Branch, image);
        attempt(&mut report, "read Alice's data with the MMU off", Access::UnmappedRead, data);
        let corevisor = tree::corevisor().next().expect("a range").start;
        attempt(&mut report, "read Corevisor's memory", Access::Read, corevisor);

        say!("\n3. I ask Corevisor for it.");
        refused(&mut report, "add a program of mine to Alice's", n::SET_BOOT_INFO, &[alice.id(), 0x6000_0000, 4096]);
        refused(
            &mut report,
            "give Alice a device of mine",
            n::PHYS_ADDR_IOREMAP,
            &[alice.id(), 0, console::uart(), 4096],
        );
        let thief = Vm::register(&Setup::new("burglar"));
        assert_eq!(host(n::SET_BOOT_INFO, &[thief.id(), 0x6000_0000, 4096]), 0);
        refused(
            &mut report,
            "load Alice's data as another VM's program",
            n::REMAP_VM_IMAGE,
            &[thief.id(), data / 4096, 0],
        );
        thief.destroy();
        let result = host(n::CLEAR_VM_S2_RANGE, &[alice.id(), data, BLOCK]);
        let kept = stat(id::VM_PAGES) == count;
        report.note(
            "host",
            "take Alice's pages back while she lives",
            format_args!("no page moves (x0 = {result})"),
            kept,
        );
        let seen = registers(alice);

        altered_image(&mut report);

        say!("\n4. I start a third VM, Mallory, who works for me, unsigned, and reaches for Alice's memory.");
        third_vm(&mut report, data);

        say!("\n5. How are Alice and Bob?");
        let rounds = [alice, bob].map(|vm| vm.result(1));
        cpu::wait_until("another look", 30, || alice.result(1) > rounds[0] + 1 && bob.result(1) > rounds[1] + 1);
        OVER.store(1, Ordering::SeqCst);
        scheduler::finish(cpus);
        let survived = |vm: &Vm| vm.outcome() == Some(crate::world::vm::Outcome::Done(0));
        report.note(
            "Alice",
            "finds her memory as she left it",
            format_args!("{} times", alice.result(1)),
            survived(alice),
        );
        report.note("Bob", "finds his memory as he left it", format_args!("{} times", bob.result(1)), survived(bob));
        call::still_alive();

        say!(
            "\n6. Both have powered off and told me their secrets, the bits inverted. I destroy them and search my memory."
        );
        attempt(&mut report, "read Alice's data after she is off", Access::Read, data);
        let told = [alice, bob].map(|vm| vm.result(2));
        let is_secret = |word: u64| told.iter().any(|&told| word ^ told >= !7);
        let shown = seen.iter().filter(|&&word| is_secret(word)).count();
        report.note(
            "host",
            "look for it in the registers I was shown",
            format_args!("found {shown} times"),
            shown == 0,
        );
        let blocks = [alice.blocks(), bob.blocks()];
        for vm in [alice, bob] {
            vm.destroy();
        }
        let after = [id::VMS, id::VM_PAGES].map(stat);
        report.note("host", "destroy both", format_args!("{} VMs, {} pages left", after[0], after[1]), after == before);
        let words = blocks.iter().flatten().flat_map(|&block| (block..block + BLOCK).step_by(8));
        let not_zero = words.filter(|&at| memory::read(at) != 0).count();
        report.note(
            "host",
            "read the memory that they had",
            format_args!("{not_zero} words are not zero"),
            not_zero == 0,
        );
        let found = memory::count_words(is_secret);
        report.note("host", "search all RAM for both secrets", format_args!("found {found} times"), found == 0);

        let note = memory::take_block();
        memory::write(note, !told[0]);
        let control = memory::count_words(is_secret);
        memory::write(note, 0);
        memory::return_block(note);
        report.note(
            "host",
            "the same, with Alice's put there by myself",
            format_args!("found {control} time"),
            control == 1,
        );

        say!("\n7. What was tried, and what came of it:");
        let good = report.print();
        say!("\n   {}", if good { "Corevisor has kept what it promises." } else { "CORE PROMISES WERE BROKEN." });
        assert!(good);
    }

    /// All that the host gets to see of Alice's registers: the run page. It also tells her to start elsewhere.
    fn registers(alice: &Vm) -> [u64; 31] {
        let vcpu = &alice.vcpus[0];
        vcpu.set_word(run_page::PC, 0xBAD0);
        core::array::from_fn(|n| vcpu.word(run_page::X + 8 * n as u64))
    }

    /// The image that Alice runs, with one bit of it changed by the host.
    fn altered_image(report: &mut Report) {
        let eve = Vm::register(&Setup::new("vault").kind(Kind::Signed));
        let block = eve.load(&Setup::new("vault").kind(Kind::Signed));
        memory::write(block + 4096, memory::read(block + 4096) ^ 1);
        let result = eve.verify();
        report.note(
            "host",
            "start a signed VM with one bit changed",
            format_args!("refused: error {result}"),
            result < 0,
        );
        refused(report, "run it all the same", n::VCPU_RUN, &[eve.id(), 0]);
        eve.destroy();
    }

    /// Mallory reads at Alice's physical addresses; and the host offers her Alice's page.
    fn third_vm(report: &mut Report, data: u64) {
        let mallory = Setup::new("burglar").name("Mallory: VM").arguments(&[data, 0x6000_0000]).start();
        let mut offered = None;
        while !mallory.is_off() {
            let exit = match mallory.enter(0) {
                Ok(exit) => exit,
                Err(error) => panic!("VCPU_RUN: {error}"),
            };
            if let (Exit::Fault { page: 0x6000_0000, .. }, None) = (exit, offered) {
                let vcpu = &mallory.vcpus[0];
                for (word, value) in
                    [(run_page::FAULT_ADDR, 0x6000_0000), (run_page::NEW_PAGE, data), (run_page::NEW_LEVEL, 3)]
                {
                    vcpu.set_word(word, value);
                }
                offered = mallory.enter(0).err();
            }
            mallory.serve(0, exit);
        }
        let found = mallory.result(0);
        report.note(
            "Mallory",
            "reads at the address of Alice's data",
            format_args!("finds a page of her own: {found:#x}"),
            found == 0,
        );
        let text = format_args!("refused: error {}", offered.unwrap_or(0));
        report.note("host", "map Alice's page into Mallory", text, offered.is_some());
        let found = mallory.result(1);
        report.note(
            "Mallory",
            "reads where that page was to be",
            format_args!("finds a fresh one: {found:#x}"),
            found == 0,
        );
        assert_eq!(to_the_end(n::CLEAR_VM_S2_RANGE, &[mallory.id(), data, BLOCK]), 0);
        attempt(report, "read Alice's data once more", Access::Read, data);
        mallory.destroy();
    }
}
