// SPDX-License-Identifier: GPL-2.0-only
//! The virtual CPU interface of the GIC: which one there is, and how it changes hands. GICv3's is system registers (Arm
//! IHI 0069H, 12.4), GICv2's is device registers, GICH (Arm IHI 0048B, 5.3), which the host can't reach.
//!
//! While the host runs, the interface is off and holds nothing: a GICv2 would show it to whoever has GICV mapped.

use super::fixmap;
use super::sysreg::field;
use crate::addr::{Pa, Range};
use crate::machine::Width;
use crate::platform::discover::Gic;
use crate::vcpu::vgic::{ENABLE, EOI_COUNT, Ids, Interface, LIST_REGISTERS, Vgic, VgicEntry, v2};
use crate::{read_sysreg, write_sysreg};
use aarch64_cpu::asm::barrier;

/// The interface of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hardware {
    /// None.
    Absent,
    /// GICv3's.
    V3(V3),
    /// GICv2's.
    V2(V2),
}

/// GICv3's system registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V3 {
    list_registers: usize,
    /// How many ICH_AP0R<n>_EL2 there are, and as many ICH_AP1R<n>_EL2.
    active_registers: usize,
    /// Bits of interrupt numbers.
    id_bits: u32,
}

/// GICv2's device registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V2 {
    /// Where GICH is.
    base: u64,
    list_registers: usize,
}

/// Offsets in GICH.
mod gich {
    pub const HCR: u64 = 0x00;
    pub const VTR: u64 = 0x04;
    pub const VMCR: u64 = 0x08;
    pub const MISR: u64 = 0x10;
    pub const APR: u64 = 0xF0;
    pub const LR: u64 = 0x100;
}

/// Calls a macro with all list registers: number, name.
macro_rules! for_each_list_register {
    ($do:ident) => {
        $do!(
            0 "ich_lr0_el2", 1 "ich_lr1_el2", 2 "ich_lr2_el2", 3 "ich_lr3_el2", 4 "ich_lr4_el2", 5 "ich_lr5_el2",
            6 "ich_lr6_el2", 7 "ich_lr7_el2", 8 "ich_lr8_el2", 9 "ich_lr9_el2", 10 "ich_lr10_el2",
            11 "ich_lr11_el2", 12 "ich_lr12_el2", 13 "ich_lr13_el2", 14 "ich_lr14_el2", 15 "ich_lr15_el2"
        )
    };
}

/// Calls a macro with all active priority registers: number, names for group 0 and group 1.
macro_rules! for_each_active_register {
    ($do:ident) => {
        $do!(
            0 "ich_ap0r0_el2" "ich_ap1r0_el2", 1 "ich_ap0r1_el2" "ich_ap1r1_el2", 2 "ich_ap0r2_el2" "ich_ap1r2_el2",
            3 "ich_ap0r3_el2" "ich_ap1r3_el2"
        )
    };
}

impl Hardware {
    /// The interface of a machine whose interrupt controller is `gic`, with GICH at `gich` if it has one.
    pub fn find(gic: Gic, gich: Option<Range>) -> Self {
        match (gic, gich) {
            (Gic::V3, _) => V3::of_this_cpu().map_or(Self::Absent, Self::V3),
            (Gic::V2, Some(gich)) => Self::V2(V2::at(gich.start)),
            (Gic::V2, None) => Self::Absent,
        }
    }

    /// Whether this CPU has all of it.
    pub fn is_here(&self) -> bool {
        match self {
            Self::V3(wanted) => V3::of_this_cpu().is_some_and(|here| {
                here.list_registers >= wanted.list_registers
                    && here.active_registers >= wanted.active_registers
                    && here.id_bits >= wanted.id_bits
            }),
            Self::Absent | Self::V2(_) => true,
        }
    }

