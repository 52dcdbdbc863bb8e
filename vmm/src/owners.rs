// SPDX-License-Identifier: GPL-2.0-only
//! Who owns which memory: what Corevisor says, over all of the machine's RAM.

use crate::Problem;
use crate::driver::Owner;
use corevisor::abi::page_owner;
use std::collections::BTreeMap;
use std::fmt;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Where the operating system says what lies where.
pub const IOMEM: &str = "/proc/iomem";
/// Corevisor may have taken the memory around what it left the host; it is looked for in whole pieces of this size.
const AROUND: u64 = 1 << 30;

/// Whose a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// The host's.
    Host,
    /// Corevisor's.
    Corevisor,
    /// A VM's.
    Vm(u64),
    /// A VM's, which shares it with the host.
    SharedVm(u64),
    /// No RAM.
    Nothing,
}

impl Whose {
    /// Of what Corevisor said.
    pub fn of(owner: &Owner) -> Self {
        match (owner.owner, owner.accessible) {
            (page_owner::HOST, _) => Self::Host,
            (page_owner::COREVISOR, _) => Self::Corevisor,
            (vm @ 1..=15, 0) => Self::Vm(vm),
            (vm @ 1..=15, _) => Self::SharedVm(vm),
            _ => Self::Nothing,
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Corevisor => f.write_str("Corevisor"),
            Self::Vm(number) => write!(f, "VM {number}"),
            Self::SharedVm(number) => write!(f, "VM {number}, shared with the host"),
            Self::Nothing => f.write_str("no RAM"),
        }
    }
}

/// Pages one after the other that are in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first page.
    pub pfn: u64,
    /// How many.
    pub count: u64,
    /// Whose.
    pub whose: Whose,
}

/// All RAM, by address, without what is no RAM. `iomem` is the content of [`IOMEM`]; `ask` asks Corevisor for a page.
///
/// # Errors
/// If the operating system does not tell where RAM is, or Corevisor does not answer.
pub fn survey(iomem: &str, mut ask: impl FnMut(u64) -> Result<Owner, Problem>) -> Result<Vec<Run>, Problem> {
    let mut runs: Vec<Run> = Vec::new();
    for (start, end) in ram(iomem)? {
        let mut pfn = start / PAGE;
        while pfn < end / PAGE {
            let owner = ask(pfn)?;
            let count = owner.count.clamp(1, end / PAGE - pfn);
            let run = Run { pfn, count, whose: Whose::of(&owner) };
            match runs.last_mut() {
                Some(last) if last.whose == run.whose && last.pfn + last.count == pfn => last.count += count,
                _ => runs.push(run),
            }
            pfn += count;
        }
    }
    runs.retain(|run| run.whose != Whose::Nothing);
    Ok(runs)
}

/// How many pages are whose.
pub fn totals(runs: &[Run]) -> BTreeMap<Whose, u64> {
    let mut pages = BTreeMap::new();
    for run in runs {
        *pages.entry(run.whose).or_default() += run.count;
    }
    pages
}

/// Where to look for RAM: what `iomem` tells, in whole pieces of [`AROUND`], one beside the other as one.
fn ram(iomem: &str) -> Result<Vec<(u64, u64)>, Problem> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for line in iomem.lines().filter(|line| line.ends_with(": System RAM")) {
        let bounds = line.split(" : ").next().and_then(|range| range.trim().split_once('-'));
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let bounds = bounds.and_then(|(start, end)| Some((number(start)?, number(end)?)));
        let (start, last) = bounds.ok_or_else(|| format!("{IOMEM}: a line that is not understood: {line}"))?;
        // Without the right to see them all addresses are shown as 0.
        if last == 0 {
            return Err(format!("{IOMEM} shows addresses to root only"));
        }
        let (start, end) = (start / AROUND * AROUND, (last + 1).next_multiple_of(AROUND));
        match ranges.last_mut() {
            Some((_, before)) if *before >= start => *before = end.max(*before),
            _ => ranges.push((start, end)),
        }
    }
    if ranges.is_empty() {
        return Err(format!("{IOMEM} tells of no RAM"));
    }
    Ok(ranges)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Run, Whose, ram, survey, totals};
    use crate::driver::Owner;
    use corevisor::abi::page_owner::{COREVISOR, HOST, NOBODY};

    pub(crate) const IOMEM: &str = "\
09000000-09000fff : pl011@9000000
40000000-5fffffff : System RAM
  40210000-4164ffff : Kernel code
