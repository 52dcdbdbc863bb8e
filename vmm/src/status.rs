// SPDX-License-Identifier: GPL-2.0-only
//! `corevisor-vm status`: Corevisor's counters, and whose how much memory is.

use crate::owners::{PAGE, Run, Whose, totals};
use corevisor::abi::{dma_control, stat};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The counters: number, name for programs, and for those that only grow what they count.
const COUNTERS: [(u64, &str, Option<&str>); stat::COUNT as usize] = [
    (stat::TRAP_HVC, "trap_hvc", Some("calls of the host by HVC")),
    (stat::TRAP_SMC, "trap_smc", Some("calls of the host by SMC")),
    (stat::TRAP_DATA_ABORT, "trap_data_abort", Some("data aborts")),
    (stat::TRAP_INSTRUCTION_ABORT, "trap_instruction_abort", Some("instruction aborts")),
    (stat::TRAP_SYSREG, "trap_sysreg", Some("trapped system registers")),
    (stat::TRAP_SERROR, "trap_serror", Some("system errors")),
    (stat::TRAP_OTHER, "trap_other", Some("other traps")),
    (stat::HOST_FAULT_DEVICE, "host_fault_device", Some("faults that mapped device memory")),
    (stat::HOST_FAULT_RAM, "host_fault_ram", Some("faults on the host's own RAM")),
    (stat::REFUSED_ACCESS, "refused_access", Some("accesses of the host refused")),
    (stat::REFUSED_CALL, "refused_call", Some("calls refused")),
    (stat::BLOCK_SPLIT, "block_split", Some("blocks split in stage-2 tables")),
    (stat::TLB_INVALIDATIONS, "tlb_invalidations", Some("TLB invalidations")),
    (stat::RAM_PAGES, "ram_pages", None),
    (stat::COREVISOR_PAGES, "corevisor_pages", None),
    (stat::HOST_TABLE_PAGES, "host_table_pages", None),
    (stat::CPUS_ON, "cpus_on", None),
    (stat::VMS, "vms", None),
    (stat::VM_PAGES, "vm_pages", None),
    (stat::VM_TABLE_PAGES, "vm_table_pages", None),
    (stat::UNSIGNED_VMS, "unsigned_vms", None),
    (stat::SHARED_VMS, "shared_vms", None),
    (stat::DMA_EVENTS, "dma_events", Some("accesses of devices that SMMUs refused")),
    (stat::DMA_CONTROL, "dma_control", None),
];

/// What Corevisor says of the machine.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its counters, by number.
    pub counters: Vec<u64>,
    /// Whose the RAM is.
    pub runs: Vec<Run>,
}

impl Status {
    fn counter(&self, number: u64) -> u64 {
        self.counters.get(number as usize).copied().unwrap_or_default()
    }

    /// For people.
    pub fn text(&self) -> String {
        let pages = totals(&self.runs);
        let of = |whose| pages.get(&whose).copied().unwrap_or_default();
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<36}{value:>14}");
        };
        line("CPUs that are on", self.counter(stat::CPUS_ON).to_string());
        line("RAM", size(self.counter(stat::RAM_PAGES)));
        line("  the host's", size(of(Whose::Host)));
        line("  Corevisor's", size(of(Whose::Corevisor)));
        line("  virtual machines'", size(self.counter(stat::VM_PAGES)));
        for (number, (own, shared)) in machines(&pages) {
            line(&format!("    VM {number}"), size(own + shared));
            if shared > 0 {
                line("      that the host can reach, too", size(shared));
            }
        }
        line("Page tables of the host's", size(self.counter(stat::HOST_TABLE_PAGES)));
        line("Page tables of virtual machines", size(self.counter(stat::VM_TABLE_PAGES)));
        line("Virtual machines", self.counter(stat::VMS).to_string());
        line("  shared: the host has their memory", self.counter(stat::SHARED_VMS).to_string());
        line("  of unsigned images", self.counter(stat::UNSIGNED_VMS).to_string());
        let dma = match self.counter(stat::DMA_CONTROL) {
            dma_control::NONE => "no",
            dma_control::DRIVEN => "yes",
            _ => "not all",
        };
        line("DMA goes through SMMUs", dma.to_string());
        line("Since boot", String::new());
        for (number, _, meaning) in COUNTERS {
            if let Some(meaning) = meaning {
                line(&format!("  {meaning}"), self.counter(number).to_string());
            }
        }
        text
    }

    /// For programs: pages by owner, and all counters.
    pub fn json(&self) -> String {
        let pages = totals(&self.runs);
        let of = |whose| pages.get(&whose).copied().unwrap_or_default();
        let machines: Vec<_> = machines(&pages)
            .iter()
            .map(|(number, (own, shared))| {
                format!("{{\"vm\": {number}, \"pages\": {}, \"accessible_to_host\": {shared}}}", own + shared)
            })
            .collect();
        let counters: Vec<_> =
            COUNTERS.iter().map(|(number, name, _)| format!("\"{name}\": {}", self.counter(*number))).collect();
        format!(
            "{{\"page_size\": {PAGE}, \"host_pages\": {}, \"corevisor_pages\": {}, \"vms\": [{}], \"counters\": {{{}}}}}\n",
            of(Whose::Host),
            of(Whose::Corevisor),
            machines.join(", "),
            counters.join(", ")
        )
    }
}

