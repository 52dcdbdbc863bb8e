// SPDX-License-Identifier: GPL-2.0-only
//! Reading the device tree.

use super::BootError;
use super::host_tree::IMAGE_KEYS;
use super::past_smmus::{self, FW_CFG, PastSmmus};
use super::smmus::{self, MAX_SMMUS, SMMUS_V2, SMMUS_V3, Smmu};
use crate::MAX_CPUS;
use crate::addr::{PAGE_SIZE, Range};
use crate::memory::MAX_REGIONS;
use arrayvec::ArrayVec;
use core::fmt;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property, ToCellInt};

/// Deepest node that is looked at; deeper ones hold nothing that Corevisor needs.
pub(super) const MAX_DEPTH: usize = 16;
/// Most ITSs that are supported.
pub const MAX_ITS: usize = 8;
/// Most pages that devices write to for an interrupt: of the ITSs, and of GICv2m frames.
pub const MAX_DOORBELLS: usize = 8;
/// Most regions of redistributors.
pub const MAX_REDISTRIBUTOR_REGIONS: usize = 16;
/// Bytes of an ITS's registers: a frame of 64 KiB for software, and one with GITS_TRANSLATER.
pub const ITS_SIZE: u64 = 2 * ITS_FRAME;
const ITS_FRAME: u64 = 0x1_0000;

/// What the device tree says, as far as Corevisor cares.
#[derive(Debug, Default)]
pub struct Platform<'a> {
    /// RAM, in whole pages; page 0 is left out, it can't be tracked (`spec/SPEC.md` §0.3).
    pub ram: ArrayVec<Range, MAX_REGIONS>,
    /// Memory with `no-map`, widened to whole pages.
    pub no_map: ArrayVec<Range, MAX_REGIONS>,
    /// Memory reserved otherwise, which nothing may be loaded to.
    pub reserved: ArrayVec<Range, MAX_REGIONS>,
    /// Whether RAM has a page 0, which must be withheld from the host.
    pub page_0: bool,
    /// Affinity values of the CPUs.
    pub cpus: ArrayVec<u64, MAX_CPUS>,
    /// The interrupt controller.
    pub gic: Option<Gic>,
    /// GICH, the hypervisor's registers of a GICv2 for VMs, widened to whole pages.
    pub gich: Option<Range>,
    /// Whether there is PSCI 0.2 or later, by SMC.
    pub psci: bool,
    /// Whether there is an architected timer.
    pub timer: bool,
    /// The PL011 that the console is, or any.
    pub uart: Option<Range>,
    /// The SMMUs, with the streams of the devices in front of them.
    pub smmus: ArrayVec<Smmu, MAX_SMMUS>,
    /// The registers of a GICv3's ITSs, [`ITS_SIZE`] each.
    pub its: ArrayVec<Range, MAX_ITS>,
    /// The redistributors of a GICv3.
    pub gicr: Redistributors,
    /// The pages that devices write to for an interrupt by a message: that of each ITS's GITS_TRANSLATER, and GICv2m frames.
    pub doorbells: ArrayVec<Range, MAX_DOORBELLS>,
    /// QEMU's fw_cfg, widened to whole pages.
    pub fw_cfg: Option<Range>,
    /// Devices that do DMA with no SMMU in front of them.
    pub past_smmus: PastSmmus<'a>,
    /// The host's kernel.
    pub kernel: Range,
    /// Its command line.
    pub bootargs: Option<&'a str>,
    /// The host's initial RAM disk.
    pub ramdisk: Option<Range>,
    /// Keys that images of VMs can be signed with ([`super::image_keys`]).
    pub image_keys: Option<Range>,
    /// Corevisor's own command line: the bootloader's.
    pub own_bootargs: &'a str,
}

impl Platform<'_> {
    /// Whether the bootloader wants no VMs without an SMMU that need one (`require-smmu` on Corevisor's command line).
    pub fn requires_smmu(&self) -> bool {
        self.own_bootargs.split_whitespace().any(|arg| arg == "require-smmu")
    }

    /// All that the bootloader has put into RAM for Corevisor, by name.
    pub fn modules(&self) -> impl Iterator<Item = (&'static str, Range)> {
        let all = [("kernel", Some(self.kernel)), ("ramdisk", self.ramdisk), ("image keys", self.image_keys)];
        all.into_iter().filter_map(|(name, range)| Some((name, range?)))
    }
}

