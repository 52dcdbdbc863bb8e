// SPDX-License-Identifier: GPL-2.0-only
//! Random calls with odd arguments: whatever comes, the model answers, and a machine that has halted stays halted.

use model::rdata::{RData, S2Index};
use model::replay::{Arg, Final, Init, Model, Outcome, Step, Subject, dispatch};
use std::path::Path;

/// Steps of a run.
const STEPS: usize = 40_000;

/// A generator of numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    /// The next number.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of `values`.
    fn pick(&mut self, values: &[u64]) -> u64 {
        values[(self.next() % values.len() as u64) as usize]
    }

    /// An argument for a parameter.
    fn argument(&mut self, name: &str, wide: bool) -> u64 {
        const EDGES: [u64; 9] =
            [0, 1, 4095, 0x4000_0000, 0x4020_0000, (1 << 28) - 1, (1 << 36) - 1, (1 << 48) - 1, u64::MAX];
        let value = match name {
            "vmid" | "v" => self.pick(&[0, 1, 1, 1, 2, 2, 3, 16, 17]),
            "vcpuid" | "index" | "cbndx" | "load_idx" | "smmu_index" => self.next() % 9,
            "pfn" => self.pick(&[0x4_0000, 0x4_0001, 0x4_0200, 0x4_0401, 0x8_8000, 0x20_0000, 0, (1 << 28) - 1]),
            // Not more: the specification's loops are as long as they say.
            "num" | "size" | "pgnum" => self.pick(&[0, 1, 4095, 4096, 4097, 0x2000]),
            "level" => self.next() % 5,
            _ if self.next().is_multiple_of(3) => self.next() >> (self.next() % 64),
            _ => self.pick(&EDGES),
        };
        if wide { value } else { value & 0xFFFF_FFFF }
    }
}

#[test]
fn every_call_of_the_signatures_is_answered() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/signatures.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let signatures: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let functions: Vec<_> = signatures.as_object().expect("an object").iter().collect();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut subject = Model::start(Init::High);
    let (mut defined, mut undefined) = (0, 0);
    for _ in 0..STEPS {
        let (name, signature) = functions[(random.next() % functions.len() as u64) as usize];
        if name == "panic" && !random.next().is_multiple_of(8) {
            continue;
        }
        let parameters = signature["params"].as_array().expect("parameters");
        let argument = |p: &serde_json::Value| {
            Arg::Number(random.argument(p["name"].as_str().expect("a name"), p["type"] == "u64"))
        };
        let args = parameters.iter().map(argument).collect();
        let step = Step { name: name.clone(), args, ret: None, halt: false };
        let halted = subject.halted();
        match subject.step(&step) {
            Outcome::Defined(ret) => {
                defined += 1;
                assert_eq!(ret.is_some(), !signature["returns"].is_null(), "{step}");
                assert!(subject.halted() || !halted, "{step} ended a halt");
            }
            Outcome::Undefined => {
                undefined += 1;
                subject = Model::start(if random.next().is_multiple_of(4) { Init::LowPage } else { Init::High });
                for start in ["register_kvm", "register_kvm"] {
                    let step = Step { name: start.into(), args: vec![], ret: None, halt: false };
                    subject.step(&step);
                }
            }
            outcome => panic!("{step}: {outcome:?}"),
        }
    }
    println!("{defined} defined, {undefined} undefined");
    assert!(defined > STEPS / 10 && undefined > STEPS / 10);
}

#[test]
fn a_halted_machine_keeps_its_memory() {
    let mut d = RData::new(S2Index::Pfn);
    assert_eq!(dispatch(&mut d, "panic", &[]), Outcome::Defined(None));
    let before = Final::of(&d);
    for (name, args) in
        [("register_kvm", vec![]), ("assign_pfn_to_vm", vec![1, 5, 0x4_0005]), ("set_vm_poweroff", vec![1])]
    {
        let args: Vec<Arg> = args.into_iter().map(Arg::Number).collect();
        assert!(matches!(dispatch(&mut d, name, &args), Outcome::Defined(_)), "{name}");
        assert_eq!(Final::of(&d), before, "{name}");
    }
}
