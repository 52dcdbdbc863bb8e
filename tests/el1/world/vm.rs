// SPDX-License-Identifier: GPL-2.0-only
//! A VM, as its host sees it.

use super::exit::{Exit, KINDS, NAMES};
use super::protocol::desk::{ARGUMENT_COUNT, RESULT_COUNT};
use super::protocol::{self, VCPUS};
use super::setup::{Kind, Setup};
use super::vcpu::{State, Vcpu};
use super::{BLOCK, gic, memory};
use crate::rt::call::{Conduit, host, with_canaries};
use crate::rt::{PAGE, cpu};
use crate::say;
use arrayvec::{ArrayString, ArrayVec};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use corevisor::abi::{HOST_CALL_BASE, host_call as n, run_page};
use spin::Mutex;

/// Most blocks of a VM.
const BLOCKS: usize = 128;

/// What has become of a VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Its program has come to its end.
    Done(u64),
    /// Its program has failed, in this line.
    Failed(u64),
    /// Corevisor has stopped it: it broke a rule.
    Stopped,
}

/// What a test puts behind [`protocol::desk::HOOK`]: called with the VM, the vCPU, the offset, and what is written; its
/// value is what is read.
pub type Hook = fn(&Vm, usize, u64, Option<u64>) -> u64;

/// A VM; or the place for one.
pub struct Vm {
    used: AtomicBool,
    id: AtomicU64,
    count: AtomicUsize,
    /// Its vCPUs; only the first `count` exist.
    pub vcpus: [Vcpu; VCPUS],
    program: AtomicU64,
    arguments: [AtomicU64; ARGUMENT_COUNT],
    results: [AtomicU64; RESULT_COUNT],
    pub(super) hook: AtomicUsize,
    pub(super) outcome: Mutex<Option<Outcome>>,
    /// Whether it can't run any more: powered off or stopped.
    pub(super) off: AtomicBool,
    pub(super) line: Mutex<ArrayString<120>>,
    pub(super) name: Mutex<&'static str>,
    quiet: AtomicBool,
    /// The virtual counter's offset that it runs with.
    offset: AtomicU64,
    /// The block with its run pages.
    run_pages: AtomicU64,
    /// Blocks that are the VM's, or are handed to it page by page.
    blocks: Mutex<ArrayVec<u64, BLOCKS>>,
    /// Next page to hand out, and the end.
    pages: Mutex<(u64, u64)>,
}

/// What [`Vm::enter`] makes VCPU_RUN with: a function of the VM's and the vCPU's number that returns x0.
pub type Runner = fn(u64, u64) -> i64;

/// A [`Runner`], or 0.
static RUNNER: AtomicUsize = AtomicUsize::new(0);

/// Has `runner` make each VCPU_RUN, or, if it is `None`, the usual call.
pub fn set_runner(runner: Option<Runner>) {
    RUNNER.store(runner.map_or(0, |runner| runner as *const () as usize), Ordering::SeqCst);
}

/// VCPU_RUN.
fn vcpu_run(v: u64, vcpu: u64) -> i64 {
    match RUNNER.load(Ordering::SeqCst) {
        0 => host(n::VCPU_RUN, &[v, vcpu]),
        runner => {
            // SAFETY: stored by `set_runner`.
            let runner: Runner = unsafe { core::mem::transmute::<usize, Runner>(runner) };
            runner(v, vcpu)
        }
    }
}

static VMS: [Vm; 16] = [const { Vm::NEW }; 16];

/// Calls until nothing is left; the last call's x0.
pub fn to_the_end(call: u32, args: &[u64]) -> i64 {
    /// Far more than it takes.
    const MOST: usize = 1 << 20;
    let last = (0..MOST).map(|_| host(call, args)).find(|&left| left <= 0);
    last.unwrap_or_else(|| panic!("call {call} does not come to an end"))
}