/// An interrupt controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gic {
    /// GICv2.
    V2,
    /// GICv3 or later.
    V3,
}

impl fmt::Display for Gic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "GICv2",
            Self::V3 => "GICv3",
        })
    }
}

/// The redistributors of a GICv3: one for each CPU, one after the other in each region.
#[derive(Clone, Default, Debug)]
pub struct Redistributors {
    /// Where they are.
    pub regions: ArrayVec<Range, MAX_REDISTRIBUTOR_REGIONS>,
    /// Bytes from one to the next (`redistributor-stride`), a multiple of 64 KiB; if `None`, what each one's GICR_TYPER
    /// says.
    pub stride: Option<u64>,
}

/// Reads `fdt`.
///
/// # Errors
/// If something that Corevisor can't do without is missing or malformed, or there is more than it supports.
pub fn discover<'a>(fdt: Fdt<'a>) -> Result<Platform<'a>, BootError> {
    let mut found = Platform::default();
    all_devices(fdt, &mut found)?;
    memory(fdt, &mut found)?;
    cpus(fdt, &mut found)?;
    if !found.psci {
        return Err(BootError::NoPsci);
    }
    if found.gic.is_none() {
        return Err(BootError::NoGic);
    }
    smmus::check_windows(&found.smmus, &found.ram, &found.no_map)?;
    smmus::find_streams(fdt, &mut found.smmus);
    found.past_smmus = past_smmus::find(fdt);
    chosen(fdt, &mut found)?;
    Ok(found)
}

/// The console alone, whatever else may be wrong with the tree.
pub fn console(fdt: Fdt<'_>) -> Option<Range> {
    let mut found = Platform::default();
    let _ = all_devices(fdt, &mut found); // `discover` will report it
    found.uart
}

/// Whether `node` is compatible with one of `names`.
pub(super) fn is_one_of(node: FdtNode<'_>, names: &[&str]) -> bool {
    node.compatible().is_some_and(|mut all| all.any(|name| names.contains(&name)))
}

/// The devices that Corevisor looks for.
enum Device {
    Gic(Gic),
    Its,
    V2mFrame,
    FwCfg,
    Timer,
    Psci,
    Uart,
    Smmu,
}

/// What kind of device `node` is, if one of ours: by the first name of its `compatible` that is known.
fn device(node: FdtNode<'_>) -> Option<Device> {
    node.compatible()?.find_map(|name| match name {
        "arm,gic-v3" => Some(Device::Gic(Gic::V3)),
        "arm,gic-400" | "arm,cortex-a15-gic" | "arm,cortex-a7-gic" => Some(Device::Gic(Gic::V2)),
        "arm,gic-v3-its" => Some(Device::Its),
        "arm,gic-v2m-frame" => Some(Device::V2mFrame),
        FW_CFG => Some(Device::FwCfg),
        "arm,armv8-timer" => Some(Device::Timer),
        "arm,psci-0.2" | "arm,psci-1.0" => Some(Device::Psci),
        "arm,pl011" => Some(Device::Uart),
        name if SMMUS_V3.contains(&name) || SMMUS_V2.contains(&name) => Some(Device::Smmu),
        _ => None,
    })
}

/// Whether the node describes something that is there to be used.
pub(super) fn is_enabled(node: FdtNode<'_>) -> bool {
    let status = node.property("status");
    status.is_none_or(|s| s.value_as::<&str>().is_ok_and(|s| matches!(s, "okay" | "ok")))
}

/// The ranges of a `reg` property with these cell counts.
fn reg_ranges<'a>(
    node: FdtNode<'a>,
    address_cells: usize,
    size_cells: usize,
) -> Result<impl Iterator<Item = Option<Range>> + 'a, BootError> {
    let reg = node.property("reg").ok_or(BootError::Property("reg"))?;
    let cells = reg.as_prop_encoded_array([address_cells, size_cells])?;
    Ok(cells.map(|[start, size]| Range::new(start.to_int().ok()?, size.to_int().ok()?)))
}

