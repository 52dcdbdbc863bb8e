// SPDX-License-Identifier: GPL-2.0-only
//! Uses everything that is trapped, and says what came of it.

use crate::code::{execute, mrs, msr};
use crate::desk;
use crate::exception::{Exception, catch};
use crate::protocol::SMALL_PAGES;
use crate::{read, say, write};
use core::arch::asm;

/// Op0, Op1, CRn, CRm, Op2.
type Name = [u32; 5];

/// Values of registers that are trapped and that a VM has, besides the ID registers. QEMU lacks DBGPRCR_EL1,
/// DBGAUTHSTATUS_EL1 and DBGDTR_EL0.
const CONSTANTS: [(Name, u64); 18] = [
    ([3, 0, 0, 0, 6], 0),      // REVIDR_EL1
    ([3, 1, 0, 0, 7], 0),      // AIDR_EL1
    ([2, 0, 0, 0, 2], 0),      // OSDTRRX_EL1
    ([2, 0, 0, 2, 0], 0),      // MDCCINT_EL1
    ([2, 0, 0, 2, 2], 0),      // MDSCR_EL1
    ([2, 0, 0, 3, 2], 0),      // OSDTRTX_EL1
    ([2, 0, 0, 6, 2], 0),      // OSECCR_EL1
    ([2, 0, 0, 0, 4], 0),      // DBGBVR0_EL1
    ([2, 0, 0, 1, 5], 0),      // DBGBCR1_EL1
    ([2, 0, 0, 0, 6], 0),      // DBGWVR0_EL1
    ([2, 0, 0, 1, 7], 0),      // DBGWCR1_EL1
    ([2, 0, 1, 0, 0], 0),      // MDRAR_EL1
    ([2, 0, 1, 1, 4], 1 << 3), // OSLSR_EL1
    ([2, 0, 1, 3, 4], 0),      // OSDLR_EL1
    ([2, 0, 7, 8, 6], 0),      // DBGCLAIMSET_EL1
    ([2, 0, 7, 9, 6], 0),      // DBGCLAIMCLR_EL1
    ([2, 3, 0, 1, 0], 0),      // MDCCSR_EL0
    ([2, 3, 0, 5, 0], 0),      // DBGDTRRX_EL0
];

/// ICC_SRE_EL1: there if the interrupt controller is a GICv3.
const ICC_SRE: Name = [3, 0, 12, 12, 5];

/// Instructions that a VM does not have, whatever the CPU has. None touches more than x0 and memory at x0. WFIT and WFET
/// are not here: QEMU takes them for WFI, and for nothing.
const UNDEFINED: [u32; 6] = [
    0xD400_0003, // SMC #0
    0xD41F_FFE3, // SMC #65535
    0x2518_E3E0, // PTRUE P0.B: SVE
    0x04BF_5020, // RDVL X0, #1: SVE
    0x04BF_5820, // RDSVL X0, #1: SME
    0x1901_0440, // CPYFP [X0]!, [X1]!, X2!: MOPS
];

/// Whether a register belongs to a group that is trapped as a whole, and of which a VM has nothing.
fn is_hidden([op0, op1, crn, crm, op2]: Name) -> bool {
    match [op0, op1, crn, crm] {
        [2, 1, ..] => true,                                         // trace, branch records
        [3, 0, 5, 3..=6] => true,                                   // error records, tag faults
        [3, 0, 9, _] | [3, 3, 9, _] | [3, 3, 14, 8..=15] => true,   // profiling, trace buffer, counters
        [3, 0, 10, 4..=7] => true,                                  // LORegions, MPAM
        [3, _, 11 | 15, _] => true,                                 // the implementation's
        [3, 0, 1, 2] => true,                                       // SVE, SME, trace filter
        [3, 0, 1, 0] => op2 >= 3,                                   // SCTLR2_EL1, tags
        [3, 0, 2, 0] => op2 >= 3,                                   // TCR2_EL1
        [3, 0, 13, 0] | [3, 3, 13, 0] => op2 == 7,                  // SCXTNUM_ELx
        [3, 3, 13, 1..=15] => true,                                    // activity monitors
        [3, 3, 14, 2] => true,                                      // the physical timer
        _ => false,
    }
}

fn names(op0: u32) -> impl Iterator<Item = Name> {
    (0..1 << 14).map(move |code: u32| [op0, code >> 11, code >> 7 & 15, code >> 3 & 15, code & 7])
}

fn get([op0, op1, crn, crm, op2]: Name) -> (u64, Option<Exception>) {
    execute(mrs(op0, op1, crn, crm, op2), 0x5A5A)
}

fn set([op0, op1, crn, crm, op2]: Name, value: u64) -> Option<Exception> {
    execute(msr(op0, op1, crn, crm, op2), value).1
}

fn is_id_register([op0, op1, crn, crm, _]: Name) -> bool {
    [op0, op1, crn] == [3, 0, 0] && (1..8).contains(&crm)
}

