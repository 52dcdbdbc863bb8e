// SPDX-License-Identifier: GPL-2.0-only
//
// FP, SIMD and SVE registers, to and from memory. The rest of the image is built without them. Nothing may trap here:
// the caller has seen to CPTR_EL2.

    .section .text.fpsimd, "ax"
    .arch_extension fp
    .arch_extension simd
    .arch_extension sve

// fn fpsimd_store(to: *mut Fp): q0 to q31, FPSR, FPCR.
    .global fpsimd_store
fpsimd_store:
    stp     q0, q1, [x0]
    stp     q2, q3, [x0, #32]
    stp     q4, q5, [x0, #64]
    stp     q6, q7, [x0, #96]
    stp     q8, q9, [x0, #128]
    stp     q10, q11, [x0, #160]
    stp     q12, q13, [x0, #192]
    stp     q14, q15, [x0, #224]
    stp     q16, q17, [x0, #256]
    stp     q18, q19, [x0, #288]
    stp     q20, q21, [x0, #320]
    stp     q22, q23, [x0, #352]
    stp     q24, q25, [x0, #384]
    stp     q26, q27, [x0, #416]
    stp     q28, q29, [x0, #448]
    stp     q30, q31, [x0, #480]
    mrs     x1, fpsr
    mrs     x2, fpcr
    add     x0, x0, #512
    stp     x1, x2, [x0]
    ret

// fn fpsimd_load(from: *const Fp).
    .global fpsimd_load
fpsimd_load:
    ldp     q0, q1, [x0]
    ldp     q2, q3, [x0, #32]
    ldp     q4, q5, [x0, #64]
    ldp     q6, q7, [x0, #96]
    ldp     q8, q9, [x0, #128]
    ldp     q10, q11, [x0, #160]
    ldp     q12, q13, [x0, #192]
    ldp     q14, q15, [x0, #224]
    ldp     q16, q17, [x0, #256]
    ldp     q18, q19, [x0, #288]
    ldp     q20, q21, [x0, #320]
    ldp     q22, q23, [x0, #352]
    ldp     q24, q25, [x0, #384]
    ldp     q26, q27, [x0, #416]
    ldp     q28, q29, [x0, #448]
    ldp     q30, q31, [x0, #480]
    add     x0, x0, #512
    ldp     x1, x2, [x0]
    msr     fpsr, x1
    msr     fpcr, x2
    ret

// fn sve_store(to: *mut Sve): z0 to z31 at the length that ZCR_EL2 allows, p0 to p15, FFR, FPSR, FPCR. The offsets are
// those of the longest vectors: Z at 0, P at 8192, FFR at 8704, FPSR and FPCR at 8736.
    .global sve_store
sve_store:
    mov     x1, x0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     z\n, [x1]
    add     x1, x1, #256
    .endr
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    str     p\n, [x1]
    add     x1, x1, #32
    .endr
    rdffr   p0.b
    str     p0, [x1]
    mrs     x2, fpsr
    mrs     x3, fpcr
    stp     x2, x3, [x1, #32]
    ret

// fn sve_load(from: *const Sve).
    .global sve_load
sve_load:
    mov     x2, #8704
    add     x1, x0, x2
    ldr     p0, [x1]
    wrffr   p0.b
    ldp     x2, x3, [x1, #32]
    msr     fpsr, x2
    msr     fpcr, x3
    mov     x1, x0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ldr     z\n, [x1]
    add     x1, x1, #256
    .endr
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    ldr     p\n, [x1]
    add     x1, x1, #32
    .endr
    ret