/// #address-cells and #size-cells for the children of `node`, or those of `default`.
fn cells(node: FdtNode<'_>, default: (usize, usize)) -> (usize, usize) {
    let cell = |name| node.property(name).and_then(|p| p.value_as::<u32>().ok()).map(|n| n as usize);
    (cell("#address-cells").unwrap_or(default.0), cell("#size-cells").unwrap_or(default.1))
}

/// The device tree specification's default.
const DEFAULT_CELLS: (usize, usize) = (2, 1);

fn memory(fdt: Fdt<'_>, found: &mut Platform<'_>) -> Result<(), BootError> {
    let root = fdt.root();
    let (a, s) = cells(root, DEFAULT_CELLS);
    let is_memory =
        |node: &FdtNode<'_>| node.property("device_type").is_some_and(|p| p.value_as::<&str>() == Ok("memory"));
    for node in root.children().filter(|n| is_memory(n) && is_enabled(*n)) {
        for range in reg_ranges(node, a, s)?.flatten() {
            found.page_0 |= range.start < PAGE_SIZE;
            let start = range.start.next_multiple_of(PAGE_SIZE).max(PAGE_SIZE);
            let end = range.end & !(PAGE_SIZE - 1);
            let range = Range { start, end };
            if found.ram.iter().any(|other| start < end && other.overlaps(range)) {
                return Err(BootError::Property("/memory")); // one page, two records
            }
            if start < end {
                push(&mut found.ram, range)?;
            }
        }
    }
    if found.ram.is_empty() {
        return Err(BootError::Property("/memory"));
    }
    for entry in fdt.memory_reservations() {
        if let Some(range) = Range::new(entry.address(), entry.size()) {
            push(&mut found.reserved, range)?;
        }
    }
    if let Some(reserved) = root.child("reserved-memory") {
        let (a, s) = cells(reserved, (a, s));
        for node in reserved.children().filter(|n| is_enabled(*n) && n.property("reg").is_some()) {
            for range in reg_ranges(node, a, s)?.flatten() {
                if node.property("no-map").is_some() {
                    push(&mut found.no_map, range.align_out(PAGE_SIZE))?;
                } else {
                    push(&mut found.reserved, range)?;
                }
            }
        }
    }
    if found.ram.len() + found.no_map.len() > MAX_REGIONS {
        return Err(BootError::TooManyRegions);
    }
    Ok(())
}

fn push<const N: usize>(list: &mut ArrayVec<Range, N>, range: Range) -> Result<(), BootError> {
    list.try_push(range).map_err(|_| BootError::TooManyRegions)
}

fn push_device<T, const N: usize>(list: &mut ArrayVec<T, N>, one: T, what: &'static str) -> Result<(), BootError> {
    list.try_push(one).map_err(|_| BootError::TooMany(what, N))
}

fn cpus(fdt: Fdt<'_>, found: &mut Platform<'_>) -> Result<(), BootError> {
    let mut count = 0;
    let mut psci = true;
    for cpu in fdt.cpus()?.cpus().filter(|cpu| {
        let status = cpu.property("status");
        status.is_none_or(|s| s.value_as::<&str>().is_ok_and(|s| s != "fail"))
    }) {
        psci &= cpu.enable_method().is_some_and(|mut all| all.any(|m| m == "psci"));
        let reg = cpu.property("reg").ok_or(BootError::Property("a CPU's reg"))?;
        let mpidr = match *reg.value() {
            [a, b, c, d] => u32::from_be_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => return Err(BootError::Property("a CPU's reg")),
        };
        count += 1;
        let _ = found.cpus.try_push(mpidr); // one too many is reported below, with the full count
    }
    match count {
        0 => Err(BootError::Property("/cpus")),
        n if n > MAX_CPUS => Err(BootError::TooManyCpus(n)),
        // A CPU that spins in memory until it is told an address would be told one by the host, and start there at EL2.
        n if n > 1 && !psci => Err(BootError::NoPsci),
        _ => Ok(()),
    }
}

