// SPDX-License-Identifier: GPL-2.0-only
//! A machine for tests, on the developer's own: real table pages in ordinary memory, a table walker and a TLB that are
//! as unkind as the architecture allows, and firmware that a test can replace.
//!
//! The walker knows nothing of the code that writes the tables: it starts at the root that the hardware was given and
//! reads descriptors as Arm ARM D8.2 and D8.3 have them. What hardware would punish is recorded as a violation, and
//! [`SimMachine::check`], which the drop calls, panics on any:
//!
//! * break-before-make (D8.17.1): a valid descriptor is followed by an invalid one and the end of its translations
//!   in every TLB, before another valid one takes the slot;
//! * a table is linked once, after all of it was written and published;
//! * what was broken is invalidated, and what was written is published, when the operation is over.

mod cpu;
mod features;
mod gic;
mod inspect;
mod principal;
mod smmu;
mod smmu3;
mod whole;

pub use cpu::{ACTLR_EL1, Cpu};
pub use features::Features;
pub use gic::{ITS_TYPER, ITT_ENTRY};
pub use smmu3::Faults;

use super::{Machine, PageBytes, SharedPage, Width};
use crate::addr::{COREVISOR, HOSTVISOR, Ipa, PAGE_SIZE, Pa, Pfn, Range, Vmid};
use crate::corevisor::{Config, Corevisor};
use crate::gic::{Gic, GicLock};
use crate::lock::{Held, Lock};
use crate::memory::{Count, S2Page};
use crate::npt::FramePool;
use crate::platform::image_keys::ImageKeys;
use crate::platform::log_ring::LogRing;
use crate::refused::Refused;
use crate::smmu3 as driver;
use crate::trap::LogSource;
use crate::vcpu::vgic::{Ids, Interface};
use crate::vcpu::{CONTEXT_COUNT, ContextLock, ShadowContext};
use crate::vm::Signature;
use crate::vm::measure::ImageMessage;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::{String, ToString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

/// Words in a chunk of the pool, which is aligned as its own size so that tables of up to 16 pages are, too.
const CHUNK_WORDS: usize = 8192;
/// What table memory holds before it is zeroed. Not a valid descriptor, and not none.
const POISON: u64 = 0x5A5A_5A5A_5A5A_5A5A;
/// Where the simulated firmware starts CPUs, for [`Machine::cpu_entry`].
pub const CPU_ENTRY: u64 = 0x0800_0000;
/// The context that goes with it, to which the CPU's number is added.
pub const CPU_CONTEXT: u64 = 0xC0DE_0000;

/// The interrupt interface that VMs have: a GICv3's, with 4 list registers and 16 bits of interrupt numbers.
pub const INTERFACE: Interface = Interface { list_registers: 4, ids: Ids::V3 { end: 1 << 16 } };

const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 0b11;
const ACCESS_FLAG: u64 = 1 << 10;
const OUTPUT: u64 = ((1 << 48) - 1) & !(PAGE_SIZE - 1);
/// What a leaf of level 1, 2, 3 maps.
const LEAF_SIZES: [u64; 3] = [1 << 30, 1 << 21, PAGE_SIZE];

// A model checker's threads share one of the system's.
#[cfg(feature = "loom")]
use loom::thread_local;
#[cfg(all(feature = "shuttle", not(feature = "loom")))]
use shuttle::thread_local;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
use std::thread_local;

thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro knows no other form")]
    static CPU: Cell<usize> = Cell::new(0);
}

/// Makes the thread that calls this CPU `index`. Each thread starts as CPU 0.
pub fn set_cpu(index: usize) {
    CPU.with(|cpu| cpu.set(index));
}

#[repr(align(65536))]
struct Chunk([AtomicU64; CHUNK_WORDS]);

/// Firmware below EL2: x0 to x3 in and out.
pub type Firmware = dyn Fn([u64; 4]) -> [u64; 4] + Send + Sync;

/// What a read of memory shared with the host gives, if not what was written.
pub type SharedMemory = dyn Fn(Pa) -> Option<u64> + Send + Sync;

/// Which images are authentic: the VM, and where its image lies in the window.
#[derive(Clone)]
enum Verifier {
    /// Whoever runs the test.
    Oracle(Arc<dyn Fn(Vmid, Ipa) -> bool + Send + Sync>),
    /// Real keys.
    Keys(Arc<ImageKeys>),
}

/// A leaf descriptor and what it maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First address that it translates.
    pub ipa: u64,
    /// How many it translates.
    pub size: u64,
    /// The descriptor.
    pub descriptor: u64,
}

impl Leaf {
    /// The physical address that `ipa` reaches.
    pub fn pa(&self, ipa: Ipa) -> u64 {
        (self.descriptor & OUTPUT) + (ipa.as_u64() - self.ipa)
    }

    /// Everything in the descriptor but the address and the bit that tells a block from a page.
    pub fn attributes(&self) -> u64 {
        self.descriptor & !OUTPUT & !0b10
    }
}

/// Why an access does not get through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The address is wider than the table's input.
    AddressSize,
    /// No valid descriptor at this level.
    Translation(u8),
    /// A valid descriptor that hardware rejects: reserved bits, or no access flag.
    Malformed(u8),
    /// The context bank does not translate: what is routed there reaches memory as it is.
    Bypass,
}