    /// What VMs can have of it.
    pub fn interface(&self) -> Interface {
        match *self {
            Self::Absent => Interface::NONE,
            Self::V3(v3) => Interface { list_registers: v3.list_registers, ids: Ids::V3 { end: 1 << v3.id_bits } },
            Self::V2(v2) => Interface { list_registers: v2.list_registers, ids: Ids::V2 },
        }
    }

    /// Empties it, on a CPU that has just come up.
    pub fn set_up(&self) {
        self.save(&mut Vgic::RESET.clone(), |_, _| {});
    }

    /// [`crate::machine::WorldSwitch::vgic_restore`].
    #[inline(always)]
    pub fn restore(&self, vgic: &Vgic, entry: &VgicEntry) {
        match self {
            Self::Absent => {}
            Self::V3(v3) => v3.restore(vgic, entry),
            Self::V2(v2) => v2.restore(vgic, entry),
        }
    }

    /// [`crate::machine::WorldSwitch::vgic_save`].
    #[inline(always)]
    pub fn save(&self, vgic: &mut Vgic, show: impl FnMut(usize, u64)) -> u64 {
        match self {
            Self::Absent => 0,
            Self::V3(v3) => v3.save(vgic, show),
            Self::V2(v2) => v2.save(vgic, show),
        }
    }
}

impl V3 {
    /// What this CPU has; `None` if it has no system registers for its GIC.
    fn of_this_cpu() -> Option<Self> {
        if field(read_sysreg!("id_aa64pfr0_el1"), 24) == 0 {
            return None;
        }
        let vtr = read_sysreg!("ich_vtr_el2");
        let active_registers = match vtr >> 26 & 0b111 {
            0..=4 => 1, // PREbits: 5 bits of priority
            5 => 2,
            _ => 4,
        };
        let id_bits = if vtr >> 23 & 0b111 == 0 { 16 } else { 24 };
        let list_registers = LIST_REGISTERS.min((vtr & 0x1F) as usize + 1);
        Some(Self { list_registers, active_registers, id_bits })
    }

    #[inline(always)]
    fn restore(&self, vgic: &Vgic, entry: &VgicEntry) {
        // All of them are zero.
        let list = entry.used();
        macro_rules! restore_list {
            ($($n:literal $name:literal),*) => {
                'list: {
                    $(
                        let Some(&word) = list.get($n) else { break 'list };
                        write_sysreg!($name, word);
                    )*
                }
            };
        }
        macro_rules! restore_active {
            ($($n:literal $group_0:literal $group_1:literal),*) => {
                'active: {
                    $(
                        if $n >= self.active_registers {
                            break 'active;
                        }
                        if vgic.ap0r[$n] | vgic.ap1r[$n] != 0 {
                            write_sysreg!($group_0, vgic.ap0r[$n]);
                            write_sysreg!($group_1, vgic.ap1r[$n]);
                        }
                    )*
                }
            };
        }
        // SAFETY: interrupts of EL1, which does not run; those of EL2 are masked. The return to EL1 synchronises.
        unsafe {
            write_sysreg!("ich_vmcr_el2", vgic.vmcr);
            for_each_active_register!(restore_active);
            for_each_list_register!(restore_list);
            write_sysreg!("ich_hcr_el2", ENABLE | entry.control().bits());
        }
    }

    #[inline(always)]
    fn save(&self, vgic: &mut Vgic, mut show: impl FnMut(usize, u64)) -> u64 {
        // What the vCPU did with its registers shows in these only after this.
        barrier::isb(barrier::SY);
        let status = read_sysreg!("ich_misr_el2") & MISR | read_sysreg!("ich_hcr_el2") & EOI_COUNT;
        vgic.vmcr = read_sysreg!("ich_vmcr_el2");
        // As many as most have, without a branch for each.
        macro_rules! take_four {
            ($($name:literal),*) => {{
                let words = [$(read_sysreg!($name)),*];
                let [a, b, c, d] = words;
                if a | b | c | d != 0 {
                    $(write_sysreg!($name, 0);)*
                }
                show(0, a);
                show(1, b);
                show(2, c);
                show(3, d);
            }};
        }
        macro_rules! take_list {
            ($($n:literal $name:literal),*) => {
                'list: {
                    if self.list_registers == 4 {
                        take_four!("ich_lr0_el2", "ich_lr1_el2", "ich_lr2_el2", "ich_lr3_el2");
                        break 'list;
                    }
                    $(
                        if $n >= self.list_registers {
                            break 'list;
                        }
                        let word = read_sysreg!($name);
                        show($n, word);
                        if word != 0 {
                            write_sysreg!($name, 0);
                        }
                    )*
                }
            };
        }
        macro_rules! take_active {
            ($($n:literal $group_0:literal $group_1:literal),*) => {
                'active: {
                    $(
                        if $n >= self.active_registers {
                            break 'active;
                        }
                        vgic.ap0r[$n] = read_sysreg!($group_0);
                        vgic.ap1r[$n] = read_sysreg!($group_1);
                        if vgic.ap0r[$n] | vgic.ap1r[$n] != 0 {
                            write_sysreg!($group_0, 0);
                            write_sysreg!($group_1, 0);
                        }
                    )*
                }
            };
        }
        // SAFETY: as in `restore`.
        unsafe {
            write_sysreg!("ich_hcr_el2", 0);
            for_each_list_register!(take_list);
            for_each_active_register!(take_active);
            write_sysreg!("ich_vmcr_el2", 0);
        }
        // Whoever runs next is entered after an ISB.
        status
    }
}