/// The path of the node that /chosen's stdout-path names, without options.
fn stdout<'a>(fdt: Fdt<'a>) -> Option<FdtNode<'a>> {
    let chosen = fdt.chosen()?;
    let path = chosen.property("stdout-path")?.value_as::<&str>().ok()?;
    let path = path.split(':').next()?;
    if path.starts_with('/') {
        return fdt.find_node(path);
    }
    let aliases = fdt.find_node("/aliases")?;
    fdt.find_node(aliases.property(path)?.value_as::<&str>().ok()?)
}

fn all_devices(fdt: Fdt<'_>, found: &mut Platform<'_>) -> Result<(), BootError> {
    let mut path = ArrayVec::new();
    path.push(fdt.root());
    devices(&mut path, &stdout(fdt), found)
}

/// Walks all nodes below the last of `path`, whose ancestors the others are.
fn devices(
    path: &mut ArrayVec<FdtNode<'_>, MAX_DEPTH>,
    console: &Option<FdtNode<'_>>,
    found: &mut Platform<'_>,
) -> Result<(), BootError> {
    let Some(&parent) = path.last() else { return Ok(()) };
    for node in parent.children() {
        let kind = device(node);
        if (kind.is_some() || node.children().next().is_some()) && !is_enabled(node) {
            continue;
        }
        match kind {
            Some(Device::Gic(Gic::V3)) => {
                found.gic = Some(Gic::V3);
                found.gicr = redistributors(path, node)?;
            }
            Some(Device::Its) => {
                let its = first_window(path, node).filter(|its| its.start.is_multiple_of(ITS_FRAME));
                let its =
                    its.and_then(|its| Range::new(its.start, ITS_SIZE)).ok_or(BootError::Property("an ITS's reg"))?;
                push_device(&mut found.its, its, "ITSs")?;
                let doorbell = Range { start: its.start + ITS_FRAME, end: its.start + ITS_FRAME + PAGE_SIZE };
                push_device(&mut found.doorbells, doorbell, "pages that interrupts are written to")?;
            }
            Some(Device::V2mFrame) => {
                let frame = first_window(path, node).ok_or(BootError::Property("a GICv2m frame's reg"))?;
                // MSI_SETSPI_NS is in the first page.
                let doorbell = Range { start: frame.start, end: frame.start + 1 }.align_out(PAGE_SIZE);
                push_device(&mut found.doorbells, doorbell, "pages that interrupts are written to")?;
            }
            Some(Device::FwCfg) => {
                let registers = first_window(path, node).ok_or(BootError::Property("fw_cfg's reg"))?;
                found.fw_cfg = Some(registers.align_out(PAGE_SIZE));
            }
            Some(Device::Gic(Gic::V2)) => {
                found.gic.get_or_insert(Gic::V2);
                // Its windows are GICD, GICC, GICH, GICV.
                found.gich = window(path, node, 2).map(whole_gich);
            }
            Some(Device::Timer) => found.timer = true,
            Some(Device::Psci) => {
                found.psci |= node.property("method").is_some_and(|m| m.value_as::<&str>() == Ok("smc"));
            }
            Some(Device::Uart) => {
                let is_console = console.as_ref().is_some_and(|c| c.name() == node.name());
                if found.uart.is_none() || is_console {
                    found.uart = first_window(path, node);
                }
            }
            Some(Device::Smmu) => {
                // Where its registers begin, the window does.
                let window = first_window(path, node).filter(|window| window.start.is_multiple_of(PAGE_SIZE));
                let window = window.ok_or(BootError::Property("an SMMU's reg"))?;
                push_device(&mut found.smmus, Smmu::new(node, window.align_out(PAGE_SIZE)), "SMMUs")?;
            }
            None => {}
        }
        if path.try_push(node).is_ok() {
            devices(path, console, found)?;
            path.pop();
        }
    }
    Ok(())
}