#[derive(Clone, Copy)]
struct Table {
    root: u64,
    ipa_bits: u32,
}

#[derive(Default)]
struct State {
    /// Roots that the hardware was given.
    tables: BTreeMap<Vmid, Table>,
    /// Table pages that a walk can reach.
    live: BTreeSet<u64>,
    /// Table pages written since the last publication.
    unpublished: BTreeSet<u64>,
    /// Slots whose valid descriptor was removed, and whose translations may still be cached; and that descriptor.
    pending: BTreeMap<u64, u64>,
    /// By principal, size and first address.
    tlb: BTreeMap<(Vmid, u64, u64), u64>,
    watched: Vec<(Vmid, Ipa)>,
    smmus: Vec<smmu::Smmu>,
    smmu3s: Vec<smmu3::Smmu3>,
    its: Vec<gic::Its>,
    /// Redistributors whose LPIs stay on.
    lpis_on: BTreeSet<u64>,
    violations: Vec<String>,
    invalidations: u64,
    /// Descriptors written.
    stores: u64,
    refusals: Vec<String>,
    calls: Vec<[u64; 4]>,
    /// RAM, by page; what was never written is zero.
    pages: BTreeMap<Pfn, Box<PageBytes>>,
    /// Device registers, by address.
    registers: BTreeMap<u64, u64>,
    /// Pages cleaned by AM-15.
    cleaned: BTreeSet<Pfn>,
}

/// The simulated machine.
pub struct SimMachine {
    pool: Range,
    memory: Vec<Chunk>,
    state: Mutex<State>,
    firmware: Mutex<Arc<Firmware>>,
    shared: Mutex<Option<Arc<SharedMemory>>>,
    verifier: Mutex<Option<Verifier>>,
    /// Whether VMs may be unsigned.
    unsigned: AtomicBool,
    entropy: Mutex<Option<[u8; 32]>>,
    interface: Mutex<Interface>,
    log: LogRing,
    cpus: Mutex<BTreeMap<usize, Cpu>>,
    features: Mutex<Features>,
}

/// Boots Corevisor on a new machine, with page tables in `pool`, a range of `config`'s RAM. The host's table is in use
/// on return.
///
/// # Errors
/// As [`Corevisor::new`].
pub fn boot(config: Config, pool: Range) -> Result<Corevisor<SimMachine>, Refused> {
    boot_on(SimMachine::new(pool), config, pool)
}

/// The same, on a machine made for it. What the SMMUv3s can do is for them to say, not for `config`.
///
/// # Errors
/// As [`boot`].
pub fn boot_on(machine: SimMachine, mut config: Config, pool: Range) -> Result<Corevisor<SimMachine>, Refused> {
    machine.attach_smmus(&config.smmus);
    machine.attach_smmu3s(&config.smmu3s);
    if machine.state().its.is_empty() {
        machine.attach_gic(&config.gic);
    }
    for smmu in &mut config.smmu3s {
        smmu.features = driver::close(&machine, smmu.window);
    }
    let records = std::vec![S2Page::new(COREVISOR, Count::DmaPending, None); config.regions.pages() as usize];
    let ipa_bits = config.ipa_bits;
    // SAFETY: the machine's memory, which it touches by atomic accesses to pages that the pool handed out only. It
    // lives where the pool lives, in the `Corevisor` (which, if the two are dropped, does not use the pool any more).
    let frames = unsafe { FramePool::new(pool, machine.memory.as_ptr() as usize) };
    let contexts = (0..CONTEXT_COUNT).map(|_| ContextLock::new(ShadowContext::ZERO)).collect();
    let gic = Box::new(Lock::new(Gic::NONE));
    let core = Corevisor::new(machine, config, records, contexts, gic, frames)?;
    let (_, pages) = core.root(HOSTVISOR).expect("the host's table");
    assert_eq!(pages, first_level_pages(ipa_bits), "pages of the first level");
    core.open_smmu3s();
    Ok(core)
}

/// Level at which the hardware's walk starts, as VTCR_EL2 is set.
fn start_level(ipa_bits: u32) -> u8 {
    if ipa_bits > 42 { 0 } else { 1 }
}

fn first_level_pages(ipa_bits: u32) -> u64 {
    if start_level(ipa_bits) == 0 { 1 } else { (1u64 << ipa_bits).div_ceil(1 << 39) }
}

fn page(address: u64) -> u64 {
    address & !(PAGE_SIZE - 1)
}

/// What hardware makes of `descriptor`, valid and no table, found at `level` on the walk for `ipa`.
fn leaf(level: u8, ipa: u64, descriptor: u64) -> Result<Leaf, Fault> {
    let size = 1u64 << (39 - 9 * u32::from(level));
    let is_page = descriptor & TABLE_OR_PAGE == TABLE_OR_PAGE;
    let aligned = descriptor & OUTPUT & (size - 1) == 0;
    let well_formed = level > 0 && is_page == (level == 3) && aligned && descriptor & ACCESS_FLAG != 0;
    if well_formed { Ok(Leaf { ipa: ipa & !(size - 1), size, descriptor }) } else { Err(Fault::Malformed(level)) }
}

