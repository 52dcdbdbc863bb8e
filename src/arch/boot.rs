// SPDX-License-Identifier: GPL-2.0-only
//! From the first instruction to the host's: finds out what is there, plans, loads, and leaves.

use super::el2_map::{Access, El2Map, Registers};
use super::machine::{Hardware, firmware_call};
use super::traps::{self, World};
use super::{block_window, cache, console, fatal, fixmap, host_cpu, image, percpu, vgic};
use crate::abi::dma_control;
use crate::addr::{HOSTVISOR, PAGE_SIZE, Pa, Range};
use crate::corevisor::{Config, Corevisor, REMAP_WINDOW};
use crate::dma_policy::DmaPolicy;
use crate::gic::{self, Gic, GicLock};
use crate::lock::{Held, Lock};
use crate::memory::{MemRegions, S2Page};
use crate::mmio::{self, MAX_SMMUS, SmmuConfig, Unusable};
use crate::npt::{FramePool, HostDma, MAX_DOORBELLS};
use crate::platform::BootError;
use crate::platform::discover::{self, Platform};
use crate::platform::host_image::{self, HostImage, Load};
use crate::platform::host_tree::{self, HostView};
use crate::platform::image_keys::ImageKeys;
use crate::platform::layout::{self, Busy, CarveOut, GUARD_SIZE, STACK_SIZE, TREE_SIZE};
use crate::platform::smmus::{self, Smmu, SmmuKind};
use crate::smmu3::registers::WINDOW;
use crate::smmu3::{self, MAX_SMMU3S, Smmu3Config};
use crate::trap::{Firmware, HostCpus};
use crate::vcpu::{CONTEXT_COUNT, ContextLock, ShadowContext};
use arrayvec::ArrayVec;
use buddy_system_allocator::Heap;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use dtoolkit::fdt::Fdt;
use log::{error, info, warn};
use spin::mutex::TicketMutex;

/// The heap that editing the device tree needs. It has memory for that while only; after it, and so whenever the host
/// runs, any allocation would fail.
struct BootHeap(TicketMutex<Heap<32>>);

#[global_allocator]
static HEAP: BootHeap = BootHeap(TicketMutex::new(Heap::new()));

// SAFETY: the buddy allocator hands out memory that it was given, each piece once until it is given back.
unsafe impl GlobalAlloc for BootHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(at) = NonNull::new(at) {
            // SAFETY: passed on to the caller.
            unsafe { self.0.lock().dealloc(at, layout) };
        }
    }
}

/// MAIR_EL2, TCR_EL2, TTBR0_EL2 and SCTLR_EL2 for the other CPUs; boot/entry.S reads it with the MMU off.
#[unsafe(no_mangle)]
static SECONDARY_BOOT: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

unsafe extern "C" {
    /// boot/entry.S.
    fn enter_host(context: u64, stack_top: u64) -> !;
    /// boot/vectors.S.
    static vectors: u8;
}

/// The boot CPU, on the boot stack, with the MMU off: `tree` is what the bootloader left in x0, `el` the exception
/// level that it left us at.
#[unsafe(no_mangle)]
extern "C" fn boot_main(tree: u64, el: u64) -> ! {
    if el != 2 {
        fatal::boot_stop(&BootError::ExceptionLevel(el as u8));
    }
    percpu::become_cpu(0);
    // SAFETY: boot/vectors.S.
    unsafe { crate::write_sysreg!("vbar_el2", &raw const vectors) };
    match boot(tree) {
        Ok(never) => match never {},
        Err(why) => fatal::boot_stop(&why),
    }
}

