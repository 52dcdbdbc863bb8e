// SPDX-License-Identifier: GPL-2.0-only
//! The state of the library and of its machine: all of it, to see that a refusal changes nothing, and what of it decides
//! later steps, to know a state again.

use super::small::SMMU;
use crate::constants::{COREVISOR, PAGE_SIZE, PTRS_PER_S2_PGD, SMMU_NUM, SMMU_NUM_CTXT_BANKS};
use crate::explore::snapshot::Sums;
use crate::library::Core;
use corevisor::addr::{Pfn, VCPU_PER_VM, VcpuId, Vmid};
use corevisor::lock::Held;
use corevisor::machine::Machine;
use corevisor::machine::sim::{self, Cpu, Leaf};
use corevisor::memory::{Count, S2Page};
use corevisor::mmio::{ContextBank, SmmuBanks, SmmuIndex};
use corevisor::trap::Registers;
use corevisor::vcpu::ShadowContext;
use corevisor::vm::{VcpuState, VmInfo, VmState};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a CPU runs, and its registers.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuState {
    /// The vCPU, or the host.
    pub current: Option<(Vmid, VcpuId)>,
    /// x0 to x30.
    pub x: Registers,
    /// The others.
    pub others: Cpu,
}

/// Everything but counters and what the TLB holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Everything {
    /// Ownership records.
    pub records: Vec<S2Page>,
    /// Leaves of each principal's table, by number; those of a VM that has none are none.
    pub leaves: Vec<Vec<Leaf>>,
    /// Table pages below the root of each principal's table: level, and the first address that they translate.
    pub tables: Vec<Vec<(u8, u64)>>,
    /// Leaves of the banks that have a table: SMMU, bank, io address, descriptor.
    pub dma: Vec<(u64, u64, u64, u64)>,
    /// Records of VMs.
    pub vms: Vec<VmInfo>,
    /// Core data.
    core_data: String,
    /// Owners of banks.
    pub banks: SmmuBanks,
    /// Shadow contexts of VMs that are not empty.
    pub contexts: BTreeMap<(usize, usize), ShadowContext>,
    /// Contents of pages that are not all zero: sums.
    pub contents: BTreeMap<u64, u128>,
    /// Registers of devices.
    registers: BTreeMap<u64, u64>,
    /// All CPUs.
    pub cpus: Vec<CpuState>,
    /// Descriptors written so far: not a part of the state, but while it is the same, principals' tables are.
    stores: Stores,
}

/// Equal to any other.
#[derive(Clone, Copy, Debug)]
struct Stores(u64);

impl PartialEq for Stores {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// All principals that can have a table.
pub fn principals() -> impl Iterator<Item = Vmid> {
    (0..=u64::from(COREVISOR)).filter_map(Vmid::new)
}

/// The sum of a page's contents.
pub fn content(core: &Core, pfn: Pfn) -> u128 {
    let mut bytes = [0; PAGE_SIZE as usize];
    core.machine().read_page(pfn, &mut bytes);
    let mut sums = Sums::default();
    bytes.as_chunks::<8>().0.iter().for_each(|word| sums.add(u64::from_le_bytes(*word)));
    sums.key()
}

impl Everything {
    /// Of `core`, whose CPUs have these general registers.
    pub fn of(core: &Core, x: &[Registers]) -> Self {
        Self::read(None, core, x)
    }

    /// The same, of which `known` is an earlier one.
    pub fn next(known: &Self, core: &Core, x: &[Registers]) -> Self {
        Self::read(Some(known), core, x)
    }

    fn read(known: Option<&Self>, core: &Core, x: &[Registers]) -> Self {
        let machine = core.machine();
        let mut nothing = Held::nothing();
        let vm = |v: Vmid| core.acquire_lock_vm(v, &mut Held::nothing()).0.clone();
        let vms: Vec<VmInfo> = principals().map(vm).collect();
        let core_data = format!("{:?}", *core.acquire_lock_core(&mut nothing).0);
        let banks = core.acquire_lock_smmu(&mut nothing).0.clone();
        let mut contexts = BTreeMap::new();
        for v in (1..u64::from(COREVISOR)).filter_map(Vmid::new) {
            for c in (0..VCPU_PER_VM as u64).filter_map(VcpuId::new) {
                let mut nothing = Held::nothing();
                if let Ok((context, _)) = core.context(v, c, &mut nothing)
                    && *context != ShadowContext::ZERO
                {
                    contexts.insert((v.index(), c.index()), context.clone());
                }
            }
        }
        let here = machine.cpu();
        let cpus = x.iter().enumerate().map(|(i, x)| {
            sim::set_cpu(i);
            CpuState { current: core.current(), x: *x, others: machine.with_cpu(|cpu| cpu.clone()) }
        });
        let cpus = cpus.collect();
        sim::set_cpu(here);
        let (stores, known) = (machine.stores(), known.filter(|known| known.stores.0 == machine.stores()));
        let (leaves, tables) = match known {
            Some(known) => (known.leaves.clone(), known.tables.clone()),
            None => (
                principals().map(|v| machine.raw_leaves(v)).collect(),
                principals().map(|v| machine.linked_tables(v)).collect(),
            ),
        };
        Self {
            records: core.records(),
            leaves,
            tables,
            dma: dma(core),
            vms,
            core_data,
            banks,
            contexts,
            contents: machine.written_pages().into_iter().map(|pfn| (pfn.as_u64(), content(core, pfn))).collect(),
            registers: machine.registers().into_iter().filter(|(at, _)| !is_command(*at)).collect(),
            cpus,
            stores: Stores(stores),
        }
    }

