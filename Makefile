# SPDX-License-Identifier: GPL-2.0-only
#
#   make run     Debian's kernel as host under Corevisor in QEMU, with a protected Debian guest and a shell. Variables:
#                KERNEL= INITRD= APPEND= SMP= MEM= CPU= GIC= IOMMU= QEMU_EXTRA= LOG_LEVEL= GUEST=no (see tools/run)
#   make test    all tests, their short form; `make soak` their long form
#   make image   target/corevisor.img, and target/corevisor.elf with symbols. Variable: IMAGE_KEYS= (public keys that
#                images of VMs may be signed with: docs/abi.md)
#   make sign    target/corevisor-sign, which makes keys and signs images of VMs
#   make vmm     target/corevisor-vm, which runs VMs on the host (arm64 Linux), and signs and measures them anywhere
#                (target/corevisor-vm-here, for this machine)
#   make guest   target/guest.img, what the VMs of the tests run
#   make driver  target/driver/SUITE/corevisor.ko, the Linux driver, for the fetched kernels of trixie and bookworm
#   make checkpatch     the kernel's checker of style on the driver
#   make demo    what Corevisor is for, told on the console: a Debian host whose root can't get at its protected guests
#   make demo-bare      the same without Linux: a bare-metal host that can't get at its VMs
#   make verify  the library against the specification: vectors, random steps, exploration, races, coverage, in one table
#   make coverage       where each function of the specification is, and what tests it
#   make line-coverage  how much of the library its own tests run
#   make bench   what Corevisor costs its host, in instructions
#
# Each first installs what it needs and does not find (tools/setup).

.DELETE_ON_ERROR:
# Cargo itself uses all cores, and two of them on one target folder only wait for each other.
.NOTPARALLEL:

TARGET := aarch64-unknown-none-softfloat
RELEASE := target/$(TARGET)/release/corevisor
PROBE := target/probe/$(TARGET)/release/probe
GUEST := target/vm-guest/$(TARGET)/release/guest
OVERLAY := $(shell find tests/linux/initramfs -type f)

.PHONY: all run test image test-image sign vmm guest driver hunter storm checkpatch linux-test-files demo demo-bare verify coverage line-coverage bench footprint soak clippy fmt fmt-check doc clean \
	setup-demo setup-run setup-test setup-linux setup-driver setup-checkpatch setup-lint setup-coverage FORCE

# Cargo's build script runs elsewhere.
ifneq ($(IMAGE_KEYS),)
export IMAGE_KEYS := $(abspath $(IMAGE_KEYS))
endif

all: image

# The choice of Rust. Making it is the first step of everything, and cheap where it has been made.
ifneq ($(MAKECMDGOALS),clean)
include target/toolchain.mk
endif

target/toolchain.mk: FORCE
	@tools/setup build

setup-demo setup-run setup-test setup-linux setup-driver setup-checkpatch setup-lint setup-coverage: setup-%:
	@tools/setup $*

image: target/corevisor.img

target/corevisor.img: FORCE
	@$(CARGO_EL2) build --release --target $(TARGET) $(CARGO_EL2_FLAGS) --bin corevisor \
		$(if $(REQUIRE_SMMU),--features require-smmu)
	@cp $(RELEASE) target/corevisor.elf
	@$(OBJCOPY) -O binary target/corevisor.elf $@

sign:
	@$(CARGO_HOST) build --release -p corevisor-sign
	@cp target/release/corevisor-sign target/corevisor-sign

vmm: setup-linux
	@tools/cargo-linux build --release -p corevisor-vm
	@$(OBJCOPY) --strip-all target/$$(tools/cargo-linux --print-target)/release/corevisor-vm target/corevisor-vm
	@$(CARGO_HOST) build --release -p corevisor-vm
	@cp target/release/corevisor-vm target/corevisor-vm-here

test-image: target/corevisor-test.img

target/corevisor-test.img: FORCE
	@$(CARGO_EL2) build --release --target $(TARGET) $(CARGO_EL2_FLAGS) --bin corevisor --features semihosting
	@cp $(RELEASE) target/corevisor-test.elf
	@$(OBJCOPY) -O binary target/corevisor-test.elf $@

guest: target/guest.img target/guest.sig

# Linked to where VMs have it: none of the firmware's flags are for it.
target/guest.img: FORCE
	@RUSTFLAGS="-Crelocation-model=static -Cforce-frame-pointers=yes" $(CARGO_EL2) build --release --target $(TARGET) \
		$(CARGO_EL2_FLAGS) --manifest-path tests/guest/Cargo.toml --target-dir target/vm-guest
	@$(OBJCOPY) -O binary $(GUEST) $@

# The address is that of tests/guest/link.ld.
target/guest.sig: target/guest.img target/guest.key
	@target/release/corevisor-sign sign --key target/guest.key --address 0x40000000 --pad -o $@ $<

