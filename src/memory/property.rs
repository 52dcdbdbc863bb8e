// SPDX-License-Identifier: GPL-2.0-only
//! Random sequences of what the host and a VM can do to memory, against a model that has no tables: a state for
//! each page. `COREVISOR_CASES` sets how many sequences are tried.

use crate::abi::stat;
use crate::addr::{COREVISOR, HOSTVISOR, Ipa, PAGE_SIZE, PMD_SIZE, Range, Vmid};
use crate::lock::Held;
use crate::npt::{HostDma, PAGE_S2_DEVICE, PAGE_S2_KERNEL, S2_RDWR};
use crate::refused::Refused;
use crate::trap::{HostAbort, Syndrome, Verdict};
use crate::world::{Core, GIB, MIB, TAKER, World, give, host_view, ipa, pfn, range, stat, take};
use proptest::prelude::{Strategy, prop, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

/// How the host reaches a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    Ram,
    Device,
    Not,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The host touches the address: by its TLB, by a walk, or by a fault that Corevisor handles.
    Touch(u64),
    /// A fault is handled for which another CPU has long found the mapping.
    StaleFault(u64),
    Take(u64),
    Give(u64),
}

/// The reference: pages that the VM has taken, pages given back but not touched since, and device memory touched,
/// by pages or by the 2 MiB.
struct Model {
    world: World,
    taken: BTreeSet<u64>,
    unmapped: BTreeSet<u64>,
    devices: BTreeSet<u64>,
    device_blocks: BTreeSet<u64>,
    counters: BTreeMap<u64, u64>,
}

fn within(ranges: &[Range], page: u64) -> bool {
    ranges.iter().any(|r| r.contains(page))
}

impl Model {
    fn is_ram(&self, page: u64) -> bool {
        within(&self.world.ram, page) && !within(&self.world.no_map, page)
    }

    fn is_corevisors(&self, page: u64) -> bool {
        within(&self.world.owned(), page)
    }

    fn may_touch(&self, page: u64) -> bool {
        page >> self.world.ipa_bits == 0 && !within(&self.world.withheld, page) && !self.is_lost(page)
    }

    /// Whether it is somebody's, but not the host's.
    fn is_lost(&self, page: u64) -> bool {
        self.is_corevisors(page) || self.taken.contains(&page)
    }

    fn takes_block(&self, page: u64) -> bool {
        let block = range(page & !(PMD_SIZE - 1), PMD_SIZE);
        let world = &self.world;
        ![&world.ram, &world.no_map, &world.withheld].into_iter().flatten().any(|r| r.overlaps(block))
    }

    fn reach(&self, page: u64) -> Reach {
        match () {
            () if !self.is_ram(page) => {
                let block = page & !(PMD_SIZE - 1);
                if self.devices.contains(&page) || self.device_blocks.contains(&block) {
                    Reach::Device
                } else {
                    Reach::Not
                }
            }
            () if self.is_lost(page) || self.unmapped.contains(&page) => Reach::Not,
            () => Reach::Ram,
        }
    }

    fn count(&mut self, counter: u64) {
        *self.counters.entry(counter).or_default() += 1;
    }

    /// A fault at `page`; whether the access may be tried again.
    fn fault(&mut self, page: u64) -> bool {
        if !self.may_touch(page) {
            self.count(stat::REFUSED_ACCESS);
            return false;
        }
        if self.is_ram(page) {
            self.unmapped.remove(&page);
            self.count(stat::HOST_FAULT_RAM);
        } else {
            match self.takes_block(page) {
                true => self.device_blocks.insert(page & !(PMD_SIZE - 1)),
                false => self.devices.insert(page),
            };
            self.count(stat::HOST_FAULT_DEVICE);
        }
        true
    }
}

fn abort_at(ipa: Ipa) -> HostAbort {
    // A data abort from EL1, translation fault at level 3.
    let syndrome = Syndrome((0x24 << 26) | Syndrome::IL | 0b0111);
    HostAbort { syndrome, far: 0xFFFF_0000_1234_5000, hpfar: ipa.as_u64() >> 12 << 4, pc: 0xFFFF_8000_0000_1000 }
}