60a00000-7fffffff : System RAM
140000000-17fffffff : System RAM
";

    /// A machine with 1 GiB and another one at 5 GiB; VM 2 shares its second page.
    pub(crate) fn ask(pfn: u64) -> Owner {
        let state =
            |first: u64, end: u64, owner, accessible| Owner { pfn, owner, count: end - pfn.max(first), accessible };
        match pfn {
            0x4_0000..0x5_0000 => state(0x4_0000, 0x5_0000, HOST, 1),
            0x5_0000 => state(0x5_0000, 0x5_0001, 2, 0),
            0x5_0001 => state(0x5_0001, 0x5_0002, 2, 1),
            0x5_0002..0x6_0000 => state(0x5_0002, 0x6_0000, 2, 0),
            0x6_0000..0x6_0A00 => state(0x6_0000, 0x6_0A00, COREVISOR, 0),
            // As a bounded call does, in pieces, and at the end beyond the range that was asked for.
            0x6_0A00..0x8_0000 => state(pfn, 0x8_0000.min(pfn + 4096), HOST, 1),
            0x14_0000.. => Owner { pfn, owner: HOST, count: 1 << 40, accessible: 1 },
            _ => state(0x8_0000, 0x14_0000, NOBODY, 0),
        }
    }

    #[test]
    fn all_ram_is_found() {
        assert_eq!(ram(IOMEM), Ok(vec![(1 << 30, 2 << 30), (5 << 30, 6 << 30)]));
        let runs = survey(IOMEM, |pfn| Ok(ask(pfn))).unwrap();
        let expected = [
            (0x4_0000, 0x1_0000, Whose::Host),
            (0x5_0000, 1, Whose::Vm(2)),
            (0x5_0001, 1, Whose::SharedVm(2)),
            (0x5_0002, 0xFFFE, Whose::Vm(2)),
            (0x6_0000, 0xA00, Whose::Corevisor),
            (0x6_0A00, 0x1_F600, Whose::Host),
            (0x14_0000, 0x4_0000, Whose::Host),
        ];
        assert_eq!(runs, expected.map(|(pfn, count, whose)| Run { pfn, count, whose }));
        let totals = totals(&runs);
        assert_eq!(totals[&Whose::Host], 0x1_0000 + 0x1_F600 + 0x4_0000);
        assert_eq!(totals[&Whose::Vm(2)], 0xFFFF);
    }

    #[test]
    fn what_is_not_ram_does_not_count() {
        let runs = survey("80000000-8000ffff : System RAM", |pfn| Ok(ask(pfn))).unwrap();
        assert!(runs.is_empty());
    }

    #[test]
    fn a_count_of_nothing_ends_all_the_same() {
        let silent = |pfn| Ok(Owner { pfn, owner: HOST, count: 0, accessible: 1 });
        assert_eq!(survey("40000000-4000ffff : System RAM", silent).unwrap().len(), 1);
    }

    #[test]
    fn problems_are_told() {
        assert!(ram("00000000-00000000 : System RAM").unwrap_err().contains("root"));
        assert!(ram("x-y : System RAM").unwrap_err().contains("not understood"));
        assert!(ram("").unwrap_err().contains("no RAM"));
        assert!(survey(IOMEM, |_| Err("no".into())).is_err());
    }
}