fn boot(tree: u64) -> Result<core::convert::Infallible, BootError> {
    host_cpu::check_e2h()?;
    let tree = map_tree(tree)?;
    console::start(log::LevelFilter::Info);
    let fdt = Fdt::new(tree)?;
    if let Some(uart) = discover::console(fdt) {
        map_early(tree, Some(uart))?;
        console::use_uart(Some(uart));
    }
    let platform = discover::discover(fdt)?;
    smmus::check_reach(&platform.smmus, host_cpu::physical_address_bits())?;
    console::use_uart(platform.uart);
    console::start(console::level_of(platform.own_bootargs));
    let tree_range = Range { start: tree.as_ptr() as u64, end: tree.as_ptr() as u64 + tree.len() as u64 };
    report_platform(&platform);

    let regions = layout::regions(&platform)?;
    let mut busy = layout::busy(&platform, image::whole(), tree_range)?;
    let carve_out = layout::carve_out(&platform, &regions, &mut busy)?;
    report_memory(&regions, &carve_out);

    map_all_ram(&platform, tree_range)?;
    let host = load_kernel(&platform, &mut busy)?;
    let owned = [image::whole(), carve_out.range];
    let host_tree = give_tree(&fdt, &platform, &owned, &mut busy)?;

    let boot_cpu = platform.cpus.iter().position(|&mpidr| mpidr == host_cpu::mpidr());
    let boot_cpu = boot_cpu.ok_or(BootError::UnknownBootCpu(host_cpu::mpidr()))?;
    let keys = image_keys(&platform)?;
    let core = build_core(&platform, regions, owned, &carve_out, boot_cpu, keys)?;
    let gic = platform.gic.ok_or(BootError::NoGic)?;
    let world = traps::install(World { core, gic, stacks: carve_out.stacks });
    take_over_gic(&world.core);

    world.core.open_smmu3s();
    report_smmu3s(&world.core);
    report_dma(&platform, &world.core);

    keep_map(&platform, &carve_out)?;
    set_up_cpus(&carve_out, platform.cpus.len());
    percpu::become_cpu(boot_cpu);
    info!("host: entering at {:#x}, device tree at {host_tree:#x}, {} us after reset", host.range.start, uptime_us());
    enter_host_at(world, boot_cpu, host.range.start, host_tree)
}

/// Sets up the CPU `cpu`, which runs this, and enters the host at `entry` with `context` in x0.
#[inline(never)]
pub fn enter_host_at(world: &World, cpu: usize, entry: u64, context: u64) -> ! {
    let (root, _) = host_root(&world.core);
    host_cpu::set_up(root, world.core.ipa_bits(), world.gic);
    world.core.machine().vgic.set_up();
    host_cpu::begin_at(entry);
    // SAFETY: the stack is this CPU's, and nothing on the one in use is needed any more.
    unsafe { enter_host(context, percpu::stack_top(cpu)) }
}

/// Maps the image, the early UART and the tree, and turns the MMU on. Returns the tree's bytes, or an error if the
/// pointer or the length in the header can't be right.
fn map_tree(tree: u64) -> Result<&'static [u8], BootError> {
    const MAGIC: [u8; 4] = [0xD0, 0x0D, 0xFE, 0xED];
    let none = || BootError::NoDeviceTree(tree);
    if tree == 0 || !tree.is_multiple_of(8) || Range::new(tree, TREE_SIZE).is_none() {
        return Err(none());
    }
    // SAFETY: mapped by `map_early` just below; a bootloader's promise is all there is to say that it is memory.
    let bytes = unsafe { core::slice::from_raw_parts(tree as *const u8, TREE_SIZE as usize) };
    map_early(bytes, None)?;
    let (magic, rest) = bytes.split_at(4);
    let size = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
    let range = Range::new(tree, size.into()).ok_or_else(none)?;
    if magic != MAGIC || range.overlaps(image::whole()) {
        return Err(none());
    }
    bytes.get(..size as usize).ok_or_else(none)
}

/// The map of early boot: image, early UART, `tree`, and `uart` if it is known.
fn map_early(tree: &[u8], uart: Option<Range>) -> Result<(), BootError> {
    let mut map = El2Map::with_image()?;
    for window in [console::early_uart(), uart].into_iter().flatten() {
        map.map(window, Access::Device)?;
    }
    let start = tree.as_ptr() as u64;
    map.map(Range { start, end: start + tree.len() as u64 }, Access::ReadOnly)?;
    // SAFETY: all that is in use: image, console and tree.
    unsafe { map.switch() };
    Ok(())
}

/// The map of loading: all RAM, too, and the window to one page, for registers that decide what there is.
fn map_all_ram(platform: &Platform<'_>, tree: Range) -> Result<(), BootError> {
    let mut map = El2Map::with_image()?;
    if let Some(uart) = platform.uart {
        map.map(uart, Access::Device)?;
    }
    // Not over the image: the pages below its stacks stay unmapped.
    for part in platform.ram.iter().flat_map(|ram| ram.minus(image::whole())) {
        map.map(part, Access::ReadWrite)?;
    }
    map.map(tree, Access::ReadOnly)?;
    for window in smmu3_windows(platform) {
        map.map(window, Access::Device)?;
    }
    map.set_table(fixmap::WINDOW.start, fixmap::table())?;
    // SAFETY: as before, and more.
    unsafe { map.switch() };
    Ok(())
}