fn reached(core: &Core, at: Ipa) -> Reach {
    let Ok(leaf) = core.machine().access(HOSTVISOR, at) else { return Reach::Not };
    assert_eq!(leaf.pa(at), at.as_u64(), "the identity");
    match leaf.attributes() | 0b10 {
        PAGE_S2_KERNEL => Reach::Ram,
        other if other == PAGE_S2_DEVICE | S2_RDWR => Reach::Device,
        other => panic!("attributes {other:#x} at {at}"),
    }
}

fn perform(core: &Core, model: &mut Model, step: Step) {
    let mut nothing = Held::nothing();
    match step {
        Step::Touch(address) | Step::StaleFault(address) => {
            let page = address & !(PAGE_SIZE - 1);
            assert_eq!(reached(core, ipa(address)), model.reach(page), "before {step:x?}");
            let stale = matches!(step, Step::StaleFault(_));
            if stale || model.reach(page) == Reach::Not {
                let verdict = core.handle_host_stage2_fault(&abort_at(ipa(address)), &mut [0; 31], &mut nothing);
                assert_eq!(verdict == Verdict::Retry, model.fault(page), "{step:x?}");
                assert_eq!(reached(core, ipa(address)), model.reach(page), "after {step:x?}");
            }
        }
        Step::Take(address) => {
            let page = address & !(PAGE_SIZE - 1);
            let done = take(core, page);
            if model.is_ram(page) && !model.is_corevisors(page) {
                assert_eq!(done, Ok(()), "{step:x?}");
                model.taken.insert(page);
                model.unmapped.insert(page);
            } else {
                assert_eq!(done, Err(Refused::NotHostPage(pfn(page))), "{step:x?}");
            }
        }
        Step::Give(address) => {
            let page = address & !(PAGE_SIZE - 1);
            give(core, page);
            model.taken.remove(&page);
        }
    }
}

/// What must hold whatever happened.
fn check(core: &Core, model: &Model, touched: &BTreeSet<u64>) {
    core.machine().check();
    for &page in touched {
        let walked = core.machine().walk(HOSTVISOR, ipa(page)).is_ok();
        assert_eq!(walked, model.reach(page) != Reach::Not, "{page:#x}");
        if !walked {
            assert_eq!(reached(core, ipa(page)), Reach::Not, "{page:#x}: stale");
        }
    }
    // Pages of Corevisor and of VMs are not in the host's table (above, and at boot) and in no TLB.
    for leaf in core.machine().cached(HOSTVISOR) {
        let cached = range(leaf.ipa, leaf.size);
        assert!(!model.taken.iter().any(|&page| cached.contains(page)), "{leaf:x?} holds a page of the VM");
        assert!(!model.world.owned().iter().any(|r| r.overlaps(cached)), "{leaf:x?} holds Corevisor");
    }
    {
        let mut nothing = Held::nothing();
        let (section, _held) = core.acquire_lock_s2page(&mut nothing);
        for &page in touched {
            let owner = section.get_pfn_owner(pfn(page));
            let expected = match () {
                () if model.is_corevisors(page) => COREVISOR,
                () if model.taken.contains(&page) => Vmid::new_vm(TAKER).unwrap(),
                () => HOSTVISOR,
            };
            assert_eq!(owner, model.is_ram(page).then_some(expected), "{page:#x}");
        }
    }
    for counter in [stat::HOST_FAULT_RAM, stat::HOST_FAULT_DEVICE, stat::REFUSED_ACCESS] {
        assert_eq!(stat(core, counter), model.counters.get(&counter).copied().unwrap_or(0), "counter {counter}");
    }
    assert_eq!(stat(core, stat::TLB_INVALIDATIONS), core.machine().invalidations());
    let refusals = core.machine().take_refusals();
    assert!(refusals.iter().all(|line| line.starts_with("host access refused: ")), "{refusals:?}");
}

