// SPDX-License-Identifier: GPL-2.0-only
//! The specification's state, `RData`.

use crate::constants::model_only::{REMAP_START, SMMU_HOST_OFFSET};
use crate::constants::{COREVISOR, HOSTVISOR, INVALID, INVALID64, PAGE_SIZE, ctxt_id};
use crate::history::{Event, History, WAIT};
use crate::oracle::Environment;
use crate::page_table::{Npt, Spt};
use crate::registers::RegisterFile;
use crate::{Spec, rely};
use std::collections::{BTreeMap, BTreeSet};

/// Identities of the locks, as the high specifications have them.
pub mod lock_id {
    /// Flat memory: no lock, only a history.
    pub const FLATMEM: u32 = 0;
    /// Core data.
    pub const CORE: u32 = 1;
    /// Ownership records.
    pub const S2PAGE: u32 = 2;
    /// SMMU tables.
    pub const SPT: u32 = 3;
    /// SMMU bank owners.
    pub const SMMU: u32 = 4;

    /// Table of `vmid`.
    pub fn pt(vmid: u32) -> u32 {
        5 + vmid
    }

    /// Record of `vmid`.
    pub fn vm(vmid: u32) -> u32 {
        22 + vmid
    }
}

/// How the acting CPU stands to a lock. Absent: not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Held, the object not pulled yet.
    Held,
    /// Held, the object pulled.
    Pulled,
}

/// The barrier automaton.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Barrier {
    /// Shared accesses are allowed.
    #[default]
    Valid,
    /// A release barrier was executed.
    Barriered,
    /// An acquire barrier is due.
    Needed,
}

/// An ownership record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S2Page {
    /// Principal, or `INVALID`: not RAM.
    pub owner: u32,
    /// Grants or DMA mappings.
    pub count: u32,
    /// Guest page.
    pub gfn: u64,
}

/// A memory region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemRegion {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// Flag.
    pub flag: u64,
    /// Number of the first ownership record; `INVALID64`: not tracked.
    pub index: u64,
}

/// The vectors' memory regions.
pub const REGIONS: [MemRegion; 3] = [
    MemRegion { base: 0x4000_0000, size: 0x4000_0000, flag: 0, index: 0 },
    MemRegion { base: 0x8000_0000, size: 0x400_0000, flag: 4, index: INVALID64 },
    MemRegion { base: 0x8800_0000, size: 0x800_0000, flag: 0, index: 0x4_0000 },
];

/// An SMMU, as the vectors configure it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmmuConf {
    /// Register window.
    pub base: u64,
    /// Bytes of the register window.
    pub size: u64,
    /// Shift of the page size.
    pub pgshift: u32,
    /// Context banks.
    pub context_banks: u32,
}

/// The vectors' number of SMMUs: one, although two are configured (D-63).
pub const SMMU_COUNT: u32 = 1;

/// The vectors' SMMUs.
pub const SMMUS: [SmmuConf; 2] = [
    SmmuConf { base: 0xA0_0000, size: 0x1_0000, pgshift: 12, context_banks: 8 },
    SmmuConf { base: 0xB0_0000, size: 0x1_0000, pgshift: 12, context_banks: 4 },
];

/// What the ownership table is indexed by, and so its initial contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S2Index {
    /// Page number: the view from PageManager upward.
    Pfn,
    /// Record number: the view below.
    Record,
}

/// The ownership table: initial contents by rule, and what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S2Table {
    index: S2Index,
    changed: BTreeMap<u64, S2Page>,
}

impl S2Table {
    /// The table as it is at first.
    pub fn new(index: S2Index) -> Self {
        Self { index, changed: BTreeMap::new() }
    }

    /// What the table is indexed by.
    pub fn index(&self) -> S2Index {
        self.index
    }

    /// The record of `key` at first.
    pub fn initial(&self, key: u64) -> S2Page {
        let host = |pfn: u64| S2Page { owner: HOSTVISOR, count: 0, gfn: pfn + SMMU_HOST_OFFSET };
        let tracked = REGIONS.iter().filter(|r| r.index != INVALID64);
        match self.index {
            S2Index::Pfn => {
                for r in tracked {
                    if key >= r.base / PAGE_SIZE && key < (r.base + r.size) / PAGE_SIZE {
                        return host(key);
                    }
                }
                S2Page { owner: INVALID, count: INVALID, gfn: INVALID64 }
            }
            S2Index::Record => {
                for r in tracked {
                    if key >= r.index && key - r.index < r.size / PAGE_SIZE {
                        return host(r.base / PAGE_SIZE + key - r.index);
                    }
                }
                S2Page { owner: 0, count: 0, gfn: 0 }
            }
        }
    }

