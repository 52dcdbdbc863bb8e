// SPDX-License-Identifier: GPL-2.0-only
//! Random sequences of what the host and two VMs can do with pages. After each step nobody reaches what is not theirs,
//! by tables or by what TLBs remember of them.

use crate::addr::{HOSTVISOR, PAGE_SIZE, PMD_SIZE, Pa, Range, Vmid};
use crate::lock::Held;
use crate::machine::sim::Leaf;
use crate::memory::{Count, S2Page};
use crate::npt::{HostDma, Level};
use crate::vm::VmState;
use crate::world::{Core, GIB, MIB, World, ipa, pa, pfn, record, vm};
use proptest::prelude::{Just, Strategy, prop, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The pages that are used begin here: two blocks.
const START: u64 = GIB + 16 * MIB;
const END: u64 = START + 2 * PMD_SIZE;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// MM-1.
    Touch(u64),
    /// MO-2, at an address and with a page.
    Map(u64, u64, u64, Level),
    /// MO-3 and MO-4.
    Grant(u64, u64),
    Revoke(u64, u64),
    /// MM-2.
    Clear(u64, u64),
    /// What MM-8 does to a page that is free: it is assigned without being mapped.
    Assign(u64, u64, u64),
}

fn perform(core: &Core, step: Step) {
    let vm = |id| Vmid::new_vm(id).unwrap();
    let mut nothing = Held::nothing();
    // Whether it is refused does not matter.
    let _ = match step {
        Step::Touch(page) => core.map_page_host(ipa(page), &mut nothing),
        Step::Map(v, at, page, level) => core.prot_and_map_vm_s2pt(vm(v), ipa(at), pa(page), level, &mut nothing),
        Step::Grant(v, at) => core.grant_stage2_sg_gpa(vm(v), ipa(at), PAGE_SIZE, 0, &mut nothing).map(|_| ()),
        Step::Revoke(v, at) => core.revoke_stage2_sg_gpa(vm(v), ipa(at), PAGE_SIZE, 0, &mut nothing).map(|_| ()),
        Step::Clear(v, page) => core.clear_vm_page(vm(v), pfn(page), &mut nothing),
        Step::Assign(v, at, page) => {
            let done = core.assign_pfn_to_vm(vm(v), ipa(at).frame(), pfn(page), &mut nothing);
            let pending = S2Page::new(vm(v), Count::DmaPending, Some(at / PAGE_SIZE));
            if record(core, page) == S2Page::new(vm(v), Count::Shares(0), Some(at / PAGE_SIZE))
                && core.machine().walk(vm(v), ipa(at)).is_err()
            {
                core.acquire_lock_s2page(&mut nothing).0.set_record(pfn(page), pending);
            }
            done
        }
    };
}

fn check(core: &Core, records: &[S2Page]) {
    core.machine().check();
    let of = |address: u64| &records[core.regions().get_s2_page_index(Pa::new(address).unwrap().frame()).unwrap()];
    let pages = |leaf: &Leaf| {
        let first = leaf.pa(ipa(leaf.ipa));
        (first..first + leaf.size).step_by(PAGE_SIZE as usize).zip((leaf.ipa..).step_by(PAGE_SIZE as usize))
    };
    for page in (START..END).step_by(PAGE_SIZE as usize) {
        let record = of(page);
        let may = record.owner() == Some(HOSTVISOR) || matches!(record.count(), Count::Shares(1..=100)); // I6, E3
        let walked = core.machine().walk(HOSTVISOR, ipa(page)).is_ok();
        assert!(may || !walked, "the host has {page:#x}: {record:?}");
    }
    assert_eq!(core.host_dma_wrong_about(Range { start: START, end: END }), []);
    for leaf in core.machine().cached(HOSTVISOR) {
        for (page, _) in pages(&leaf).filter(|&(page, _)| (START..END).contains(&page)) {
            let record = of(page);
            let may = record.owner() == Some(HOSTVISOR) || matches!(record.count(), Count::Shares(1..=100));
            assert!(may, "the host's TLB has {page:#x}: {record:?}");
        }
    }
    for id in 1..=2 {
        let v = Vmid::new_vm(id).unwrap();
        for leaf in core.machine().leaves(v).iter().chain(&core.machine().cached(v)) {
            for (page, at) in pages(leaf) {
                let record = of(page);
                // I7, E5: what it gave back, it does not map.
                assert_eq!((record.owner(), record.gfn()), (Some(v), Some(at / PAGE_SIZE)), "{v} has {page:#x}");
            }
        }
    }
}

// Tests: MM-1, MM-2, MM-3, MM-4, MM-6, MM-7, MO-2, MO-3, MO-4
#[test]
fn nobody_reaches_what_is_not_theirs() {
    let v = || 1..3u64;
    // Few enough to meet: in both blocks the first pages, and the last.
    let number = || prop_oneof![4 => 0..4u64, 1 => Just(511u64)];
    let page = || (0..2u64, number()).prop_map(|(block, n)| START + block * PMD_SIZE + n * PAGE_SIZE);
    let at = || (0..2u64, number()).prop_map(|(block, n)| block * PMD_SIZE + n * PAGE_SIZE);
    let map_block = (v(), 0..2u64, 0..2u64)
        .prop_map(|(v, at, block)| Step::Map(v, at * PMD_SIZE, START + block * PMD_SIZE, Level::L2));
    let step = prop_oneof![
        4 => page().prop_map(Step::Touch),
        3 => (v(), at(), page()).prop_map(|(v, at, page)| Step::Map(v, at, page, Level::L3)),
        1 => map_block,
        3 => (v(), at()).prop_map(|(v, at)| Step::Grant(v, at)),
        2 => (v(), at()).prop_map(|(v, at)| Step::Revoke(v, at)),
        2 => (v(), page()).prop_map(|(v, page)| Step::Clear(v, page)),
        1 => (v(), at(), page()).prop_map(|(v, at, page)| Step::Assign(v, at, page)),
    ];
    let cases = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = TestRunner::new_with_rng(config, seed).run(&prop::collection::vec(step, 1..40), |steps| {
        let host_dma = HostDma { ipa_bits: 40, blocks: true, doorbells: Default::default() };
        let core = World { host_dma: Some(host_dma), ..World::default() }.boot();
        for id in 1..=2 {
            let v = vm(&core, id, VmState::Verified);
            for at in [0, PAGE_SIZE, PMD_SIZE] {
                core.machine().watch(v, ipa(at));
            }
        }
        for page in [START, START + PAGE_SIZE, START + PMD_SIZE] {
            core.machine().watch(HOSTVISOR, ipa(page));
        }
        for step in steps {
            perform(&core, step);
            check(&core, &core.records());
        }
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}