fn world(ipa_bits: u32) -> World {
    World {
        ram: vec![range(GIB, GIB), range(4 * GIB - 3 * MIB - 0x5000, GIB + 5 * MIB)],
        no_map: vec![range(GIB + 64 * MIB + 0x3000, 0x9000)],
        withheld: vec![range(0x0900_3000, 0x1000), range(0x0A00_0000, 0x20_0000)],
        image: Some(range(GIB + 2 * MIB, 0x3_1000)),
        ipa_bits,
        host_dma: Some(HostDma { ipa_bits: ipa_bits.min(44), blocks: ipa_bits != 40, doorbells: Default::default() }),
        ..World::default()
    }
}

/// Addresses that are likely to have something to do with each other.
fn addresses(world: &World) -> impl Strategy<Value = u64> + Clone + use<> {
    let mut edges = vec![0, GIB + 128 * MIB, GIB + 256 * MIB, 0x0800_0000, 0x0900_0000, 0x1000_0000, 1 << 47];
    edges.extend([(1 << world.ipa_bits) - PAGE_SIZE, 1 << world.ipa_bits, 1 << (world.ipa_bits - 1)]);
    for r in [&world.ram, &world.no_map, &world.withheld, &world.owned()].into_iter().flatten() {
        edges.extend([r.start, r.end]);
    }
    let offsets = prop_oneof![-3i64..4, (-3i64..4).prop_map(|n| n * 512), -2048i64..2048];
    (prop::sample::select(edges), offsets, 0..PAGE_SIZE).prop_map(|(edge, pages, offset)| {
        let address = edge.saturating_add_signed(pages * PAGE_SIZE as i64) + offset;
        address.min((1 << 48) - 1)
    })
}

#[test]
fn the_host_reaches_what_the_model_says_and_nothing_else() {
    let cases = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96);
    for ipa_bits in [36, 40, 48] {
        let world = world(ipa_bits);
        let address = addresses(&world);
        // A few addresses for each sequence, so that steps meet.
        let sequence = prop::collection::vec(address, 1..6).prop_flat_map(|some| {
            let address = (prop::sample::select(some), -1i64..2).prop_map(|(address, pages)| {
                address.saturating_add_signed(pages * PAGE_SIZE as i64).min((1 << 48) - 1)
            });
            let step = prop_oneof![
                3 => address.clone().prop_map(Step::Touch),
                1 => address.clone().prop_map(Step::StaleFault),
                2 => address.clone().prop_map(Step::Take),
                2 => address.prop_map(Step::Give),
            ];
            prop::collection::vec(step, 1..40)
        });
        let config = Config { cases: cases / 3 + 1, failure_persistence: None, ..Config::default() };
        let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let run = TestRunner::new_with_rng(config, seed).run(&sequence, |steps: Vec<Step>| {
            let core = world.boot();
            let (taken, unmapped, devices) = Default::default();
            let counters = BTreeMap::new();
            let device_blocks = BTreeSet::new();
            let mut model = Model { world: world.clone(), taken, unmapped, devices, device_blocks, counters };
            let mut touched = BTreeSet::new();
            for step in steps {
                let (Step::Touch(a) | Step::StaleFault(a) | Step::Take(a) | Step::Give(a)) = step;
                touched.insert(a & !(PAGE_SIZE - 1));
                if a >> ipa_bits == 0 {
                    core.machine().watch(HOSTVISOR, ipa(a));
                }
                perform(&core, &mut model, step);
                check(&core, &model, &touched);
            }
            for ram in &model.world.ram {
                assert_eq!(core.host_dma_wrong_about(*ram), []);
            }
            for (start, end, _) in host_view(&core) {
                let mapped = range(start, end - start);
                let overlaps = |list: &[Range]| list.iter().any(|r| r.overlaps(mapped));
                assert!(!overlaps(&model.world.owned()) && !overlaps(&model.world.withheld), "{mapped} is mapped");
                assert!(model.taken.range(start..end).next().is_none(), "a page taken in {mapped} is mapped");
            }
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{ipa_bits} bits: {failure}"));
    }
}
