// SPDX-License-Identifier: GPL-2.0-only
//! Layers VMPower, BootCore, BootAux and BootOps, and the fields of VM records and core data.

use super::args::Args;
use super::{Did, Library, Row, done, number};
use crate::library;
use corevisor::addr::Ipa;
use corevisor::lock::Held;
use corevisor::vm::{Image, VcpuState, VmInfo, VmState};

/// A VM's state in the library's type.
fn vm_state(state: u64) -> Option<VmState> {
    use crate::constants::state::{POWEROFF, READY, UNUSED, VERIFIED};
    Some(match u32::try_from(state).ok()? {
        UNUSED => VmState::Unused,
        READY => VmState::Ready,
        VERIFIED => VmState::Verified,
        POWEROFF => VmState::Poweroff,
        _ => return None,
    })
}

/// A vCPU's state in the library's type.
fn vcpu_state(state: u64) -> Option<VcpuState> {
    use crate::constants::state::{ACTIVE, READY, UNUSED};
    Some(match u32::try_from(state).ok()? {
        UNUSED => VcpuState::Unused,
        READY => VcpuState::Ready,
        ACTIVE => VcpuState::Active,
        _ => return None,
    })
}

/// Reads a field of a record.
fn read(s: &Library, args: &Args, field: impl FnOnce(&VmInfo) -> Option<u64>) -> Row {
    let mut nothing = Held::nothing();
    let (vm, _) = s.core.acquire_lock_vm(args.v(0)?, &mut nothing);
    number(field(&vm)?)
}

/// Changes a field of a record, if there is such a field.
fn write(s: &Library, args: &Args, field: impl FnOnce(&mut VmInfo) -> Option<()>) -> Row {
    let mut nothing = Held::nothing();
    let (mut vm, _) = s.core.acquire_lock_vm(args.v(0)?, &mut nothing);
    field(&mut vm)?;
    done(Ok(()))
}

/// Changes a field of an image that exists.
fn image(s: &Library, args: &Args, field: impl FnOnce(&mut Image, u64) -> Option<()>) -> Row {
    let (index, value) = (args.number(1)? as usize, args.number(2)?);
    write(s, args, |vm| field(vm.images.get_mut(index)?, value))
}

/// Reads a field of an image; 0 if it does not exist.
fn image_field(s: &Library, args: &Args, field: impl FnOnce(&Image) -> u64) -> Row {
    let index = args.number(1)? as usize;
    read(s, args, |vm| Some(vm.images.get(index).map_or(0, field)))
}

/// The rows.
pub fn call(s: &mut Library, name: &str, args: &Args) -> Row {
    let mut nothing = Held::nothing();
    let core = &s.core;
    match name {
        // The handles that the host and KCore share are nothing of the library's.
        "get_shared_kvm" | "get_shared_vcpu" | "get_vm_kvm" | "set_vm_kvm" | "get_vm_vcpu" | "set_vm_vcpu" => {
            Some(Did::Nothing)
        }
        "get_next_vmid" => number(core.acquire_lock_core(&mut nothing).0.next_vmid),
        "set_next_vmid" => {
            core.acquire_lock_core(&mut nothing).0.next_vmid = args.number(0)?;
            done(Ok(()))
        }
        "get_next_remap_ptr" => number(core.acquire_lock_core(&mut nothing).0.next_remap_ptr),
        "set_next_remap_ptr" => {
            core.acquire_lock_core(&mut nothing).0.next_remap_ptr = args.number(0)?;
            done(Ok(()))
        }
        "get_vm_state" => read(s, args, |vm| Some(library::vm_state(vm.state).into())),
        "set_vm_state" => {
            let state = vm_state(args.number(1)?)?;
            write(s, args, |vm| {
                vm.state = state;
                Some(())
            })
        }
        "get_vcpu_state" => {
            let vcpu = args.vcpu(1)?.index();
            read(s, args, |vm| Some(library::vcpu_state(vm.vcpus[vcpu].state).into()))
        }
        "set_vcpu_state" => {
            let (vcpu, state) = (args.vcpu(1)?.index(), vcpu_state(args.number(2)?)?);
            write(s, args, |vm| {
                vm.vcpus[vcpu].state = state;
                Some(())
            })
        }
        "get_vm_next_load_idx" => read(s, args, |vm| Some(vm.images.len() as u64)),
        "set_vm_next_load_idx" => {
            let count = args.number(1)? as usize;
            let known: Vec<_> = {
                let info = s.before.vminfos.get(&(args.number(0)? as u32)).cloned().unwrap_or_default();
                (0..count as u32).map(|i| info.image(i)).collect()
            };
            write(s, args, |vm| {
                (count <= vm.images.capacity()).then_some(())?;
                vm.images.clear();
                for image in known {
                    vm.images.push(Image {
                        load_addr: Ipa::new(image.load_addr)?,
                        load_size: image.load_size,
                        remap_addr: Ipa::new(image.remap_addr)?,
                        mapped_pages: image.mapped_pages,
                    });
                }
                Some(())
            })
        }
        "get_vm_load_addr" => image_field(s, args, |image| image.load_addr.as_u64()),
        "get_vm_load_size" => image_field(s, args, |image| image.load_size),
        "get_vm_remap_addr" => image_field(s, args, |image| image.remap_addr.as_u64()),
        "get_vm_mapped_pages" => image_field(s, args, |image| image.mapped_pages),
        "set_vm_load_addr" => image(s, args, |image, value| {
            image.load_addr = Ipa::new(value)?;
            Some(())
        }),
        "set_vm_load_size" => image(s, args, |image, value| {
            image.load_size = value;
            Some(())
        }),
        "set_vm_remap_addr" => image(s, args, |image, value| {
            image.remap_addr = Ipa::new(value)?;
            Some(())
        }),
        "set_vm_mapped_pages" => image(s, args, |image, value| {
            image.mapped_pages = value;
            Some(())
        }),
        "get_vm_inc_exe" => read(s, args, |vm| Some(vm.inc_exe.into())),
        "set_vm_inc_exe" => {
            let flag = args.number(1)?;
            write(s, args, |vm| {
                vm.inc_exe = match flag {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Some(())
            })
        }
        "verify_image" => Some(Did::Nothing),
        "set_vcpu_active" => done(core.set_vcpu_active(args.v(0)?, args.vcpu(1)?, &mut nothing)),
        "set_vcpu_inactive" => done(core.set_vcpu_inactive(args.v(0)?, args.vcpu(1)?, &mut nothing)),
        "set_vm_poweroff" => {
            core.set_vm_poweroff(args.v(0)?, &mut nothing);
            done(Ok(()))
        }
        "get_vm_poweron" => number(core.get_vm_poweron(args.v(0)?, &mut nothing)),
        _ => Some(Did::Unknown),
    }
}
