// SPDX-License-Identifier: GPL-2.0-only
//! What a principal observes (§11.2 of the specification), and where data crosses between principals on purpose (§11.3).

use crate::RData;
use crate::constants::state::UNUSED;
use crate::constants::{COREVISOR, HOSTVISOR, INVALID, INVALID64, VCPU_PER_VM, ctxt_id};
use crate::invariants::cpus::Cpu;
use crate::registers::Reg;
use std::collections::BTreeMap;

/// Something that can be observed. Absent from an [`Observation`]: as it is at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// Current principal and vCPU, and whether the CPU is inside KCore. Equal in both runs.
    Current,
    /// The machine has stopped. Equal in both runs.
    Halt,
    /// A register of the CPU, when the principal runs.
    Register(Reg),
    /// Own stage-2 mapping of a guest page.
    Mapping(u64),
    /// Owner of a page.
    Owner(u64),
    /// Count of a page.
    Count(u64),
    /// Guest page of a page.
    Gfn(u64),
    /// Contents of a page.
    Contents(u64),
    /// Owner of an SMMU bank.
    BankOwner(u32),
    /// Entry of an SMMU table: root and io page.
    BankEntry(u64, u64),
    /// Register of an own shadow context.
    Context(u32, Reg),
    /// Whether a VM's vCPU never ran.
    NeverRun(u32),
    /// Of an image of a VM: address, size, window, pages mapped.
    Image(u32, u32, u8),
    /// Number of images of a VM.
    Images(u32),
    /// State of a VM.
    VmState(u32),
    /// State of a vCPU of a VM.
    VcpuState(u32, u32),
    /// Next VM.
    NextVmid,
    /// Next address of KCore's window.
    NextRemap,
    /// Own position in the data stream.
    DataPosition,
    /// A principal's position in the core stream.
    CorePosition(u32),
}

/// All that a principal observes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation(BTreeMap<Item, u64>);

impl Observation {
    /// Notes an item, unless it is as at first.
    fn put(&mut self, item: Item, value: u64, initial: u64) {
        if value != initial {
            self.0.insert(item, value);
        }
    }

    /// What is different in `other`.
    pub fn differences(&self, other: &Self) -> Vec<Item> {
        let changed = self.0.iter().filter(|(item, value)| other.0.get(item) != Some(value)).map(|(item, _)| *item);
        changed.chain(other.0.keys().filter(|item| !self.0.contains_key(item)).copied()).collect()
    }
}

/// A place where data crosses a boundary, each in one function.
#[derive(Clone, Copy, Debug)]
pub struct Declassification {
    /// The functions.
    pub ids: &'static str,
    /// What crosses there.
    pub what: &'static str,
    /// Who gets it from whom.
    pub direction: &'static str,
}

/// §11.3: all of them. In the model the value at such a place comes from the receiver's stream, so that nothing else can
/// pass there; only AM-138 and AM-139 draw from the host's stream for a page of either.
pub const DECLASSIFICATION: [Declassification; 11] = {
    const fn point(ids: &'static str, what: &'static str, direction: &'static str) -> Declassification {
        Declassification { ids, what, direction }
    }
    [
        point("MM-3, MM-8", "what the host left in a page that a VM takes over", "host to VM"),
        point("MM-7", "contents of a page after its last revoke", "host to VM"),
        point("TH-5, TH-7", "a VM reads a page with a count", "host to VM"),
        point("TH-5, TH-7", "the host reads a page that is not its own", "VM to host"),
        point("TH-6, TH-8", "writes to such pages go outside", "none"),
        point("AM-78 to AM-81", "syndrome, registers, PC and PSTATE from the host", "host to VM"),
        point("AM-87 to AM-89, AM-98", "vCPU to run, fault address, page and level", "host to KCore"),
        point("AM-131, AM-132", "SMMU registers read", "device to host"),
        point("AM-135", "ACTLR", "hardware to VM"),
        point("AM-94 to AM-97, AM-138, AM-139", "encrypted state", "both, as ciphertext"),
        point("AM-82", "registers that an exit shows", "VM to host"),
    ]
};

