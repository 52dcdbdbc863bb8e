// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest that measures what its hypervisor costs it, by the virtual counter: the operations, and what of them counts, are those
 * of the usual micro-benchmarks for KVM. Each row is done in batches, so that one that the host's own ticks fell into can be
 * told from the others.
 *
 * An IPI counts from the write of ICC_SGI1R_EL1 until the other vCPU, which runs and does not sleep, has handled it, and
 * the sender has seen that; a timer from its deadline until the vCPU, which does not sleep either, has handled its
 * interrupt.
 */

#include <stdint.h>

#include "cost.h"

#define BATCHES 15
#define SGI	1
#define VTIMER	27
#define DELAY_HZ 10000 /* a timer's delay, as a frequency */

#define GROUP1_ENABLE "S3_0_C12_C12_7"
#define PMR	      "S3_0_C4_C6_0"
#define IAR1	      "S3_0_C12_C12_0"
#define EOIR1	      "S3_0_C12_C12_1"
#define SGI1R	      "S3_0_C12_C11_5"

#define READ(name)                                                  \
	({                                                          \
		uint64_t value_;                                    \
		asm volatile("mrs %0, " name : "=r"(value_) :: "memory"); \
		value_;                                             \
	})
#define WRITE(name, value) asm volatile("msr " name ", %0" ::"r"((uint64_t)(value)) : "memory")

#define SPURIOUS 1023
#define PSCI_SYSTEM_OFF 0x84000008
#define PSCI_CPU_ON	0xc4000003
/* A number that nobody gives a meaning: an own one of the trusted OS', as a yielding call. */
#define UNKNOWN_CALL	0x4b000000

void entry(void);

static volatile uint32_t received, ready;

static void isb(void)
{
	asm volatile("isb" ::: "memory");
}

static void relax(void)
{
	asm volatile("yield" ::: "memory");
}

static uint64_t now(void)
{
	isb();
	return READ("cntvct_el0");
}

static uint32_t read32(uintptr_t address)
{
	uint32_t value;

	asm volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static void write32(uintptr_t address, uint32_t value)
{
	asm volatile("str %w0, [%1]" ::"r"(value), "r"(address) : "memory");
}

static void write64(uintptr_t address, uint64_t value)
{
	asm volatile("str %0, [%1]" ::"r"(value), "r"(address) : "memory");
}

static uint64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 asm("x0") = number;
	register uint64_t x1 asm("x1") = a;
	register uint64_t x2 asm("x2") = b;
	register uint64_t x3 asm("x3") = c;

	asm volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory");
	return x0;
}

void power_off(void)
{
	call(PSCI_SYSTEM_OFF, 0, 0, 0);
	for (;;)
		;
}

void on_interrupt(void)
{
	uint64_t intid = READ(IAR1);

	if (intid == VTIMER)
		WRITE("cntv_ctl_el0", 0);
	WRITE(EOIR1, intid);
	isb();
	received = 1;
}

static void enable_interrupts(unsigned int vcpu)
{
	uintptr_t redistributor = COST_GICR + vcpu * 0x20000;

	write32(redistributor + 0x14, 0); /* WAKER */
	write32(redistributor + 0x10100, 1 << SGI | 1 << VTIMER); /* ISENABLER0 */
	write32(COST_GICD, 0x12); /* affinity routing, group 1 */
	WRITE(PMR, 0xf0);
	WRITE(GROUP1_ENABLE, 1);
	isb();
	asm volatile("msr daifclr, #2" ::: "memory");
}

/* The second vCPU. */
void answer_ipis(void)
{
	enable_interrupts(1);
	ready = 1;
	for (;;)
		relax();
}

static uint64_t do_hypercall(void)
{
	call(UNKNOWN_CALL, 0, 0, 0);
	return 0;
}

static uint64_t do_mmio_kernel(void)
{
	read32(COST_GICD + 8); /* IIDR */
	return 0;
}

static uint64_t do_mmio_user(void)
{
	read32(COST_DEVICE + 8);
	return 0;
}

static uint64_t do_eoi(void)
{
	WRITE(EOIR1, SPURIOUS);
	return 0;
}

/* What is returned does not count. */
static uint64_t do_timer(void)
{
	uint64_t delay = READ("cntfrq_el0") / DELAY_HZ;

	received = 0;
	WRITE("cntv_cval_el0", now() + delay);
	WRITE("cntv_ctl_el0", 1);
	isb();
	while (!received)
		;
	return delay;
}

static uint64_t do_ipi(void)
{
	received = 0;
	WRITE(SGI1R, (uint64_t)SGI << 24 | 1 << 1);
	isb();
	while (!received)
		relax();
	return 0;
}

static void measure(unsigned int row, uint64_t (*operation)(void), uint64_t count)
{
	int batch;

	for (batch = 0; batch < BATCHES; batch++) {
		uint64_t start, ticks = 0, i;

		start = now();
		for (i = 0; i < count; i++)
			ticks -= operation();
		ticks += now() - start;
		write64(COST_DEVICE + COST_RESULT_ROW, row);
		write64(COST_DEVICE + COST_RESULT_COUNT, count);
		write64(COST_DEVICE + COST_RESULT_TICKS, ticks);
	}
}

/* The first vCPU. */
void measure_all(void)
{
	enable_interrupts(0);
	measure(COST_HYPERCALL, do_hypercall, 256);
	measure(COST_MMIO_KERNEL, do_mmio_kernel, 256);
	measure(COST_MMIO_USER, do_mmio_user, 64);
	measure(COST_EOI, do_eoi, 256);
	measure(COST_TIMER, do_timer, 16);
	call(PSCI_CPU_ON, 1, (uintptr_t)entry, 1);
	while (!ready)
		relax();
	measure(COST_IPI, do_ipi, 64);
	power_off();
}
