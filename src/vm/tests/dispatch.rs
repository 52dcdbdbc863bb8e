// SPDX-License-Identifier: GPL-2.0-only
//! The life of a VM as the host leads it: by calls.

use super::{BLOCK, GUEST, RUN_PAGE, boot, fill, page, vm};
use crate::abi::{self, host_call, stat};
use crate::addr::{PAGE_SIZE, PMD_SIZE};
use crate::lock::Held;
use crate::trap::{Conduit, HostAction, Registers};
use crate::world::{self, Core, pfn, record, snapshot};

/// Where the host puts ciphertext.
const STORE: u64 = BLOCK + 8 * PMD_SIZE;
/// A free window of device registers.
const DEVICE: u64 = 0x0A00_0000;

/// Makes call `number` with `args` from x1 on. Returns the registers after.
fn call<const N: usize>(core: &Core, number: u32, args: [u64; N]) -> Registers {
    let mut regs: Registers = core::array::from_fn(|i| 0xF00D_0000 + i as u64);
    regs[0] = (abi::HOST_CALL_BASE + number).into();
    regs[1..=N].copy_from_slice(&args);
    let before = regs;
    let action = core.host_smccc(Conduit::Hvc, 0, &mut regs, &mut Held::nothing());
    assert_eq!(action, HostAction::Resume);
    core.machine().check();
    // Results besides x0 are few, and known.
    let results = match number {
        host_call::ENCRYPT_BUF if regs[0] == 0 => 7,
        host_call::VM_MEASUREMENT if regs[0] == 0 => 6,
        _ => 1,
    };
    assert_eq!(regs[results..], before[results..], "call {number}");
    regs
}

/// The same, for x0 alone.
fn x0<const N: usize>(core: &Core, number: u32, args: [u64; N]) -> i64 {
    call(core, number, args)[0] as i64
}

// Tests: TD-1
#[test]
fn a_vm_is_built_saved_destroyed_and_built_again_by_calls() {
    let core = boot();
    for n in 0..2 {
        fill(&core, BLOCK + n * PAGE_SIZE, 7 + n as u8);
    }
    assert_eq!(x0(&core, host_call::REGISTER_KVM, [0]), 1);
    assert_eq!(x0(&core, host_call::REGISTER_VCPU, [1, 0, RUN_PAGE]), 0);
    assert_eq!(x0(&core, host_call::REGISTER_VCPU, [1, 0, RUN_PAGE]), abi::DENIED);
    assert_eq!(x0(&core, host_call::SET_BOOT_INFO, [1, GUEST, PMD_SIZE]), 0);
    assert_eq!(x0(&core, host_call::SET_BOOT_INFO, [1, GUEST + PMD_SIZE, 1]), 1);
    for n in 0..512 {
        assert_eq!(x0(&core, host_call::REMAP_VM_IMAGE, [1, BLOCK / PAGE_SIZE + n, 0]), 0);
    }
    assert_eq!(x0(&core, host_call::VERIFY_VM_IMAGE, [1]), abi::DENIED, "the second image is missing");
    assert_eq!(x0(&core, host_call::REMAP_VM_IMAGE, [1, (BLOCK + PMD_SIZE) / PAGE_SIZE, 1]), 0);
    assert_eq!(x0(&core, host_call::PHYS_ADDR_IOREMAP, [1, 0x1000_0000, DEVICE, PAGE_SIZE]), 0);
    assert_eq!(x0(&core, host_call::VM_MEASUREMENT, [1]), abi::DENIED);
    // Of 513 pages 16 are hashed at a time. The second block comes when all of the first is.
    for left in (1..32).map(|n| 512 + 513 - 16 * n).chain([1, 0]) {
        assert_eq!(x0(&core, host_call::VERIFY_VM_IMAGE, [1]), left);
    }
    let [x0_, words @ .., flags] = *call(&core, host_call::VM_MEASUREMENT, [1]).first_chunk::<6>().unwrap();
    let (measurement, _) = core.measurement(vm(1), &mut Held::nothing()).unwrap();
    assert_eq!((x0_, words.map(u64::to_le_bytes).concat(), flags), (0, measurement.to_vec(), 0));
    assert_eq!(x0(&core, host_call::SAVE_CRYPT_VCPU, [1, 0]), 0);
    let saved = call(&core, host_call::ENCRYPT_BUF, [1, BLOCK + PAGE_SIZE, STORE]);
    assert_eq!((saved[0], saved[4]), (0, GUEST / PAGE_SIZE + 1));
    assert!(page(&core, pfn(STORE)) != [8; PAGE_SIZE as usize]);
    assert_eq!(world::stat(&core, stat::VMS), 1);
    assert_eq!(world::stat(&core, stat::VM_PAGES), 1024);
    assert!(world::stat(&core, stat::VM_TABLE_PAGES) > 0);
    let mut left = [x0(&core, host_call::DESTROY_VM, [1])].to_vec();
    while left.last() != Some(&0) {
        left.push(x0(&core, host_call::DESTROY_VM, [1]));
    }
    assert_eq!(left, [1024 + 1, 1024, 512, 0], "the window, then the pages");
    assert_eq!(world::stat(&core, stat::VMS), 0);
    assert_eq!(x0(&core, host_call::DESTROY_VM, [1]), abi::INVALID_PARAMETER);
    assert_eq!(x0(&core, host_call::REGISTER_KVM, [0]), 2);
    let [_, x1, x2, x3, x4, x5, x6, ..] = saved;
    assert_eq!(x0(&core, host_call::DECRYPT_BUF, [2, STORE, x1, x2 + 1, x3, x4, x5, x6]), abi::DENIED);
    assert_eq!(x0(&core, host_call::DECRYPT_BUF, [2, STORE, x1, x2, x3, x4, x5, x6]), 0);
    assert_eq!(page(&core, pfn(STORE)), [8; PAGE_SIZE as usize]);
    assert_eq!(record(&core, STORE).owner(), Some(vm(2)));
    assert_eq!(x0(&core, host_call::REGISTER_VCPU, [2, 0, RUN_PAGE]), 0);
    assert_eq!(x0(&core, host_call::LOAD_CRYPT_VCPU, [2, 0]), 0);
    assert_eq!(x0(&core, host_call::VERIFY_VM_IMAGE, [2]), abi::DENIED, "1023 pages are missing");
}