/// The redistributors of the GICv3 `node`: what follows the distributor in its `reg`.
fn redistributors(path: &[FdtNode<'_>], node: FdtNode<'_>) -> Result<Redistributors, BootError> {
    const WHAT: BootError = BootError::Property("a GICv3's redistributors");
    const FRAME: u64 = 0x1_0000;
    let mut found = Redistributors::default();
    let count = match node.property("#redistributor-regions") {
        Some(count) => count.value_as::<u32>().map_err(|_| WHAT)? as usize,
        None => 1,
    };
    for index in 1..=count {
        let region = window(path, node, index).filter(|r| r.start.is_multiple_of(FRAME)).ok_or(WHAT)?;
        push_device(&mut found.regions, region, "regions of redistributors")?;
    }
    if let Some(stride) = node.property("redistributor-stride") {
        let stride = stride.value_as::<u64>().or_else(|_| stride.value_as::<u32>().map(u64::from)).map_err(|_| WHAT)?;
        if stride == 0 || !stride.is_multiple_of(FRAME) {
            return Err(WHAT);
        }
        found.stride = Some(stride);
    }
    Ok(found)
}

/// `gich` in whole pages, and no less than a GIC-400 has: the registers of the CPU that asks, and then those of each CPU,
/// whichever asks (Arm DDI 0471, 3.2), which not every device tree names.
fn whole_gich(gich: Range) -> Range {
    const SIZE: u64 = 2 * PAGE_SIZE;
    Range::new(gich.start, gich.size().max(SIZE)).unwrap_or(gich).align_out(PAGE_SIZE)
}

/// The first `reg` range of `node` as a CPU sees it.
fn first_window(ancestors: &[FdtNode<'_>], node: FdtNode<'_>) -> Option<Range> {
    window(ancestors, node, 0)
}

/// `reg` range `index` of `node` as a CPU sees it: translated by the `ranges` of its ancestors, innermost last.
fn window(ancestors: &[FdtNode<'_>], node: FdtNode<'_>, index: usize) -> Option<Range> {
    let (parent, _) = ancestors.split_last()?;
    let (a, s) = cells(*parent, DEFAULT_CELLS);
    let mut window = reg_ranges(node, a, s).ok()?.nth(index)??;
    for bus in ancestors.iter().skip(1).rev() {
        let ranges = bus.ranges().ok()??;
        let mut translated = bus.property("ranges")?.value().is_empty().then_some(window);
        for range in ranges {
            let (Ok(child), Ok(base), Ok(length)) =
                (range.child_bus_address::<u64>(), range.parent_bus_address::<u64>(), range.length::<u64>())
            else {
                continue;
            };
            if Range::new(child, length).is_some_and(|r| r.covers(window)) {
                translated = Range::new(base.checked_add(window.start - child)?, window.size());
            }
        }
        window = translated?;
    }
    Some(window)
}

fn chosen<'a>(fdt: Fdt<'a>, found: &mut Platform<'a>) -> Result<(), BootError> {
    let root = fdt.root();
    let chosen = root.child("chosen").ok_or(BootError::NoHostKernel)?;
    let args = |node: FdtNode<'a>| {
        let property = node.properties().find(|p| p.name() == "bootargs");
        property.and_then(|p| p.value_as::<&'a str>().ok())
    };
    found.own_bootargs = args(chosen).unwrap_or_default();
    // QEMU's guest-loader writes the root's cell counts without saying so; Xen's rule is to inherit them.
    let (a, s) = cells(chosen, cells(root, DEFAULT_CELLS));
    let module = |node| reg_ranges(node, a, s)?.next().flatten().ok_or(BootError::Property("a module's reg"));
    let mut kernel = None;
    for node in chosen.children() {
        if is_one_of(node, &["multiboot,kernel"]) {
            kernel = Some(module(node)?);
            found.bootargs = args(node);
        } else if is_one_of(node, &["multiboot,ramdisk"]) {
            found.ramdisk = Some(module(node)?);
        } else if is_one_of(node, &[IMAGE_KEYS]) {
            found.image_keys = Some(module(node)?);
        }
    }
    found.kernel = kernel.ok_or(BootError::NoHostKernel)?;
    for (i, (name, range)) in found.modules().enumerate() {
        if !found.ram.iter().any(|ram| ram.covers(range)) {
            return Err(BootError::ModuleOutsideRam(name, range));
        }
        if let Some((other, at)) = found.modules().take(i).find(|(_, other)| other.overlaps(range)) {
            return Err(BootError::ModulesOverlap(other, at, name, range));
        }
    }
    Ok(())
}