    /// The record of a VM.
    pub fn vm(&self, v: Vmid) -> &VmInfo {
        &self.vms[v.index()]
    }

    /// What is different in `other`: for reports.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut found = vec![];
        macro_rules! compare {
            ($($field:ident)*) => {
                $(if self.$field != other.$field {
                    found.push(format!("{}: {:x?}, then {:x?}", stringify!($field), self.$field, other.$field));
                })*
            };
        }
        compare!(records leaves tables dma vms core_data banks contexts contents registers cpus);
        found.iter_mut().for_each(|line| line.truncate(2000));
        found
    }

    /// The same number for states in which the same steps can be taken, with the same outcome: contents of pages and
    /// registers decide nothing, as each step brings those that it looks at.
    pub fn key(&self) -> Sums {
        let mut sums = Sums::default();
        // Hashed by what `Debug` prints: a field that is new is part of it, then.
        let mut add = |what: &dyn std::fmt::Debug| write!(sums, "{what:?};").expect("sums take everything");
        add(&self.core_data);
        add(&self.banks);
        for (v, vm) in self.vms.iter().enumerate().filter(|(_, vm)| vm.state != VmState::Unused) {
            add(&(v, vm));
        }
        for ((v, c), context) in &self.contexts {
            let state = self.vms[*v].vcpus[*c].state;
            if state == VcpuState::Ready {
                let ShadowContext { ec, dirty, flags, esr_el2, hpfar_el2, unfinished, .. } = context;
                add(&(v, c, ec, dirty, flags, esr_el2, hpfar_el2, unfinished));
            } else if state == VcpuState::Active {
                add(&(v, c, context.unfinished));
            }
        }
        for cpu in &self.cpus {
            add(&cpu.current);
        }
        let count = |record: &S2Page| match record.count() {
            Count::Shares(n) => n.into(),
            Count::DmaPending => u64::MAX,
        };
        let owner = |record: &S2Page| record.owner().map_or(u64::MAX, |v| v.index() as u64);
        let gfn = |record: &S2Page| record.gfn().unwrap_or(u64::MAX);
        sums.list(self.records.iter().map(|record| [owner(record), count(record), gfn(record)]));
        for leaves in &self.leaves {
            sums.list(leaves.iter().map(|leaf| [leaf.ipa, leaf.size, leaf.descriptor]));
        }
        for tables in &self.tables {
            sums.list(tables.iter().map(|(level, ipa)| [u64::from(*level), *ipa]));
        }
        sums.list(self.dma.iter().map(|&(k, b, iova, descriptor)| [k, b, iova, descriptor]));
        // Where a table lies does not matter.
        let registers = self.registers.iter().filter(|(at, _)| **at < SMMU + 0x8000 || **at & 0xFF8 != 0x20);
        sums.list(registers.map(|(at, value)| [*at, *value]));
        sums
    }
}

/// Whether a register is written to make an SMMU do something, and tells nothing.
fn is_command(at: u64) -> bool {
    let tlb_invalidation = SMMU + 0x60..SMMU + 0x78;
    tlb_invalidation.contains(&at)
}

/// What all banks map.
fn dma(core: &Core) -> Vec<(u64, u64, u64, u64)> {
    let mut found = vec![];
    let mut nothing = Held::nothing();
    let spt = core.acquire_lock_spt(&mut nothing);
    for k in 0..u64::from(SMMU_NUM) {
        for b in 0..u64::from(SMMU_NUM_CTXT_BANKS) {
            let (Some(smmu), Some(bank)) = (SmmuIndex::new(k), ContextBank::new(b)) else { continue };
            let Some(root) = spt.get_smmu_cfg_hw_ttbr(bank, smmu) else { continue };
            let leaves = core.machine().raw_leaves_of(root, PTRS_PER_S2_PGD);
            found.extend(leaves.into_iter().map(|leaf| (k, b, leaf.ipa, leaf.descriptor)));
        }
    }
    found
}