// Tests: TD-1
#[test]
fn a_vm_that_is_off_gives_back_what_the_host_asks_for() {
    let core = boot();
    let v = super::verified(&core, PAGE_SIZE);
    let id = v.index() as u64;
    assert_eq!(x0(&core, host_call::CLEAR_VM_S2_RANGE, [id, BLOCK, PAGE_SIZE]), 0);
    assert_eq!(record(&core, BLOCK).owner(), Some(v), "it is on");
    core.set_vm_poweroff(v, &mut Held::nothing());
    assert_eq!(x0(&core, host_call::CLEAR_VM_S2_RANGE, [id, BLOCK, PMD_SIZE]), 0);
    assert_eq!(world::stat(&core, stat::VM_PAGES), 0);
}

// Tests: TD-1
#[test]
fn calls_for_devices_and_the_counter_arrive() {
    let core = boot();
    assert_eq!(x0(&core, host_call::TIMER_SET_CNTVOFF, [0x89AB_CDEF, 0x0123_4567]), 0);
    assert_eq!(core.cntvoff(), 0x0123_4567_89AB_CDEF);
    assert_eq!(x0(&core, host_call::REGISTER_KVM, [0]), 1);
    let (bank, smmu, iova) = (2, 0, GUEST);
    assert_eq!(x0(&core, host_call::SMMU_ALLOC_PGD, [bank, 1, smmu]), 0);
    assert_eq!(x0(&core, host_call::SMMU_LPAE_MAP, [iova, BLOCK, 0xC0, bank, smmu]), 0);
    assert_eq!(x0(&core, host_call::SMMU_LPAE_IOVA_TO_PHYS, [iova + 5, bank, smmu]), (BLOCK + 5) as i64);
    assert_eq!(x0(&core, host_call::SMMU_CLEAR, [iova, bank, smmu]), 0);
    assert_eq!(x0(&core, host_call::SMMU_FREE_PGD, [bank, smmu]), abi::DENIED, "the VM is not off");
    core.set_vm_poweroff(vm(1), &mut Held::nothing());
    assert_eq!(x0(&core, host_call::SMMU_FREE_PGD, [bank, smmu]), 0);
}

// Tests: TD-1
#[test]
fn a_run_is_left_to_the_caller() {
    let core = boot();
    let before = snapshot(&core);
    let mut regs = [0; 31];
    regs[..3].copy_from_slice(&[(abi::HOST_CALL_BASE + host_call::VCPU_RUN).into(), 3, 7]);
    let asked = regs;
    let action = core.host_smccc(Conduit::Smc, 0, &mut regs, &mut Held::nothing());
    assert_eq!(action, HostAction::Run { v: vm(3), vcpu: super::vcpu(7) });
    assert_eq!(regs, asked);
    assert_eq!(snapshot(&core), before);
}