/// The map that stays: the image, the carve-out without the pages below the stacks, the console, SMMUv3s, and each CPU's window
/// to two pages ([`fixmap`]) and a block ([`block_window`]). Nothing of the host's, nor of VMs'.
fn keep_map(platform: &Platform<'_>, carve_out: &CarveOut) -> Result<(), BootError> {
    let mut map = El2Map::with_image()?;
    if let Some(uart) = platform.uart {
        map.map(uart, Access::Device)?;
    }
    map.map(carve_out.records, Access::ReadWrite)?;
    map.map(carve_out.frames, Access::ReadWrite)?;
    for stack in stacks(carve_out) {
        map.map(stack, Access::ReadWrite)?;
    }
    for window in smmu3_windows(platform) {
        map.map(window, Access::Device)?;
    }
    let entries = map.set_table(fixmap::WINDOW.start, fixmap::table())?;
    block_window::set_entries(entries)?;
    // SAFETY: the device tree and the host's memory are not touched from here on.
    unsafe { map.switch() };
    let Registers { ttbr0, mair, tcr, sctlr } = map.registers();
    for (slot, value) in SECONDARY_BOOT.iter().zip([mair, tcr, ttbr0, sctlr]) {
        slot.store(value, Ordering::Relaxed);
    }
    cache::clean_to_memory((&raw const SECONDARY_BOOT) as u64, size_of_val(&SECONDARY_BOOT) as u64);
    Ok(())
}

/// The SMMUv3s of the device tree.
fn smmu3s_of<'p>(platform: &'p Platform<'_>) -> impl Iterator<Item = &'p Smmu> {
    platform.smmus.iter().filter(|smmu| smmu.kind == SmmuKind::V3)
}

/// The registers of those that can be driven, which EL2's map has.
fn smmu3_windows(platform: &Platform<'_>) -> impl Iterator<Item = Range> {
    let windows = smmu3s_of(platform).map(|smmu| smmu.window).filter(|window| window.size() >= WINDOW);
    windows.take(MAX_SMMU3S).map(|window| Range { start: window.start, end: window.start + WINDOW })
}

/// Closes all SMMUv3s, and asks them what they can do.
fn close_smmu3s(platform: &Platform<'_>, hardware: &Hardware) -> ArrayVec<Smmu3Config, MAX_SMMU3S> {
    let mut closed = ArrayVec::new();
    for smmu in smmu3s_of(platform) {
        let features = smmu3::close(hardware, smmu.window);
        let config = Smmu3Config { window: smmu.window, features, streams: smmu.streams.clone() };
        if closed.try_push(config).is_err() {
            log::error!(
                "SMMUv3 at {:#x}: one more than is supported; its devices can't reach memory",
                smmu.window.start
            );
        }
    }
    closed
}

/// The table for the host's devices that those can use which can be driven.
fn host_dma(platform: &Platform<'_>, smmus: &[Smmu3Config], ipa_bits: u32) -> Option<HostDma> {
    let usable = || smmus.iter().filter_map(|smmu| smmu.features.ok());
    let doorbells = platform.doorbells.iter().take(MAX_DOORBELLS).copied().collect();
    let ipa_bits = usable().map(|features| features.address_bits).min()?.min(ipa_bits);
    Some(HostDma { ipa_bits, blocks: usable().all(|features| features.splits_blocks), doorbells })
}

fn report_smmu3s(core: &Corevisor<Hardware>) {
    for smmu in core.smmu3s() {
        let Smmu3Config { window, streams, .. } = smmu.config();
        let start = window.start;
        match smmu.trouble(&mut Held::nothing()) {
            Some(why) => log::error!("SMMUv3 at {start:#x} {why}: its devices can't be let through to memory"),
            None => {
                let count: u64 = streams.iter().map(|range| u64::from(range.count)).sum();
                info!("SMMUv3 at {start:#x}: stage 2, {count} streams of the host's devices, all others abort");
                match smmu.streams_out_of_reach(&mut Held::nothing()) {
                    0 => {}
                    n => warn!("SMMUv3 at {start:#x}: {n} of these streams have ids too large to be let through"),
                }
            }
        }
    }
}