/// The bits of ICH_MISR_EL2 and GICH_MISR.
const MISR: u64 = 0xFF;

impl V2 {
    /// GICH at `base`.
    fn at(base: u64) -> Self {
        const LIST_REGS: u64 = 0x3F;
        let mut this = Self { base, list_registers: 0 };
        let count = (this.read(gich::VTR) & LIST_REGS) as usize + 1;
        // Those beyond what the run page holds stay as they are now: empty.
        for n in 0..count {
            this.write_list(n, 0);
        }
        this.list_registers = count.min(LIST_REGISTERS);
        this
    }

    fn register(&self, offset: u64) -> Pa {
        Pa::low_48(self.base + offset)
    }

    fn read(&self, offset: u64) -> u64 {
        // SAFETY: a register of GICH, which only Corevisor drives; reading any is harmless.
        unsafe { fixmap::read_register(self.register(offset), Width::Word) }
    }

    fn write(&self, offset: u64, value: u64) {
        // SAFETY: as above; it concerns interrupts of EL1.
        unsafe { fixmap::write_register(self.register(offset), Width::Word, value) };
    }

    fn write_list(&self, n: usize, value: u32) {
        self.write(gich::LR + 4 * n as u64, value.into());
    }

    #[inline(never)]
    fn restore(&self, vgic: &Vgic, entry: &VgicEntry) {
        self.write(gich::VMCR, vgic.vmcr);
        self.write(gich::APR, vgic.ap0r[0]);
        for (n, &word) in entry.list().iter().enumerate() {
            self.write_list(n, v2::to_v2(word));
        }
        self.write(gich::HCR, ENABLE | entry.control().bits());
        barrier::dsb(barrier::SY);
    }

    #[inline(never)]
    fn save(&self, vgic: &mut Vgic, mut show: impl FnMut(usize, u64)) -> u64 {
        // After all that the vCPU did with GICV.
        barrier::dsb(barrier::SY);
        let status = self.read(gich::MISR) & MISR | self.read(gich::HCR) & EOI_COUNT;
        vgic.vmcr = self.read(gich::VMCR);
        vgic.ap0r[0] = self.read(gich::APR);
        self.write(gich::HCR, 0);
        for n in 0..self.list_registers {
            let word = self.read(gich::LR + 4 * n as u64) as u32;
            show(n, v2::from_v2(word));
            if word != 0 {
                self.write_list(n, 0);
            }
        }
        self.write(gich::APR, 0);
        self.write(gich::VMCR, 0);
        barrier::dsb(barrier::SY);
        status
    }
}