impl SimMachine {
    /// A machine whose table memory is `pool`, aligned to 64 KiB.
    pub fn new(pool: Range) -> Self {
        assert_eq!(pool.start % size_of::<Chunk>() as u64, 0);
        let chunks = pool.size().div_ceil(size_of::<Chunk>() as u64);
        Self {
            pool,
            memory: (0..chunks).map(|_| Chunk([const { AtomicU64::new(POISON) }; CHUNK_WORDS])).collect(),
            state: Mutex::default(),
            firmware: Mutex::new(Arc::new(willing_firmware)),
            shared: Mutex::new(None),
            verifier: Mutex::new(None),
            unsigned: AtomicBool::new(true),
            entropy: Mutex::new(Some([0x42; 32])),
            interface: Mutex::new(INTERFACE),
            log: LogRing::new(),
            cpus: Mutex::default(),
            features: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        assert!(self.pool.contains(at) && at.is_multiple_of(8), "no descriptor at {at:#x}");
        let index = ((at - self.pool.start) / 8) as usize;
        &self.memory[index / CHUNK_WORDS].0[index % CHUNK_WORDS]
    }

    /// Gives the hardware `root`, of a table for `ipa_bits` bits, to translate for `v`.
    pub fn enter(&self, v: Vmid, root: Pa, ipa_bits: u32) {
        let mut state = self.state();
        let root = root.as_u64();
        let pages = first_level_pages(ipa_bits);
        assert!(root.is_multiple_of(pages.next_power_of_two() * PAGE_SIZE), "root not aligned");
        state.tables.insert(v, Table { root, ipa_bits });
        for i in 0..pages {
            self.make_live(&mut state, root + i * PAGE_SIZE);
        }
    }

    /// Whether `descriptor`, above level 3, points to a table: to table memory, that is, which nobody may map.
    fn links_to(&self, descriptor: u64) -> Option<u64> {
        let table = descriptor & OUTPUT;
        (descriptor & TABLE_OR_PAGE == TABLE_OR_PAGE && self.pool.contains(table)).then_some(table)
    }

    fn make_live(&self, state: &mut State, table: u64) {
        if !state.live.insert(table) {
            state.violations.push(format!("table {table:#x} has two parents"));
            return;
        }
        if state.unpublished.contains(&table) {
            state.violations.push(format!("table {table:#x} linked before it was published"));
        }
        for at in (table..table + PAGE_SIZE).step_by(8) {
            let descriptor = self.word(at).load(Ordering::Relaxed);
            if descriptor == POISON {
                state.violations.push(format!("table {table:#x} linked with nothing written at {at:#x}"));
                return;
            }
            if let Some(child) = self.links_to(descriptor) {
                self.make_live(state, child);
            }
        }
    }

    /// The pages of `table`, all levels.
    fn tables_of(&self, state: &State, table: Table) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut to_do: Vec<u64> = (0..first_level_pages(table.ipa_bits)).map(|i| table.root + i * PAGE_SIZE).collect();
        while let Some(table) = to_do.pop() {
            if state.live.contains(&table) && found.insert(table) {
                let slots = (table..table + PAGE_SIZE).step_by(8);
                to_do.extend(slots.filter_map(|at| self.links_to(self.word(at).load(Ordering::Relaxed))));
            }
        }
        found
    }

    /// The pages of all tables that the hardware was given.
    fn reachable(&self, state: &State) -> BTreeSet<u64> {
        let smmus = self.smmu_roots(state).chain(self.smmu3_roots(state));
        let tables = state.tables.values().copied().chain(smmus);
        tables.flat_map(|table| self.tables_of(state, table)).collect()
    }

    /// Walks the table of `v` for `ipa` as hardware does. Returns the slots read, and the outcome.
    fn walk_slots(&self, table: Table, ipa: Ipa) -> (Vec<u64>, Result<Leaf, Fault>) {
        let ipa = ipa.as_u64();
        let mut slots = Vec::with_capacity(4);
        if ipa >> table.ipa_bits != 0 {
            return (slots, Err(Fault::AddressSize));
        }
        let mut at = table.root;
        let start = start_level(table.ipa_bits);
        for level in start..=3 {
            let shift = 39 - 9 * u32::from(level);
            // The first level's tables are one, up to sixteen times as long.
            let index = if level == start { ipa >> shift } else { (ipa >> shift) & 0x1FF };
            let slot = at + index * 8;
            slots.push(slot);
            let descriptor = self.word(slot).load(Ordering::Acquire);
            if descriptor & VALID == 0 {
                return (slots, Err(Fault::Translation(level)));
            }
            if level < 3 && descriptor & TABLE_OR_PAGE == TABLE_OR_PAGE {
                at = descriptor & OUTPUT;
                if !self.pool.contains(at) {
                    return (slots, Err(Fault::Malformed(level)));
                }
                continue;
            }
            return (slots, leaf(level, ipa, descriptor));
        }
        unreachable!("level 3 is a leaf or a fault")
    }

    /// What the tables of `v` say of `ipa`, whatever may be cached.
    pub fn walk(&self, v: Vmid, ipa: Ipa) -> Result<Leaf, Fault> {
        let table = self.state().tables[&v];
        self.walk_slots(table, ipa).1
    }

