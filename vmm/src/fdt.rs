// SPDX-License-Identifier: GPL-2.0-only
//! The device tree that tells a guest what it has. The same machine gives the same bytes: they are signed and measured.

use crate::Problem;
use crate::layout::{
    FDT_MAX, GIC_DISTRIBUTOR, GIC_DISTRIBUTOR_SIZE, GIC_REDISTRIBUTOR_SIZE, GIC_REDISTRIBUTORS, RAM, SERIAL,
    SERIAL_INTERRUPT, SERIAL_SIZE, VIRTIO, VIRTIO_INTERRUPT, VIRTIO_SIZE, VIRTIO_STRIDE,
};
use linux_loader::cmdline::Cmdline;
use vm_fdt::FdtWriter;

const GIC_PHANDLE: u32 = 1;
/// Kinds of interrupts, and when they are there, as the GIC's binding has it.
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
const EDGE: u32 = 1;
const LEVEL: u32 = 4;
/// Private interrupts of the timers: secure, non-secure, virtual, hypervisor.
const TIMERS: [u32; 4] = [13, 14, 11, 10];
/// What a 16550's baud rates are derived from: 16 × 115200.
const SERIAL_CLOCK: u32 = 1_843_200;
/// The longest command line (Linux: COMMAND_LINE_SIZE).
const COMMAND_LINE_MAX: usize = 2048;

/// Random numbers for the kernel's start. A protected guest has none of the host's.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// For the random number generator.
    pub rng: [u8; 64],
    /// For the kernel's address.
    pub kaslr: u64,
}

/// A guest's machine.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// Bytes of RAM.
    pub ram: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Address and size of the RAM disk.
    pub initrd: Option<(u64, u64)>,
    /// Number of virtio devices.
    pub virtio: usize,
    /// Random numbers.
    pub seeds: Option<Seeds>,
}