    /// The record of `key`.
    pub fn get(&self, key: u64) -> S2Page {
        self.changed.get(&key).copied().unwrap_or_else(|| self.initial(key))
    }

    /// Sets the record of `key`.
    pub fn set(&mut self, key: u64, page: S2Page) {
        if page == self.initial(key) {
            self.changed.remove(&key);
        } else {
            self.changed.insert(key, page);
        }
    }

    /// Changes the record of `key`.
    pub fn update(&mut self, key: u64, change: impl FnOnce(&mut S2Page)) {
        let mut page = self.get(key);
        change(&mut page);
        self.set(key, page);
    }

    /// All records that differ from the initial ones.
    pub fn changed(&self) -> impl Iterator<Item = (u64, S2Page)> + '_ {
        self.changed.iter().map(|(&key, &page)| (key, page))
    }
}

/// One image of a VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Guest address.
    pub load_addr: u64,
    /// Bytes.
    pub load_size: u64,
    /// Address in KCore's window.
    pub remap_addr: u64,
    /// Pages remapped so far.
    pub mapped_pages: u64,
}

/// The record of a VM. Maps, because the specification's are total.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmInfo {
    /// State, see [`crate::constants::state`].
    pub vm_state: u32,
    /// Handle of the structure shared with the host.
    pub kvm: u64,
    /// vCPU states.
    pub vcpu_state: BTreeMap<u32, u32>,
    /// Handles of the structures shared with the host.
    pub vcpu: BTreeMap<u32, u64>,
    /// Number of images.
    pub next_load_info: u32,
    /// Images.
    pub images: BTreeMap<u32, Image>,
    /// Resumed from an encrypted image.
    pub inc_exe: u32,
}

impl VmInfo {
    /// State of a vCPU.
    pub fn vcpu_state(&self, vcpuid: u32) -> u32 {
        self.vcpu_state.get(&vcpuid).copied().unwrap_or(0)
    }

    /// Image `index`.
    pub fn image(&self, index: u32) -> Image {
        self.images.get(&index).copied().unwrap_or_default()
    }

    /// Image `index`, to be changed.
    pub fn image_mut(&mut self, index: u32) -> &mut Image {
        self.images.entry(index).or_default()
    }
}

/// Core data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreData {
    /// Next VM.
    pub next_vmid: u32,
    /// Next address of the image window.
    pub next_remap_ptr: u64,
}

/// The state. To be compared by [`crate::replay::Final`]: what is only read may become an explicit default entry.
#[derive(Clone, Debug)]
pub struct RData {
    /// The machine has stopped.
    pub halt: bool,
    /// Inside KCore.
    pub icore: bool,
    /// On the host's side.
    pub ihost: bool,
    /// Transaction flag: 0 while a leaf may still be written.
    pub tstate: u32,
    /// Barrier automaton.
    pub bars: Barrier,
    /// Physical CPU.
    pub curid: u32,
    /// Current principal.
    pub cur_vmid: u32,
    /// Current vCPU.
    pub cur_vcpuid: u32,
    /// The CPU's registers.
    pub regs: RegisterFile,
    /// Locks held, by identity.
    pub locks: BTreeMap<u32, Own>,
    /// Histories, by identity.
    pub logs: BTreeMap<u32, History>,
    /// Core data.
    pub core_data: CoreData,
    /// Ownership.
    pub s2page: S2Table,
    /// Contents of pages; 0 unless set.
    pub flatmem: BTreeMap<u64, u64>,
    /// VM records.
    pub vminfos: BTreeMap<u32, VmInfo>,
    /// Owners of SMMU banks; `INVALID` unless set.
    pub smmu_vmid: BTreeMap<u32, u32>,
    /// Stage-2 tables of all principals.
    pub npts: Vec<Npt>,
    /// SMMU tables.
    pub spts: Spt,
    /// Shadow contexts.
    pub shadow_ctxts: BTreeMap<u32, RegisterFile>,
    /// Positions in the data streams.
    pub data_log: BTreeMap<u32, u64>,
    /// Positions in the core streams.
    pub core_data_log: BTreeMap<u32, u64>,
    /// What comes from outside.
    pub env: Environment,
    /// No state of the specification: see [`RData::tag`].
    tags: BTreeSet<u32>,
}

