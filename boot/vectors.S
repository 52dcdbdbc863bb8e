// SPDX-License-Identifier: GPL-2.0-only
//
// EL2's exception vectors. From the host or a VM: x0 to x30 go to the stack, Rust decides who is next, whose registers are
// there then. From EL2 itself: the end, told on a stack of its own (the old one may be what broke).

    .equ    FRAME, 256                  // x0 to x30, and 8 bytes to keep the stack aligned
    .equ    PERCPU_EPITAPH, 8           // offset of PerCpu.epitaph

    .macro  from_lower handler
    .balign 0x80
    sub     sp, sp, #FRAME
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mov     x0, sp
    mov     x29, xzr
    adr     x30, return_to_lower
    b       \handler
    .endm

// Keeps x0 in SP_EL0, which is the host's, and the host is not going to run again.
    .macro  fatal kind
    .balign 0x80
    msr     sp_el0, x0
    mrs     x0, tpidr_el2
    bic     x0, x0, #0x7f               // the low bits are the CPU's index
    stp     x1, x2, [x0, #(PERCPU_EPITAPH + 8)]
    mov     x1, #\kind
    b       epitaph
    .endm

    .section .text.vectors, "ax"
    .balign 2048
    .global vectors
vectors:
    fatal   0                           // current EL, SP_EL0: sync, IRQ, FIQ, SError
    fatal   1
    fatal   2
    fatal   3
    fatal   0                           // current EL, SP_EL2
    fatal   1
    fatal   2
    fatal   3
    from_lower lower_sync               // lower EL, AArch64
    from_lower lower_irq                // IRQ and FIQ are routed to EL2 while a VM runs
    from_lower lower_irq
    from_lower lower_serror
    from_lower lower_sync               // lower EL, AArch32
    from_lower lower_irq
    from_lower lower_irq
    from_lower lower_serror
    .balign 0x80

return_to_lower:
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp], #FRAME
    eret
    dsb     nsh                         // no speculation past the return
    isb

// x0 = this CPU's PerCpu, x1 = kind; x1 and x2 are saved, x0 is in SP_EL0.
epitaph:
    add     x0, x0, #PERCPU_EPITAPH
    stp     x3, x4, [x0, #24]
    stp     x5, x6, [x0, #40]
    stp     x7, x8, [x0, #56]
    stp     x9, x10, [x0, #72]
    stp     x11, x12, [x0, #88]
    stp     x13, x14, [x0, #104]
    stp     x15, x16, [x0, #120]
    stp     x17, x18, [x0, #136]
    stp     x19, x20, [x0, #152]
    stp     x21, x22, [x0, #168]
    stp     x23, x24, [x0, #184]
    stp     x25, x26, [x0, #200]
    stp     x27, x28, [x0, #216]
    stp     x29, x30, [x0, #232]
    mov     x2, sp
    mrs     x3, sp_el0
    str     x3, [x0]
    str     x2, [x0, #248]

    // One CPU at a time can use the stack for this.
    adrp    x3, EPITAPH_TAKEN
    add     x3, x3, :lo12:EPITAPH_TAKEN
1:  ldaxr   w4, [x3]
    cbnz    w4, 2f
    mov     w4, #1
    stlxr   w5, w4, [x3]
    cbnz    w5, 1b
    adrp    x3, epitaph_stack_top
    add     x3, x3, :lo12:epitaph_stack_top
    mov     sp, x3
    mov     x29, xzr
    mov     x30, xzr
    bl      fatal_exception             // (epitaph, kind), does not return
2:  wfe
    b       2b
