/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What corevisor.ko offers beyond the KVM API. All of it by ioctl: on a VM's file descriptor what
 * is about that VM, on that of /dev/kvm what is about the machine.
 */
#ifndef _UAPI_COREVISOR_H
#define _UAPI_COREVISOR_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

#define COREVISOR_IOC 0xCE

/*
 * KVM_CREATE_VM: a protected VM, which runs signed images that the host can't read. Bits 7:0 are
 * the IPA bits.
 */
#define COREVISOR_VM_TYPE_PROTECTED _BITUL(31)

/*
 * An image of a protected VM, before its first run: what its memory slots hold at guest_addr. At
 * most five, each in blocks of 2 MiB that hold nothing else. The signature is described in
 * docs/abi.md.
 */
struct corevisor_image {
	__u64 guest_addr;
	__u64 size;
	__u8 signature[64];
};

/* What a VM was started from: exists from its first run on. */
struct corevisor_measurement {
	__u8 sha256[32];
	__u64 flags;
};

/*
 * Counters of Corevisor's, by their number in docs/abi.md. In: room in values[]; out: how many
 * there are.
 */
struct corevisor_stats {
	__u32 count;
	__u32 reserved;
	__u64 values[];
};

/*
 * In: pfn. Out: the owner of that page, and of how many from there on; whether the host may access
 * them.
 */
struct corevisor_owner {
	__u64 pfn;
	__u64 owner;
	__u64 count;
	__u64 accessible;
};

/* In: position. Out: position of the first byte that is still there, and up to 128 bytes. */
struct corevisor_log {
	__u64 position;
	__u64 size;
	__u8 text[128];
};

#define COREVISOR_ADD_IMAGE	  _IOW(COREVISOR_IOC, 0x00, struct corevisor_image)
#define COREVISOR_GET_MEASUREMENT _IOR(COREVISOR_IOC, 0x01, struct corevisor_measurement)
#define COREVISOR_GET_STATS	  _IOWR(COREVISOR_IOC, 0x10, struct corevisor_stats)
#define COREVISOR_GET_OWNERS	  _IOWR(COREVISOR_IOC, 0x11, struct corevisor_owner)
#define COREVISOR_READ_LOG	  _IOWR(COREVISOR_IOC, 0x12, struct corevisor_log)

#endif
