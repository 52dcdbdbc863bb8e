// SPDX-License-Identifier: GPL-2.0-only
//! A lock taken out of order does not compile. The compiler gets `src/lock.rs` itself, and programs that take every pair
//! of ranks one inside the other.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

/// The locks and their ranks, as `spec/SPEC.md` §0.4 has the order.
const LOCKS: [(&str, u8); 11] = [
    ("CONTEXT", 1),
    ("SMMU", 2),
    ("VM", 3),
    ("CORE", 4),
    ("S2PAGE", 4),
    ("PT", 5),
    ("SPT", 5),
    ("STREAMS", 5),
    ("FRAMES", 6),
    ("QUEUES", 6),
    ("CRYPT", 6),
];

/// A program with a function for each of `pairs`, which takes the second lock while it holds the first.
fn program(pairs: &[(&str, &str)]) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut text = format!(
        "#![allow(dead_code)]\n\
         #[path = \"{root}/src/lock.rs\"] pub mod lock;\n\
         #[path = \"{root}/src/sync.rs\"] mod sync;\n\
         pub const MAX_CPUS: usize = 64;\n\
         use lock::{{Held, Lock, rank}};\n"
    );
    for (outer, inner) in pairs {
        write!(
            text,
            "pub fn {outer}_then_{inner}(a: &Lock<u8, {{ rank::{outer} }}>, b: &Lock<u8, {{ rank::{inner} }}>) {{\n\
             let mut nothing = Held::nothing();\n\
             let (_outer, mut held) = a.lock(&mut nothing);\n\
             let _inner = b.lock(&mut held);\n\
             }}\n"
        )
        .unwrap();
    }
    text
}

/// Whether a program compiles, and what the compiler says.
fn compile(name: &str, text: &str) -> (bool, String) {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let source = format!("{folder}/{name}.rs");
    std::fs::write(&source, text).unwrap();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_string());
    let output = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--crate-name=locks", "--emit=obj", "-Awarnings", "-o"])
        .args([format!("{folder}/{name}.o"), source])
        .output()
        .expect("rustc");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Pairs of different locks, or of two locks of one name, that are in order, or that are not.
fn pairs(in_order: bool) -> Vec<(&'static str, &'static str)> {
    let all = LOCKS.iter().flat_map(|outer| LOCKS.iter().map(move |inner| (outer, inner)));
    all.filter(|(outer, inner)| (outer.1 < inner.1) == in_order).map(|(outer, inner)| (outer.0, inner.0)).collect()
}

fn rank(lock: &str) -> u8 {
    LOCKS.iter().find(|(name, _)| *name == lock).unwrap().1
}

// Tests: LK-1, LK-2, LK-3, LK-4, LK-5, LK-6
#[test]
fn every_pair_in_order_compiles() {
    let (compiles, message) = compile("in_order", &program(&pairs(true)));
    assert!(compiles, "{message}");
}

// Tests: LK-1, LK-2, LK-3, LK-4, LK-5, LK-6
#[test]
fn no_pair_out_of_order_compiles() {
    let pairs = pairs(false);
    let (compiles, message) = compile("out_of_order", &program(&pairs));
    assert!(!compiles);
    // One error for each pair of ranks.
    let ranks: BTreeSet<_> = pairs.iter().map(|(outer, inner)| (rank(outer), rank(inner))).collect();
    let errors = message.matches("lock taken out of order").count();
    assert!(errors >= ranks.len(), "{errors} errors for {} pairs of ranks: {message}", ranks.len());
    for (outer, inner) in ranks {
        let instance = format!("<u8, {inner}>::lock::<{outer}>");
        let named = message.contains(&instance) || message.contains(&instance.replace("<u8", "::<u8"));
        assert!(named, "no error about {instance}: {message}");
    }
}

// Tests: LK-1, LK-2, LK-3, LK-4, LK-5, LK-6
#[test]
fn what_is_held_can_not_be_used_twice() {
    // While the inner lock is held, its `Held` is borrowed; the outer one's can't be used to go around it.
    let text = program(&[])
        + "pub fn around(a: &Lock<u8, { rank::VM }>, b: &Lock<u8, { rank::PT }>, c: &Lock<u8, { rank::S2PAGE }>) {\n\
           let mut nothing = Held::nothing();\n\
           let (_a, mut held) = a.lock(&mut nothing);\n\
           let (b, _) = b.lock(&mut held);\n\
           let _c = c.lock(&mut held);\n\
           drop(b);\n\
           }\n";
    let (compiles, message) = compile("around", &text);
    assert!(!compiles && message.contains("E0499"), "{message}");
}
