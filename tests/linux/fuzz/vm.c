// SPDX-License-Identifier: GPL-2.0-only
/* Calls about the machine, and about a VM. */
#include "fuzz.h"

static struct file *create_vm(struct thread *t)
{
	struct file *kvm = pick_file(t, FILE_KVM), *file;
	bool is_protected = one_in(t, 3);
	unsigned long type = PICK(t, 0, 0, 0, 40, 36, 32);
	int fd;

	if (is_protected)
		type |= COREVISOR_VM_TYPE_PROTECTED;
	if (one_in(t, 16))
		type ^= 1UL << below(t, 64);
	fd = call_number(t, CREATE_VM, kvm->fd, KVM_CREATE_VM, type);
	if (fd < 0)
		return NULL;
	file = put_file(t, FILE_VM, fd);
	file->is_protected = is_protected;
	return file;
}

static void machine(struct thread *t)
{
	struct file *kvm = pick_file(t, FILE_KVM);
	struct corevisor_stats *stats = (void *)t->argument;
	struct corevisor_owner *owner = (void *)t->argument;
	struct corevisor_log *log = (void *)t->argument;

	switch (below(t, 5)) {
	case 0:
		call_number(t, CHECK_EXTENSION, pick_file(t, one_in(t, 2) ? FILE_KVM : FILE_VM)->fd, KVM_CHECK_EXTENSION,
			    below(t, 300));
		break;
	case 1:
		stats->count = PICK(t, 0, 1, 22, 64, 0xffffffff);
		stats->reserved = one_in(t, 16);
		call(t, STATS, kvm->fd, COREVISOR_GET_STATS, stats);
		break;
	case 2:
		owner->pfn = one_in(t, 2) ? odd_number(t) : odd_number(t) / PAGE;
		call(t, OWNERS, kvm->fd, COREVISOR_GET_OWNERS, owner);
		break;
	case 3:
		log->position = odd_number(t);
		call(t, LOG, kvm->fd, COREVISOR_READ_LOG, log);
		break;
	default:
		call_number(t, CHECK_EXTENSION, kvm->fd, PICK(t, KVM_GET_API_VERSION, KVM_GET_VCPU_MMAP_SIZE), 0);
	}
}

static void good_slot(struct thread *t, int vm, uint8_t *ram)
{
	struct kvm_userspace_memory_region *region = (void *)t->argument;

	*region = (struct kvm_userspace_memory_region){
		.guest_phys_addr = TINY_RAM,
		.memory_size = RAM_SIZE,
		.userspace_addr = (uintptr_t)ram,
	};
	call(t, SLOT, vm, KVM_SET_USER_MEMORY_REGION, region);
}

static void odd_slot(struct thread *t)
{
	struct kvm_userspace_memory_region *region = (void *)t->argument;

	region->slot = one_in(t, 8) ? odd_number(t) : below(t, 4);
	region->flags = one_in(t, 8) ? odd_number(t) : 0;
	region->guest_phys_addr = one_in(t, 4) ? odd_number(t) & ~(PAGE - 1) : TINY_RAM + below(t, 8) * BLOCK / 2;
	region->memory_size = PICK(t, 0, PAGE, BLOCK, RAM_SIZE / 2, RAM_SIZE);
	region->userspace_addr = pick_address(t) & ~(PAGE - 1);
	if (one_in(t, 8))
		t->argument[below(t, sizeof(*region) / 8)] = odd_number(t);
	call(t, SLOT, pick_file(t, FILE_VM)->fd, KVM_SET_USER_MEMORY_REGION, region);
}

static void add_image(struct thread *t, int vm, bool good)
{
	struct corevisor_image *image = (void *)t->argument;

	image->guest_addr = good ? TINY_RAM : TINY_RAM + below(t, 8) * BLOCK / 2;
	image->size = good ? world.image_size : PICK(t, world.image_size, PAGE, 1, BLOCK, RAM_SIZE);
	if (!good && one_in(t, 4))
		image->size = odd_number(t);
	if (!good && one_in(t, 4))
		image->guest_addr = odd_number(t);
	memcpy(image->signature, world.signature, sizeof(image->signature));
	call(t, IMAGE, vm, COREVISOR_ADD_IMAGE, image);
}

static struct file *create_vcpu(struct thread *t, const struct file *vm, unsigned long index)
{
	bool is_protected = vm->is_protected;
	int fd = call_number(t, CREATE_VCPU, vm->fd, KVM_CREATE_VCPU, index);
	struct file *file;
	void *at;

