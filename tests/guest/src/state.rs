// SPDX-License-Identifier: GPL-2.0-only
//! All registers of a CPU at once: filled with values that tell which register they belong to, held against what is
//! there afterwards. Part of the VMs' image and of their host: tests/el1/proofs.rs takes this file in, too.

#![allow(dead_code, reason = "each side uses a part of it")]

use core::arch::global_asm;
use core::mem::offset_of;

/// Registers of system registers' lists, the keys included.
pub const SYS: usize = SYS_NAMES.len() + KEYS;
/// Words of pointer authentication keys.
pub const KEYS: usize = 10;
/// Bytes of z0 to z31, p0 to p15, FFR, FPSR and FPCR, with room for vectors of 2048 bits.
const VECTORS: usize = 32 * 256 + 16 * 32 + 32 + 16;
const P_AT: usize = 32 * 256;
const FFR_AT: usize = P_AT + 16 * 32;

/// What of FP and SVE takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Vectors {
    /// Nothing: no instruction touches them.
    None = 0,
    /// q0 to q31, FPSR, FPCR.
    Fp = 1,
    /// z0 to z31, p0 to p15, FFR, FPSR, FPCR.
    Sve = 2,
}

/// All registers: as they are to be, and as they were found. state.S knows the layout.
#[repr(C, align(16))]
pub struct State {
    /// x0 to x30, and NZCV.
    pub x: [u64; 32],
    /// The same afterwards.
    pub x_out: [u64; 32],
    /// System registers: as they are to be; as they read then; afterwards; and as they were before, and are again.
    pub sys: [[u64; SYS]; 4],
    saved: [u64; 13],
    vectors: Vectors,
    /// Whether there are pointer authentication keys.
    keys: u64,
    /// Bytes of a vector.
    length: u64,
    vectors_in: Words,
    vectors_out: Words,
}

#[repr(C, align(16))]
struct Words([u64; VECTORS / 8]);

/// Room for a [`State`], and for a handler's stack below it.
#[repr(C, align(16))]
pub struct Room {
    spare: [u8; 16384],
    pub state: State,
}

/// What `state_witness` has found: x0, system registers and keys, DAIF, SP, the virtual timer, and FP registers.
pub static mut WITNESSED: [u64; 1 + SYS + 4 + 66] = [0; 1 + SYS + 4 + 66];

/// A register that is not what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// As [`canary`] numbers them.
    pub register: u64,
    pub wanted: u64,
    pub found: u64,
}

/// Number of the first system register, and of the first vector.
pub const FIRST_SYS: u64 = 32;
pub const FIRST_VECTOR: u64 = 96;

/// A value of register `register`: both halves begin with `magic`, and then tell the register and `seed`.
pub const fn canary(magic: u16, seed: u8, register: u64) -> u64 {
    let half = (magic as u64) << 16 | (register & 0xFF) << 8 | seed as u64;
    half << 32 | half
}

unsafe extern "C" {
    fn state_hvc(state: *mut State);
    fn state_stores(state: *mut State);
    fn state_any(state: *mut State);
    static state_slot: u32;
}

macro_rules! system_registers {
    ($($name:literal $mask:expr,)*) => {
        /// Their names.
        pub const SYS_NAMES: &[&str] = &[$($name),*];
        /// Their bits that can be anything while a state is loaded.
        const MASKS: &[u64] = &[$($mask),*];
        global_asm!(
            concat!(
                ".macro state_read_sys\n", $("mrs x1, ", $name, "\nstr x1, [x2], #8\n",)* ".endm\n",
                ".macro state_write_sys\n", $("ldr x1, [x2], #8\nmsr ", $name, ", x1\n",)* ".endm\n",
                ".macro state_read_keys\n",
                ".irp n, c2_c1_0,c2_c1_1,c2_c1_2,c2_c1_3,c2_c2_0,c2_c2_1,c2_c2_2,c2_c2_3,c2_c3_0,c2_c3_1\n",
                "mrs x1, s3_0_\\n\nstr x1, [x2], #8\n.endr\n.endm\n",
                ".macro state_write_keys\n",
                ".irp n, c2_c1_0,c2_c1_1,c2_c1_2,c2_c1_3,c2_c2_0,c2_c2_1,c2_c2_2,c2_c2_3,c2_c3_0,c2_c3_1\n",
                "ldr x1, [x2], #8\nmsr s3_0_\\n, x1\n.endr\n.endm\n",
                include_str!("state.S")
            ),
            sys = const offset_of!(State, sys),
            sys_size = const 8 * SYS,
            keys = const offset_of!(State, keys),
            vectors = const offset_of!(State, vectors),
            vectors_in = const offset_of!(State, vectors_in),
            vectors_out = const offset_of!(State, vectors_out),
            saved = const offset_of!(State, saved),
            witnessed = sym WITNESSED,
        );
    };
}

