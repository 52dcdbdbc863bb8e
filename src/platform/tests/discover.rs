// SPDX-License-Identifier: GPL-2.0-only
//! Reading the tree.

use super::{add_cpus, cells, child, device, module, set, set_cells, virt, virt_with};
use crate::addr::Range;
use crate::memory::MAX_REGIONS;
use crate::platform::discover::{Gic, Platform, console, discover};
use crate::platform::host_tree::{HostView, host_tree};
use crate::platform::{BootError, layout};
use crate::refused::Refused;
use crate::world::range;
use dtoolkit::error::FdtParseError;
use dtoolkit::fdt::Fdt;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::DeviceTree;
use proptest::prelude::{any, prop};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const NO_PSCI: &str = "no PSCI 0.2 or later by SMC, or CPUs that are not started by it";

/// What [`discover`] finds in an edited [`virt`].
pub(super) fn with<T>(
    edit: impl FnOnce(&mut DeviceTree),
    look: impl FnOnce(Result<Platform<'_>, BootError>) -> T,
) -> T {
    let dtb = virt_with(edit);
    look(discover(Fdt::new(&dtb).unwrap()))
}

/// The line that boot ends with.
pub(super) fn error(edit: impl FnOnce(&mut DeviceTree)) -> String {
    with(edit, |found| found.err().map(|e| e.to_string()).unwrap_or_default())
}

pub(super) fn node<'t>(tree: &'t mut DeviceTree, path: &str) -> &'t mut dtoolkit::model::DeviceTreeNode {
    tree.find_node_mut(path).unwrap()
}

#[test]
fn qemu_virt() {
    with(
        |_| {},
        |found| {
            let found = found.unwrap();
            assert_eq!(found.ram[..], [range(0x4000_0000, 0x4000_0000)]);
            assert!(found.no_map.is_empty() && found.reserved.is_empty() && !found.page_0);
            assert_eq!(found.cpus[..], [0, 1]);
            assert_eq!((found.gic, found.psci, found.timer), (Some(Gic::V3), true, true));
            assert_eq!(found.uart, Some(range(0x0900_0000, 0x1000)));
            assert!(found.smmus.is_empty());
            assert_eq!(found.its[..], [range(0x0808_0000, 0x2_0000)]);
            assert_eq!(found.doorbells[..], [range(0x0809_0000, 0x1000)]);
            assert_eq!(found.gicr.regions[..], [range(0x080A_0000, 0xF6_0000)]);
            assert_eq!(found.gicr.stride, None);
            assert_eq!(found.kernel, range(0x4400_0000, 0x123_4567));
            assert_eq!(found.ramdisk, Some(range(0x4800_0000, 0x10_0001)));
            assert_eq!((found.bootargs, found.own_bootargs), (Some("console=ttyAMA0"), "corevisor.log=debug"));
        },
    );
}

#[test]
fn the_bootloader_may_require_an_smmu() {
    let requires = |args: &'static str| {
        let edit = move |tree: &mut DeviceTree| set(node(tree, "/chosen"), "bootargs", args);
        with(edit, |found| found.unwrap().requires_smmu())
    };
    for (args, required) in [
        ("", false),
        ("loglevel=debug", false),
        ("require-smmu", true),
        ("a  require-smmu b", true),
        ("no-require-smmu", false),
    ] {
        assert_eq!(requires(args), required, "{args}");
    }
}

#[test]
fn gic_v2_by_each_of_its_names() {
    for name in ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic"] {
        with(
            |tree| set(node(tree, "/intc@8000000"), "compatible", name),
            |found| {
                assert_eq!(found.unwrap().gic, Some(Gic::V2), "{name}");
            },
        );
    }
}