    /// All leaves of the tables of `v`, in the order of their addresses: valid descriptors that are no table, and invalid
    /// ones that are not zero.
    ///
    /// # Panics
    /// If hardware would reject a valid one.
    pub fn leaves(&self, v: Vmid) -> Vec<Leaf> {
        let table = self.state().tables[&v];
        let mut leaves = Vec::new();
        let start = start_level(table.ipa_bits);
        let entries = first_level_pages(table.ipa_bits) * 512;
        self.collect_leaves(table.root, start, entries, 0, &mut leaves);
        leaves
    }

    /// Appends the leaves under the `entries` entries of the table `at`, of `level`, which translates from `ipa` on.
    fn collect_leaves(&self, at: u64, level: u8, entries: u64, ipa: u64, leaves: &mut Vec<Leaf>) {
        let size = 1u64 << (39 - 9 * u32::from(level));
        for (slot, ipa) in (at..at + entries * 8).step_by(8).zip((ipa..).step_by(size as usize)) {
            let descriptor = self.word(slot).load(Ordering::Acquire);
            match (descriptor, self.links_to(descriptor)) {
                (0, _) => {}
                (_, Some(table)) if level < 3 => self.collect_leaves(table, level + 1, 512, ipa, leaves),
                _ if descriptor & VALID == 0 => leaves.push(Leaf { ipa, size, descriptor }),
                _ => match leaf(level, ipa, descriptor) {
                    Ok(leaf) => leaves.push(leaf),
                    Err(fault) => panic!("{fault:?} at {ipa:#x}: {descriptor:#x}"),
                },
            }
        }
    }

    /// What `v` reaches at `ipa`: by the TLB, if that knows; else by a walk, which it will then know.
    pub fn access(&self, v: Vmid, ipa: Ipa) -> Result<Leaf, Fault> {
        self.look_up(&mut self.state(), v, ipa)
    }

    /// Spec: NW-4. `v` loads the aligned word at `ipa`.
    pub fn mem_load_ref(&self, v: Vmid, ipa: Ipa) -> Result<u64, Fault> {
        Ok(self.load(Pa::low_48(self.access(v, ipa)?.pa(ipa))))
    }

    /// Spec: NW-5. `v` stores to the aligned word at `ipa`.
    pub fn mem_store_ref(&self, v: Vmid, ipa: Ipa, value: u64) -> Result<(), Fault> {
        let pa = Pa::low_48(self.access(v, ipa)?.pa(ipa));
        self.shared_store(pa, value);
        Ok(())
    }

    /// The word at `at`, of RAM.
    fn load(&self, at: Pa) -> u64 {
        let state = self.state();
        let Some(bytes) = state.pages.get(&at.frame()) else { return 0 };
        let (words, _) = bytes.as_chunks::<8>();
        u64::from_le_bytes(words[(at.as_u64() % PAGE_SIZE / 8) as usize])
    }

    fn look_up(&self, state: &mut State, v: Vmid, ipa: Ipa) -> Result<Leaf, Fault> {
        let mut hits = LEAF_SIZES.into_iter().filter_map(|size| {
            let first = ipa.as_u64() & !(size - 1);
            state.tlb.get(&(v, size, first)).map(|&descriptor| Leaf { ipa: first, size, descriptor })
        });
        if let Some(leaf) = hits.next() {
            if hits.next().is_some() {
                state.violations.push(format!("TLB conflict at {ipa}"));
            }
            return Ok(leaf);
        }
        let leaf = self.walk_slots(state.tables[&v], ipa).1?;
        state.tlb.insert((v, leaf.size, leaf.ipa), leaf.descriptor);
        Ok(leaf)
    }

    /// Has the TLB look `ipa` up after every change of a table from now on, as speculation may.
    pub fn watch(&self, v: Vmid, ipa: Ipa) {
        self.state().watched.push((v, ipa));
    }

    /// Has it look up for `v` no more: `v` is not on any CPU.
    pub fn unwatch(&self, v: Vmid) {
        self.state().watched.retain(|&(watched, _)| watched != v);
    }

    fn speculate(&self, state: &mut State) {
        for i in 0..state.watched.len() {
            let (v, ipa) = state.watched[i];
            let _ = self.look_up(state, v, ipa);
        }
        self.speculate_dma(state);
    }

    /// Everything that the TLB holds for `v`.
    pub fn cached(&self, v: Vmid) -> Vec<Leaf> {
        let state = self.state();
        let entries = state.tlb.iter().filter(|((owner, ..), _)| *owner == v);
        entries.map(|(&(_, size, ipa), &descriptor)| Leaf { ipa, size, descriptor }).collect()
    }

    /// How often translations were invalidated.
    pub fn invalidations(&self) -> u64 {
        self.state().invalidations
    }

    /// The lines said about refusals since the last time.
    pub fn take_refusals(&self) -> Vec<String> {
        core::mem::take(&mut self.state().refusals)
    }

    /// The calls that the firmware got since the last time.
    pub fn take_calls(&self) -> Vec<[u64; 4]> {
        core::mem::take(&mut self.state().calls)
    }

