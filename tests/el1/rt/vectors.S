// SPDX-License-Identifier: GPL-2.0-only
//
// EL1's vectors. Every exception is written down in the CPU's `Cpu`; then the CPU goes on at the address that whoever
// expected it has left there. No stack is used, so that nothing depends on what the faulting code did to it.

// The current PSTATE, as SPSR has it. `features` tells which of the optional bits there are.
    .macro  pstate to, temporary, cpu
    mrs     \to, nzcv
    mrs     \temporary, daif
    orr     \to, \to, \temporary
    mrs     \temporary, CurrentEL
    orr     \to, \to, \temporary
    mrs     \temporary, spsel
    orr     \to, \to, \temporary
    ldr     \temporary, [\cpu, #{features}]
    tbz     \temporary, #0, 101f
    mrs     \temporary, S3_0_C4_C2_3    // PAN
    orr     \to, \to, \temporary
101:
    ldr     \temporary, [\cpu, #{features}]
    tbz     \temporary, #1, 102f
    mrs     \temporary, S3_0_C4_C2_4    // UAO
    orr     \to, \to, \temporary
102:
    ldr     \temporary, [\cpu, #{features}]
    tbz     \temporary, #2, 103f
    mrs     \temporary, S3_3_C4_C2_5    // DIT
    orr     \to, \to, \temporary
103:
    ldr     \temporary, [\cpu, #{features}]
    tbz     \temporary, #3, 104f
    mrs     \temporary, S3_3_C4_C2_6    // SSBS
    orr     \to, \to, \temporary
104:
    ldr     \temporary, [\cpu, #{features}]
    tbz     \temporary, #4, 105f
    mrs     \temporary, S3_3_C4_C2_7    // TCO
    orr     \to, \to, \temporary
105:
    .endm

    .macro  vector number
    .balign 0x80
    msr     tpidr_el0, x0
    msr     tpidrro_el0, x1
    mov     x1, #\number
    b       caught
    .endm

    .section .text.vectors, "ax"
    .balign 2048
payload_vectors:
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vector  \n
    .endr
    .balign 0x80

caught:
    mrs     x0, tpidr_el1
    str     x1, [x0, #{vector}]
    str     x2, [x0, #{x2}]
    pstate  x1, x2, x0
    str     x1, [x0, #{state}]
    mrs     x1, esr_el1
    str     x1, [x0, #{esr}]
    mrs     x1, far_el1
    str     x1, [x0, #{far}]
    mrs     x1, elr_el1
    str     x1, [x0, #{elr}]
    mrs     x1, spsr_el1
    str     x1, [x0, #{spsr}]
    mrs     x1, tpidr_el0
    str     x1, [x0, #{x0}]
    mrs     x1, tpidrro_el0
    str     x1, [x0, #{x1}]
    ldr     x1, [x0, #{count}]
    add     x1, x1, #1
    str     x1, [x0, #{count}]
    ldr     x1, [x0, #{fixup}]
    cbz     x1, 1f
    str     xzr, [x0, #{fixup}]
    msr     elr_el1, x1
    mov     x1, #0x3c5                  // EL1h, all masked
    msr     spsr_el1, x1
    ldr     x2, [x0, #{x2}]
    mrs     x1, tpidrro_el0
    mrs     x0, tpidr_el0
    eret
    // Nobody expected it.
1:  mov     x29, xzr
    mov     x0, sp
    and     sp, x0, #~15
    bl      {unexpected}                // does not return
