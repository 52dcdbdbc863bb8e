// SPDX-License-Identifier: GPL-2.0-only
//! What happened before, as far as invariants ask for it: E2 (pages were cleared) and E7 (grants were given).

use super::action::Action;
use crate::constants::state::ACTIVE;
use crate::constants::{
    ARM_EXCEPTION_TRAP, EC_HVC64, ESR_EC_SHIFT, HOSTVISOR, INVALID, MAX_SHARE_COUNT, PAGE_SIZE, hvc, is_vm,
};
use crate::invariants::Violation;
use crate::rdata::RData;
use std::collections::{BTreeMap, BTreeSet};

/// Ghost state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ghosts {
    /// VMs of which a page was reclaimed.
    pub cleared: BTreeSet<u32>,
    /// Outstanding grants, as each VM counts them, by VM and page.
    pub grants: BTreeMap<(u32, u64), u32>,
}

impl Ghosts {
    /// Takes notice of a step. `before` is the state that the VM saw when it called.
    pub fn observe(&mut self, before: &RData, action: &Action, after: &RData) {
        match *action {
            Action::Call { x } if x[0] == hvc::CLEAR_VM_S2_RANGE => {
                let vms = before.s2page.changed().filter(|(_, page)| is_vm(page.owner));
                let lost = vms.filter(|(pfn, page)| after.s2page.get(*pfn).owner != page.owner);
                self.cleared.extend(lost.map(|(_, page)| page.owner));
            }
            Action::Exit { ec: ARM_EXCEPTION_TRAP, esr, x, .. } if esr >> ESR_EC_SHIFT & 63 == EC_HVC64 => {
                self.granted(before, x);
            }
            _ => {}
        }
        self.grants.retain(|(vmid, pfn), count| *count > 0 && after.s2page.get(*pfn).owner == *vmid);
    }

    /// A VM's call to share pages or take them back.
    fn granted(&mut self, before: &RData, [call, _, addr, size]: [u64; 4]) {
        let vmid = before.cur_vmid;
        for i in 0..size.div_ceil(PAGE_SIZE) {
            let pfn = before.npts[vmid as usize].get(addr / PAGE_SIZE + i).pfn;
            if before.s2page.get(pfn).owner != vmid || before.s2page.get(pfn).count == INVALID {
                continue;
            }
            let count = self.grants.entry((vmid, pfn)).or_default();
            match call {
                hvc::SET_DESC_PFN => *count = (*count + 1).min(MAX_SHARE_COUNT),
                hvc::UNSET_DESC_PFN => *count = count.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// E2: once a page of a VM was reclaimed, no vCPU of it is ACTIVE and no bank is its. E7: a page's count is what its
    /// VM granted.
    pub fn check(&self, d: &RData) -> Vec<Violation> {
        let mut broken = vec![];
        for &vmid in &self.cleared {
            let active = |info: &crate::rdata::VmInfo| info.vcpu_state.values().any(|state| *state == ACTIVE);
            if d.vminfos.get(&vmid).is_some_and(active) {
                let detail = format!("pages of VM {vmid} were reclaimed, and a vCPU of it is ACTIVE");
                broken.push(Violation { id: "E2", detail });
            }
            for (bank, _) in d.smmu_vmid.iter().filter(|(_, owner)| **owner == vmid) {
                let detail = format!("pages of VM {vmid} were reclaimed, and bank {bank} is its");
                broken.push(Violation { id: "E2", detail });
            }
        }
        let vms = d.s2page.changed().filter(|(_, page)| ![HOSTVISOR, INVALID].contains(&page.owner));
        for (pfn, page) in vms.filter(|(_, page)| page.count != INVALID) {
            let grants = self.grants.get(&(page.owner, pfn)).copied().unwrap_or(0);
            if grants != page.count {
                let detail = format!("page {pfn:#x} of {} has count {}, but {grants} grants", page.owner, page.count);
                broken.push(Violation { id: "E7", detail });
            }
        }
        broken
    }
}
