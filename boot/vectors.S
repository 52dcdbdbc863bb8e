// SPDX-License-Identifier: GPL-2.0-only
//
// EL2's exception vectors. From the host or a VM: x0 to x30 go to where this CPU keeps those of who runs, the host's frame
// or the vCPU's context; Rust decides who is next, and so whose are to be loaded. From EL2 itself: the end, told on a stack
// of its own (the old one may be what broke).

    .equ    PERCPU_EPITAPH, 8           // offset of PerCpu.epitaph
    .equ    PERCPU_FRAME, 264           // offset of PerCpu.frame

    // x0 = where x0 to x30 of who runs are kept.
    .macro  load_frame
    mrs     x0, tpidr_el2
    bic     x0, x0, #0x7f               // the low bits are the CPU's index
    ldr     x0, [x0, #PERCPU_FRAME]
    .endm

    .macro  from_lower handler
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    load_frame
    stp     x2, x3, [x0, #16]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
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
    load_frame
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