# A key for nothing but the tests of this checkout.
target/guest.key: target/release/corevisor-sign
	@[ -e $@ ] || target/release/corevisor-sign keygen $@ >/dev/null
	@touch $@

target/release/corevisor-sign: FORCE
	@$(CARGO_HOST) build -q --release -p corevisor-sign --target-dir target

driver: target/driver/trixie/corevisor.ko target/driver/bookworm/corevisor.ko

target/driver/%/corevisor.ko: setup-driver linux/abi.h FORCE
	@tools/build-driver $* corevisor linux

# For tests: a kernel that hunts for guests' secrets.
hunter: target/driver/trixie/hunter.ko target/driver/bookworm/hunter.ko

target/driver/%/hunter.ko: setup-driver linux/abi.h FORCE
	@tools/build-driver $* hunter tests/linux/hunter

# For tests: a kernel that makes random calls of Corevisor's.
storm: target/driver/trixie/storm.ko target/driver/bookworm/storm.ko

target/driver/%/storm.ko: setup-driver linux/abi.h FORCE
	@tools/build-driver $* storm tests/linux/storm

linux/abi.h: FORCE
	@tools/abi-header

# What a mutex is for is in the kernel-doc above the structure; versions differ in compat.h; ENOSYS is what KVM gives for an
# access that nobody can emulate; names are the kernel's; and a vCPU that spins has nothing better to do than to yield.
checkpatch: setup-checkpatch
	@perl target/guest/trixie/checkpatch/checkpatch.pl --no-tree --strict --show-types --terse --no-summary \
		--ignore UNCOMMENTED_DEFINITION,LINUX_VERSION_CODE,CONSTANT_COMPARISON,ENOSYS,CAMELCASE,YIELD --file $$(find linux -name '*.[ch]'); status=$$?; \
		rm -f .checkpatch-camelcase.*; exit $$status

# A Linux program: none of the firmware's flags are for it.
$(PROBE): FORCE
	@RUSTFLAGS=-Crelocation-model=static $(CARGO_EL2) build --release --target $(TARGET) $(CARGO_EL2_FLAGS) \
		--manifest-path tests/linux/probe/Cargo.toml --target-dir target/probe

target/initramfs.img: setup-run $(PROBE) $(OVERLAY)
	@tools/mkinitramfs --busybox target/guest/trixie/busybox --add bin/probe=$(PROBE) $@

# For guests of the host, with either kernel; virtio is for those that share their memory with it.
VIRTIO := virtio,virtio_ring,virtio_mmio,virtio_pci_legacy_dev,virtio_pci_modern_dev,virtio_pci,virtio_blk,virtio_console
target/guest-initramfs.img: setup-driver $(shell find tests/linux/guest-initramfs -type f) target/linux-programs/secret
	@tools/mkinitramfs --busybox target/guest/trixie/busybox --overlay tests/linux/guest-initramfs \
		--add bin/secret=target/linux-programs/secret \
		--modules 6.1=$(VIRTIO) --modules 6.12=$(VIRTIO) $@