#[test]
fn the_hypervisors_registers_of_a_gicv2_are_found() {
    const WINDOWS: [u64; 4] = [0x0800_0000, 0x0801_0000, 0x0803_0000, 0x0804_0000];
    let gich = |windows: usize, size: u64| {
        let reg = WINDOWS.iter().take(windows).flat_map(|&start| [start, size]).collect::<Vec<_>>();
        with(
            |tree| {
                let intc = node(tree, "/intc@8000000");
                set(intc, "compatible", "arm,cortex-a15-gic");
                set(intc, "reg", cells(&reg).as_slice());
            },
            |found| found.unwrap().gich,
        )
    };
    assert_eq!(gich(4, 0x1_0000), Some(range(0x0803_0000, 0x1_0000)));
    assert_eq!(gich(3, 0x200), Some(range(0x0803_0000, 0x2000)), "with those of other CPUs");
    assert_eq!(gich(2, 0x1_0000), None, "a GICv2 without them");
    with(|_| {}, |found| assert_eq!(found.unwrap().gich, None, "a GICv3"));
}

#[test]
fn redistributors_of_a_gicv3() {
    let gicr = |regions: Option<u32>, stride: Option<Vec<u32>>| {
        with(
            |tree| {
                let intc = node(tree, "/intc@8000000");
                let reg = [0x0800_0000, 0x1_0000, 0x080A_0000, 0xF6_0000, 0x40_0000_0000, 0x400_0000, 0x1000, 0x1000];
                set(intc, "reg", cells(&reg).as_slice());
                if let Some(regions) = regions {
                    set(intc, "#redistributor-regions", regions);
                }
                if let Some(stride) = stride {
                    set(intc, "redistributor-stride", stride);
                }
            },
            |found| found.map(|f| (f.gicr.regions.to_vec(), f.gicr.stride)).map_err(|e| e.to_string()),
        )
    };
    let both = vec![range(0x080A_0000, 0xF6_0000), range(0x40_0000_0000, 0x400_0000)];
    assert_eq!(gicr(None, None), Ok((both[..1].to_vec(), None)));
    assert_eq!(gicr(Some(2), None), Ok((both.clone(), None)));
    assert_eq!(gicr(Some(2), Some(vec![0, 0x4_0000])), Ok((both.clone(), Some(0x4_0000))));
    assert_eq!(gicr(Some(2), Some(vec![0x2_0000])), Ok((both, Some(0x2_0000))));
    let malformed = "device tree unreadable: a GICv3's redistributors is missing or malformed";
    for (regions, stride) in [
        (Some(3), None), // not a multiple of 64 KiB
        (Some(4), None), // not there
        (Some(u32::MAX), None),
        (None, Some(vec![0x1000])),
        (None, Some(vec![0, 0])),
        (None, Some(vec![0, 0x2_0000, 0])),
    ] {
        assert_eq!(gicr(regions, stride).err().as_deref(), Some(malformed));
    }
}

#[test]
fn what_devices_write_to_for_an_interrupt() {
    let frame = |tree: &mut DeviceTree, name: &str, start: u64| {
        device(node(tree, "/intc@8000000"), name, &["arm,gic-v2m-frame"], &[start, 0x1000]);
    };
    with(
        |tree| {
            frame(tree, "v2m@8020000", 0x0802_0000);
            frame(tree, "v2m@8030800", 0x0803_0800);
            set(node(tree, "/intc@8000000/its@8080000"), "reg", cells(&[0x0808_0000, 0x1_0000]));
        },
        |found| {
            let found = found.unwrap();
            let pages = [0x0809_0000, 0x0802_0000, 0x0803_0000].map(|page| range(page, 0x1000));
            assert_eq!(found.doorbells[..], pages);
            assert_eq!(found.its[..], [range(0x0808_0000, 0x2_0000)], "as large as they are, whatever the tree says");
        },
    );
    with(
        |tree| set(node(tree, "/intc@8000000/its@8080000"), "status", "disabled"),
        |found| {
            let found = found.unwrap();
            assert!(found.its.is_empty() && found.doorbells.is_empty());
        },
    );
    let its = |reg: &'static [u64]| error(|tree| set(node(tree, "/intc@8000000/its@8080000"), "reg", cells(reg)));
    let malformed = "device tree unreadable: an ITS's reg is missing or malformed";
    for reg in [&[][..], &[0x0808_1000, 0x2_0000], &[u64::MAX - 0xFFFF, 0x8000], &[0x0808_0000]] {
        assert_eq!(its(reg), malformed, "{reg:x?}");
    }
    let no_reg = |tree: &mut DeviceTree| _ = device(node(tree, "/intc@8000000"), "v2m", &["arm,gic-v2m-frame"], &[]);
    assert_eq!(error(no_reg), "device tree unreadable: a GICv2m frame's reg is missing or malformed");
    let many = |tree: &mut DeviceTree| (0..8).for_each(|i| frame(tree, &format!("v2m@{i}"), i << 16));
    assert_eq!(error(many), "too many pages that interrupts are written to: at most 8 are supported");
    let many = |tree: &mut DeviceTree| {
        for i in 0..8u64 {
            device(&mut tree.root, &format!("its@{i}"), &["arm,gic-v3-its"], &[i << 20, 0x2_0000]);
        }
    };
    assert_eq!(error(many), "too many ITSs: at most 8 are supported");
}