impl RData {
    /// The vectors' initial state.
    pub fn new(index: S2Index) -> Self {
        Self {
            halt: false,
            icore: false,
            ihost: true,
            tstate: 1,
            bars: Barrier::Valid,
            curid: 0,
            cur_vmid: 0,
            cur_vcpuid: 0,
            regs: RegisterFile::default(),
            locks: BTreeMap::new(),
            logs: BTreeMap::new(),
            core_data: CoreData { next_vmid: 1, next_remap_ptr: REMAP_START },
            s2page: S2Table::new(index),
            flatmem: BTreeMap::new(),
            vminfos: BTreeMap::new(),
            smmu_vmid: BTreeMap::new(),
            npts: (0..=COREVISOR).map(Npt::new).collect(),
            spts: Spt::default(),
            shadow_ctxts: BTreeMap::new(),
            data_log: BTreeMap::new(),
            core_data_log: BTreeMap::new(),
            env: Environment::default(),
            tags: BTreeSet::new(),
        }
    }

    /// Notes that this step does something that a careful implementation does not do to the letter: the number of the
    /// difference. Only steps of high specifications that really come to such a case are tagged, and only where the
    /// ruling is not to follow the high specification.
    pub fn tag(&mut self, difference: u32) {
        self.tags.insert(difference);
    }

    /// The differences noted since the last call: where a comparison with an implementation must end.
    pub fn take_tags(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.tags)
    }

    /// Halts the machine inside a critical section.
    pub fn halt_in_section(&mut self) {
        self.halt = true;
        self.tstate = 0;
    }

    /// Appends an event to the history of `id`.
    pub fn log(&mut self, id: u32, event: Event) {
        self.logs.entry(id).or_default().push(self.curid, event);
    }

    /// The history of `id`.
    pub fn history(&self, id: u32) -> History {
        self.logs.get(&id).cloned().unwrap_or_default()
    }

    /// Relies on `id` being free: not held by this CPU, and its history legal. The high specifications ask this of all
    /// locks that any of their cases needs, before they look at a case.
    pub fn rely_free(&self, id: u32) -> Spec {
        rely(!self.locks.contains_key(&id) && self.logs.get(&id).is_none_or(History::is_free))
    }

    /// Relies on `id` being held and pulled.
    pub fn rely_held(&self, id: u32) -> Spec {
        rely(self.locks.get(&id) == Some(&Own::Pulled))
    }

    /// Takes the lock `id` and pulls its object, in one step.
    pub fn enter(&mut self, id: u32) -> Spec {
        self.rely_free(id)?;
        self.log(id, WAIT);
        self.log(id, Event::Shared);
        self.locks.insert(id, Own::Pulled);
        self.tstate = 0;
        Some(())
    }

    /// Publishes the object of `id` and releases the lock, in one step.
    pub fn leave(&mut self, id: u32) -> Spec {
        self.rely_held(id)?;
        self.log(id, Event::Shared);
        self.log(id, Event::RelLock);
        self.locks.remove(&id);
        self.tstate = 1;
        Some(())
    }

    /// The stage-2 table of `vmid`.
    pub fn npt(&mut self, vmid: u32) -> &mut Npt {
        &mut self.npts[vmid as usize]
    }

    /// The record of `vmid`.
    pub fn vm(&mut self, vmid: u32) -> &mut VmInfo {
        self.vminfos.entry(vmid).or_default()
    }

    /// The shadow context of a vCPU.
    pub fn ctxt(&mut self, vmid: u32, vcpuid: u32) -> &mut RegisterFile {
        self.shadow_ctxts.entry(ctxt_id(vmid, vcpuid)).or_default()
    }

    /// Owner of the SMMU bank with number `id`.
    pub fn smmu_owner(&self, id: u32) -> u32 {
        self.smmu_vmid.get(&id).copied().unwrap_or(INVALID)
    }

    /// Position in `vmid`'s data stream.
    pub fn data_pos(&self, vmid: u32) -> u64 {
        self.data_log.get(&vmid).copied().unwrap_or(0)
    }

    /// Draws the next value of `vmid`'s data stream.
    pub fn draw(&mut self, vmid: u32) -> u64 {
        let pos = self.data_log.entry(vmid).or_default();
        *pos += 1;
        self.env.doracle(vmid, *pos - 1)
    }

    /// Draws the next value of `vmid`'s core stream.
    pub fn draw_core(&mut self, vmid: u32) -> u64 {
        let pos = self.core_data_log.entry(vmid).or_default();
        *pos += 1;
        self.env.core_doracle(vmid, *pos - 1)
    }

    /// Sets the contents of a page, with its event.
    pub fn set_page(&mut self, pfn: u64, value: u64) {
        if value == 0 {
            self.flatmem.remove(&pfn);
        } else {
            self.flatmem.insert(pfn, value);
        }
        self.log(lock_id::FLATMEM, Event::Shared);
    }
}