/// Each CPU's stack, without the guard page below it.
fn stacks(carve_out: &CarveOut) -> impl Iterator<Item = Range> {
    let all = carve_out.stacks;
    (all.start..all.end)
        .step_by((GUARD_SIZE + STACK_SIZE) as usize)
        .map(|start| Range { start: start + GUARD_SIZE, end: start + GUARD_SIZE + STACK_SIZE })
}

fn set_up_cpus(carve_out: &CarveOut, cpus: usize) {
    for (index, stack) in stacks(carve_out).take(cpus).enumerate() {
        percpu::set_up(index, stack.end);
    }
    percpu::publish();
}

/// The bytes of `range`, for the while of loading.
///
/// # Safety
/// RAM, mapped, and referred to by nothing else for `'a`.
unsafe fn memory<'a>(range: Range) -> &'a mut [u8] {
    // SAFETY: passed on.
    unsafe { core::slice::from_raw_parts_mut(range.start as *mut u8, range.size() as usize) }
}

fn load_kernel(platform: &Platform<'_>, busy: &mut Busy) -> Result<HostImage, BootError> {
    let module = platform.kernel;
    // SAFETY: a module, in RAM (`discover`), which nothing writes while this lives: `plan` keeps clear of it.
    let bytes = unsafe { core::slice::from_raw_parts(module.start as *const u8, module.size() as usize) };
    let host = host_image::plan(platform, busy, bytes)?;
    let how = match host.load {
        Load::InPlace => "in place",
        Load::Copy => "copied",
        Load::Decompress => "decompressed",
    };
    if host.load != Load::InPlace {
        // SAFETY: free RAM, chosen by `plan`.
        let target = unsafe { memory(host.range) };
        let written = host_image::load(&host, bytes, target)?;
        cache::clean_to_memory(host.range.start, written as u64);
        cache::invalidate_instructions();
    }
    info!("host kernel: {} ({how}, module at {:#x})", host.range, module.start);
    Ok(host)
}

/// The keys for images of VMs: those that are built in, and those of the module, if there is one.
fn image_keys(platform: &Platform<'_>) -> Result<ImageKeys, BootError> {
    let mut keys = ImageKeys::built_in()?;
    if let Some(module) = platform.image_keys {
        // SAFETY: a module, in RAM (`discover`), mapped, which nothing writes before the host runs.
        let file = unsafe { core::slice::from_raw_parts(module.start as *const u8, module.size() as usize) };
        keys.add(file)?;
    }
    for fingerprint in keys.fingerprints() {
        info!("key for images of VMs: {fingerprint:016x}");
    }
    if keys.is_empty() {
        warn!("no key for images of VMs: VMs that need a signature can't be loaded");
    }
    Ok(keys)
}

/// Writes the host's device tree to free memory of the host; returns its address.
fn give_tree(fdt: &Fdt<'_>, platform: &Platform<'_>, owned: &[Range], busy: &mut Busy) -> Result<u64, BootError> {
    let room =
        |busy: &Busy, what, size| layout::lowest_hole(platform, busy, size).ok_or(BootError::TooLittleRam(what, size));
    let target = room(busy, "the host's device tree", TREE_SIZE)?;
    busy.push(target);
    // The unflattened tree takes several times the space of the flat one.
    let heap = room(busy, "editing the device tree", fdt.data().len() as u64 * 8 + (1 << 20))?;
    // SAFETY: free RAM of the host's, used by nothing else until the host starts.
    unsafe { HEAP.0.lock().init(heap.start as usize, heap.size() as usize) };
    let view = HostView { owned, page_0: platform.page_0, bootargs: platform.bootargs, ramdisk: platform.ramdisk };
    let tree = host_tree::host_tree(fdt, &view)?;
    // SAFETY: free RAM, just chosen.
    let memory = unsafe { memory(target) };
    let room = memory.get_mut(..tree.len()).ok_or(BootError::Property("a tree of at most 2 MiB"))?;
    room.copy_from_slice(&tree);
    cache::clean_to_memory(target.start, tree.len() as u64);
    drop(tree);
    *HEAP.0.lock() = Heap::new();
    Ok(target.start)
}

/// The host's table as the hardware knows it, and the pages of its first level.
fn host_root(core: &Corevisor<Hardware>) -> (Pa, u64) {
    core.root(HOSTVISOR).unwrap_or_else(|| unreachable!("the host's table is always there"))
}