impl Vm {
    #[expect(clippy::declare_interior_mutable_const, reason = "an initial value")]
    const NEW: Self = Self {
        used: AtomicBool::new(false),
        id: AtomicU64::new(0),
        count: AtomicUsize::new(0),
        vcpus: [const { Vcpu::NEW }; VCPUS],
        program: AtomicU64::new(0),
        arguments: [const { AtomicU64::new(0) }; ARGUMENT_COUNT],
        results: [const { AtomicU64::new(0) }; RESULT_COUNT],
        hook: AtomicUsize::new(0),
        outcome: Mutex::new(None),
        off: AtomicBool::new(false),
        line: Mutex::new(ArrayString::new_const()),
        name: Mutex::new("VM"),
        quiet: AtomicBool::new(false),
        offset: AtomicU64::new(0),
        run_pages: AtomicU64::new(0),
        blocks: Mutex::new(ArrayVec::new_const()),
        pages: Mutex::new((0, 0)),
    };

    /// Makes a VM: registered, its image handed over and verified, its boot vCPU ready.
    pub(super) fn make(setup: &Setup) -> &'static Self {
        let vm = Self::register(setup);
        vm.load(setup);
        assert_eq!(vm.verify(), 0, "VERIFY_VM_IMAGE");
        vm.power_on(setup.image.address);
        vm
    }

    /// Registers a VM with its vCPUs, and no more. For tests that do the rest themselves.
    pub fn register(setup: &Setup) -> &'static Self {
        let take = |vm: &&Vm| !vm.used.swap(true, Ordering::SeqCst);
        let vm = VMS.iter().find(take).expect("a free place for a VM");
        vm.count.store(setup.vcpus, Ordering::SeqCst);
        vm.program.store(protocol::program(setup.program), Ordering::SeqCst);
        vm.arguments.iter().zip(setup.arguments).for_each(|(to, value)| to.store(value, Ordering::SeqCst));
        vm.results.iter().for_each(|result| result.store(0, Ordering::SeqCst));
        vm.hook.store(0, Ordering::SeqCst);
        *vm.outcome.lock() = None;
        vm.off.store(false, Ordering::SeqCst);
        vm.line.lock().clear();
        *vm.name.lock() = setup.name;
        vm.quiet.store(setup.quiet, Ordering::SeqCst);
        vm.offset.store(0, Ordering::SeqCst);
        *vm.pages.lock() = (0, 0);
        let id = register_kvm(setup.kind);
        vm.id.store(id, Ordering::SeqCst);
        let run_pages = memory::take_block();
        vm.run_pages.store(run_pages, Ordering::SeqCst);
        for (i, vcpu) in vm.vcpus.iter().enumerate().take(setup.vcpus) {
            let page = run_pages + i as u64 * PAGE;
            vcpu.reset(page);
            assert_eq!(host(n::REGISTER_VCPU, &[id, i as u64, page]), 0, "REGISTER_VCPU");
        }
        if let Some(interface) = gic::virtual_interface() {
            let args = [id, protocol::GICV2_CPU, interface.start, interface.end - interface.start];
            assert_eq!(host(n::PHYS_ADDR_IOREMAP, &args), 0, "PHYS_ADDR_IOREMAP");
        }
        vm
    }

    /// Copies the image to a block of its own, announces it, and hands its pages over. Returns the block.
    pub fn load(&self, setup: &Setup) -> u64 {
        let (image, v) = (setup.image, self.id());
        assert!(image.address.is_multiple_of(BLOCK) && image.bytes.len() as u64 <= BLOCK);
        let block = self.take_block();
        // SAFETY: a block of the host's that nobody uses.
        let to = unsafe { core::slice::from_raw_parts_mut(block as *mut u8, BLOCK as usize) };
        to.fill(0);
        to[..image.bytes.len()].copy_from_slice(image.bytes);
        let pages = (image.bytes.len() as u64).div_ceil(PAGE);
        let [s0, s1, s2, s3, s4, s5, s6, s7] = image.signature;
        let index = host(n::SET_BOOT_INFO, &[v, image.address, pages * PAGE, s0, s1, s2, s3, s4, s5, s6, s7]);
        assert!(index >= 0, "SET_BOOT_INFO: {index}");
        for page in 0..pages {
            assert_eq!(host(n::REMAP_VM_IMAGE, &[v, block / PAGE + page, index as u64]), 0, "REMAP_VM_IMAGE");
        }
        block
    }

    /// VERIFY_VM_IMAGE to its end.
    pub fn verify(&self) -> i64 {
        to_the_end(n::VERIFY_VM_IMAGE, &[self.id()])
    }

    /// Makes the boot vCPU start at `pc`.
    pub fn power_on(&self, pc: u64) {
        self.vcpus[0].set_start(pc, 0);
        self.vcpus[0].set_state(State::Ready);
    }

    /// The VM's number in calls.
    pub fn id(&self) -> u64 {
        self.id.load(Ordering::SeqCst)
    }

    /// How many vCPUs it has.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// The number of the program that it runs.
    pub(super) fn program(&self) -> u64 {
        self.program.load(Ordering::SeqCst)
    }

    /// Argument `i`.
    pub(super) fn argument(&self, i: usize) -> u64 {
        self.arguments[i].load(Ordering::SeqCst)
    }

    /// Result `i`.
    pub fn result(&self, i: usize) -> u64 {
        self.results[i].load(Ordering::SeqCst)
    }

    /// Sets result `i`, which the VM can read, too.
    pub fn set_result(&self, i: usize, value: u64) {
        self.results[i].store(value, Ordering::SeqCst);
    }

    /// Puts `hook` behind the desk's registers from [`protocol::desk::HOOK`] on.
    pub fn set_hook(&self, hook: Hook) {
        self.hook.store(hook as *const () as usize, Ordering::SeqCst);
    }

    /// Whether its console is kept to itself.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst)
    }

    /// The virtual counter as it sees it.
    pub fn virtual_now(&self) -> u64 {
        crate::rt::machine::now().wrapping_sub(self.offset.load(Ordering::SeqCst))
    }

    /// Tells the host what TIMER_SET_CNTVOFF said before the VM's first entry.
    pub fn set_offset(&self, offset: u64) {
        self.offset.store(offset, Ordering::SeqCst);
    }

    /// Whether it can't run any more.
    pub fn is_off(&self) -> bool {
        self.off.load(Ordering::SeqCst)
    }

    /// The same, within a second from now.
    pub fn goes_off(&self) -> bool {
        let end = crate::rt::machine::after(1);
        while !self.is_off() && crate::rt::machine::now() < end {
            core::hint::spin_loop();
        }
        self.is_off()
    }

    /// Notes that it can't run any more, without a word to its vCPUs.
    pub fn note_off(&self) {
        self.off.store(true, Ordering::SeqCst);
    }

    /// What has become of it, if it has come to an end.
    pub fn outcome(&self) -> Option<Outcome> {
        *self.outcome.lock()
    }

    /// That its program has come to its end and the VM is off; with the value that it ended with.
    pub fn finished(&self) -> u64 {
        assert!(self.is_off(), "VM {} is not off", self.id());
        match self.outcome() {
            Some(Outcome::Done(value)) => value,
            other => panic!("VM {}: {other:?}", self.id()),
        }
    }

    /// A fresh block, the VM's to have. The host gets it back by [`Self::destroy`].
    pub fn take_block(&self) -> u64 {
        let block = memory::take_block();
        self.blocks.lock().push(block);
        block
    }

    /// Notes that a block, or a part of it, is the VM's. The host gets it back by [`Self::destroy`].
    pub fn add_block(&self, block: u64) {
        self.blocks.lock().push(block);
    }

    /// A fresh page, likewise.
    pub fn take_page(&self) -> u64 {
        let mut pages = self.pages.lock();
        if pages.0 == pages.1 {
            let block = self.take_block();
            *pages = (block, block + BLOCK);
        }
        pages.0 += PAGE;
        pages.0 - PAGE
    }

    /// All blocks that the VM has, or has a part of.
    pub fn blocks(&self) -> ArrayVec<u64, BLOCKS> {
        self.blocks.lock().clone()
    }

    /// Runs vCPU `i` on this CPU until its next exit. Only for who has it [`State::Running`], or alone with the VM.
    ///
    /// # Errors
    /// What VCPU_RUN returns if it is refused.
    pub fn enter(&self, i: usize) -> Result<Exit, i64> {
        let (vcpu, cpu) = (&self.vcpus[i], cpu::index());
        // Whoever gives it an interrupt after this kicks it.
        vcpu.note_run(cpu);
        gic::prepare(self, vcpu);
        let code = vcpu_run(self.id(), i as u64);
        vcpu.set_word(run_page::FLAGS, 0);
        vcpu.set_word(run_page::FAULT_ADDR, 0);
        if code < 0 {
            vcpu.note_exit(KINDS - 1);
            gic::withdraw(vcpu);
            return Err(code);
        }
        let exit = Exit::decode(code as u64, vcpu.page());
        vcpu.note_exit(exit.kind());
        gic::look_at(self, vcpu);
        Ok(exit)
    }

    /// Makes a waiting vCPU ready, and brings a running one back to its host.
    pub fn kick(&self, i: usize) {
        let vcpu = &self.vcpus[i];
        if !vcpu.change_state(State::Waiting, State::Ready) {
            let on = vcpu.on();
            if on < cpu::MAX && on != cpu::index() {
                gic::kick(on);
            }
        }
    }

    /// Gives vCPU `i` interrupt `intid`, an SGI or PPI.
    pub fn interrupt(&self, i: usize, intid: u32) {
        self.vcpus[i].set_pending(intid);
        self.kick(i);
    }

    /// Destroys the VM, and takes its memory back. None of its vCPUs may run.
    pub fn destroy(&self) {
        assert_eq!(to_the_end(n::DESTROY_VM, &[self.id()]), 0, "DESTROY_VM {}", self.id());
        self.forget();
    }

    /// Takes back the memory of a VM that has been destroyed.
    pub fn forget(&self) {
        self.blocks.lock().drain(..).for_each(memory::return_block);
        memory::return_block(self.run_pages.load(Ordering::SeqCst));
        self.id.store(0, Ordering::SeqCst);
        self.used.store(false, Ordering::SeqCst);
    }

    /// Prints where it stands.
    pub fn describe(&self) {
        say!("VM {}: off {} {:?}", self.id(), self.is_off(), self.outcome());
        for (i, vcpu) in self.vcpus.iter().enumerate().take(self.count()) {
            let mut exits = ArrayString::<256>::new();
            for (kind, name) in NAMES.iter().enumerate().filter(|(kind, _)| vcpu.exits(*kind) > 0) {
                let _ = core::fmt::Write::write_fmt(&mut exits, format_args!(" {name} {}", vcpu.exits(kind)));
            }
            say!(
                "  vCPU {i}: {:?} pending {:#x} moves {} esr {:#x} hpfar {:#x};{exits}",
                vcpu.state(),
                vcpu.pending(),
                vcpu.moves(),
                vcpu.word(run_page::ESR),
                vcpu.word(run_page::HPFAR)
            );
        }
    }
}

/// REGISTER_KVM; the VM's number.
pub fn register_kvm(kind: Kind) -> u64 {
    let flags = match kind {
        Kind::Signed => 0,
        Kind::Unsigned => 1,
        Kind::Shared => 2,
    };
    let v = host(n::REGISTER_KVM, &[flags]);
    assert!((1..16).contains(&v), "REGISTER_KVM: {v}");
    v as u64
}

/// FEATURES: number of list registers.
pub fn list_registers() -> usize {
    let id = HOST_CALL_BASE + n::FEATURES;
    let registers = with_canaries(Conduit::Hvc, id.into(), &[0, 0, 0, 0], 5);
    registers[4] as usize
}