fn uart(edit: impl FnOnce(&mut DeviceTree)) -> Option<u64> {
    let dtb = virt_with(|tree| {
        let second = device(&mut tree.root, "pl011@9040000", &["arm,pl011"], &[0x0904_0000, 0x1000]);
        set(second, "clock-names", "uartclk");
        let aliases = child(&mut tree.root, "aliases");
        set(aliases, "serial0", "/pl011@9000000");
        set(aliases, "serial1", "/pl011@9040000");
        edit(tree);
    });
    let fdt = Fdt::new(&dtb).unwrap();
    let found = discover(fdt).unwrap().uart;
    assert_eq!(console(fdt), found);
    found.map(|r| r.start)
}

#[test]
fn the_console_is_what_stdout_path_names() {
    let stdout = |path: &'static str| uart(move |tree| set(node(tree, "/chosen"), "stdout-path", path));
    assert_eq!(stdout("/pl011@9040000"), Some(0x0904_0000));
    assert_eq!(stdout("/pl011@9040000:115200n8"), Some(0x0904_0000));
    assert_eq!(stdout("serial1"), Some(0x0904_0000));
    assert_eq!(stdout("serial1:115200n8"), Some(0x0904_0000));
    assert_eq!(stdout("serial0"), Some(0x0900_0000));
    // Else any.
    for none in ["", ":", "serial7", "/nothing", "/chosen"] {
        assert_eq!(stdout(none), Some(0x0900_0000), "{none:?}");
    }
    assert_eq!(uart(|tree| _ = node(tree, "/chosen").remove_property("stdout-path")), Some(0x0900_0000));
    assert_eq!(uart(|tree| set(node(tree, "/pl011@9000000"), "status", "disabled")), Some(0x0904_0000));
    let neither = uart(|tree| {
        set(node(tree, "/pl011@9000000"), "status", "disabled");
        set(node(tree, "/pl011@9040000"), "status", "reserved");
    });
    assert_eq!(neither, None);
}

/// A bus of one address and one size cell at /soc, a second in it, and a PL011 in that at 0x100.
fn nested(outer: Vec<u32>, inner: Option<Vec<u32>>) -> Option<u64> {
    uart(|tree| {
        tree.root.remove_child("pl011@9000000");
        tree.root.remove_child("pl011@9040000");
        let soc = child(&mut tree.root, "soc");
        set_cells(soc, 1, 1);
        set(soc, "ranges", outer);
        let bus = child(soc, "bus@0");
        set_cells(bus, 1, 1);
        if let Some(inner) = inner {
            set(bus, "ranges", inner);
        }
        let uart = device(bus, "serial@100", &["arm,pl011"], &[]);
        set(uart, "reg", [0x100u32, 0x100]);
    })
}

