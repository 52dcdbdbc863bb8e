// SPDX-License-Identifier: GPL-2.0-only
//
// Loads all registers from a `State`, executes an instruction, and stores them all. SP is the state's address meanwhile.
// state_read_sys, state_write_sys, state_read_keys and state_write_keys (x2 = array, clobber x1 and x2) come from state.rs.

    .arch_extension fp
    .arch_extension simd
    .arch_extension sve

    .macro  state_sys action, array
    add     x2, x0, #{sys}
    add     x2, x2, #(\array * {sys_size})
    state_\action\()_sys
    ldr     x1, [x0, #{keys}]
    cbz     x1, 1f
    state_\action\()_keys
1:
    .endm

    .macro  state_exchange name, instruction:vararg
    .global state_\name
state_\name:
    add     x1, x0, #{saved}
    stp     x19, x20, [x1]
    stp     x21, x22, [x1, #16]
    stp     x23, x24, [x1, #32]
    stp     x25, x26, [x1, #48]
    stp     x27, x28, [x1, #64]
    stp     x29, x30, [x1, #80]
    mov     x2, sp
    str     x2, [x1, #96]
    state_sys read, 3
    bl      state_load_vectors
    state_sys write, 0
    isb
    state_sys read, 1
    mov     sp, x0
    ldr     x1, [x0, #248]
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
    stp     x0, x1, [sp, #256]
    stp     x2, x3, [sp, #272]
    stp     x4, x5, [sp, #288]
    stp     x6, x7, [sp, #304]
    stp     x8, x9, [sp, #320]
    stp     x10, x11, [sp, #336]
    stp     x12, x13, [sp, #352]
    stp     x14, x15, [sp, #368]
    stp     x16, x17, [sp, #384]
    stp     x18, x19, [sp, #400]
    stp     x20, x21, [sp, #416]
    stp     x22, x23, [sp, #432]
    stp     x24, x25, [sp, #448]
    stp     x26, x27, [sp, #464]
    stp     x28, x29, [sp, #480]
    mrs     x0, nzcv
    stp     x30, x0, [sp, #496]
    mov     x0, sp
    state_sys read, 2
    state_sys write, 3
    isb
    bl      state_store_vectors
    add     x1, x0, #{saved}
    ldr     x2, [x1, #96]
    mov     sp, x2
    ldp     x19, x20, [x1]
    ldp     x21, x22, [x1, #16]
    ldp     x23, x24, [x1, #32]
    ldp     x25, x26, [x1, #48]
    ldp     x27, x28, [x1, #64]
    ldp     x29, x30, [x1, #80]
    ret
    .endm

    .macro  four_stores
    .rept   4
    str     xzr, [x28]
    .endr
    .endm

    .section .text.state, "ax"

// FP, or SVE, or nothing, as `vectors` says: z or q registers at 256 bytes each, then p at 32 each, FFR, FPSR and FPCR.
state_load_vectors:
    ldr     x1, [x0, #{vectors}]
    cbz     x1, 9f
    mov     x3, #{vectors_in}
    add     x2, x0, x3
    mov     x3, #8704
    add     x3, x2, x3
    cmp     x1, #2
    b.eq    2f
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ldr     q\n, [x2]
    add     x2, x2, #256
    .endr
    b       3f
2:  ldr     p0, [x3]
    wrffr   p0.b
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ldr     z\n, [x2]
    add     x2, x2, #256
    .endr
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    ldr     p\n, [x2]
    add     x2, x2, #32
    .endr
3:  ldp     x1, x2, [x3, #32]
    msr     fpsr, x1
    msr     fpcr, x2
9:  ret

state_store_vectors:
    ldr     x1, [x0, #{vectors}]
    cbz     x1, 9f
    mov     x3, #{vectors_out}
    add     x2, x0, x3
    mov     x3, #8704
    add     x3, x2, x3
    cmp     x1, #2
    b.eq    2f
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     q\n, [x2]
    add     x2, x2, #256
    .endr
    b       3f
2:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     z\n, [x2]
    add     x2, x2, #256
    .endr
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    str     p\n, [x2]
    add     x2, x2, #32
    .endr
    rdffr   p0.b
    str     p0, [x3]
3:  mrs     x1, fpsr
    mrs     x2, fpcr
    stp     x1, x2, [x3, #32]
9:  ret

// The host's call, four exits of a VM, to the device at x28, and whatever instruction is written to state_slot.
    state_exchange hvc, hvc #0
    state_exchange stores, four_stores
    .global state_slot
    state_exchange any, state_slot: nop

// A vCPU's first instructions: all registers to WITNESSED, or HVC #0x77 if one of x1 to x30 is not zero.
    .global state_witness
state_witness:
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    cbnz    x\n, 9f
    .endr
    adrp    x2, {witnessed}
    add     x2, x2, :lo12:{witnessed}
    str     x0, [x2], #8
    state_read_sys
    mrs     x1, id_aa64isar1_el1
    tst     x1, #0xff0
    b.eq    1f
    state_read_keys
    b       2f
1:  add     x2, x2, #80
2:  mrs     x1, daif
    str     x1, [x2], #8
    mov     x1, sp
    str     x1, [x2], #8
    mrs     x1, cntv_ctl_el0
    str     x1, [x2], #8
    mrs     x1, cntv_cval_el0
    str     x1, [x2], #8
    mov     x1, #(3 << 20)
    msr     cpacr_el1, x1
    isb
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     q\n, [x2], #16
    .endr
    mrs     x1, fpsr
    str     x1, [x2], #8
    mrs     x1, fpcr
    str     x1, [x2]
    b       image_start
9:  hvc     #0x77
    b       9b

    .arch_extension nosve
    .arch_extension nosimd
    .arch_extension nofp