    /// Replaces the firmware. It may call back into Corevisor, as another CPU.
    pub fn on_firmware_call(&self, firmware: impl Fn([u64; 4]) -> [u64; 4] + Send + Sync + 'static) {
        *self.firmware.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(firmware);
    }

    /// Has reads of memory shared with the host ask `host` first.
    pub fn on_shared_load(&self, host: impl Fn(Pa) -> Option<u64> + Send + Sync + 'static) {
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(host));
    }

    /// Has `oracle` say which images are authentic, whatever their signatures are. At first, all are.
    pub fn on_verify_image(&self, oracle: impl Fn(Vmid, Ipa) -> bool + Send + Sync + 'static) {
        let oracle = Verifier::Oracle(Arc::new(oracle));
        *self.verifier.lock().unwrap_or_else(PoisonError::into_inner) = Some(oracle);
    }

    /// Has images be authentic that are signed with one of `keys`, as on hardware.
    pub fn set_image_keys(&self, keys: ImageKeys) {
        *self.verifier.lock().unwrap_or_else(PoisonError::into_inner) = Some(Verifier::Keys(Arc::new(keys)));
    }

    /// Has VMs be unsigned, as test images do, or not, as release images.
    pub fn allow_unsigned(&self, allowed: bool) {
        self.unsigned.store(allowed, Ordering::Relaxed);
    }

    /// Replaces what the source of entropy gives; `None`: there is none.
    pub fn set_entropy(&self, entropy: Option<[u8; 32]>) {
        *self.entropy.lock().unwrap_or_else(PoisonError::into_inner) = entropy;
    }

    /// Replaces the interrupt interface that VMs have, [`INTERFACE`].
    pub fn set_virtual_interface(&self, interface: Interface) {
        *self.interface.lock().unwrap_or_else(PoisonError::into_inner) = interface;
    }

    /// The value last written to the device register `at`, to all of its 8 bytes; or sets it as the device would.
    pub fn register(&self, at: u64) -> u64 {
        self.state().registers.get(&at).copied().unwrap_or(0)
    }

    /// Sets a device register, as the device would.
    pub fn set_register(&self, at: u64, value: u64) {
        self.state().registers.insert(at, value);
    }

    /// The pages that have something other than zero in them.
    pub fn written_pages(&self) -> Vec<Pfn> {
        self.state().pages.iter().filter(|(_, bytes)| bytes.iter().any(|&b| b != 0)).map(|(&pfn, _)| pfn).collect()
    }

    /// Whether `pfn` was cleaned by AM-15 since the last time.
    pub fn take_cleaned(&self, pfn: Pfn) -> bool {
        self.state().cleaned.remove(&pfn)
    }

    /// The log that LOG_READ reads.
    pub fn log(&self) -> &LogRing {
        &self.log
    }

    /// What hardware would have punished since the last time; for use between operations.
    pub fn take_violations(&self) -> Vec<String> {
        let mut state = self.state();
        let mut all = core::mem::take(&mut state.violations);
        all.extend(state.pending.keys().map(|at| format!("descriptor {at:#x} removed, but never invalidated")));
        let unpublished = state.unpublished.intersection(&state.live);
        all.extend(unpublished.map(|table| format!("table {table:#x} changed, but never published")));
        all
    }

    /// Panics if there was a violation.
    pub fn check(&self) {
        let violations = self.take_violations();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

impl Corevisor<SimMachine> {
    /// A copy of the ownership table.
    pub fn records(&self) -> Vec<S2Page> {
        self.s2page().lock(&mut Held::nothing()).0.records.clone()
    }
}

impl Drop for SimMachine {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

/// A page of RAM, word by word.
pub struct SharedPageRef<'m> {
    machine: &'m SimMachine,
    pfn: Pfn,
}

impl SharedPageRef<'_> {
    fn word(&self, offset: u64) -> Pa {
        Pa::low_48(self.pfn.base().as_u64() + offset)
    }
}

impl SharedPage for SharedPageRef<'_> {
    fn load(&self, offset: u64) -> u64 {
        self.machine.shared_load(self.word(offset))
    }

    fn store(&self, offset: u64, value: u64) {
        self.machine.shared_store(self.word(offset), value);
    }

    fn keep(self) {}
}

impl Machine for SimMachine {
    type Records = Vec<S2Page>;
    type Contexts = Vec<ContextLock>;
    type Gic = Box<GicLock>;
    type SharedPage<'m> = SharedPageRef<'m>;
    const VMS: bool = true;

    fn cpu(&self) -> usize {
        CPU.with(Cell::get)
    }

    fn pt_load(&self, at: Pa) -> u64 {
        self.word(at.as_u64()).load(Ordering::Relaxed)
    }

    fn pt_store(&self, at: Pa, descriptor: u64) {
        let mut state = self.state();
        state.stores += 1;
        let at = at.as_u64();
        let word = self.word(at);
        let old = word.load(Ordering::Relaxed);
        let live = state.live.contains(&page(at));
        if live && old != descriptor {
            let line = format!("{old:#x} at {at:#x} replaced by {descriptor:#x} without break-before-make");
            match (old & VALID != 0, descriptor & VALID != 0) {
                (true, true) => state.violations.push(line),
                (true, false) => _ = state.pending.insert(at, old),
                (false, true) => match state.pending.remove(&at) {
                    Some(removed) if removed != descriptor => state.violations.push(line),
                    _ => {} // the same as before: no translation has changed
                },
                (false, false) => {}
            }
        }
        word.store(descriptor, Ordering::Release);
        state.unpublished.insert(page(at));
        if live {
            if let Some(table) = self.links_to(descriptor) {
                self.make_live(&mut state, table);
            }
            self.speculate(&mut state);
        }
    }