#[test]
fn registers_behind_buses_are_translated() {
    // child address (1 cell), parent address (2 cells at /soc, 1 at the inner bus), length (1 cell)
    let soc = vec![0x1000_0000u32, 8, 0x2000_0000, 0x100_0000];
    assert_eq!(nested(soc.clone(), Some(vec![0, 0x1000_4000, 0x1000])), Some(0x8_2000_4100));
    assert_eq!(nested(vec![], Some(vec![])), Some(0x100), "empty ranges are the identity");
    assert_eq!(nested(soc.clone(), Some(vec![0, 0x1100_0000, 0x1000])), None, "outside the outer window");
    assert_eq!(nested(soc.clone(), Some(vec![0x180, 0x1000_4000, 0x1000])), None, "half outside the inner");
    assert_eq!(nested(soc.clone(), None), None, "no way through");
    let two = vec![0x8000, 0x1000_0000, 0x1000, 0, 0x1000_8000, 0x1000];
    assert_eq!(nested(soc, Some(two)), Some(0x8_2000_8100), "the window that holds it");
}

#[test]
fn modules_take_the_cells_of_chosen_or_of_the_root() {
    let own_cells = |tree: &mut DeviceTree| {
        let chosen = node(tree, "/chosen");
        set_cells(chosen, 1, 1);
        set(chosen.child_mut("module@44000000").unwrap(), "reg", [0x4400_0000u32, 0x1000]);
        set(chosen.child_mut("module@48000000").unwrap(), "reg", [0x4800_0000u32, 0x2000]);
    };
    with(own_cells, |found| {
        let found = found.unwrap();
        assert_eq!((found.kernel, found.ramdisk), (range(0x4400_0000, 0x1000), Some(range(0x4800_0000, 0x2000))));
    });
    with(
        |tree| _ = node(tree, "/chosen").remove_child("module@48000000"),
        |found| assert_eq!(found.unwrap().ramdisk, None),
    );
}

/// A module with keys at `start`.
fn keys(tree: &mut DeviceTree, start: u64, size: u64) {
    let names = ["corevisor,image-keys", "multiboot,module"];
    device(node(tree, "/chosen"), &format!("module@{start:x}"), &names, &[start, size]);
}

#[test]
fn keys_for_images_come_as_a_module() {
    with(|_| {}, |found| assert_eq!(found.unwrap().image_keys, None));
    with(
        |tree| keys(tree, 0x4A00_0000, 64),
        |found| {
            let found = found.unwrap();
            assert_eq!(found.image_keys, Some(range(0x4A00_0000, 64)));
            assert_eq!(found.modules().map(|(name, _)| name).collect::<Vec<_>>(), ["kernel", "ramdisk", "image keys"]);
        },
    );
}

fn memory(found: Result<Platform<'_>, BootError>) -> (Vec<Range>, bool) {
    let found = found.unwrap();
    (found.ram.to_vec(), found.page_0)
}

#[test]
fn memory_is_cut_to_whole_pages_and_page_0_left_out() {
    let add = |reg: &'static [u64]| {
        move |tree: &mut DeviceTree| {
            let more = child(&mut tree.root, "memory@0");
            set(more, "device_type", "memory");
            set(more, "reg", cells(reg));
        }
    };
    let base = range(0x4000_0000, 0x4000_0000);
    assert_eq!(with(add(&[0, 0x10_0000]), memory), (vec![base, range(0x1000, 0xF_F000)], true));
    assert_eq!(with(add(&[0x800, 0x2000]), memory), (vec![base, range(0x1000, 0x1000)], true));
    assert_eq!(with(add(&[0, 0x1000]), memory), (vec![base], true));
    assert_eq!(with(add(&[0x1_0001, 0x2FFF]), memory), (vec![base, range(0x1_1000, 0x2000)], false));
    assert_eq!(with(add(&[0x1_0001, 0x1FFE]), memory), (vec![base], false));
    assert_eq!(with(add(&[0x1_0000, 0, u64::MAX, 1, u64::MAX - 0xFFF, 0x2000]), memory), (vec![base], false));
    let off = |tree: &mut DeviceTree| {
        add(&[0x10_0000, 0x10_0000])(tree);
        set(node(tree, "/memory@0"), "status", "disabled");
    };
    assert_eq!(with(off, memory), (vec![base], false));
}