	if (fd < 0)
		return NULL;
	file = put_file(t, FILE_VCPU, fd);
	file->is_protected = is_protected;
	at = mmap(file->run, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	counted(RUN_PAGE, at == MAP_FAILED ? -1 : 0);
	return file;
}

static void good_init(struct thread *t, struct file *vcpu, bool is_off)
{
	struct kvm_vcpu_init *init = (void *)t->argument;
	struct kvm_one_reg *reg = (void *)t->argument;

	memset(init, 0, sizeof(*init));
	init->target = KVM_ARM_TARGET_GENERIC_V8;
	init->features[0] = 1 << KVM_ARM_VCPU_PSCI_0_2 | is_off << KVM_ARM_VCPU_POWER_OFF;
	call(t, INIT, vcpu->fd, KVM_ARM_VCPU_INIT, init);
	t->reg_value[0] = TINY_RAM + below(t, TINY_PROGRAMS) * TINY_ROOM;
	reg->id = KVM_REG_ARM64 | KVM_REG_ARM_CORE | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE_REG(regs.pc);
	reg->addr = (uintptr_t)t->reg_value;
	call(t, SET_REG, vcpu->fd, KVM_SET_ONE_REG, reg);
}

static void good_gic(struct thread *t, int vm)
{
	static const struct { unsigned int group; uint64_t attr, value; } steps[] = {
		{ KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, 64 },
		{ KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, TINY_DIST },
		{ KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, TINY_REDIST },
		{ KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0 },
	};
	struct kvm_create_device *device = (void *)t->argument;
	struct kvm_device_attr *attr = (void *)t->argument;
	struct file *file;
	unsigned int i;

	*device = (struct kvm_create_device){ .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	if (call(t, CREATE_DEVICE, vm, KVM_CREATE_DEVICE, device) || device->fd <= 2)
		return;
	file = put_file(t, FILE_DEVICE, device->fd);
	for (i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		t->reg_value[0] = steps[i].value;
		*attr = (struct kvm_device_attr){ 0, steps[i].group, steps[i].attr, (uintptr_t)t->reg_value };
		call(t, DEVICE_ATTR, file->fd, KVM_SET_DEVICE_ATTR, attr);
	}
}

static __thread uint32_t *code;

/* What the image is, or, as a shared VM may run anything, random instructions among it. */
static void fill_ram(struct thread *t)
{
	unsigned int i;

	memcpy(code, world.image, world.image_size);
	for (i = 0; one_in(t, 2) && i < TINY_PROGRAMS * TINY_ROOM / 4; i++)
		if (one_in(t, 8))
			code[i] = one_in(t, 2) ? random_word(t) : PICK(t, 0xd4000002, 0xd503207f, 0xd4000003, 0xd5184100) ^
				  below(t, 1 << 16) << 5;
}

void make_guest(struct thread *t)
{
	unsigned int i, vcpus = 1 + below(t, 3);
	struct file *vm = create_vm(t), *vcpu[3] = {};
	bool is_protected;
	unsigned int index;

	if (!vm)
		return;
	is_protected = vm->is_protected;
	index = vm - world.files[FILE_VM];
	if (!one_in(t, 4))
		renew_ram(index);
	code = (uint32_t *)world.ram[index];
	guarded(fill_ram, t);
	good_slot(t, vm->fd, world.ram[index]);
	for (i = 0; i < vcpus; i++)
		vcpu[i] = create_vcpu(t, vm, i);
	if (!one_in(t, 4))
		good_gic(t, vm->fd);
	if (is_protected)
		add_image(t, vm->fd, true);
	for (i = 0; i < vcpus; i++)
		if (vcpu[i])
			good_init(t, vcpu[i], i > 0);
	for (i = 0; i < 24 && vcpu[i % vcpus]; i++)
		if (run_vcpu(t, vcpu[i % vcpus]) && i > 3)
			return;
}

void vm_calls(struct thread *t)
{
	struct file *vm = pick_file(t, FILE_VM);
	struct kvm_enable_cap *cap = (void *)t->argument;

	switch (below(t, 8)) {
	case 0:
		create_vm(t);
		break;
	case 1:
	case 2:
		odd_slot(t);
		break;
	case 3:
		create_vcpu(t, vm, one_in(t, 8) ? odd_number(t) : below(t, 9));
		break;
	case 4:
		*cap = (struct kvm_enable_cap){ .cap = one_in(t, 2) ? KVM_CAP_ARM_NISV_TO_USER : below(t, 300) };
		call(t, ENABLE_CAP, vm->fd, KVM_ENABLE_CAP, cap);
		break;
	case 5:
		add_image(t, vm->fd, false);
		break;
	case 6:
		call(t, MEASUREMENT, vm->fd, COREVISOR_GET_MEASUREMENT, t->argument);
		break;
	default:
		machine(t);
	}
}
