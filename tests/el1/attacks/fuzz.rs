// SPDX-License-Identifier: GPL-2.0-only
//! Any call with any arguments, by two CPUs, while a VM runs.

use super::victim::{HOST, Watch, clock, destroy, owner, setup, turn};
use crate::rt::call::{Conduit, Registers, host, raw, stat};
use crate::rt::random::Random;
use crate::rt::{PAGE, console, cpu, harness, tree};
use crate::say;
use crate::world::vm::{Outcome, to_the_end};
use crate::world::{BLOCK, Exit, Setup, Vm, gic, memory};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::{HOST_CALL_BASE, host_call as n, run_page, stat as id};
use spin::Mutex;

/// PSCI's.
const SYSTEM_OFF: u32 = 0x8400_0008;
/// Blocks that all of this may be about: everything in them can become a VM's, or be written.
const POOL: usize = 8;
static POOL_BLOCKS: [AtomicU64; POOL] = [const { AtomicU64::new(0) }; POOL];
/// The VM that must not be destroyed, and its first block.
static VICTIM: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static VICTIM_VM: Mutex<Option<&Vm>> = Mutex::new(None);
/// Calls of each CPU that were refused, and that were not.
static TALLY: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static CALLS: AtomicU64 = AtomicU64::new(0);

/// A page, or a few bytes behind its beginning: of the pool mostly, of Corevisor's, of the victim's, of a device, or none at
/// all. Never one that this host itself lives in.
fn address(random: &mut Random) -> u64 {
    let pool = |random: &mut Random| {
        let block = POOL_BLOCKS[random.below(POOL as u64) as usize].load(Ordering::Relaxed);
        let page = if random.below(2) == 0 { random.below(4) } else { random.below(512) };
        block + page * PAGE
    };
    let corevisor = tree_edge();
    let exact = match random.below(16) {
        0 => corevisor,
        1 => VICTIM[1].load(Ordering::Relaxed) + random.below(512) * PAGE,
        2 => [console::uart(), clock(), 0, 0x0800_0000, 0x0A00_0000][random.below(5) as usize],
        3 => u64::MAX << random.below(64),
        4 => (1 << random.below(64)) | pool(random),
        _ => pool(random),
    };
    if random.below(8) == 0 { exact.wrapping_add(random.below(2 * PAGE)).wrapping_sub(PAGE) } else { exact }
}

/// The first page that is Corevisor's.
fn tree_edge() -> u64 {
    static EDGE: AtomicU64 = AtomicU64::new(0);
    if EDGE.load(Ordering::Relaxed) == 0 {
        EDGE.store(tree::corevisor().next().expect("a range").start, Ordering::Relaxed);
    }
    EDGE.load(Ordering::Relaxed)
}

/// An address that call arguments may name, although it is taken for memory to be given away or written.
fn safe(address: u64) -> u64 {
    const RAM: u64 = 1 << 30;
    let block = address & !(BLOCK - 1);
    let is_free = |block: u64| POOL_BLOCKS.iter().any(|pool| pool.load(Ordering::Relaxed) == block);
    let not_hosts = address < RAM || owner_or_nobody(address) != HOST;
    if is_free(block) || not_hosts { address } else { POOL_BLOCKS[0].load(Ordering::Relaxed) + address % BLOCK }
}

fn owner_or_nobody(address: u64) -> u64 {
    if address < 1 << 40 { owner(address) } else { u64::MAX }
}

/// A guest address, size, index, or anything.
fn number(random: &mut Random) -> u64 {
    match random.below(12) {
        0 => 0,
        1 => random.below(16),
        2 => random.below(1 << 20),
        3 => (1 << 30) + random.below(8) * BLOCK,
        4 => PAGE * random.below(1025),
        5 => u64::MAX - random.below(3 * PAGE),
        6 => 1 << random.below(64),
        7 => (1 << random.below(64)) - 1,
        8 => (1 << 40) - PAGE * random.below(3),
        9 => (1 << 48) - PAGE * random.below(3),
        10 => POOL_BLOCKS[random.below(POOL as u64) as usize].load(Ordering::Relaxed) / PAGE + random.below(512),
        _ => random.next(),
    }
}

fn vm(random: &mut Random) -> u64 {
    if random.below(16) == 0 { number(random) } else { 1 + random.below(5) }
}

/// One call; x0 of what came of it.
fn call(id: u64, args: &[u64]) -> i64 {
    let mut registers: Registers = [0; 31];
    registers[0] = id;
    registers[1..=args.len()].copy_from_slice(args);
    let untouched = registers;
    raw(Conduit::Hvc, &mut registers);
    assert_eq!(registers[18..], untouched[18..], "call {id:#x} with {args:x?}");
    let code = registers[0] as i64;
    TALLY[usize::from(code >= 0)].fetch_add(1, Ordering::Relaxed);
    code
}

