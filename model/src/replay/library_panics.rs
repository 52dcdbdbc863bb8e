// SPDX-License-Identifier: GPL-2.0-only
//! A panic of the library ends the program. Before it does, it says which step it was.

use super::script::Step;
use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static CURRENT: RefCell<Option<(String, usize, String)>> = const { RefCell::new(None) };
}

/// The step that is taken next.
pub fn note(id: &str, number: usize, step: &Step) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            CURRENT.with_borrow(|current| {
                if let Some((id, number, step)) = current {
                    eprintln!("panic in {id} step {number} {step}:");
                }
            });
            before(info);
        }));
    });
    CURRENT.set(Some((id.to_owned(), number, step.to_string())));
}
