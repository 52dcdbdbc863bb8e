// SPDX-License-Identifier: GPL-2.0-only
//
// The image's first bytes, and the first instructions of every CPU. Symbols image_*, text_end, … come from linker.ld.

    .section .text.header, "ax"

// The arm64 Image header (Linux, "Booting AArch64 Linux"): what starts Linux starts us.
    .global image_header
image_header:
    b       entry
    .long   0
    .quad   0                           // text_offset
    .quad   image_size
    .quad   (1 << 1) | (1 << 3)         // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .section .text.boot, "ax"

// Boot CPU: MMU off, x0 = device tree.
entry:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     x19, x0
    adrp    x20, image_start
    add     x20, x20, :lo12:image_start

    // Zero .bss, the boot stack included.
    adrp    x0, bss_start
    add     x0, x0, :lo12:bss_start
    adrp    x1, image_end
    add     x1, x1, :lo12:image_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    // Apply the relocations: all are R_AARCH64_RELATIVE (1027), that is *(base + offset) = base + addend.
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

    // What was written past the caches must not be hidden by stale lines when they come on.
3:  dsb     sy
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4             // DminLine: log2 of words
    mov     x3, #4
    lsl     x3, x3, x2
    adrp    x0, image_start
    adrp    x1, image_end
    add     x1, x1, :lo12:image_end
4:  dc      ivac, x0
    add     x0, x0, x3
    cmp     x0, x1
    b.lo    4b
    dsb     sy

    adrp    x0, boot_stack_top
    add     x0, x0, :lo12:boot_stack_top
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    mrs     x1, CurrentEL
    lsr     x1, x1, #2
    bl      boot_main                   // does not return

// A CPU that PSCI starts for us: MMU off, x0 = its `PerCpu`. Both that and SECONDARY_BOOT were cleaned to memory.
    .global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    msr     spsel, #1
    adrp    x1, SECONDARY_BOOT
    add     x1, x1, :lo12:SECONDARY_BOOT
    ldp     x2, x3, [x1]                // mair, tcr
    ldp     x4, x5, [x1, #16]           // ttbr0, sctlr
    msr     mair_el2, x2
    msr     tcr_el2, x3
    msr     ttbr0_el2, x4
    adrp    x6, vectors
    add     x6, x6, :lo12:vectors
    msr     vbar_el2, x6
    msr     tpidr_el2, x0
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x5
    isb
    bic     x1, x0, #0x7f               // the low bits are the CPU's index
    ldr     x1, [x1]                    // PerCpu.stack_top
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    bl      secondary_main              // does not return

// fn switch_el2_map(ttbr0, mair, tcr, sctlr): makes another EL2 map current. The map is the identity and no memory is
// touched in between, so the MMU can be off for the while: entries of two maps are never in the TLB together.
    .global switch_el2_map
switch_el2_map:
    dsb     sy
    mrs     x4, sctlr_el2
    bic     x4, x4, #1
    msr     sctlr_el2, x4
    isb
    msr     mair_el2, x1
    msr     tcr_el2, x2
    msr     ttbr0_el2, x0
    isb
    tlbi    alle2
    dsb     nsh
    isb
    msr     sctlr_el2, x3
    isb
    ret

// fn enter_host(context, stack_top) -> !: leaves for the host. ELR_EL2 and SPSR_EL2 are set; the host finds `context`
// in x0, and nothing of ours in any other register.
    .global enter_host
enter_host:
    mov     sp, x1
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mov     x\n, xzr
    .endr
    eret
    dsb     nsh
    isb