#[test]
fn reservations_are_told_from_memory_that_is_not_to_be_mapped() {
    let edit = |tree: &mut DeviceTree| {
        tree.memory_reservations = vec![MemoryReservation::new(0x4100_0000, 0x800)];
        let reserved = child(&mut tree.root, "reserved-memory");
        set_cells(reserved, 2, 2);
        set(reserved, "ranges", [0u8; 0]);
        let optee = child(reserved, "optee@7e000800");
        set(optee, "reg", cells(&[0x7E00_0800, 0x1000]));
        set(optee, "no-map", [0u8; 0]);
        let buffer = child(reserved, "buffer@50000000");
        set(buffer, "reg", cells(&[0x5000_0000, 0x100]));
        set(child(reserved, "pool"), "size", cells(&[0x40_0000])); // placed by the host
    };
    with(edit, |found| {
        let found = found.unwrap();
        assert_eq!(found.no_map[..], [range(0x7E00_0000, 0x2000)]);
        assert_eq!(found.reserved[..], [range(0x4100_0000, 0x800), range(0x5000_0000, 0x100)]);
        let regions = layout::regions(&found).unwrap();
        let tracked: Vec<_> = regions.iter().map(|r| (r.range, r.index)).collect();
        assert_eq!(tracked, [(found.ram[0], Some(0)), (found.no_map[0], None)]);
    });
}

/// `ram` more regions of RAM and `no_map` of what must not be mapped.
fn many(tree: &mut DeviceTree, ram: u64, no_map: u64) {
    let memory = node(tree, "/memory@40000000");
    let mut reg = vec![0x4000_0000, 0x4000_0000];
    reg.extend((0..ram).flat_map(|i| [(4 + i) << 30, 0x10_0000]));
    set(memory, "reg", cells(&reg));
    let reserved = child(&mut tree.root, "reserved-memory");
    set_cells(reserved, 2, 2);
    for i in 0..no_map {
        let hole = child(reserved, &format!("hole@{i:x}"));
        set(hole, "reg", cells(&[0x7000_0000 + i * 0x1_0000, 0x1000]));
        set(hole, "no-map", [0u8; 0]);
    }
}

#[test]
fn as_many_regions_as_there_are_records_for() {
    let max = MAX_REGIONS as u64;
    for (ram, no_map) in [(max - 1, 0), (0, max - 1), (max / 2 - 1, max / 2)] {
        with(|tree| many(tree, ram, no_map), |found| assert!(layout::regions(&found.unwrap()).is_ok()));
        for (more_ram, more_no_map) in [(1, 0), (0, 1)] {
            let line = error(|tree| many(tree, ram + more_ram, no_map + more_no_map));
            assert_eq!(line, "too many memory regions: at most 32 are supported");
        }
    }
}

#[test]
fn memory_that_is_named_twice_is_malformed() {
    for second in [[0x4000_0000, 0x4000_0000], [0x7FFF_F000, 0x2000], [0x3000_0000, 0x2000_0000], [0x5000_0000, 0x1000]]
    {
        let line = error(|tree| {
            let more = child(&mut tree.root, "memory@0");
            set(more, "device_type", "memory");
            set(more, "reg", cells(&second));
        });
        assert_eq!(line, "device tree unreadable: /memory is missing or malformed", "{second:x?}");
    }
}

fn cpus(count: u32) -> impl FnOnce(&mut DeviceTree) {
    move |tree| {
        tree.root.remove_child("cpus");
        add_cpus(&mut tree.root, count);
    }
}

