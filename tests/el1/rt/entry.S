// SPDX-License-Identifier: GPL-2.0-only
//
// A payload's first bytes and the first instructions of each of its CPUs, at EL1. Symbols image_*, bss_*, rela_* and
// boot_stack_top come from linker.ld. Names in braces are operands that rt.rs gives: offsets in `Cpu`, and functions.

    .section .text.header, "ax"

// The arm64 Image header (Linux, "Booting AArch64 Linux").
    .global image_header
image_header:
    b       payload_entry
    .long   0
    .quad   0                           // text_offset
    .quad   image_size
    .quad   (1 << 1) | (1 << 3)         // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .section .text.boot, "ax"

// x0 = device tree, MMU off.
payload_entry:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     x19, x0
    adrp    x20, image_start
    add     x20, x20, :lo12:image_start

    adrp    x0, bss_start
    add     x0, x0, :lo12:bss_start
    adrp    x1, image_end
    add     x1, x1, :lo12:image_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    // All relocations are R_AARCH64_RELATIVE (1027): *(base + offset) = base + addend.
    adrp    x0, rela_start
    add     x0, x0, :lo12:rela_start
    adrp    x1, rela_end
    add     x1, x1, :lo12:rela_end
2:  cmp     x0, x1
    b.hs    3f
    ldp     x2, x3, [x0], #16
    ldr     x4, [x0], #8
    cmp     w3, #1027
    b.ne    2b
    add     x4, x4, x20
    str     x4, [x20, x2]
    b       2b
3:
    // Both halves of the map: 1 GiB blocks, virtual = physical, all executable. Memory in the gigabytes 1 to 255,
    // where QEMU's `virt` has its RAM, devices below and above.
    adrp    x0, map_el1
    adrp    x1, map_el0
    mov     x2, xzr                     // gigabyte
    mov     x3, #0x701                  // block, AF, inner shareable, MAIR index 0, EL1 only
    movk    x3, #(1 << 6), lsl #48      // UXN
    mov     x4, #0x741                  // the same for EL0, too
    movk    x4, #(1 << 5), lsl #48      // PXN
4:  lsl     x5, x2, #30
    sub     x6, x2, #1
    cmp     x6, #255
    b.hs    5f
    orr     x5, x5, #(1 << 2)           // MAIR index 1
5:  orr     x6, x5, x3
    str     x6, [x0, x2, lsl #3]
    orr     x6, x5, x4
    str     x6, [x1, x2, lsl #3]
    add     x2, x2, #1
    cmp     x2, #512
    b.lo    4b
    adrp    x2, map_root
    orr     x0, x0, #3
    orr     x1, x1, #3
    stp     x0, x1, [x2]
    adrp    x0, map_window
    orr     x0, x0, #3
    str     x0, [x2, #16]

    adrp    x0, boot_stack_top
    add     x0, x0, :lo12:boot_stack_top
    bl      set_up_cpu
    mov     x0, x19
    bl      {start}                     // does not return

// Where PSCI's CPU_ON starts a CPU: x0 = the caller's context, MMU off.
    .global secondary_entry
secondary_entry:
    .irp    n, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    orr     x1, x1, x\n
    .endr
    mov     x24, x1
    mov     x19, x0
    mrs     x20, CurrentEL
    mrs     x21, daif
    mrs     x22, sctlr_el1
    mrs     x23, spsel
    mrs     x1, mpidr_el1
    and     x1, x1, #0xff
    adrp    x0, stacks
    add     x0, x0, :lo12:stacks
    add     x1, x1, #1
    add     x0, x0, x1, lsl #15
    bl      set_up_cpu
    mrs     x0, tpidr_el1
    orr     x20, x20, x21
    orr     x20, x20, x23
    str     x19, [x0, #{context}]
    str     x20, [x0, #{start_state}]
    str     x22, [x0, #{start_sctlr}]
    str     x24, [x0, #{start_others}]
    bl      {secondary}                 // does not return

// x0 = top of the stack. Numbers CPUs by MPIDR_EL1.Aff0, and leaves the MMU on.
set_up_cpu:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     sp, x0
    mov     x29, xzr
    adrp    x1, payload_vectors
    add     x1, x1, :lo12:payload_vectors
    msr     vbar_el1, x1
    mrs     x1, mpidr_el1
    and     x1, x1, #0xff
    mov     x2, #{cpu_size}
    adrp    x3, {cpus}
    add     x3, x3, :lo12:{cpus}
    madd    x1, x1, x2, x3
    msr     tpidr_el1, x1

    mov     x1, #0xff00                 // MAIR: 0 Device-nGnRnE, 1 normal write-back
    msr     mair_el1, x1
    mrs     x2, id_aa64mmfr0_el1
    and     x2, x2, #0xf
    cmp     x2, #5
    mov     x3, #5
    csel    x2, x2, x3, lo              // IPS: what the CPU has, at most 48 bits
    mov     x1, #0x3510                 // T0SZ 16, walks write-back and inner shareable
    movk    x1, #0x80, lsl #16          // EPD1
    orr     x1, x1, x2, lsl #32
    msr     tcr_el1, x1
    adrp    x1, map_root
    msr     ttbr0_el1, x1
    dsb     sy
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    mrs     x1, sctlr_el1
    mov     x2, #0x1005                 // M, C, I
    orr     x1, x1, x2
    msr     sctlr_el1, x1
    isb
    ret

    .section .bss.payload, "aw", %nobits
    .balign 4096
    .global map_root
map_root:
    .space  4096
map_el1:
    .space  4096
map_el0:
    .space  4096
    .global map_window
map_window:
    .space  4096
stacks:
    .space  32768 * {cpu_count}
