// SPDX-License-Identifier: GPL-2.0-only
//! Where the registers are, and which of their pages are withheld.

use super::registers::{FRAME, gicr};
use crate::MAX_CPUS;
use crate::addr::{Ipa, PAGE_SIZE, Pa, Range};
use crate::machine::{Machine, Width};
use crate::platform::discover;
pub use crate::platform::discover::{MAX_ITS, MAX_REDISTRIBUTOR_REGIONS};
use crate::refused::Refused;
use arrayvec::ArrayVec;

/// The last page of a control frame, which tells what it is and nothing else.
const ID_PAGE: u64 = FRAME - PAGE_SIZE;

/// Redistributors that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redistributors {
    /// Address of the first one.
    pub first: u64,
    /// Bytes from one to the next: two frames, or more.
    pub stride: u64,
    /// How many there are.
    pub count: u64,
}

/// The interrupt controllers that use memory: none if there are neither ITSs nor LPIs.
#[derive(Clone, Default, Debug)]
pub struct Config {
    /// The ITSs: their registers, the control frame first.
    pub its: ArrayVec<Range, MAX_ITS>,
    /// The redistributors, of which there is one for each CPU.
    pub redistributors: ArrayVec<Redistributors, MAX_REDISTRIBUTOR_REGIONS>,
}

/// What a withheld page holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    /// The first page of ITS number `.0`, at `.1`.
    Its(usize, u64),
    /// The first page of redistributor number `.0`, at `.1`.
    Redistributor(u16, u64),
    /// The first page of a redistributor's frame for VLPIs, which nobody uses.
    Vlpi,
}

impl Redistributors {
    /// Finds out how many there are in `region`, `stride` bytes apart, or as far as the first one says. `None` if there is
    /// none that a CPU could have.
    pub fn find<M: Machine>(machine: &M, region: Range, stride: Option<u64>) -> Option<Self> {
        let typer = |at: u64| machine.mmio_read(Pa::low_48(at + gicr::TYPER), Width::Double);
        let (first, mut count) = (region.start, 0);
        let fits = |stride: u64, count: u64| first + stride * count <= region.end;
        if !fits(2 * FRAME, 1) {
            return None;
        }
        let frames = if typer(first) & gicr::VLPIS != 0 { 4 } else { 2 };
        let stride = stride.unwrap_or(frames * FRAME);
        while count < MAX_CPUS as u64 && fits(stride, count + 1) {
            count += 1;
            if typer(first + stride * (count - 1)) & gicr::LAST != 0 {
                break;
            }
        }
        (count > 0 && stride >= 2 * FRAME).then_some(Self { first, stride, count })
    }

    /// Whether the first one has LPIs; they are all alike.
    pub fn have_lpis<M: Machine>(&self, machine: &M) -> bool {
        machine.mmio_read(Pa::low_48(self.first + gicr::TYPER), Width::Double) & gicr::PLPIS != 0
    }

    fn all(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.count).map(|n| self.first + n * self.stride)
    }

    /// Where in a redistributor the page `at` lies, which of them, and where that is.
    fn place(&self, at: u64) -> Option<(u64, u64, u64)> {
        let offset = at.checked_sub(self.first)?;
        let n = offset / self.stride;
        (n < self.count).then(|| (offset % self.stride, n, self.first + n * self.stride))
    }

    fn has_vlpis(&self) -> bool {
        self.stride > gicr::VLPI_FRAME
    }
}

impl Config {
    /// What there is of these on `machine`.
    ///
    /// # Errors
    /// If a region of redistributors is too small for one.
    pub fn find<M: Machine>(machine: &M, its: &[Range], gicr: &discover::Redistributors) -> Result<Self, Refused> {
        let regions = gicr.regions.iter().map(|&region| Redistributors::find(machine, region, gicr.stride));
        let redistributors = regions.collect::<Option<ArrayVec<Redistributors, _>>>().ok_or(Refused::OutOfReach)?;
        let lpis = redistributors.first().is_some_and(|first| first.have_lpis(machine));
        if lpis || !its.is_empty() {
            Ok(Self { its: its.iter().copied().collect(), redistributors })
        } else {
            Ok(Self::default())
        }
    }

    /// The pages that the host can't reach by itself: the control frames of ITSs, but for the page that identifies them,
    /// and the first page of each redistributor's frames RD_base and VLPI_base.
    pub fn windows(&self) -> impl Iterator<Item = Range> + '_ {
        let its = self.its.iter().map(|its| Range { start: its.start, end: its.start + ID_PAGE });
        let page = |start| Range { start, end: start + PAGE_SIZE };
        let redistributors = self.redistributors.iter().flat_map(move |r| {
            let vlpi = move |at: u64| r.has_vlpis().then(|| page(at + gicr::VLPI_FRAME));
            r.all().flat_map(move |at| [Some(page(at)), vlpi(at)].into_iter().flatten())
        });
        its.chain(redistributors)
    }

    /// Addresses of all redistributors, by number.
    pub(super) fn all_redistributors(&self) -> impl Iterator<Item = u64> + '_ {
        self.redistributors.iter().flat_map(Redistributors::all)
    }

    /// What is in the page of `ipa`, if accesses to it are emulated.
    pub(super) fn page(&self, ipa: Ipa) -> Option<Page> {
        let at = ipa.align_down(PAGE_SIZE).as_u64();
        if let Some(n) = self.its.iter().position(|its| its.start == at) {
            return Some(Page::Its(n, at));
        }
        let mut before = 0;
        for region in &self.redistributors {
            match region.place(at) {
                Some((0, n, at)) => return Some(Page::Redistributor((before + n) as u16, at)),
                Some((gicr::VLPI_FRAME, ..)) if region.has_vlpis() => return Some(Page::Vlpi),
                _ => before += region.count,
            }
        }
        None
    }
}