/// All bits.
const ALL: u64 = u64::MAX;
/// Bits of SCTLR_EL1 about EL0: UMA, DZE, UCT, nTWI, nTWE, UCI.
const SCTLR: u64 = 1 << 9 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26;
/// TCR_EL1: cacheability and shareability of walks by TTBR1, which are off.
const TCR: u64 = 0x3F << 24;

system_registers!(
    "sp_el0" ALL,
    "elr_el1" ALL,
    "spsr_el1" 0xFFFF_FFFF,
    "esr_el1" ALL,
    "far_el1" ALL,
    "par_el1" ALL,
    "tpidr_el0" ALL,
    "tpidrro_el0" ALL,
    "tpidr_el1" ALL,
    "contextidr_el1" 0xFFFF_FFFF,
    "ttbr0_el1" 0,
    "ttbr1_el1" ALL & !1,
    "tcr_el1" TCR,
    "mair_el1" ALL & !0xFFFF,
    "amair_el1" ALL,
    "afsr0_el1" ALL,
    "afsr1_el1" ALL,
    "vbar_el1" ALL & !0x7FF,
    "cpacr_el1" 0,
    "sctlr_el1" SCTLR,
    "csselr_el1" 0xF,
    "cntkctl_el1" 0x3FF,
);

/// Numbers of some of them.
pub const TPIDR_EL1: usize = 8;
pub const VBAR_EL1: usize = 17;
pub const CPACR_EL1: usize = 18;

macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads a register.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack)) };
        value
    }};
}

/// Whether this CPU has pointer authentication.
fn has_keys() -> bool {
    let (isar1, isar2) = (read!("id_aa64isar1_el1"), read!("s3_0_c0_c6_2"));
    isar1 & 0xFF00_0FF0 != 0 || isar2 & 0xFF00 != 0
}

/// Whether this CPU has SVE.
pub fn has_sve() -> bool {
    read!("id_aa64pfr0_el1") >> 32 & 0xF != 0
}

/// Lets FP, and SVE if `sve`, through to this CPU's EL1, and the longest vectors.
pub fn let_vectors_through(sve: bool) {
    let cpacr = read!("cpacr_el1") | 3 << 20 | if sve { 3 << 16 } else { 0 };
    // SAFETY: nothing else depends on it.
    unsafe { core::arch::asm!("msr cpacr_el1, {}", "isb", in(reg) cpacr, options(nostack)) };
    if sve {
        // SAFETY: ZCR_EL1: as above.
        unsafe { core::arch::asm!("msr s3_0_c1_c2_0, {}", "isb", in(reg) 0xF_u64, options(nostack)) };
    }
}

/// Bytes of a vector; CPACR_EL1 must let SVE through.
fn vector_length() -> u64 {
    let length;
    // SAFETY: reads it.
    unsafe { core::arch::asm!(".arch_extension sve", "rdvl {}, #1", ".arch_extension nosve", out(reg) length) };
    length
}

impl Room {
    pub const NEW: Self = Self { spare: [0; 16384], state: State::NEW };
}

impl State {
    pub const NEW: Self = Self {
        x: [0; 32],
        x_out: [0; 32],
        sys: [[0; SYS]; 4],
        vectors_in: Words([0; VECTORS / 8]),
        vectors_out: Words([0; VECTORS / 8]),
        saved: [0; 13],
        vectors: Vectors::None,
        keys: 0,
        length: 16,
    };

    /// Fills it with canaries of `magic` and `seed`.
    pub fn fill(&mut self, magic: u16, seed: u8, vectors: Vectors) {
        for (n, x) in self.x.iter_mut().enumerate().take(31) {
            *x = canary(magic, seed, n as u64);
        }
        self.x[31] = u64::from(seed & 0xF) << 28;
        self.keys = has_keys().into();
        for i in 0..SYS {
            self.set_sys_canary(magic, seed, i);
        }
        self.vectors = vectors;
        if vectors != Vectors::None {
            self.fill_vectors(magic, seed);
        }
    }

    fn set_sys_canary(&mut self, magic: u16, seed: u8, i: usize) {
        let mask = MASKS.get(i).copied().unwrap_or(ALL);
        let value = canary(magic, seed, FIRST_SYS + i as u64);
        self.sys[0][i] = current(i) & !mask | value & mask;
    }

    /// System register `i` is to stay as it is.
    pub fn keep(&mut self, i: usize) {
        self.sys[0][i] = current(i);
    }