    fn zero_tables(&self, table: Pa, pages: u64) {
        let mut state = self.state();
        state.stores += 1;
        let start = table.as_u64();
        for at in (start..start + pages * PAGE_SIZE).step_by(8) {
            self.word(at).store(0, Ordering::Relaxed);
        }
        for table in (start..start + pages * PAGE_SIZE).step_by(PAGE_SIZE as usize) {
            state.unpublished.insert(table);
            if state.live.contains(&table) {
                state.violations.push(format!("table {table:#x} zeroed while in use"));
            }
        }
    }

    fn publish_tables(&self) {
        self.state().unpublished.clear();
    }

    fn invalidate_ipa(&self, v: Vmid, root: Pa, ipa: Ipa) {
        let mut state = self.state();
        state.invalidations += 1;
        state.unpublished.clear();
        let Some(&table) = state.tables.get(&v) else { return };
        if table.root != root.as_u64() {
            state.violations.push(format!("invalidation of {ipa} in {root}, which is not the table of {v}"));
            return;
        }
        for slot in self.walk_slots(table, ipa).0 {
            state.pending.remove(&slot);
        }
        for size in LEAF_SIZES {
            state.tlb.remove(&(v, size, ipa.as_u64() & !(size - 1)));
        }
        self.speculate(&mut state);
    }

    fn invalidate_vmid(&self, v: Vmid, root: Pa) {
        let mut state = self.state();
        state.invalidations += 1;
        state.unpublished.clear();
        let Some(&table) = state.tables.get(&v) else { return };
        if table.root != root.as_u64() {
            state.violations.push(format!("invalidation of {v} in {root}, which is not its table"));
            return;
        }
        state.tlb.retain(|&(owner, ..), _| owner != v);
        let tables = self.tables_of(&state, table);
        state.pending.retain(|at, _| !tables.contains(&page(*at)));
        // Tables that were cut off are out of every walker's reach now.
        let live = self.reachable(&state);
        state.live = live;
        self.speculate(&mut state);
    }

    fn set_pt_vttbr(&self, v: Vmid, root: Pa, ipa_bits: u32) {
        self.enter(v, root, ipa_bits);
    }

    fn clear_pt_vttbr(&self, v: Vmid) {
        let mut state = self.state();
        let Some(table) = state.tables.remove(&v) else { return };
        let tables = self.tables_of(&state, table);
        if state.tlb.keys().any(|&(owner, ..)| owner == v) {
            state.violations.push(format!("the table of {v} is gone, but not from the TLB"));
        }
        state.live.retain(|table| !tables.contains(table));
    }

    fn clear_phys_page(&self, pfn: Pfn) {
        self.state().pages.remove(&pfn);
    }

    fn fetch_from_doracle(&self, pfn: Pfn) {
        self.state().cleaned.insert(pfn);
    }

    fn sync_code(&self) {}

    fn read_page(&self, pfn: Pfn, to: &mut PageBytes) {
        *to = self.state().pages.get(&pfn).map_or([0; PAGE_SIZE as usize], |bytes| **bytes);
    }

    fn write_page(&self, pfn: Pfn, from: &PageBytes) {
        self.state().pages.insert(pfn, Box::new(*from));
    }