/// Argument 0: 1 if the interrupt controller is a GICv3. The hook gets the ID registers, by CRm and Op2, from 64 on. Result 0: how many accesses were undefined; see `aborts`
/// for the others.
pub fn run() {
    // Nothing of this is EL1's own trap.
    write!("cpacr_el1", 3 << 24 | 3 << 20 | 3 << 16);
    for crm in 1..8 {
        for op2 in 0..8 {
            let (value, exception) = get([3, 0, 0, crm, op2]);
            assert_eq!(exception, None, "ID register {crm} {op2}");
            desk::set_hook(u64::from(crm * 8 + op2) * 8, value);
            assert!(set([3, 0, 0, crm, op2], 0).is_some_and(|e| e.is_undefined()));
        }
    }
    let constants = CONSTANTS.into_iter().chain((desk::argument(0) == 1).then_some((ICC_SRE, 7)));
    let (mut undefined, mut wrong) = (0, 0);
    let mut check = |name: Name, right: bool, what: (u64, Option<Exception>)| {
        if !right {
            wrong += 1;
            say!("{name:?}: {what:x?}");
        }
        undefined += u64::from(what.1.is_some());
    };
    for name in names(2).chain(names(3)) {
        let (value, exception) = get(name);
        let constant = constants.clone().find(|(constant, _)| *constant == name).map(|(_, value)| value);
        let right = match (constant, exception) {
            (Some(constant), _) => (value, exception) == (constant, None),
            // With FEAT_IDST, names of ID registers that do not exist are EL1's own trap.
            (_, Some(exception)) => {
                exception.is_undefined() || [name[0], name[2]] == [3, 0] && exception.class() == 0x18
            }
            // Debug registers that are not in the list: nothing but 0.
            (None, None) => !is_hidden(name) && (name[0] == 3 || value == 0),
        };
        check(name, right, (value, exception));
    }
    // Of the others a write could be the end of this program.
    for name in names(2).chain(names(3).filter(|&name| is_hidden(name) || is_id_register(name))) {
        let exception = set(name, 0);
        let right = exception.map_or(name[0] == 2, |e| e.is_undefined());
        check(name, right, (0, exception));
    }
    assert_eq!(wrong, 0);
    desk::set_result(0, undefined);
    writes_that_do_nothing(constants);
    for instruction in UNDEFINED {
        let (x0, exception) = execute(instruction, 0x5A5A);
        assert!(exception.is_some_and(|e| e.is_undefined()), "{instruction:#x}: {exception:x?}");
        assert_eq!(x0, 0x5A5A);
    }
    aborts();
}

fn writes_that_do_nothing(constants: impl Iterator<Item = (Name, u64)>) {
    const ACTLR: Name = [3, 0, 1, 0, 1];
    const OSLAR: Name = [2, 0, 1, 0, 4];
    let actlr = get(ACTLR);
    assert_eq!((actlr.1, set(ACTLR, !0), get(ACTLR)), (None, None, actlr));
    assert_eq!(set(OSLAR, 1), None);
    for (name, value) in constants.filter(|(name, _)| name[0] == 2 || name[2] == 12) {
        let _ = set(name, !0);
        assert_eq!(get(name), (value, None), "{name:?} after a write");
    }
    // MDSCR_EL1.MDE, KDE and a breakpoint here: nothing breaks. BRK is EL1's own.
    let here = here as *const () as u64;
    for (name, value) in [([2, 0, 0, 0, 4], here), ([2, 0, 0, 0, 5], 0x1E7), ([2, 0, 0, 2, 2], 1 << 15 | 1 << 13)] {
        assert_eq!(set(name, value), None);
    }
    self::here();
    assert_eq!(execute(0xD420_0020, 0).1.map(|e| e.esr), Some(0x3C << 26 | 1 << 25 | 1));
    // DC ISW, CSW, CISW.
    for crm in [6, 10, 14] {
        assert_eq!(set([1, 0, 7, crm, 2], 0), None);
    }
}

/// Where a breakpoint is that never breaks.
#[inline(never)]
fn here() {
    // SAFETY: nothing.
    unsafe { asm!("nop") };
}

/// Accesses that nobody can serve; the host of these tests answers what it is asked by an abort. Results 1 on: ESR_EL1 and
/// FAR_EL1 of: a pair loaded from where no device is, a SIMD register, a pair stored, a walk that leads there, and one register,
/// which the host fills all the same.
fn aborts() {
    const NOWHERE: u64 = 0x0B00_0000;
    const TTBR1: u64 = NOWHERE;
    let (mut a, mut b, mut c) = (0x5EED_u64, 0xFEED_u64, 0xDEED_u64);
    let caught = [
        // SAFETY: the access is refused, and left out.
        catch(|| unsafe { asm!("ldp {}, {}, [{}]", inout(reg) a, inout(reg) b, in(reg) NOWHERE + 0x10) }),
        execute(0x3DC0_0000, NOWHERE + 0x20).1, // LDR Q0, [X0]
        execute(0xA900_7C1F, NOWHERE + 0x30).1, // STP XZR, XZR, [X0]
        {
            let tcr = read!("tcr_el1");
            write!("ttbr1_el1", TTBR1);
            // T1SZ as T0SZ, walks on.
            write!("tcr_el1", tcr & !(1 << 23) | 25 << 16 | 0b11_0101 << 24 | 0b10 << 30);
            let caught = execute(0xF940_0000, 0xFFFF_FFFF_FFFF_F008).1; // LDR X0, [X0]
            write!("ttbr1_el1", SMALL_PAGES);
            // SAFETY: what is cached of the upper half is of that table.
            unsafe { asm!("tlbi vmalle1", "dsb ish", "isb") };
            let mapped = execute(0xF940_0000, 0xFFFF_FFFF_FFFF_F008).1;
            write!("tcr_el1", tcr);
            // A page of zeros, which the host gave for the walk: EL1's own translation fault at level 1.
            assert_eq!(mapped.map(|e| e.esr), Some(0x25 << 26 | 1 << 25 | 0b101));
            caught
        },
        // SAFETY: the access is refused, and left out.
        catch(|| unsafe { asm!("ldr {}, [{}]", inout(reg) c, in(reg) NOWHERE + 0x40) }),
    ];
    assert_eq!((a, b, c), (0x5EED, 0xFEED, 0xDEED));
    for (i, exception) in caught.into_iter().enumerate() {
        let exception = exception.expect("an abort");
        desk::set_result(1 + 2 * i, exception.esr);
        desk::set_result(2 + 2 * i, exception.far);
    }
}
