// SPDX-License-Identifier: GPL-2.0-only
//! How a table comes to be, and how it ends: the specification's tables are there from the start, and stay
//! (`DESIGN.md` §6).

use super::{Desc, FramesLock, LEVEL_1_START_BITS, Level, Npt, Quota};
use crate::addr::{PAGE_SIZE, PGD_SIZE, Pa, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::refused::Refused;

impl Npt {
    /// An empty table for `v` that translates `ipa_bits` (32 to 48) bits. `limit` pages may be used in all, besides the
    /// root and the level-1 pages that a level-1 start needs, and `device_limit` of those for device memory.
    ///
    /// Needs no lock on the table: nobody else knows of it yet. Before a walker may use it, the caller says so by
    /// [`Machine::set_pt_vttbr`].
    pub fn new<M: Machine, const OUTER: u8>(
        machine: &M,
        frames: &FramesLock,
        v: Vmid,
        ipa_bits: u32,
        [limit, device_limit]: [u64; 2],
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Self, Refused> {
        let level_1_pages = if ipa_bits <= LEVEL_1_START_BITS { (1u64 << ipa_bits).div_ceil(PGD_SIZE) } else { 0 };
        let (root, level_1) = {
            let (mut frames, _) = frames.lock(outer);
            let root = frames.allocate_for(v, 1).ok_or(Refused::NoTables(v))?;
            match level_1_pages {
                0 => (root, None),
                pages => match frames.allocate_for(v, pages) {
                    Some(level_1) => (root, Some(level_1)),
                    None => {
                        // SAFETY: just allocated, and known to nobody else.
                        unsafe { frames.release_for(v, root, 1) };
                        return Err(Refused::NoTables(v));
                    }
                },
            }
        };
        machine.zero_tables(root, 1);
        if let Some(level_1) = level_1 {
            machine.zero_tables(level_1, level_1_pages);
            for i in 0..level_1_pages {
                let table = Pa::low_48(level_1.as_u64() + i * PAGE_SIZE);
                machine.pt_store(Pa::low_48(root.as_u64() + i * 8), Desc::table(table).as_u64());
            }
        }
        machine.publish_tables();
        Ok(Self {
            vmid: v,
            root,
            hw_root: level_1.unwrap_or(root),
            ipa_bits,
            total: Quota { used: 0, limit },
            device: Quota { used: 0, limit: device_limit },
        })
    }
}

impl<M: Machine> Corevisor<M> {
    /// Gives the VM `v` an empty table. Lock PT(v).
    ///
    /// # Errors
    /// If `v` is no VM, or has a table already, or there are no pages for one.
    pub fn new_npt<const OUTER: u8>(&self, v: Vmid, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        let limit = self.vm_table_pages();
        let (mut npt, mut held) = self.npt(v).lock(outer);
        if !v.is_vm() || npt.is_some() {
            return Err(Refused::State(v));
        }
        let table = Npt::new(self.machine(), self.frames(), v, self.ipa_bits(), [limit, limit], &mut held)?;
        self.machine().set_pt_vttbr(v, table.hw_root(), self.ipa_bits());
        self.set_root(v, Some(table.hw_root()));
        *npt = Some(table);
        Ok(())
    }

    /// Ends the table of the VM `v`, none of whose vCPUs runs: it is cut off at the root, no TLB knows of it any more, and
    /// its pages go back to the pool. Lock PT(v).
    ///
    /// # Errors
    /// If `v` is no VM, or has no table.
    pub fn free_npt<const OUTER: u8>(&self, v: Vmid, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        let (mut npt, mut held) = self.npt(v).lock(outer);
        let Some(table) = npt.take_if(|_| v.is_vm()) else { return Err(Refused::NoTable(v)) };
        let (hw_root, pages) = (table.hw_root(), table.hw_root_pages());
        let first = if hw_root == table.root { Level::L0 } else { Level::L1 };
        let slots = || (0..pages * 512).map(|i| Pa::low_48(hw_root.as_u64() + i * 8));
        // What the first level points to is still to be found when the pointers are not valid any more.
        for at in slots() {
            let desc = Desc::from_u64(self.machine().pt_load(at));
            if desc.is_valid() {
                self.machine().pt_store(at, desc.cut_off().as_u64());
            }
        }
        self.machine().invalidate_vmid(v, hw_root);
        self.count(crate::abi::stat::TLB_INVALIDATIONS);
        self.set_root(v, None);
        self.machine().clear_pt_vttbr(v);
        for at in slots() {
            let desc = Desc::from_u64(self.machine().pt_load(at));
            if !desc.is_none() {
                self.release_tables(v, desc.pp(), first, &mut held);
            }
        }
        let (mut frames, _) = self.frames().lock(&mut held);
        // SAFETY: `Npt::new` allocated them so, the table was taken out of its place, and no walker reaches it.
        unsafe {
            if first == Level::L1 {
                frames.release_for(v, hw_root, pages);
            }
            frames.release_for(v, table.root, 1);
        }
        Ok(())
    }

    /// Gives back `table`, which an entry of `above` pointed to, and all tables under it, none of which a walker reaches.
    fn release_tables(&self, v: Vmid, table: Pa, above: Level, held: &mut Held<'_, { rank::PT }>) {
        let below = match above {
            Level::L0 => Some(Level::L1),
            Level::L1 => Some(Level::L2),
            _ => None,
        };
        if let Some(level) = below {
            for i in 0..512 {
                let at = Pa::low_48(table.as_u64() + i * 8);
                let desc = Desc::from_u64(self.machine().pt_load(at));
                if desc.is_table() {
                    self.release_tables(v, desc.pp(), level, held);
                }
            }
        }
        let (mut frames, _) = self.frames().lock(held);
        // SAFETY: every table below the first level was allocated by itself for `v`, has one parent, and is cut off.
        unsafe { frames.release_for(v, table, 1) };
    }
}
