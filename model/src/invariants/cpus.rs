// SPDX-License-Identifier: GPL-2.0-only
//! E6: the vCPUs that are ACTIVE are those that CPUs run.

use super::Violation;
use crate::RData;
use crate::constants::state::ACTIVE;

/// What a CPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub curid: u32,
    /// Inside KCore.
    pub icore: bool,
    /// On the host's side.
    pub ihost: bool,
    /// Current principal.
    pub cur_vmid: u32,
    /// Current vCPU.
    pub cur_vcpuid: u32,
}

impl Cpu {
    /// The CPU whose state `d` has.
    pub fn of(d: &RData) -> Self {
        let RData { curid, icore, ihost, cur_vmid, cur_vcpuid, .. } = *d;
        Self { curid, icore, ihost, cur_vmid, cur_vcpuid }
    }

    /// The vCPU that it runs.
    fn vcpu(&self) -> Option<(u32, u32)> {
        (!self.ihost && !self.icore).then_some((self.cur_vmid, self.cur_vcpuid))
    }
}

/// CPUs that run a vCPU which is not ACTIVE.
pub(super) fn running(d: &RData, cpus: &[Cpu]) -> Vec<String> {
    let mut broken = vec![];
    for cpu in cpus {
        if let Some((vmid, vcpuid)) = cpu.vcpu()
            && d.vminfos.get(&vmid).map_or(0, |info| info.vcpu_state(vcpuid)) != ACTIVE
        {
            broken.push(format!("CPU {} runs vCPU {vmid}/{vcpuid}, which is not ACTIVE", cpu.curid));
        }
    }
    broken
}

/// E6 with all CPUs: no vCPU is ACTIVE on two, and each that is ACTIVE is on one. All handlers must be done.
pub fn check(d: &RData, cpus: &[Cpu]) -> Vec<Violation> {
    let mut broken = running(d, cpus);
    for (i, cpu) in cpus.iter().enumerate() {
        if let Some(vcpu) = cpu.vcpu()
            && let Some(other) = cpus[..i].iter().find(|other| other.vcpu() == Some(vcpu))
        {
            broken.push(format!("CPUs {} and {} run vCPU {}/{}", other.curid, cpu.curid, vcpu.0, vcpu.1));
        }
    }
    for (&vmid, info) in &d.vminfos {
        for (&vcpuid, _) in info.vcpu_state.iter().filter(|(_, state)| **state == ACTIVE) {
            if !cpus.iter().any(|cpu| cpu.vcpu() == Some((vmid, vcpuid))) {
                broken.push(format!("vCPU {vmid}/{vcpuid} is ACTIVE, but no CPU runs it"));
            }
        }
    }
    broken.into_iter().map(|detail| Violation { id: "E6", detail }).collect()
}