/// The shadow contexts. Static because they are too large for the boot stack.
static CONTEXTS: [ContextLock; CONTEXT_COUNT] = [const { ContextLock::new(ShadowContext::ZERO) }; CONTEXT_COUNT];
/// What the host has told the interrupt controllers; static for the same reason.
static GIC: GicLock = Lock::new(Gic::NONE);

fn build_core(
    platform: &Platform<'_>,
    regions: MemRegions,
    owned: [Range; 2],
    carve_out: &CarveOut,
    boot_cpu: usize,
    keys: ImageKeys,
) -> Result<Corevisor<Hardware>, BootError> {
    let ipa_bits = host_cpu::physical_address_bits();
    let firmware = firmware();
    info!(
        "firmware: PSCI {}.{}{}",
        firmware.psci_version >> 16,
        firmware.psci_version & 0xFFFF,
        if firmware.smccc_1_1 { ", SMCCC 1.1 or later" } else { "" }
    );
    let vgic = vgic::Hardware::find(platform.gic.ok_or(BootError::NoGic)?, platform.gich);
    info!("virtual interrupt interface: {} list registers", vgic.interface().list_registers);
    // SAFETY: once in a boot; `map_all_ram` and `keep_map` have the windows.
    let hardware = unsafe { Hardware::new(owned, smmu3_windows(platform).collect(), vgic, keys) };
    let smmu3s = close_smmu3s(platform, &hardware);
    let host_dma = host_dma(platform, &smmu3s, ipa_bits);
    let (smmus, undriven) = take_over_smmus(platform, &hardware);
    let undriven = undriven + (smmu3s_of(platform).count() - smmu3s.len()) as u64;
    let dma_policy = DmaPolicy { undriven, required: cfg!(feature = "require-smmu") || platform.requires_smmu() };
    let mut config = Config {
        regions,
        owned: owned.into(),
        smmus,
        smmu3s,
        gic: Default::default(),
        remap_window: REMAP_WINDOW,
        vm_table_pages: layout::vm_table_pages(platform),
        withheld: platform.smmus.iter().map(|smmu| smmu.window).chain(platform.gich).chain(platform.fw_cfg).collect(),
        ipa_bits,
        host_dma,
        dma_policy,
        cpus: HostCpus::new(platform.cpus.iter().copied(), boot_cpu, firmware),
    };
    let count = config.regions.pages() as usize;
    // SAFETY: this part of the carve-out is the ownership table's alone, mapped, aligned, and large enough; the core
    // writes every record before it reads one.
    let records = unsafe { core::slice::from_raw_parts_mut(carve_out.records.start as *mut S2Page, count) };
    // SAFETY: this part of the carve-out is the frame pool's alone.
    let pool = unsafe { FramePool::new(carve_out.frames, carve_out.frames.start as usize) };
    if platform.gic == Some(discover::Gic::V3) {
        config.gic = gic::Config::find(&hardware, &platform.its, &platform.gicr)?;
    }
    Ok(Corevisor::new(hardware, config, records, &CONTEXTS, &GIC, pool)?)
}

/// Takes over the SMMUv2s, whose registers are the host's by emulation; and how many can't be driven.
fn take_over_smmus(platform: &Platform<'_>, hardware: &Hardware) -> (ArrayVec<SmmuConfig, MAX_SMMUS>, u64) {
    let (mut driven, mut undriven) = (ArrayVec::new(), 0);
    for smmu in platform.smmus.iter().filter(|smmu| smmu.kind == SmmuKind::V2) {
        let start = smmu.window.start;
        let taken = mmio::take_over(hardware, smmu.window);
        let room = |config| driven.try_push(config).map(|()| config).map_err(|_| Unusable::OneTooMany);
        match taken.and_then(room) {
            Ok(config) => {
                info!("SMMUv2 at {start:#x}: stage 2, {} context banks; every stream faults", config.context_banks)
            }
            Err(why) => {
                undriven += 1;
                error!("SMMUv2 at {start:#x} can't be driven: {why}");
            }
        }
    }
    (driven, undriven)
}

/// Says what restricts devices, and what follows.
fn report_dma(platform: &Platform<'_>, core: &Corevisor<Hardware>) {
    let refused = "VMs that need protection are refused";
    match core.dma_control() {
        dma_control::DRIVEN => info!("DMA: every SMMU is Corevisor's"),
        dma_control::FAILED => error!("DMA: an SMMU can't be driven; {refused}"),
        _ => {
            let why = if platform.smmus.is_empty() { "no SMMU in the device tree" } else { "no SMMU is driven" };
            warn!("DMA is not restricted ({why}): devices can reach all memory, Corevisor's and VMs' too");
            if core.requires_smmu() {
                warn!("DMA: an SMMU is required; {refused}");
            }
        }
    }
}