/// One random call.
fn any_call(random: &mut Random) {
    let victim = VICTIM[0].load(Ordering::Relaxed);
    let call_number = match random.below(20) {
        0 => random.below(0xF00),
        1..5 => n::VCPU_RUN.into(),
        5..7 => n::REMAP_VM_IMAGE.into(),
        _ => u64::from(n::TIMER_SET_CNTVOFF) + random.below(27),
    };
    let mut args: [u64; 11] = core::array::from_fn(|_| number(random));
    args[0] = vm(random);
    match call_number as u32 {
        n::CLEAR_VM_S2_RANGE => args[1] = address(random),
        n::SET_BOOT_INFO if random.below(2) == 0 => {
            args[1] = (1 << 30) + random.below(4) * BLOCK;
            args[2] = PAGE * (1 + random.below(3));
        }
        n::REMAP_VM_IMAGE => {
            args[1] = if args[1] < 1 << 28 { safe(args[1] * PAGE) / PAGE } else { args[1] };
            if random.below(2) == 0 {
                args[1] = safe(address(random)) / PAGE;
            }
            args[2] = random.below(6);
        }
        n::REGISTER_KVM => args[0] = random.below(5),
        n::REGISTER_VCPU => {
            args[1] = random.below(9);
            args[2] = safe(address(random));
        }
        n::ENCRYPT_BUF | n::DECRYPT_BUF => {
            args[1] = safe(address(random));
            args[2] = if call_number == n::ENCRYPT_BUF.into() { safe(address(random)) } else { args[2] };
        }
        n::SAVE_CRYPT_VCPU | n::LOAD_CRYPT_VCPU | n::VCPU_RUN => args[1] = random.below(9),
        // No device that this host needs: a VM would use it.
        n::PHYS_ADDR_IOREMAP => {
            let address = address(random);
            args[2] = if address < 1 << 30 { clock() } else { address };
        }
        n::TIMER_SET_CNTVOFF => args[0] = number(random),
        _ => {}
    }
    // What would be the victim's end, by right; or its next exit, which is for its own host to see.
    if args[0] == victim && matches!(call_number as u32, n::DESTROY_VM | n::VCPU_RUN) {
        return;
    }
    if call_number == n::VCPU_RUN.into() {
        gic::set_alarm(20 + random.below(100));
    }
    let upper = if random.below(8) == 0 { random.next() << 32 } else { 0 };
    call(upper | (u64::from(HOST_CALL_BASE) + call_number), &args);
    if call_number == n::VCPU_RUN.into() {
        gic::quiet();
    }
}

/// A whole VM, as it should be made, of a block of the pool; with code and a run page of chance. As far as the other CPU
/// lets it come.
fn any_vm(random: &mut Random) {
    const CODE: [u32; 6] = [
        0xD503_207F, // wfi
        0xD400_0002, // hvc #0
        0xF940_0001, // ldr x1, [x0]
        0xF900_0001, // str x1, [x0]
        0x9140_0400, // add x0, x0, #0x1000
        0x17FF_FFFB, // b .-20
    ];
    let block = POOL_BLOCKS[random.below(POOL as u64) as usize].load(Ordering::Relaxed);
    let page = POOL_BLOCKS[random.below(POOL as u64) as usize].load(Ordering::Relaxed) + PAGE * random.below(512);
    let guest = (1 << 30) + random.below(4) * BLOCK;
    for (at, words) in (block..).step_by(8).zip(CODE.as_chunks::<2>().0) {
        let [low, high] = words.map(|word| if random.below(8) == 0 { random.next() as u32 } else { word });
        store(at, u64::from(high) << 32 | u64::from(low));
    }
    let v = host(n::REGISTER_KVM, &[1 + random.below(2)]);
    if v < 0 {
        return;
    }
    let v = v as u64;
    let base = u64::from(HOST_CALL_BASE);
    call(base + u64::from(n::REGISTER_VCPU), &[v, 0, page]);
    call(base + u64::from(n::SET_BOOT_INFO), &[v, guest, PAGE]);
    call(base + u64::from(n::REMAP_VM_IMAGE), &[v, block / PAGE, 0]);
    for _ in 0..8 {
        call(base + u64::from(n::VERIFY_VM_IMAGE), &[v]);
    }
    store(page + run_page::PC, guest);
    store(page + run_page::PSTATE, 0x3C5);
    for _ in 0..random.below(20) {
        gic::set_alarm(20 + random.below(100));
        call(base + u64::from(n::VCPU_RUN), &[v, 0]);
        gic::quiet();
        // An answer that may be one.
        let offset = [run_page::FLAGS, run_page::FAULT_ADDR, run_page::NEW_PAGE, run_page::NEW_LEVEL, 0, 8];
        store(page + offset[random.below(6) as usize], safe(address(random)));
        if random.below(2) == 0 {
            store(page + run_page::FAULT_ADDR, peek(page + run_page::HPFAR) << 8);
            store(page + run_page::NEW_LEVEL, 2 + random.below(2));
        }
    }
}

