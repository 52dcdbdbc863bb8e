// SPDX-License-Identifier: GPL-2.0-only
//
// The first instructions of each vCPU: the MMU on, with virtual = physical, devices below 1 GiB and memory above; FP
// usable; a stack. The map is constant, so that nothing is written before caches are on.

    .section .text.boot, "ax"

// Where the host starts the boot vCPU: the image's first instruction.
    .global guest_entry
guest_entry:
    adr     x20, {boot}
    b       set_up
// Here (protocol::WITNESS), if it is to note all registers first.
    b       state_witness

// Where CPU_ON starts all others. x0 = what the caller gave CPU_ON.
    .global secondary_entry
secondary_entry:
    adr     x20, {secondary}

set_up:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     x19, x0
    mov     x1, #(3 << 20)              // FPEN
    msr     cpacr_el1, x1
    adrp    x1, guest_vectors
    add     x1, x1, :lo12:guest_vectors
    msr     vbar_el1, x1
    mov     x1, #0xff00                 // MAIR: 0 Device-nGnRnE, 1 normal write-back
    msr     mair_el1, x1
    mov     x1, #0x3519                 // T0SZ 25, walks write-back and inner shareable
    movk    x1, #0x80, lsl #16          // EPD1
    movk    x1, #2, lsl #32             // IPS: 40 bits
    msr     tcr_el1, x1
    adrp    x1, guest_map
    msr     ttbr0_el1, x1
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
    mrs     x1, mpidr_el1
    and     x1, x1, #7
    msr     tpidr_el1, x1
    adrp    x2, guest_stacks
    add     x2, x2, :lo12:guest_stacks
    add     x1, x1, #1
    add     x2, x2, x1, lsl #15
    mov     sp, x2
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    br      x20

    .section .rodata.map, "a"
    .balign 4096
// Blocks of 1 GiB: the first Device-nGnRnE and not executable, the others normal memory; access flag, inner shareable.
guest_map:
    .quad   (1 << 54) | (1 << 53) | 0x701
    .set    gigabyte, 1
    .rept   511
    .quad   (gigabyte << 30) | (1 << 54) | 0x705
    .set    gigabyte, gigabyte + 1
    .endr

    .section .bss.stacks, "aw", %nobits
    .balign 16
guest_stacks:
    .space  32768 * {vcpus}