    fn shared_page(&self, pfn: Pfn) -> SharedPageRef<'_> {
        SharedPageRef { machine: self, pfn }
    }

    fn kept_page(&self, pfn: Pfn) -> SharedPageRef<'_> {
        self.shared_page(pfn)
    }

    fn shared_load_words(&self, at: Pa, words: &mut [u64]) {
        assert!(at.is_aligned(8), "no word at {at}");
        assert!(at.as_u64() % PAGE_SIZE + 8 * words.len() as u64 <= PAGE_SIZE, "beyond the page of {at}");
        let host = self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (i, word) in words.iter_mut().enumerate() {
            let at = Pa::low_48(at.as_u64() + 8 * i as u64);
            *word = host.as_ref().and_then(|host| host(at)).unwrap_or_else(|| self.load(at));
        }
    }

    fn shared_store_words(&self, at: Pa, values: &[u64]) {
        assert!(at.is_aligned(8), "no word at {at}");
        let mut state = self.state();
        let bytes = state.pages.entry(at.frame()).or_insert_with(|| Box::new([0; PAGE_SIZE as usize]));
        let (words, _) = bytes.as_chunks_mut::<8>();
        let first = (at.as_u64() % PAGE_SIZE / 8) as usize;
        for (word, value) in words[first..first + values.len()].iter_mut().zip(values) {
            *word = value.to_le_bytes();
        }
    }

    fn sync_with_devices(&self, at: Pa, bytes: u64) {
        let (start, end) = (page(at.as_u64()), at.as_u64() + bytes);
        self.state().unpublished.retain(|table| !(start..end).contains(table));
    }

    fn mmio_read(&self, at: Pa, width: Width) -> u64 {
        let value = self.device_register(at.as_u64() & !7);
        match width {
            Width::Double => value,
            Width::Word => (value >> (8 * (at.as_u64() & 4))) & 0xFFFF_FFFF,
        }
    }

    fn mmio_write(&self, at: Pa, width: Width, value: u64) {
        let at = at.as_u64();
        let shift = 8 * (at & 4);
        let new = match width {
            Width::Double => value,
            Width::Word => self.register(at & !7) & !(0xFFFF_FFFF << shift) | (value & 0xFFFF_FFFF) << shift,
        };
        self.set_register(at & !7, new);
        if !self.smmu3_written(at) {
            self.smmu_written(at);
        }
        self.gic_written(at);
    }

    fn verify_image(&self, v: Vmid, remap_addr: Ipa, message: &ImageMessage, signature: &Signature) -> bool {
        let verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match verifier {
            None => true,
            Some(Verifier::Oracle(oracle)) => oracle(v, remap_addr),
            Some(Verifier::Keys(keys)) => keys.verify(message, signature),
        }
    }

    fn has_image_keys(&self) -> bool {
        let verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(&*verifier, Some(Verifier::Keys(keys)) if keys.is_empty())
    }

    fn allows_unsigned(&self) -> bool {
        self.unsigned.load(Ordering::Relaxed)
    }

    fn entropy(&self) -> Option<[u8; 32]> {
        *self.entropy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn virtual_interface(&self) -> Interface {
        *self.interface.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn firmware_call(&self, args: [u64; 4]) -> [u64; 4] {
        self.state().calls.push(args);
        let firmware = self.firmware.lock().unwrap_or_else(PoisonError::into_inner).clone();
        firmware(args)
    }

    fn cpu_entry(&self, index: usize) -> (Pa, u64) {
        (Pa::new(CPU_ENTRY).unwrap_or_else(|| unreachable!()), CPU_CONTEXT + index as u64)
    }

    fn log_refusal(&self, line: core::fmt::Arguments<'_>) {
        self.state().refusals.push(line.to_string());
    }

    #[cfg(feature = "semihosting")]
    fn crash(&self, kind: u64) {
        panic!("crash {kind} provoked");
    }
}

impl LogSource for SimMachine {
    fn read(&self, position: u64, buffer: &mut [u8]) -> (u64, usize) {
        self.log.read(position, buffer)
    }
}

/// Firmware that says yes to everything that returns: PSCI 1.1, CPUs that start.
fn willing_firmware(args: [u64; 4]) -> [u64; 4] {
    const PSCI_VERSION: u64 = 0x8400_0000;
    const CPU_OFF: u64 = 0x8400_0002;
    const DENIED: u64 = -3i64 as u64;
    match args[0] {
        PSCI_VERSION => [0x0001_0001, 0, 0, 0],
        CPU_OFF => [DENIED, 0, 0, 0],
        _ => [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: Range = Range { start: 0x4000_0000, end: 0x4001_0000 };
    const BITS: u32 = 32;
    /// Attributes of a leaf that the walker accepts.
    const PAGE: u64 = ACCESS_FLAG | TABLE_OR_PAGE;
    const BLOCK: u64 = ACCESS_FLAG | VALID;

    fn at(table: u64, index: u64) -> Pa {
        Pa::new(POOL.start + table * PAGE_SIZE + index * 8).unwrap()
    }

    fn ipa(address: u64) -> Ipa {
        Ipa::new(address).unwrap()
    }

    /// A machine with the root in the pool's first page, in use, and the second page zeroed.
    fn machine() -> SimMachine {
        let machine = SimMachine::new(POOL);
        machine.zero_tables(at(0, 0), 2);
        machine.publish_tables();
        machine.enter(HOSTVISOR, at(0, 0), BITS);
        machine
    }

    /// The one violation since the last time, if there is one.
    fn violation(machine: &SimMachine) -> String {
        let mut all = machine.take_violations();
        assert!(all.len() <= 1, "{all:?}");
        all.pop().unwrap_or_default()
    }

    #[test]
    fn a_valid_descriptor_needs_a_break_before_another() {
        let machine = machine();
        let store = |descriptor| {
            machine.pt_store(at(0, 1), descriptor);
            machine.publish_tables();
        };
        store(0x4000_0000 | BLOCK);
        store(0x4000_0000 | BLOCK);
        assert_eq!(violation(&machine), "", "no change");
        store(0x8000_0000 | BLOCK);
        assert!(violation(&machine).contains("without break-before-make"));
        store(0);
        assert!(violation(&machine).contains("never invalidated"));
        store(0x4000_0000 | BLOCK);
        assert!(machine.take_violations()[0].contains("without break-before-make"));
        store(0);
        machine.invalidate_ipa(HOSTVISOR, at(0, 0), ipa(0x4000_0000));
        store(0xC000_0000 | BLOCK);
        assert_eq!(violation(&machine), "");
    }

    #[test]
    fn the_tlb_remembers_what_is_not_invalidated() {
        let machine = machine();
        machine.pt_store(at(0, 1), 0x4000_0000 | BLOCK);
        machine.publish_tables();
        let inside = ipa(0x4123_4567);
        assert_eq!(machine.access(HOSTVISOR, inside).unwrap().pa(inside), 0x4123_4567);
        machine.pt_store(at(0, 1), 0);
        assert_eq!(machine.access(HOSTVISOR, inside).unwrap().size, 1 << 30, "stale");
        assert_eq!(machine.walk(HOSTVISOR, inside), Err(Fault::Translation(1)));
        machine.invalidate_ipa(HOSTVISOR, at(0, 0), ipa(0x8000_0000));
        assert!(machine.access(HOSTVISOR, inside).is_ok(), "another address");
        assert!(violation(&machine).contains("never invalidated"));
        machine.invalidate_ipa(HOSTVISOR, at(1, 0), inside);
        assert!(machine.take_violations()[0].contains("not the table of host"));
        machine.invalidate_ipa(HOSTVISOR, at(0, 0), ipa(0x4000_0000));
        assert_eq!(machine.access(HOSTVISOR, inside), Err(Fault::Translation(1)));
        assert_eq!(machine.invalidations(), 3);
    }

    #[test]
    fn a_watched_address_is_cached_as_soon_as_it_can_be() {
        let machine = machine();
        machine.watch(HOSTVISOR, ipa(0x4000_0000));
        machine.pt_store(at(0, 1), 0x4000_0000 | BLOCK);
        machine.publish_tables();
        assert_eq!(machine.cached(HOSTVISOR).len(), 1);
        // Invalidated before the break, it is cached again.
        machine.invalidate_ipa(HOSTVISOR, at(0, 0), ipa(0x4000_0000));
        machine.pt_store(at(0, 1), 0);
        assert_eq!(machine.cached(HOSTVISOR).len(), 1);
        machine.invalidate_ipa(HOSTVISOR, at(0, 0), ipa(0x4000_0000));
        assert_eq!(machine.cached(HOSTVISOR), []);
    }

    #[test]
    fn a_table_is_linked_whole_published_and_once() {
        let link = |table: u64| at(table, 0).as_u64() | TABLE_OR_PAGE;
        let machine = machine();
        machine.pt_store(at(0, 0), link(2));
        machine.publish_tables();
        assert!(violation(&machine).contains("linked with nothing written at 0x40002000"));
        machine.zero_tables(at(3, 0), 1);
        machine.pt_store(at(0, 1), link(3));
        assert!(machine.take_violations()[0].contains("linked before it was published"));
        machine.publish_tables();
        machine.pt_store(at(0, 2), link(3));
        machine.publish_tables();
        assert!(violation(&machine).contains("two parents"));
        machine.pt_store(at(0, 3), link(1));
        assert!(violation(&machine).contains("changed, but never published"));
        machine.publish_tables();
        machine.zero_tables(at(1, 0), 1);
        assert!(machine.take_violations()[0].contains("zeroed while in use"));
        machine.publish_tables();
    }

    #[test]
    fn the_walker_rejects_what_hardware_rejects() {
        let malformed = [
            0x4000_0000 | BLOCK & !ACCESS_FLAG,
            0x4020_0000 | BLOCK,           // a block that is not aligned
            0x1_0000_0000 | TABLE_OR_PAGE, // a table in memory that is none of ours
        ];
        for descriptor in malformed {
            let machine = machine();
            machine.pt_store(at(0, 1), descriptor);
            machine.publish_tables();
            assert_eq!(machine.access(HOSTVISOR, ipa(0x4000_0000)), Err(Fault::Malformed(1)), "{descriptor:#x}");
            assert_eq!(machine.access(HOSTVISOR, ipa(1 << BITS)), Err(Fault::AddressSize));
        }
        let machine = machine();
        machine.zero_tables(at(2, 0), 1);
        machine.pt_store(at(2, 0), 0x4000_0000 | BLOCK); // no block at level 3
        machine.pt_store(at(2, 1), 0x100_4000_1000 | PAGE);
        machine.pt_store(at(1, 0), at(2, 0).as_u64() | TABLE_OR_PAGE);
        machine.publish_tables();
        machine.pt_store(at(0, 1), at(1, 0).as_u64() | TABLE_OR_PAGE);
        machine.publish_tables();
        assert_eq!(machine.access(HOSTVISOR, ipa(0x4000_0000)), Err(Fault::Malformed(3)));
        assert_eq!(machine.access(HOSTVISOR, ipa(0x4000_1fff)).unwrap().pa(ipa(0x4000_1fff)), 0x100_4000_1fff);
        assert_eq!(machine.access(HOSTVISOR, ipa(0x4000_2000)), Err(Fault::Translation(3)));
    }

    #[test]
    #[should_panic(expected = "no descriptor at 0x3ffffff8")]
    fn descriptors_outside_the_pool_are_not_stored() {
        machine().pt_store(Pa::new(POOL.start - 8).unwrap(), 0);
    }

    #[test]
    #[should_panic(expected = "without break-before-make")]
    fn a_violation_fails_the_test_that_drops_the_machine() {
        let machine = machine();
        machine.pt_store(at(0, 1), 0x4000_0000 | BLOCK);
        machine.pt_store(at(0, 1), 0x8000_0000 | BLOCK);
    }
}