#[test]
fn up_to_64_cpus_started_by_psci() {
    with(cpus(64), |found| assert_eq!(found.unwrap().cpus.len(), 64));
    assert_eq!(error(cpus(65)), "too many CPUs: 65 (at most 64)");
    assert_eq!(error(cpus(100)), "too many CPUs: 100 (at most 64)");
    assert_eq!(error(cpus(0)), "device tree unreadable: /cpus is missing or malformed");
    let spin_table = |tree: &mut DeviceTree| set(node(tree, "/cpus/cpu@1"), "enable-method", "spin-table");
    assert!(error(spin_table).starts_with(NO_PSCI));
    assert!(error(|tree| _ = tree.root.remove_child("psci")).starts_with(NO_PSCI));
    assert!(error(|tree| set(node(tree, "/psci"), "method", "hvc")).starts_with(NO_PSCI));
    // Two cells, and CPUs that failed.
    let edit = |tree: &mut DeviceTree| {
        set(node(tree, "/cpus"), "#address-cells", 2u32);
        set(node(tree, "/cpus/cpu@0"), "reg", cells(&[0x1_0000_0002]));
        set(node(tree, "/cpus/cpu@1"), "status", "fail");
    };
    with(edit, |found| assert_eq!(found.unwrap().cpus[..], [0x1_0000_0002]));
    let line = error(|tree| set(node(tree, "/cpus/cpu@1"), "reg", [1u32, 2, 3]));
    assert_eq!(line, "device tree unreadable: a CPU's reg is missing or malformed");
}

#[test]
fn bad_trees_end_in_a_line_that_says_why() {
    type Edit = fn(&mut DeviceTree);
    let rows: [(Edit, &str); 16] = [
        (|t| _ = t.root.remove_child("memory@40000000"), "device tree unreadable: /memory is missing"),
        (|t| set(node(t, "/memory@40000000"), "reg", cells(&[0x4000_0000])), "device tree unreadable: "),
        (|t| _ = node(t, "/memory@40000000").remove_property("reg"), "device tree unreadable: reg is missing"),
        (|t| _ = t.root.remove_child("cpus"), "device tree unreadable: "),
        (|t| _ = t.root.remove_child("intc@8000000"), "no GICv3 or GICv2 in the device tree"),
        (|t| set(node(t, "/intc@8000000"), "status", "disabled"), "no GICv3 or GICv2 in the device tree"),
        (|t| _ = t.root.remove_child("chosen"), "no host kernel: "),
        (|t| _ = node(t, "/chosen").remove_child("module@44000000"), "no host kernel: "),
        (|t| _ = node(t, "/chosen/module@44000000").remove_property("reg"), "device tree unreadable: "),
        (
            |t| set(node(t, "/chosen/module@44000000"), "reg", cells(&[0x8000_0000, 0x1000])),
            "module kernel outside RAM: 0x0000000080000000 - 0x0000000080001000",
        ),
        (
            |t| set(node(t, "/chosen/module@48000000"), "reg", cells(&[0x7FFF_F000, 0x1001])),
            "module ramdisk outside RAM: ",
        ),
        (|t| set(node(t, "/chosen/module@48000000"), "reg", cells(&[u64::MAX, 0x1001])), "device tree unreadable: "),
        (
            |t| set(node(t, "/chosen/module@48000000"), "reg", cells(&[0x4512_3000, 0x1000])),
            "modules overlap: kernel 0x0000000044000000 - 0x0000000045234567 and ramdisk ",
        ),
        (|t| keys(t, 0x3FFF_FFFF, 32), "module image keys outside RAM: "),
        (
            |t| keys(t, 0x4480_0000, 32),
            "modules overlap: kernel 0x0000000044000000 - 0x0000000045234567 and image keys ",
        ),
        (
            |t| keys(t, 0x4810_0000, 32),
            "modules overlap: ramdisk 0x0000000048000000 - 0x0000000048100001 and image keys ",
        ),
    ];
    for (edit, start) in rows {
        let line = error(edit);
        assert!(line.starts_with(start), "{line:?} is not {start:?}");
    }
}