# C programs of the tests: for the host, but some for guests, too.
PROGRAMS := $(patsubst tests/linux/programs/%.c,target/linux-programs/%,$(wildcard tests/linux/programs/*.c))
target/linux-programs/%: tests/linux/programs/%.c linux/abi.h linux/uapi/corevisor.h $(wildcard tests/linux/hunter/*.h tests/linux/cost/*.h) | setup-driver
	@mkdir -p $(@D)
	@aarch64-linux-gnu-gcc -static -O2 -Wall -Wextra -Werror -Ilinux -o $@ $<

# What the guest is that measures.
COST := $(wildcard tests/linux/cost/*)
target/cost-guest.img: $(COST) | setup-driver
	@aarch64-linux-gnu-gcc -O2 -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -nostdlib -static -fno-pic -mgeneral-regs-only \
		-mstrict-align -Wl,-T,tests/linux/cost/guest.ld,--build-id=none,--no-warn-rwx-segments -o target/cost-guest.elf \
		$(filter %.S %.c,$(COST))
	@$(OBJCOPY) -O binary target/cost-guest.elf $@

target/cost-guest.sig: target/cost-guest.img target/guest.key
	@target/release/corevisor-sign sign --key target/guest.key --address 0x80000000 --pad -o $@ $<

# Random calls of the driver's, and what its VMs run.
FUZZ := $(wildcard tests/linux/fuzz/*.c)
target/linux-programs/fuzz: $(FUZZ) $(wildcard tests/linux/fuzz/*.h) linux/abi.h linux/uapi/corevisor.h | setup-driver
	@mkdir -p $(@D)
	@aarch64-linux-gnu-gcc -static -pthread -O2 -Wall -Wextra -Werror -Ilinux -o $@ $(FUZZ)

target/tiny.img: tests/linux/fuzz/tiny.S tests/linux/fuzz/tiny.h | setup-driver
	@aarch64-linux-gnu-gcc -c -o target/tiny.o $<
	@aarch64-linux-gnu-objcopy -O binary -j .text target/tiny.o $@

# The address is TINY_RAM.
target/tiny.sig: target/tiny.img target/guest.key
	@target/release/corevisor-sign sign --key target/guest.key --address 0x80000000 -o $@ $<

# All that the tests with Linux need besides images of Corevisor's.
linux-test-files: target/initramfs.img target/guest-initramfs.img driver hunter storm vmm target/guest.key $(PROGRAMS) \
	target/cost-guest.sig target/linux-programs/fuzz target/tiny.sig

# What a host with protected guests has besides, and what their images are signed with.
.PHONY: guest-host-files
guest-host-files: target/driver/trixie/corevisor.ko target/driver/trixie/hunter.ko target/guest-initramfs.img \
	$(addprefix target/linux-programs/,hunt secret attack dma) vmm target/guest.key

# What is the same for every kernel of the driver's vGIC, for this machine, with the compiler's own checks.
VGIC_TEST := linux/vgic_irq.c linux/vgic_mmio.c tests/linux/vgic/test.c
target/vgic-test: $(VGIC_TEST) linux/vgic.h linux/vgic_core.h $(wildcard tests/linux/vgic/shim/linux/*.h)
	@mkdir -p $(@D)
	@cc -std=gnu11 -O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all \
		-Itests/linux/vgic/shim -Ilinux -o $@ $(VGIC_TEST)

# With the user's own kernel and ramdisk nothing of ours is needed; with one of them, or GUEST=no, there is no guest.
run: setup-run image $(if $(and $(KERNEL),$(INITRD)),,target/initramfs.img) \
		$(if $(KERNEL)$(INITRD)$(filter no,$(GUEST)),,guest-host-files)
	@tools/run

test: setup-test image test-image guest linux-test-files target/vgic-test
	@tools/test-all

soak: setup-test setup-coverage image test-image guest linux-test-files target/vgic-test
	@tools/test-all --soak
	@tools/verify --soak

demo: setup-run image target/initramfs.img guest-host-files
	@tools/demo

demo-bare: setup-demo test-image guest
	@tools/demo-bare

verify: setup-coverage
	@tools/verify

coverage:
	@tools/coverage

line-coverage: setup-coverage
	@tools/line-coverage

# The memory that Corevisor takes on machines of several sizes.
footprint: setup-run image target/initramfs.img
	@tools/footprint

bench: setup-run setup-driver image test-image target/initramfs.img target/cost-guest.sig target/linux-programs/cost \
		target/guest-initramfs.img target/guest.key driver vmm
	@tools/cost
	@tools/vm-cost --kvm
	@tools/bench

clippy: setup-lint setup-linux
	$(CARGO_HOST) clippy --features sim --lib --test library --test lock_order -- -D warnings
	$(CARGO_HOST) clippy --features loom --test loom -- -D warnings
	$(CARGO_HOST) clippy --features shuttle --test shuttle -- -D warnings
	$(CARGO_HOST) clippy -p model -p corevisor-sign -p corevisor-vm --all-targets -- -D warnings
	tools/cargo-linux clippy -p corevisor-vm -- -D warnings
	$(CARGO_EL2_CLIPPY) --target $(TARGET) $(CARGO_EL2_FLAGS) -- -D warnings
	$(CARGO_EL2_CLIPPY) --target $(TARGET) $(CARGO_EL2_FLAGS) --bins --tests --features semihosting -- -D warnings
	RUSTFLAGS=-Crelocation-model=static $(CARGO_EL2_CLIPPY) --target $(TARGET) $(CARGO_EL2_FLAGS) \
		--manifest-path tests/linux/probe/Cargo.toml --target-dir target/probe -- -D warnings
	RUSTFLAGS=-Crelocation-model=static $(CARGO_EL2_CLIPPY) --target $(TARGET) $(CARGO_EL2_FLAGS) --release \
		--manifest-path tests/guest/Cargo.toml --target-dir target/vm-guest -- -D warnings

fmt: setup-lint
	$(CARGO_HOST) fmt --all
	$(CARGO_HOST) fmt --manifest-path tests/linux/probe/Cargo.toml
	$(CARGO_HOST) fmt --manifest-path tests/guest/Cargo.toml

fmt-check: setup-lint
	$(CARGO_HOST) fmt --all --check
	$(CARGO_HOST) fmt --check --manifest-path tests/linux/probe/Cargo.toml
	$(CARGO_HOST) fmt --check --manifest-path tests/guest/Cargo.toml

doc:
	$(CARGO_HOST) doc --no-deps --document-private-items

clean:
	rm -rf target