/// Writes a word that may be out of reach; nothing happens then.
fn store(at: u64, value: u64) {
    _ = crate::rt::fault::write(at, value);
}

/// Reads one; 0 then.
fn peek(at: u64) -> u64 {
    crate::rt::fault::read(at).unwrap_or(0)
}

fn hammer(me: usize) {
    gic::set_up_cpu();
    let mut random = Random(0xF0_2200 + me as u64);
    for step in 0..CALLS.load(Ordering::Relaxed) {
        any_call(&mut random);
        if random.below(40) == 0 {
            any_vm(&mut random);
        }
        if random.below(40) == 0 {
            let v = 1 + random.below(15);
            if v != VICTIM[0].load(Ordering::Relaxed) {
                _ = (0..200).find(|_| call((HOST_CALL_BASE + n::DESTROY_VM).into(), &[v]) <= 0);
            }
        }
        if me == 0 && step % 256 == 0 {
            turn(VICTIM_VM.lock().expect("a victim"));
        }
    }
    gic::quiet();
}

/// Nothing of it hurts anybody but who asks for it.
pub fn any_call_at_any_time() {
    let gauges =
        || [id::RAM_PAGES, id::COREVISOR_PAGES, id::VMS, id::VM_PAGES, id::UNSIGNED_VMS, id::SHARED_VMS].map(stat);
    let before = gauges();
    for pool in &POOL_BLOCKS {
        pool.store(memory::take_block(), Ordering::Relaxed);
    }
    let victim = setup().start();
    turn(victim);
    let watch = Watch::over_blocks(victim.blocks());
    VICTIM[0].store(victim.id(), Ordering::Relaxed);
    VICTIM[1].store(victim.blocks()[0], Ordering::Relaxed);
    *VICTIM_VM.lock() = Some(victim);
    CALLS.store(harness::rounds(2000, 500_000), Ordering::Relaxed);
    TALLY.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    gic::set_up();
    cpu::start(1);
    cpu::give_work(1, hammer);
    hammer(0);
    cpu::wait_until("the other CPU", 4 * 3600, || cpu::CPUS[1].is_idle());
    cpu::stop(1);
    let [refused, done] = [0, 1].map(|i| TALLY[i].load(Ordering::Relaxed));
    say!("{refused} calls refused, {done} carried out");
    assert!(refused > 100 && done > 100);
    assert_eq!(host(n::TIMER_SET_CNTVOFF, &[0, 0]), 0);
    turn(victim);
    watch.assert_pages_unchanged("all of that");
    for v in (1..16).filter(|&v| v != victim.id()) {
        let last = to_the_end(n::DESTROY_VM, &[v]);
        assert!(last == 0 || last == corevisor::abi::INVALID_PARAMETER, "DESTROY_VM {v}: {last}");
    }
    turn(victim);
    destroy(victim);
    assert_eq!(gauges(), before, "something is lost");
    for pool in &POOL_BLOCKS {
        let block = pool.load(Ordering::Relaxed);
        (block..block + BLOCK).step_by(PAGE as usize).for_each(|page| assert_eq!(owner(page), HOST, "{page:#x}"));
        super::victim::return_block(block);
    }
}

/// A VM that tries everything, under a host that answers anything: another VM, and this host, do not notice.
pub fn a_vm_that_tries_everything() {
    let before = super::victim::balance();
    let steps = harness::rounds(3000, 300_000);
    let victim = setup().start();
    turn(victim);
    let watch = Watch::over_blocks(victim.blocks());
    for seed in 0..3 {
        let vm = Setup::new("rioter").arguments(&[steps, seed]).vcpus(2).quiet().start();
        let mut random = Random(seed);
        let (mut exits, mut seen) = (0_u64, 0);
        gic::set_up();
        gic::set_up_cpu();
        while !vm.is_off() {
            gic::set_alarm(10_000);
            let exit = vm.enter(0).unwrap_or_else(|error| panic!("seed {seed}, step {}: {error}", vm.result(0)));
            exits += 1;
            match exit {
                Exit::Hvc([id, ..]) if id as u32 != SYSTEM_OFF => vm.vcpus[0].set_x(0, random.next()),
                Exit::Wfi | Exit::Wfe | Exit::Register(..) => {}
                // Devices that are not there, and accesses that name no register.
                exit => vm.serve(0, exit),
            }
            if vm.result(0) > seen {
                seen = vm.result(0);
                turn(victim);
            }
        }
        gic::quiet();
        assert_eq!(vm.outcome(), Some(Outcome::Done(0)), "seed {seed}, step {}", vm.result(0));
        assert_eq!(vm.result(0), steps);
        say!("{exits} exits in {steps} steps");
        watch.assert_pages_unchanged("all of that");
        destroy(vm);
    }
    turn(victim);
    destroy(victim);
    assert_eq!(super::victim::balance(), before);
}
