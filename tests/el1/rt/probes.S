// SPDX-License-Identifier: GPL-2.0-only
//
// Single accesses that may fault, and what else needs exact control of the registers.

    .section .text.probes, "ax"

    .macro  expect_fault
    mrs     x9, tpidr_el1
    adr     x10, 9f
    str     x10, [x9, #{fixup}]
    adr     x10, 8f
    str     x10, [x9, #{expected_pc}]
    .endm

    // Flags that are neither all clear nor all set, and then PSTATE as the exception must find it.
    .macro  note_state
    mov     x10, #(0xa << 28)
    msr     nzcv, x10
    pstate  x10, x11, x9
    str     x10, [x9, #{before}]
    .endm

    .macro  survived
    str     xzr, [x9, #{fixup}]
    mov     x1, #0
    ret
    .endm

// fn probe_NAME(address, value) -> (value, faulted), in x0 and x1.
    .macro  probe name, instruction:vararg
    .global probe_\name
probe_\name:
    expect_fault
    note_state
8:  \instruction
    survived
9:  mov     x1, #1
    ret
    .endm

    probe   read, ldr x0, [x0]
    probe   read8, ldrb w0, [x0]
    probe   read16, ldrh w0, [x0]
    probe   read32, ldr w0, [x0]
    probe   read_pair, ldp x0, x2, [x0]
    probe   read_post, ldr x2, [x0], #8
    probe   read_exclusive, ldxr x0, [x0]
    probe   read_acquire, ldar x0, [x0]
    probe   write, str x1, [x0]
    probe   write8, strb w1, [x0]
    probe   write32, str w1, [x0]
    probe   write_pair, stp x1, x1, [x0]
    probe   write_post, str x1, [x0], #8
    probe   write_release, stlr x1, [x0]
    probe   zero, dc zva, x0
    probe   branch, ret x0              // not br: that would set PSTATE.BTYPE on some CPUs
    probe   read_unprivileged, ldtr x0, [x0]

    // With SP_EL0 in use.
    .global probe_read_el1t
probe_read_el1t:
    expect_fault
    msr     spsel, #0
    note_state
8:  ldr     x0, [x0]
    msr     spsel, #1
    survived
9:  mov     x1, #1
    ret

    // With the MMU off, so that the address is the physical one. Nothing but `Cpu` is written meanwhile.
    .macro  probe_unmapped name, instruction:vararg
    .global probe_unmapped_\name
probe_unmapped_\name:
    expect_fault
    mrs     x12, sctlr_el1
    bic     x13, x12, #1
    dsb     sy
    msr     sctlr_el1, x13
    isb
    note_state
8:  \instruction
    msr     sctlr_el1, x12
    isb
    survived
9:  msr     sctlr_el1, x12
    isb
    mov     x1, #1
    ret
    .endm

    probe_unmapped read, ldr x0, [x0]
    probe_unmapped write, str x1, [x0]
    probe_unmapped branch, ret x0

    // Optional PSTATE bits set as `bits` (PAN 22, UAO 23, DIT 24, SSBS 12, TCO 25), where there are such.
    // fn probe_with_pstate(address, bits, undefined): a read of address, or an undefined instruction.
    .global probe_with_pstate
probe_with_pstate:
    expect_fault
    ldr     x11, [x9, #{features}]
    tbz     x11, #0, 1f
    msr     S3_0_C4_C2_3, x1
1:  tbz     x11, #1, 1f
    msr     S3_0_C4_C2_4, x1
1:  tbz     x11, #2, 1f
    msr     S3_3_C4_C2_5, x1
1:  tbz     x11, #3, 1f
    msr     S3_3_C4_C2_6, x1
1:  tbz     x11, #4, 1f
    msr     S3_3_C4_C2_7, x1
1:  note_state
    cbnz    x2, 2f
8:  ldr     x0, [x0]
    b       9f
2:  adr     x10, 8f
    str     x10, [x9, #{expected_pc}]
8:  udf     #0
9:  mov     x1, #1
    ret

// fn probe_code(code, x0, x1) -> (x0, faulted): calls code that may fault, which takes arguments and returns a result.
// The fault is expected at its first instruction. It must keep x9 and x30.
    .global probe_code
probe_code:
    mrs     x9, tpidr_el1
    adr     x10, 9f
    str     x10, [x9, #{fixup}]
    str     x0, [x9, #{expected_pc}]
    mov     x13, x30
    mov     x12, x0
    mov     x0, x1
    mov     x1, x2
    adr     x30, 7f
    note_state
    ret     x12
7:  str     xzr, [x9, #{fixup}]
    mov     x1, #0
    ret     x13
9:  mov     x1, #1
    ret     x13

// fn run_el0(entry, x0, x1): runs code at EL0 until its first exception.
    .global run_el0
run_el0:
    stp     x19, x20, [sp, #-96]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mrs     x9, tpidr_el1
    adr     x10, 9f
    str     x10, [x9, #{fixup}]
    str     x0, [x9, #{expected_pc}]
    msr     elr_el1, x0
    mov     x10, #0x3c0                 // EL0t, all masked
    movk    x10, #0x5000, lsl #16       // and some flags
    msr     spsr_el1, x10
    str     x10, [x9, #{before}]
    mov     x0, x1
    mov     x1, x2
    eret
9:  ldp     x29, x30, [sp, #80]
    ldp     x27, x28, [sp, #64]
    ldp     x25, x26, [sp, #48]
    ldp     x23, x24, [sp, #32]
    ldp     x21, x22, [sp, #16]
    ldp     x19, x20, [sp], #96
    ret

// fn run_el0_aarch32(entry, r0, r1, thumb): the same in AArch32 state, with the MMU off: only addresses below 4 GiB
// can be named. AArch32 code has no way to change x19.
    .global run_el0_aarch32
run_el0_aarch32:
    stp     x19, x20, [sp, #-96]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mrs     x9, tpidr_el1
    adr     x10, 9f
    str     x10, [x9, #{fixup}]
    str     x0, [x9, #{expected_pc}]
    msr     elr_el1, x0
    mov     x10, #0x1d0                 // User mode, all masked
    movk    x10, #0x5000, lsl #16       // and some flags
    orr     x10, x10, x3
    msr     spsr_el1, x10
    str     x10, [x9, #{before}]
    mrs     x19, sctlr_el1
    bic     x10, x19, #1
    dsb     sy
    msr     sctlr_el1, x10
    isb
    mov     x0, x1
    mov     x1, x2
    eret
9:  msr     sctlr_el1, x19
    isb
    ldp     x29, x30, [sp, #80]
    ldp     x27, x28, [sp, #64]
    ldp     x25, x26, [sp, #48]
    ldp     x23, x24, [sp, #32]
    ldp     x21, x22, [sp, #16]
    ldp     x19, x20, [sp], #96
    ret

// Code for EL0: one access, and then the end.
    .global el0_read
el0_read:
    ldr     x0, [x0]
    svc     #0
    .global el0_write
el0_write:
    str     x1, [x0]
    svc     #0
    .global el0_branch
el0_branch:
    ret     x0

// fn call_NAME(registers: &mut [u64; 31]) -> flags: a call with all of x0 to x30 given and read back.
    .macro  call name, instruction:vararg
    .global call_\name
call_\name:
    stp     x19, x20, [sp, #-96]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    msr     tpidr_el0, x0
    mov     x1, #(0x6 << 28)
    msr     nzcv, x1
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    \instruction
    msr     tpidrro_el0, x0
    mrs     x0, tpidr_el0
    str     x1, [x0, #8]
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    str     x30, [x0, #240]
    mrs     x1, tpidrro_el0
    str     x1, [x0]
    mrs     x0, nzcv
    ldp     x29, x30, [sp, #80]
    ldp     x27, x28, [sp, #64]
    ldp     x25, x26, [sp, #48]
    ldp     x23, x24, [sp, #32]
    ldp     x21, x22, [sp, #16]
    ldp     x19, x20, [sp], #96
    ret
    .endm

    call    hvc0, hvc #0
    call    hvc1, hvc #1
    call    hvc_ffff, hvc #0xffff
    call    smc0, smc #0
    call    smc1, smc #1
    call    smc_ffff, smc #0xffff

// fn catch(function) -> u64: calls it; 0 if it returned, 1 if it ended in a panic (`throw`).
    .global catch
catch:
    mrs     x9, tpidr_el1
    add     x9, x9, #{jump}
    stp     x19, x20, [x9]
    stp     x21, x22, [x9, #16]
    stp     x23, x24, [x9, #32]
    stp     x25, x26, [x9, #48]
    stp     x27, x28, [x9, #64]
    stp     x29, x30, [x9, #80]
    mov     x10, sp
    str     x10, [x9, #96]
    stp     x29, x30, [sp, #-16]!
    blr     x0
    ldp     x29, x30, [sp], #16
    mrs     x9, tpidr_el1
    str     xzr, [x9, #({jump} + 96)]
    mov     x0, #0
    ret

// fn throw() -> !: ends the `catch` that this CPU is in.
    .global throw
throw:
    mrs     x9, tpidr_el1
    str     xzr, [x9, #{fixup}]
    add     x9, x9, #{jump}
    ldr     x10, [x9, #96]
    str     xzr, [x9, #96]
    mov     sp, x10
    ldp     x29, x30, [x9, #80]
    ldp     x27, x28, [x9, #64]
    ldp     x25, x26, [x9, #48]
    ldp     x23, x24, [x9, #32]
    ldp     x21, x22, [x9, #16]
    ldp     x19, x20, [x9]
    mov     x0, #1
    ret
