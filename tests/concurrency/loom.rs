// SPDX-License-Identifier: GPL-2.0-only
//! Under loom: every interleaving of few steps, and every value that the memory model lets a load see.
//!
//! `LOOM_MAX_PREEMPTIONS` bounds how often a thread is interrupted where it need not be; each test has a bound of its
//! own that keeps it short.

#[path = "loom/hand_over.rs"]
mod hand_over;
#[path = "loom/ticket_lock.rs"]
mod ticket_lock;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of a thread that boots.
const STACK_WORDS: usize = 1 << 18;

/// Runs `body` in every interleaving with at most `preemptions` preemptions, or as many as the environment says.
fn check(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(preemptions));
    model.max_branches = 20_000;
    let executions = Arc::new(AtomicU64::new(0));
    let count = executions.clone();
    model.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        body();
    });
    println!("{} executions", executions.load(Ordering::Relaxed));
}

/// A CPU: a thread with a stack that holds a `Corevisor`.
fn on_cpu<T: Send + 'static>(cpu: usize, body: impl FnOnce() -> T + Send + 'static) -> loom::thread::JoinHandle<T> {
    let thread = loom::thread::Builder::new().stack_size(STACK_WORDS);
    thread
        .spawn(move || {
            corevisor::machine::sim::set_cpu(cpu);
            body()
        })
        .unwrap()
}