/// Pages of each VM: its own alone, and shared with the host.
fn machines(pages: &BTreeMap<Whose, u64>) -> BTreeMap<u64, (u64, u64)> {
    let mut machines = BTreeMap::<u64, (u64, u64)>::new();
    for (whose, count) in pages {
        match whose {
            Whose::Vm(number) => machines.entry(*number).or_default().0 += count,
            Whose::SharedVm(number) => machines.entry(*number).or_default().1 += count,
            Whose::Host | Whose::Corevisor | Whose::Nothing => {}
        }
    }
    machines
}

/// So many pages, for people.
pub fn size(pages: u64) -> String {
    match pages * PAGE {
        bytes if bytes < 10 << 20 => format!("{} KiB", bytes >> 10),
        bytes => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNTERS, Status, size, stat};
    use crate::owners::survey;
    use crate::owners::tests::{IOMEM, ask};

    fn status() -> Status {
        Status { counters: (100..).take(COUNTERS.len()).collect(), runs: survey(IOMEM, |pfn| Ok(ask(pfn))).unwrap() }
    }

    #[test]
    fn each_counter_is_told_once() {
        for (at, (number, _, _)) in COUNTERS.iter().enumerate() {
            assert_eq!(at as u64, *number);
        }
    }

    #[test]
    fn text() {
        let text = status().text();
        let value = |name: &str| {
            let line =
                text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{name}"));
            line.trim_start()[name.len()..].trim().to_string()
        };
        assert_eq!(value("CPUs that are on"), "116");
        assert_eq!(value("VM 2"), "256.0 MiB");
        assert_eq!(value("that the host can reach, too"), "4 KiB");
        assert_eq!(value("calls refused"), "110");
        assert_eq!(value("DMA goes through SMMUs"), "not all");
        for (control, told) in [(0, "no"), (1, "yes"), (2, "not all")] {
            let mut status = status();
            status.counters[stat::DMA_CONTROL as usize] = control;
            let text = status.text();
            let line = text.lines().find(|line| line.starts_with("DMA goes through SMMUs")).unwrap();
            assert!(line.ends_with(&format!(" {told}")), "{line}");
        }
    }

    #[test]
    fn json() {
        let json = status().json();
        assert!(json.contains("\"vms\": [{\"vm\": 2, \"pages\": 65536, \"accessible_to_host\": 1}]"), "{json}");
        assert!(json.contains("\"corevisor_pages\": 2560, "), "{json}");
        assert!(json.contains("\"refused_access\": 109,"), "{json}");
        let balance = |open, close| json.matches(open).count() == json.matches(close).count();
        assert!(balance('{', '}') && balance('[', ']'));
    }

    #[test]
    fn without_an_answer_there_are_zeros() {
        let text = Status { counters: vec![], runs: vec![] }.text();
        assert!(text.contains("0 KiB"));
    }

    #[test]
    fn sizes() {
        assert_eq!(size(1), "4 KiB");
        assert_eq!(size(2559), "10236 KiB");
        assert_eq!(size(2560), "10.0 MiB");
    }
}
