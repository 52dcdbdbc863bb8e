// SPDX-License-Identifier: GPL-2.0-only
//! Values that the specification draws from outside: the vectors' parameters.

use std::collections::BTreeMap;

/// Salt of the core stream.
const CORE_SALT: u64 = 0xD1B5_4A32_D192_ED03;

/// The environment: streams of undetermined values, with single values overridden by a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    data: BTreeMap<(u32, u64), u64>,
    core: BTreeMap<(u32, u64), u64>,
    images: BTreeMap<(u32, u64), u32>,
}

impl Environment {
    /// Value `n` of `vmid`'s data stream.
    pub fn doracle(&self, vmid: u32, n: u64) -> u64 {
        self.data.get(&(vmid, n)).copied().unwrap_or_else(|| mix(vmid, n, 0))
    }

    /// Value `n` of `vmid`'s core stream.
    pub fn core_doracle(&self, vmid: u32, n: u64) -> u64 {
        self.core.get(&(vmid, n)).copied().unwrap_or_else(|| mix(vmid, n, CORE_SALT))
    }

    /// Whether the image at `addr` is `vmid`'s.
    pub fn verify_img(&self, vmid: u32, addr: u64) -> u32 {
        self.images.get(&(vmid, addr)).copied().unwrap_or(1)
    }

    /// Overrides a value of the data stream.
    pub fn set_doracle(&mut self, vmid: u32, n: u64, value: u64) {
        self.data.insert((vmid, n), value);
    }

    /// Overrides a value of the core stream.
    pub fn set_core_doracle(&mut self, vmid: u32, n: u64, value: u64) {
        self.core.insert((vmid, n), value);
    }

    /// Overrides the verdict on an image.
    pub fn set_verify_img(&mut self, vmid: u32, addr: u64, verdict: u32) {
        self.images.insert((vmid, addr), verdict);
    }
}

/// The vectors' stand-in for chance.
fn mix(vmid: u32, n: u64, salt: u64) -> u64 {
    let mut z = u64::from(vmid)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(n.wrapping_add(1).wrapping_mul(0xBF58_476D_1CE4_E5B9))
        .wrapping_add(salt);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// Reset value of register `index`.
pub fn reg_desc(index: u32) -> u64 {
    u64::from(index) * 0x1111
}

/// Address of the structure that host and KCore share for `vmid`.
pub fn shared_kvm(vmid: u32) -> u64 {
    0x1000_0000 + u64::from(vmid) * 0x1000
}

/// Address of the structure that host and KCore share for a vCPU.
pub fn shared_vcpu(vmid: u32, vcpuid: u32) -> u64 {
    0x2000_0000 + u64::from(vmid) * 0x1_0000 + u64::from(vcpuid) * 0x1000
}

/// Address of the exception vector for `pstate`.
pub fn exception_vector(pstate: u64) -> u64 {
    0x8_0000 + (pstate & 15) * 0x80
}