    fn fill_vectors(&mut self, magic: u16, seed: u8) {
        self.length = if self.vectors == Vectors::Sve { vector_length() } else { 16 };
        let words = self.length as usize / 8;
        for n in 0..32 {
            for k in 0..words {
                self.vectors_in.0[32 * n + k] = canary(magic, seed, FIRST_VECTOR + n as u64) ^ (k as u64) << 16;
            }
        }
        let bytes = self.length as usize / 8;
        for n in 0..16 {
            let value = canary(magic, seed.wrapping_mul(29), 3 * n as u64);
            self.vectors_in.0[P_AT / 8 + 4 * n..][..4].copy_from_slice(&bounded([value; 4], 8 * bytes));
        }
        // FFR is made of ones, then zeros.
        let ffr = bounded([ALL; 4], usize::from(seed) % (8 * bytes));
        self.vectors_in.0[FFR_AT / 8..][..4].copy_from_slice(&ffr);
        // FPSR: cumulative flags; FPCR: rounding, FZ, DN.
        self.vectors_in.0[FFR_AT / 8 + 4] = u64::from(seed) & 0x1F | u64::from(seed & 1) << 27;
        self.vectors_in.0[FFR_AT / 8 + 5] = u64::from(seed >> 2 & 0xF) << 22;
    }

    /// HVC #0 with all registers so.
    pub fn hvc(&mut self) {
        // SAFETY: all registers are as before afterwards, but those that a call may change.
        unsafe { state_hvc(self) };
    }

    /// Four stores of zero to the device at `address`, which is in x28.
    pub fn store_to(&mut self, address: u64) {
        self.x[28] = address;
        // SAFETY: as above.
        unsafe { state_stores(self) };
    }

    /// Executes `instruction`. For one CPU at a time.
    pub fn execute(&mut self, instruction: u32) {
        let slot = (&raw const state_slot).cast_mut();
        // SAFETY: memory that is writable here, and that nobody executes now.
        unsafe {
            slot.write_volatile(instruction);
            core::arch::asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) slot, options(nostack));
            state_any(self);
        }
    }

    /// The first register that is not as it was, but for the general ones whose bits are set in `changed`.
    pub fn difference(&self, changed: u64) -> Option<Difference> {
        let general = (0..32).filter(|n| changed >> n & 1 == 0).map(|n| (n, self.x[n], self.x_out[n]));
        let count = if self.keys != 0 { SYS } else { SYS_NAMES.len() };
        let sys = (0..count).map(|i| (FIRST_SYS as usize + i, self.sys[1][i], self.sys[2][i]));
        let mut differences = general.chain(sys).filter(|(_, wanted, found)| wanted != found);
        let found = differences.next().or_else(|| self.vector_difference());
        found.map(|(n, wanted, found)| Difference { register: n as u64, wanted, found })
    }

    fn vector_difference(&self) -> Option<(usize, u64, u64)> {
        let words = self.length as usize / 8;
        let z = (0..32).flat_map(|n| (0..words).map(move |k| 32 * n + k));
        let p = P_AT / 8..FFR_AT / 8;
        let others = FFR_AT / 8..VECTORS / 8;
        let all = match self.vectors {
            Vectors::None => return None,
            Vectors::Fp => z.chain(0..0).chain(others.start + 4..others.end),
            Vectors::Sve => z.chain(p).chain(others),
        };
        let words = all.map(|i| (FIRST_VECTOR as usize + i / 32, self.vectors_in.0[i], self.vectors_out.0[i]));
        words.into_iter().find(|(_, wanted, found)| wanted != found)
    }
}

/// The first `bits` of `value`, and zeros.
fn bounded(mut value: [u64; 4], bits: usize) -> [u64; 4] {
    for (i, word) in value.iter_mut().enumerate() {
        let left = bits.saturating_sub(64 * i);
        *word &= if left >= 64 { ALL } else { (1 << left) - 1 };
    }
    value
}

/// System register `i` as it is; of the keys, which nothing depends on, 0.
fn current(i: usize) -> u64 {
    match SYS_NAMES.get(i) {
        Some(&"ttbr0_el1") => read!("ttbr0_el1"),
        Some(&"tcr_el1") => read!("tcr_el1"),
        Some(&"mair_el1") => read!("mair_el1"),
        Some(&"vbar_el1") => read!("vbar_el1"),
        Some(&"cpacr_el1") => read!("cpacr_el1"),
        Some(&"sctlr_el1") => read!("sctlr_el1"),
        Some(&"tpidr_el1") => read!("tpidr_el1"),
        _ => 0,
    }
}
