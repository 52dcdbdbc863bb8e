// SPDX-License-Identifier: GPL-2.0-only
//! The device tree that Corevisor has given its host.

use super::harness::tree_address;
use arrayvec::ArrayVec;
use core::ops::Range;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};
use spin::Once;

/// The tree.
pub fn fdt() -> Fdt<'static> {
    let at = tree_address() as *const u8;
    // SAFETY: x0 at the entry; Corevisor leaves it in the host's memory, where nobody writes it.
    let size = u32::from_be_bytes(unsafe { at.add(4).cast::<[u8; 4]>().read() });
    // SAFETY: as above.
    let bytes = unsafe { core::slice::from_raw_parts(at, size as usize) };
    Fdt::new(bytes).expect("the device tree is well-formed")
}

/// The root.
pub fn root() -> FdtNode<'static> {
    fdt().root()
}

/// The node at `path`.
pub fn node(path: &str) -> Option<FdtNode<'static>> {
    fdt().find_node(path)
}

/// The value of a property that must be there.
pub fn value(node: FdtNode<'static>, name: &str) -> &'static [u8] {
    let found = node.properties().find(|property| property.name() == name);
    found.unwrap_or_else(|| panic!("{name} of {}", node.name())).value_as().expect("bytes")
}

/// The ranges of `node`'s `reg`.
pub fn ranges(node: FdtNode<'static>) -> impl Iterator<Item = Range<u64>> {
    node.reg().expect("reg is well-formed").into_iter().flatten().map(|reg| {
        let start: u64 = reg.address().expect("64 bits");
        let size: u64 = reg.size().expect("64 bits");
        start..start + size
    })
}

/// A few ranges.
type Ranges = ArrayVec<Range<u64>, 8>;

/// RAM.
pub fn ram() -> impl Iterator<Item = Range<u64>> {
    static RAM: Once<Ranges> = Once::new();
    let find = || root().children().filter(|n| n.name_without_address() == "memory").flat_map(ranges).collect();
    RAM.call_once(find).iter().cloned()
}

/// What is reserved for Corevisor.
pub fn corevisor() -> impl Iterator<Item = Range<u64>> {
    static COREVISOR: Once<Ranges> = Once::new();
    let find = || {
        let reserved = node("/reserved-memory").expect("/reserved-memory");
        reserved.children().filter(|n| n.name_without_address() == "corevisor").flat_map(ranges).collect()
    };
    COREVISOR.call_once(find).iter().cloned()
}

/// Whether `address` is one of Corevisor's.
pub fn is_corevisors(address: u64) -> bool {
    corevisor().any(|range| range.contains(&address))
}

/// Number of CPUs.
pub fn cpus() -> usize {
    node("/cpus").map_or(0, |cpus| cpus.children().filter(|n| n.name_without_address() == "cpu").count())
}

/// All nodes below the root, to the depth that `virt` has.
pub fn all() -> impl Iterator<Item = FdtNode<'static>> {
    root().children().flat_map(|child| core::iter::once(child).chain(child.children()))
}

/// The first node that is compatible with `name`.
pub fn compatible(name: &str) -> Option<FdtNode<'static>> {
    all().find(|node| node.is_compatible(name))
}

/// The address of the console's UART.
pub fn console() -> Option<u64> {
    let path = node("/chosen")?.property("stdout-path")?;
    let path = core::str::from_utf8(path.value()).ok()?.trim_end_matches('\0');
    Some(ranges(node(path.split(':').next()?)?).next()?.start)
}

/// The words of the payload's command line.
pub fn options() -> impl Iterator<Item = &'static str> {
    let text = node("/chosen").map_or(&[][..], |chosen| value(chosen, "bootargs"));
    core::str::from_utf8(text).unwrap_or("").trim_end_matches('\0').split(' ')
}
