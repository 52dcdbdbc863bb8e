// SPDX-License-Identifier: GPL-2.0-only
//! Layers VMPower, BootCore, BootAux and BootOps, and the fields of VM records and core data.

use super::args::Args;
use super::{Did, Library, Row, Value, done, number, ran};
use crate::library;
use crate::library::world;
use corevisor::addr::{Ipa, Vmid};
use corevisor::lock::Held;
use corevisor::vm::{Generation, Image, SavedPage, Seal, VcpuState, VmFlags, VmInfo, VmState};

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

impl Library {
    /// BO-5 makes a table, which is there already if a step had to do with the VM before there was one.
    pub fn unmake_table(&self) {
        let empty = |v: Vmid| self.before.npts[v.index()].pt.values().all(|entry| *entry == Default::default());
        if let Some(v) = Vmid::new_vm(self.before.core_data.next_vmid.into())
            && self.core.root(v).is_some()
            && empty(v)
        {
            self.core.free_npt(v, &mut Held::nothing()).expect("a table");
        }
    }
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
                    let (load_addr, remap_addr) = (Ipa::new(image.load_addr)?, Ipa::new(image.remap_addr)?);
                    let announced = Image::new(load_addr, image.load_size, remap_addr, [0; 64]);
                    vm.images.push(Image { mapped_pages: image.mapped_pages, ..announced });
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
        "gen_vmid" => ran(core.gen_vmid(&mut nothing), |v| Value::Number(v.index() as u64)),
        "alloc_remap_addr" => {
            ran(core.alloc_remap_addr(args.number(0)?, &mut nothing), |at| Value::Number(at.as_u64()))
        }
        "register_kvm" => {
            s.unmake_table();
            ran(s.core.register_kvm(VmFlags::empty(), &mut nothing), |v| Value::Number(v.index() as u64))
        }
        "register_vcpu" => {
            let (v, vcpu) = (args.v(0)?, args.vcpu(1)?);
            done(core.register_vcpu(v, vcpu, world::run_page(v, vcpu), &mut nothing))
        }
        "set_boot_info" => {
            let index = core.set_boot_info(args.v(0)?, args.ipa(1)?, args.number(2)?, [0; 64], &mut nothing);
            ran(index, |index| Value::Number(index as u64))
        }
        "remap_vm_image" => done(core.remap_vm_image(args.v(0)?, args.pfn(1)?, args.number(2)? as usize, &mut nothing)),
        "verify_and_load_images" => {
            let v = args.v(0)?;
            s.table(v);
            let mut calls = 0;
            Some(loop {
                match s.core.verify_and_load_images(v, &mut nothing) {
                    Ok(0) => break Did::Ran(Ok(Value::None)),
                    Ok(_) => calls += 1,
                    Err(why) if calls > 0 => break Did::Partly(why),
                    Err(why) => break Did::Ran(Err(why)),
                }
            })
        }
        "search_load_info" => {
            let found = core.search_load_info(args.v(0)?, args.number(1)?, &mut nothing);
            number(found.map_or(0, Ipa::as_u64))
        }
        "is_inc_exe" => number(core.is_inc_exe(args.v(0)?, &mut nothing)),
        "save_encrypted_vcpu" => done(core.save_encrypted_vcpu(args.v(0)?, args.vcpu(1)?, &mut nothing)),
        "load_encrypted_vcpu" => done(core.load_encrypted_vcpu(args.v(0)?, args.vcpu(1)?, &mut nothing)),
        "save_encrypt_buf" => {
            let (v, page, to) = (args.v(0)?, args.pa(1)?.frame(), args.pa(2)?.frame());
            ran(core.save_encrypt_buf(v, page, to, &mut nothing), |_| Value::None)
        }
        "load_decrypt_buf" => {
            let (v, page) = (args.v(0)?, args.pa(1)?.frame());
            let saved = SavedPage {
                seal: Seal { nonce: 0, tag: [0; 2] },
                gfn: 0,
                generation: Generation { lineage: 0, epoch: 0 },
            };
            done(core.load_decrypt_buf(v, page, saved, &mut nothing))
        }
        // BA-1 is BO-8's alone in the library, which has asked all that it relies on.
        "unmap_and_load_vm_image" => Some(Did::Nothing),
        "set_vcpu_active" => done(core.set_vcpu_active(args.v(0)?, args.vcpu(1)?, &mut nothing).map(|_| ())),
        "set_vcpu_inactive" => done(core.set_vcpu_inactive(args.v(0)?, args.vcpu(1)?, &mut nothing)),
        "set_vm_poweroff" => {
            core.set_vm_poweroff(args.v(0)?, &mut nothing);
            done(Ok(()))
        }
        "get_vm_poweron" => number(core.get_vm_poweron(args.v(0)?, &mut nothing)),
        _ => Some(Did::Unknown),
    }
}