#[test]
fn every_error_prints_as_one_line() {
    let r = range(0x1000, 0x1000);
    let rows = [
        (BootError::ExceptionLevel(1), "entered at EL1, Corevisor needs EL2"),
        (BootError::FixedE2h, "this CPU has no EL2 without VHE"),
        (BootError::NoDeviceTree(8), "device tree unreadable: x0=0x8 points to none"),
        (BootError::from(Fdt::new(b"no tree").err().unwrap()), "device tree unreadable: "),
        (BootError::Property("x"), "device tree unreadable: x is missing or malformed"),
        (BootError::NoHostKernel, "no host kernel: "),
        (BootError::ModuleOutsideRam("kernel", r), "module kernel outside RAM: "),
        (BootError::ModulesOverlap("a", r, "b", r), "modules overlap: a "),
        (BootError::NoImageMagic(64), "host kernel has no arm64 Image magic at 0x40"),
        (BootError::BadImageHeader("x"), "host kernel has a bad Image header: x"),
        (BootError::BadGzip("x"), "host kernel is gzip-compressed but broken: x"),
        (BootError::ImageKeys("x"), "keys for images of VMs: a file x"),
        (BootError::TooLittleRam("x", 1025), "too little RAM: no free 2 KiB for x"),
        (BootError::NoGic, "no GICv3 or GICv2 in the device tree"),
        (BootError::NoPsci, NO_PSCI),
        (BootError::TooManyCpus(65), "too many CPUs: 65 (at most 64)"),
        (BootError::TooManyRegions, "too many memory regions: at most 32 are supported"),
        (BootError::TooMany("SMMUs", 8), "too many SMMUs: at most 8 are supported"),
        (BootError::UnknownBootCpu(0x101), "device tree names no CPU with MPIDR 0x101"),
        (BootError::Core(Refused::OutOfReach), "the core can't be set up: "),
    ];
    for (error, start) in rows {
        let line = error.to_string();
        assert!(line.starts_with(start) && !line.contains('\n'), "{line:?} is not {start:?}");
    }
}

/// All that boot does with a tree; must return.
fn use_tree(bytes: &[u8]) -> Result<(), FdtParseError> {
    let fdt = Fdt::new(bytes)?;
    let _ = console(fdt);
    if let Ok(found) = discover(fdt) {
        let regions = layout::regions(&found);
        if let (Ok(regions), Ok(mut busy)) =
            (regions, layout::busy(&found, range(0x4020_0000, 0x10_0000), range(0x4800_0000, 0x1_0000)))
        {
            let _ = layout::carve_out(&found, &regions, &mut busy);
        }
        let view = HostView { owned: &[], page_0: found.page_0, bootargs: found.bootargs, ramdisk: found.ramdisk };
        let tree = host_tree(&fdt, &view).unwrap();
        assert!(Fdt::new(&tree).is_ok());
    }
    Ok(())
}

#[test]
fn a_truncated_tree_is_an_error_at_every_length() {
    let dtb = virt().to_dtb();
    use_tree(&dtb).unwrap();
    for length in 0..dtb.len() {
        assert!(use_tree(&dtb[..length]).is_err(), "{length} bytes");
        // The header says that this is all there is.
        let mut shorter = dtb[..length].to_vec();
        if length >= 8 {
            shorter[4..8].copy_from_slice(&(length as u32).to_be_bytes());
            assert!(use_tree(&shorter).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn a_damaged_tree_is_read_or_refused() {
    let dtb = virt_with(|tree| {
        let smmu = device(&mut tree.root, "smmuv3@9050000", &["arm,smmu-v3"], &[0x0905_0000, 0x2_0000]);
        set(smmu, "phandle", 0x8004u32);
        let nic = device(&mut tree.root, "nic@a010000", &["vendor,nic"], &[0x0A01_0000, 0x1000]);
        set(nic, "iommus", [0x8004u32, 7, 0x8004, 0x100]);
        many(tree, 3, 3);
        module(tree, "spare", 0x4A00_0000, 0x1000);
    });
    let cases = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96);
    let config = Config { cases: 20 * cases, failure_persistence: None, ..Config::default() };
    let damage = prop::collection::vec((0..dtb.len(), any::<u8>()), 1..4);
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = TestRunner::new_with_rng(config, seed).run(&damage, |damage| {
        let mut damaged = dtb.clone();
        for (at, value) in damage {
            damaged[at] = value;
        }
        let _ = use_tree(&damaged);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}
