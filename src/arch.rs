// SPDX-License-Identifier: GPL-2.0-only
//! AArch64 and the firmware around the core: what only runs at EL2. The assembly is in `boot/`.

pub mod block_window;
pub mod boot;
pub mod cache;
pub mod console;
pub mod cpu_features;
pub mod el2_map;
pub mod entropy;
pub mod fatal;
pub mod fixmap;
pub mod fpsimd;
pub mod host_cpu;
pub mod machine;
pub mod percpu;
#[cfg(feature = "semihosting")]
pub mod semihosting;
pub mod sysreg;
pub mod traps;
pub mod vgic;
pub mod vm_traps;
mod world_switch;

use crate::addr::Range;

/// Where the image and its parts lie: addresses from linker.ld.
pub mod image {
    use super::Range;

    unsafe extern "C" {
        static image_start: u8;
        static text_end: u8;
        static rodata_end: u8;
        static boot_stack_guard: u8;
        static boot_stack_top: u8;
        static epitaph_stack_bottom: u8;
        static epitaph_stack_top: u8;
        static image_end: u8;
    }

    macro_rules! address_of {
        ($symbol:ident) => {
            (&raw const $symbol) as u64
        };
    }

    /// All of it.
    pub fn whole() -> Range {
        Range { start: address_of!(image_start), end: address_of!(image_end) }
    }

    /// Code.
    pub fn text() -> Range {
        Range { start: address_of!(image_start), end: address_of!(text_end) }
    }

    /// Constants.
    pub fn rodata() -> Range {
        Range { start: address_of!(text_end), end: address_of!(rodata_end) }
    }

    /// Variables, up to the unmapped page below the boot stack.
    pub fn data() -> Range {
        Range { start: address_of!(rodata_end), end: address_of!(boot_stack_guard) }
    }

    /// The boot stack.
    pub fn boot_stack() -> Range {
        Range { start: address_of!(boot_stack_guard) + 4096, end: address_of!(boot_stack_top) }
    }

    /// The stack on which a CPU reports its end; there is an unmapped page below it, too.
    pub fn epitaph_stack() -> Range {
        Range { start: address_of!(epitaph_stack_bottom), end: address_of!(epitaph_stack_top) }
    }
}