/// What `principal` observes of `d`.
pub fn observe(principal: u32, d: &RData) -> Observation {
    let mut seen = Observation::default();
    let host = principal == HOSTVISOR;
    let current = Cpu::of(d);
    let flags = u64::from(current.icore) | u64::from(current.ihost) << 1;
    seen.put(Item::Current, u64::from(current.cur_vmid) << 16 | u64::from(current.cur_vcpuid) << 8 | flags, u64::MAX);
    seen.put(Item::Halt, d.halt.into(), 0);
    if d.cur_vmid == principal && !d.icore {
        d.regs.nonzero().for_each(|(reg, value)| seen.put(Item::Register(reg), value, 0));
    }
    memory(principal, d, &mut seen);
    banks(principal, d, &mut seen);
    for vcpuid in 0..VCPU_PER_VM {
        if let Some(ctxt) = d.shadow_ctxts.get(&ctxt_id(principal, vcpuid)) {
            ctxt.nonzero().for_each(|(reg, value)| seen.put(Item::Context(vcpuid, reg), value, 0));
        }
    }
    for (&vmid, info) in d.vminfos.iter().filter(|(vmid, _)| host || **vmid == principal) {
        seen.put(Item::Images(vmid), info.next_load_info.into(), 0);
        for (&i, image) in &info.images {
            let fields = [image.load_addr, image.load_size, image.remap_addr, image.mapped_pages];
            (0..).zip(fields).for_each(|(n, field)| seen.put(Item::Image(vmid, i, n), field, 0));
        }
        if !host {
            seen.put(Item::VmState(vmid), info.vm_state.into(), UNUSED.into());
            let vcpus = info.vcpu_state.iter();
            vcpus.for_each(|(vcpuid, state)| seen.put(Item::VcpuState(vmid, *vcpuid), (*state).into(), UNUSED.into()));
        }
    }
    if host {
        for (id, ctxt) in d.shadow_ctxts.iter().filter(|(id, _)| **id >= VCPU_PER_VM) {
            seen.put(Item::NeverRun(*id), (ctxt.get("dirty") == INVALID64).into(), 0);
        }
        seen.put(Item::NextVmid, d.core_data.next_vmid.into(), 0);
        seen.put(Item::NextRemap, d.core_data.next_remap_ptr, 0);
    }
    seen.put(Item::DataPosition, d.data_pos(principal), 0);
    for (&vmid, &position) in d.core_data_log.iter().filter(|(vmid, _)| host || **vmid == principal) {
        seen.put(Item::CorePosition(vmid), position, 0);
    }
    seen
}

/// Tables, ownership and contents.
fn memory(principal: u32, d: &RData, seen: &mut Observation) {
    let host = principal == HOSTVISOR;
    let owner = |pfn: u64| d.s2page.get(pfn).owner;
    if let Some(npt) = d.npts.get(principal as usize) {
        for (gfn, entry) in &npt.pt {
            let shown = if host && owner(entry.pfn) != HOSTVISOR { 0 } else { entry.pfn };
            seen.put(Item::Mapping(*gfn), shown, 0);
        }
    }
    for (pfn, page) in d.s2page.changed() {
        let view = |page: crate::rdata::S2Page| {
            let mine = page.owner == principal;
            let count = match page.owner {
                INVALID => u64::MAX,
                _ if mine => page.count.into(),
                _ => 0,
            };
            let owner = if host { page.owner.into() } else { mine.into() };
            (owner, count, if host || mine { page.gfn } else { 0 })
        };
        let (now, initial) = (view(page), view(d.s2page.initial(pfn)));
        seen.put(Item::Owner(pfn), now.0, initial.0);
        seen.put(Item::Count(pfn), now.1, initial.1);
        seen.put(Item::Gfn(pfn), now.2, initial.2);
    }
    for (&pfn, &value) in d.flatmem.iter().filter(|(pfn, _)| owner(**pfn) == principal) {
        seen.put(Item::Contents(pfn), value, 0);
    }
}

/// SMMU banks and tables.
fn banks(principal: u32, d: &RData, seen: &mut Observation) {
    let host = principal == HOSTVISOR;
    for (&bank, &owner) in &d.smmu_vmid {
        let (shown, initial) = if host { (owner, INVALID) } else { ((owner == principal).into(), 0) };
        seen.put(Item::BankOwner(bank), shown.into(), initial.into());
    }
    let root = |bank: u32| crate::constants::smmu_ttbr(bank / 8, bank % 8);
    let mine: Vec<u64> = d.smmu_vmid.iter().filter(|(_, owner)| **owner == principal).map(|(b, _)| root(*b)).collect();
    for (&(ttbr, gfn), entry) in d.spts.pt.iter().filter(|((ttbr, _), _)| host || mine.contains(ttbr)) {
        seen.put(Item::BankEntry(ttbr, gfn), entry.pte, 0);
    }
}

/// All principals that observe: the host and the VMs.
pub fn principals(d: &RData) -> Vec<u32> {
    let vms = d.vminfos.iter().filter(|(vmid, info)| **vmid < COREVISOR && info.vm_state != UNUSED);
    std::iter::once(HOSTVISOR).chain(vms.map(|(vmid, _)| *vmid)).collect()
}