impl Description<'_> {
    /// The device tree.
    ///
    /// # Errors
    /// If something is in the command line that can't be, or it is too long.
    pub fn device_tree(&self) -> Result<Vec<u8>, Problem> {
        let problem = |why: &dyn std::fmt::Display| format!("--cmdline: {why}");
        let mut command_line = Cmdline::new(COMMAND_LINE_MAX).map_err(|why| problem(&why))?;
        if !self.command_line.is_empty() {
            command_line.insert_str(self.command_line).map_err(|why| problem(&why))?;
        }
        let command_line = command_line.as_cstring().map_err(|why| problem(&why))?;
        let command_line = command_line.to_str().map_err(|why| problem(&why))?;
        let tree = self.write(command_line).map_err(|why| format!("the guest's device tree: {why}"))?;
        if tree.len() as u64 > FDT_MAX {
            return Err("the guest's device tree is too large".into());
        }
        Ok(tree)
    }

    fn write(&self, command_line: &str) -> Result<Vec<u8>, vm_fdt::Error> {
        let mut fdt = FdtWriter::new()?;
        let root = fdt.begin_node("")?;
        fdt.property_string_list("compatible", vec!["corevisor,vm".into(), "linux,dummy-virt".into()])?;
        fdt.property_string("model", "corevisor-vm")?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_u32("interrupt-parent", GIC_PHANDLE)?;
        self.chosen(&mut fdt, command_line)?;
        let memory = fdt.begin_node(&format!("memory@{RAM:x}"))?;
        fdt.property_string("device_type", "memory")?;
        fdt.property_array_u64("reg", &[RAM, self.ram])?;
        fdt.end_node(memory)?;
        self.cpus(&mut fdt)?;
        self.interrupts(&mut fdt)?;
        let serial = fdt.begin_node(&format!("serial@{SERIAL:x}"))?;
        fdt.property_string("compatible", "ns16550a")?;
        fdt.property_array_u64("reg", &[SERIAL, SERIAL_SIZE])?;
        fdt.property_u32("clock-frequency", SERIAL_CLOCK)?;
        fdt.property_array_u32("interrupts", &[SHARED, SERIAL_INTERRUPT, EDGE])?;
        fdt.end_node(serial)?;
        for (number, interrupt) in (0..self.virtio as u64).zip(VIRTIO_INTERRUPT..) {
            let address = VIRTIO + number * VIRTIO_STRIDE;
            let device = fdt.begin_node(&format!("virtio_mmio@{address:x}"))?;
            fdt.property_string("compatible", "virtio,mmio")?;
            fdt.property_array_u64("reg", &[address, VIRTIO_SIZE])?;
            fdt.property_array_u32("interrupts", &[SHARED, interrupt, EDGE])?;
            fdt.property_null("dma-coherent")?;
            fdt.end_node(device)?;
        }
        fdt.end_node(root)?;
        fdt.finish()
    }

    fn chosen(&self, fdt: &mut FdtWriter, command_line: &str) -> Result<(), vm_fdt::Error> {
        let chosen = fdt.begin_node("chosen")?;
        fdt.property_string("bootargs", command_line)?;
        fdt.property_string("stdout-path", &format!("/serial@{SERIAL:x}:115200"))?;
        if let Some((address, size)) = self.initrd {
            fdt.property_u64("linux,initrd-start", address)?;
            fdt.property_u64("linux,initrd-end", address + size)?;
        }
        if let Some(seeds) = &self.seeds {
            fdt.property("rng-seed", &seeds.rng)?;
            fdt.property_u64("kaslr-seed", seeds.kaslr)?;
        }
        fdt.end_node(chosen)
    }

    fn cpus(&self, fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        let cpus = fdt.begin_node("cpus")?;
        fdt.property_u32("#address-cells", 1)?;
        fdt.property_u32("#size-cells", 0)?;
        for number in 0..self.cpus {
            let cpu = fdt.begin_node(&format!("cpu@{number:x}"))?;
            fdt.property_string("device_type", "cpu")?;
            fdt.property_string("compatible", "arm,armv8")?;
            fdt.property_string("enable-method", "psci")?;
            fdt.property_u32("reg", number)?;
            fdt.end_node(cpu)?;
        }
        fdt.end_node(cpus)?;
        let psci = fdt.begin_node("psci")?;
        fdt.property_string_list("compatible", vec!["arm,psci-1.0".into(), "arm,psci-0.2".into()])?;
        fdt.property_string("method", "hvc")?;
        fdt.end_node(psci)
    }

    fn interrupts(&self, fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        let gic = fdt.begin_node(&format!("interrupt-controller@{GIC_DISTRIBUTOR:x}"))?;
        fdt.property_string("compatible", "arm,gic-v3")?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 3)?;
        let redistributors = u64::from(self.cpus) * GIC_REDISTRIBUTOR_SIZE;
        fdt.property_array_u64("reg", &[GIC_DISTRIBUTOR, GIC_DISTRIBUTOR_SIZE, GIC_REDISTRIBUTORS, redistributors])?;
        fdt.property_phandle(GIC_PHANDLE)?;
        fdt.end_node(gic)?;
        let timer = fdt.begin_node("timer")?;
        fdt.property_string("compatible", "arm,armv8-timer")?;
        fdt.property_array_u32("interrupts", &TIMERS.map(|number| [PRIVATE, number, LEVEL]).concat())?;
        fdt.property_null("always-on")?;
        fdt.end_node(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::{Description, Seeds};
    use dtoolkit::fdt::Fdt;
    use dtoolkit::{Node, Property};

    fn description(virtio: usize) -> Description<'static> {
        Description {
            ram: 256 << 20,
            cpus: 4,
            command_line: "console=ttyS0 quiet",
            initrd: Some((0x4400_0000, 0x12_3456)),
            virtio,
            seeds: None,
        }
    }

    #[test]
    fn says_what_the_guest_has() {
        let bytes = description(2).device_tree().unwrap();
        let tree = Fdt::new(&bytes).unwrap();
        let string = |path: &str, name: &str| {
            let node = tree.find_node(path).unwrap_or_else(|| panic!("no {path}"));
            let value = node.property(name).unwrap_or_else(|| panic!("no {name} in {path}")).value().to_vec();
            String::from_utf8(value).unwrap().trim_end_matches('\0').to_string()
        };
        let cells = |path: &str, name: &str| -> Vec<u8> {
            tree.find_node(path).unwrap().property(name).unwrap().value().to_vec()
        };
        assert_eq!(string("/chosen", "bootargs"), "console=ttyS0 quiet");
        assert_eq!(string("/chosen", "stdout-path"), "/serial@9000000:115200");
        assert_eq!(cells("/chosen", "linux,initrd-end"), 0x4412_3456_u64.to_be_bytes());
        assert_eq!(
            cells("/memory@40000000", "reg"),
            [0x4000_0000_u64.to_be_bytes(), (256_u64 << 20).to_be_bytes()].concat()
        );
        assert_eq!(string("/psci", "method"), "hvc");
        assert!(tree.find_node("/cpus/cpu@3").is_some() && tree.find_node("/cpus/cpu@4").is_none());
        assert_eq!(cells("/virtio_mmio@a001000", "interrupts"), [0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 1]);
        assert!(tree.find_node("/virtio_mmio@a002000").is_none());
        assert!(tree.find_node("/chosen").unwrap().property("rng-seed").is_none());
    }

    #[test]
    fn same_machine_same_bytes() {
        assert_eq!(description(0).device_tree(), description(0).device_tree());
        let seeds = Seeds { rng: [7; 64], kaslr: 7 };
        let seeded = Description { seeds: Some(seeds), ..description(0) };
        assert_ne!(description(0).device_tree(), seeded.device_tree());
    }

    #[test]
    fn impossible_command_lines() {
        for line in ["a\0b", "a\nb", "ü", &"x".repeat(3000)] {
            let problem = Description { command_line: line, ..description(0) }.device_tree().unwrap_err();
            assert!(problem.starts_with("--cmdline: "), "{problem}");
        }
    }
}