/// Has the interrupt controllers use no memory but what they may.
fn take_over_gic(core: &Corevisor<Hardware>) {
    for (its, usable) in core.gic_config().its.iter().zip(core.its_usable(&mut Held::nothing())) {
        if usable {
            info!("GICv3 ITS at {:#x}: tables checked", its.start);
        } else {
            error!("GICv3 ITS at {:#x} does not do as it is told: it is kept off", its.start);
        }
    }
    core.take_over_lpis(|at| {
        error!("LPIs are on at {at:#x}, can't be turned off, and use memory that is not the host's to give");
    });
}

/// Asks the firmware what it is.
pub fn firmware() -> Firmware {
    const PSCI_VERSION: u64 = 0x8400_0000;
    const PSCI_FEATURES: u64 = 0x8400_000A;
    const CPU_SUSPEND: u64 = 0xC400_0001;
    const SMCCC_VERSION: u64 = 0x8000_0000;
    let supported = |result: u64| result as i32 >= 0;
    let psci_version = firmware_call([PSCI_VERSION, 0, 0, 0])[0] as u32;
    let ask = |id| firmware_call([PSCI_FEATURES, id, 0, 0])[0];
    let has_features = psci_version >= 0x1_0000 && supported(psci_version.into());
    let suspend = if has_features { ask(CPU_SUSPEND) } else { 0 };
    Firmware {
        psci_version,
        extended_state: supported(suspend) && suspend & 0b10 != 0,
        smccc_1_1: has_features
            && supported(ask(SMCCC_VERSION))
            && firmware_call([SMCCC_VERSION, 0, 0, 0])[0] as i32 >= 0x1_0001,
    }
}

/// Microseconds that the system counter tells, which starts with the machine on most.
fn uptime_us() -> u64 {
    let (ticks, frequency) = (crate::read_sysreg!("cntpct_el0"), crate::read_sysreg!("cntfrq_el0").max(1));
    (u128::from(ticks) * 1_000_000 / u128::from(frequency)) as u64
}

fn report_platform(platform: &Platform<'_>) {
    info!("Corevisor {} at EL2", env!("CARGO_PKG_VERSION"));
    for ram in &platform.ram {
        info!("RAM: {ram} ({} MiB)", ram.size() >> 20);
    }
    for range in &platform.no_map {
        info!("no-map memory, left to the host as device memory: {range}");
    }
    let gic: &dyn core::fmt::Display = platform.gic.as_ref().map_or(&"no GIC", |gic| gic);
    let timer = if platform.timer { "architected timer" } else { "no architected timer" };
    let bits = host_cpu::physical_address_bits();
    info!("{} CPUs, {gic}, {timer}, {bits}-bit physical addresses", platform.cpus.len());
    match platform.uart {
        Some(uart) => info!("console: PL011 at {:#x}", uart.start),
        None => info!("console: none, the log is in memory only"),
    }
    for smmu in &platform.smmus {
        info!("SMMU registers withheld from the host: {}", smmu.window);
        for streams in &smmu.streams {
            info!("streams of devices in front of this {}: {streams}", smmu.kind);
        }
    }
    if cfg!(feature = "unsigned-vms") {
        warn!("unsigned VMs are possible: this is an image for tests");
    }
    if !platform.smmus.is_empty() && !platform.past_smmus.is_empty() {
        warn!("no SMMU is in front of {}: nothing restricts their DMA", platform.past_smmus);
    }
}

fn report_memory(regions: &MemRegions, carve_out: &CarveOut) {
    let ram: u64 = regions.tracked().map(Range::size).sum();
    info!("image: {} ({} KiB)", image::whole(), image::whole().size() / 1024);
    info!(
        "carve-out: {} ({} KiB of {} MiB RAM: ownership table {} KiB, stacks {} KiB, table frames {} KiB)",
        carve_out.range,
        carve_out.range.size() / 1024,
        ram >> 20,
        carve_out.records.size() / 1024,
        carve_out.stacks.size() / 1024,
        carve_out.frames.size() / 1024,
    );
    debug_assert!(carve_out.range.start.is_multiple_of(PAGE_SIZE));
}
