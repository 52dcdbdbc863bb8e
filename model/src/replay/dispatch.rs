// SPDX-License-Identifier: GPL-2.0-only
//! From a function's name in a script to the function.

use super::call::Callable;
use super::script::Arg;
use crate::Spec;
use crate::rdata::{RData, S2Index};
use crate::registers;

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A result, with a value or without.
    Defined(Option<u64>),
    /// No result: a `rely` was broken.
    Undefined,
    /// The function takes other arguments.
    BadArguments,
    /// No such function.
    Unknown,
}

/// Calls the function called `$name`, if it is among those listed by module: of the module itself, or of its `low`.
macro_rules! call_by_name {
    (high $name:expr, $d:expr, $args:expr; $($module:ident { $($function:ident),* $(,)? })*) => {
        match $name {
            $($(stringify!($function) => crate::$module::$function.call($d, $args),)*)*
            _ => Outcome::Unknown,
        }
    };
    (low $name:expr, $d:expr, $args:expr; $($module:ident { $($function:ident),* $(,)? })*) => {
        match $name {
            $($(stringify!($function) => crate::$module::low::$function.call($d, $args),)*)*
            _ => Outcome::Unknown,
        }
    };
}

/// Calls the function that a script names.
pub fn dispatch(d: &mut RData, name: &str, args: &[Arg]) -> Outcome {
    if let Some(name) = name.strip_prefix("low.") {
        low(d, name, args)
    } else if let Some(name) = name.strip_prefix("env.") {
        environment(d, name, args)
    } else {
        high(d, name, args)
    }
}

/// Whether the model knows the function that a script would call `name`.
pub fn is_modelled(name: &str) -> bool {
    // No function takes six arguments: this asks for the name only.
    let nothing = vec![Arg::Number(0); 6];
    dispatch(&mut RData::new(S2Index::Pfn), name, &nothing) != Outcome::Unknown
}

/// What a script can do beside calling functions.
fn environment(d: &mut RData, name: &str, args: &[Arg]) -> Outcome {
    match name {
        "cpu" => set_cpu.call(d, args),
        "reg" => set_reg.call(d, args),
        "doracle" => set_doracle.call(d, args),
        "core_doracle" => set_core_doracle.call(d, args),
        "verify_img" => set_verify_img.call(d, args),
        _ => Outcome::Unknown,
    }
}

/// Goes on on another CPU.
fn set_cpu(d: &mut RData, cpu: u32) -> Spec {
    d.curid = cpu;
    if d.cur_vmid == 0 {
        d.cur_vcpuid = cpu;
    }
    Some(())
}

/// Sets a register of the CPU.
fn set_reg(d: &mut RData, name: String, value: u64) -> Spec {
    d.regs.set(registers::by_name(&name)?, value);
    Some(())
}

/// Overrides a value of a data stream.
fn set_doracle(d: &mut RData, vmid: u32, n: u64, value: u64) -> Spec {
    d.env.set_doracle(vmid, n, value);
    Some(())
}

/// Overrides a value of a core stream.
fn set_core_doracle(d: &mut RData, vmid: u32, n: u64, value: u64) -> Spec {
    d.env.set_core_doracle(vmid, n, value);
    Some(())
}

/// Overrides the verdict on an image.
fn set_verify_img(d: &mut RData, vmid: u32, addr: u64, verdict: u32) -> Spec {
    d.env.set_verify_img(vmid, addr, verdict);
    Some(())
}

/// The high specifications.
fn high(d: &mut RData, name: &str, args: &[Arg]) -> Outcome {
    call_by_name! { high name, d, args;
        abstract_machine {
            acquire_shared, release_shared_pt, release_shared_spt, release_shared_s2page,
            release_shared_core, release_shared_vm, release_shared_smmu, get_now, incr_now, barrier,
            log_hold, incr_ticket, check, check64, fetch_from_doracle, panic, get_shared_kvm,
            get_shared_vcpu, verify_image, get_sys_reg_desc_val, get_exception_vector, get_pgd_next,
            set_pgd_next, get_pud_next, set_pud_next, get_pmd_next, set_pmd_next, pt_load, pt_store,
            get_pt_vttbr, set_pt_vttbr, get_smmu_pgd_next, set_smmu_pgd_next, get_smmu_pmd_next,
            set_smmu_pmd_next, get_smmu_cfg_hw_ttbr, smmu_pt_load, smmu_pt_store, smmu_pt_clear,
            get_mem_region_cnt, get_mem_region_base, get_mem_region_size, get_mem_region_index,
            get_mem_region_flag, get_s2_page_vmid, set_s2_page_vmid, get_s2_page_count, set_s2_page_count,
            get_s2_page_gfn, set_s2_page_gfn, get_next_vmid, set_next_vmid, get_next_remap_ptr,
            set_next_remap_ptr, get_vm_state, set_vm_state, get_vcpu_state, set_vcpu_state, get_vm_kvm,
            set_vm_kvm, get_vm_vcpu, set_vm_vcpu, get_vm_next_load_idx, set_vm_next_load_idx,
            get_vm_load_addr, set_vm_load_addr, get_vm_load_size, set_vm_load_size, get_vm_remap_addr,
            set_vm_remap_addr, get_vm_mapped_pages, set_vm_mapped_pages, get_vm_inc_exe, set_vm_inc_exe,
            get_shadow_ctxt, set_shadow_ctxt, get_shadow_esr, get_int_esr, get_int_gpr, get_int_pc,
            get_int_pstate, set_int_gpr, clear_shadow_gp_regs, reset_fp_regs, get_shadow_dirty_bit,
            set_shadow_dirty_bit, get_vm_fault_addr, get_int_new_pte, get_int_new_level, get_cur_vmid,
            get_cur_vcpuid, clear_phys_page, set_per_cpu, encrypt_gp_regs, encrypt_sys_regs,
            decrypt_gp_regs, decrypt_sys_regs, get_int_run_vcpuid, host_to_core, vm_to_core, core_to_host,
            core_to_vm, exit_populate_fault, save_sysregs, restore_sysregs, fpsimd_save_state,
            fpsimd_restore_state, activate_traps, deactivate_traps, timer_enable_traps, core_handle_sys64,
            timer_set_cntvoff, vm_el2_restore_state, host_el2_restore_state, get_smmu_cfg_vmid,
            set_smmu_cfg_vmid, get_smmu_num_context_banks, get_smmu_pgshift, get_smmu_num, get_smmu_size,
            get_smmu_base, host_dabt_get_rd, host_dabt_is_write, host_dabt_get_as, mem_load_raw,
            mem_store_raw, dev_load_raw, dev_store_raw, writel_relaxed, writeq_relaxed, readq_relaxed,
            readl_relaxed, host_skip_instr, host_get_fault_ipa, read_actlr_el1, read_hpfar_el2,
            read_esr_el2, encrypt_mem_buf, decrypt_mem_buf,
        }
        lock_ops {
            wait_lock, pass_lock, wait_qlock, pass_qlock, wait_hlock, pass_hlock,
        }
        locks {
            acquire_lock_pt, acquire_lock_spt, acquire_lock_s2page, acquire_lock_core, acquire_lock_vm,
            acquire_lock_smmu, release_lock_pt, release_lock_spt, release_lock_s2page, release_lock_core,
            release_lock_vm, release_lock_smmu,
        }
        pt_alloc {
            alloc_pgd_page, alloc_pud_page, alloc_pmd_page,
        }
        pt_walk {
            walk_pgd, walk_pud, walk_pmd, walk_pte, set_pmd, set_pte,
        }
        npt_walk {
            get_npt_level, walk_npt, set_npt, mem_load_ref, mem_store_ref,
        }
        npt_ops {
            get_level_s2pt, walk_s2pt, map_s2pt, clear_pfn_host,
        }
        mmio_pt_alloc {
            alloc_smmu_pgd_page, alloc_smmu_pmd_page,
        }
        mmio_pt_walk {
            walk_smmu_pgd, walk_smmu_pmd, walk_smmu_pte, set_smmu_pte,
        }
        mmio_spt_walk {
            clear_smmu_pt, walk_smmu_pt, set_smmu_pt, dev_load_ref, dev_store_ref,
        }
        mmio_spt_ops {
            init_spt, walk_spt, map_spt, unmap_spt,
        }
        mem_region {
            mem_region_search,
        }
        page_index {
            get_s2_page_index,
        }
        page_manager {
            get_pfn_owner, set_pfn_owner, get_pfn_count, set_pfn_count, get_pfn_map, set_pfn_map,
        }
        mem_manager {
            map_page_host, clear_vm_page, assign_pfn_to_vm, map_pfn_vm, map_vm_io, grant_vm_page,
            revoke_vm_page, assign_pfn_to_smmu, update_smmu_page, unmap_smmu_page,
        }
        memory_ops {
            clear_vm_range, prot_and_map_vm_s2pt, grant_stage2_sg_gpa, revoke_stage2_sg_gpa,
        }
        vm_power {
            set_vm_poweroff, get_vm_poweron,
        }
        boot_core {
            gen_vmid, alloc_remap_addr,
        }
        boot_aux {
            unmap_and_load_vm_image,
        }
        boot_ops {
            search_load_info, set_vcpu_active, set_vcpu_inactive, register_vcpu, register_kvm,
            set_boot_info, remap_vm_image, verify_and_load_images, alloc_smmu, assign_smmu, map_smmu,
            clear_smmu, map_io, is_inc_exe, save_encrypted_vcpu, load_encrypted_vcpu, save_encrypt_buf,
            load_decrypt_buf,
        }
        mmio_raw {
            host_get_mmio_data, smmu_init_pte, smmu_get_cbndx,
        }
        mmio_core_aux {
            handle_smmu_global_access, handle_smmu_cb_access, __handle_smmu_write, __handle_smmu_read,
        }
        mmio_core {
            handle_smmu_write, handle_smmu_read,
        }
        mmio_ops_aux {
            is_smmu_range, handle_host_mmio,
        }
        mmio_ops {
            emulate_mmio, el2_free_smmu_pgd, el2_alloc_smmu_pgd, smmu_assign_page, smmu_map_page,
            el2_arm_lpae_iova_to_phys, el2_arm_lpae_clear,
        }
        vcpu_ops_aux {
            reset_gp_regs, reset_sys_regs, sync_dirty_to_shadow, prep_wfx, prep_hvc, prep_abort,
            update_exception_gp_regs, post_handle_shadow_s2pt_fault,
        }
        vcpu_ops {
            save_shadow_kvm_regs, restore_shadow_kvm_regs,
        }
        ctxt_switch {
            save_host, restore_host, save_vm, restore_vm,
        }
        mem_handler {
            clear_vm_stage2_range, el2_arm_lpae_map, kvm_phys_addr_ioremap,
        }
        fault_handler {
            handle_host_stage2_fault, core_handle_pvops,
        }
        trap_dispatcher {
            host_hvc_dispatcher, vm_exit_dispatcher,
        }
        trap_handler_raw {
            host_hvc_handler_raw, host_npt_handler_raw, host_vcpu_run_handler_raw, vm_exit_handler_raw,
        }
        trap_handler {
            host_hvc_handler, host_npt_handler, host_vcpu_run_handler, vm_exit_handler, mem_load, mem_store,
            dev_load, dev_store,
        }
    }
}

/// The low specifications.
fn low(d: &mut RData, name: &str, args: &[Arg]) -> Outcome {
    call_by_name! { low name, d, args;
        abstract_machine {
            get_pgd_next, set_pgd_next, get_pud_next, set_pud_next, get_pmd_next, set_pmd_next, pt_load,
            pt_store,
        }
        lock_ops {
            wait_lock, pass_lock, wait_qlock, pass_qlock, wait_hlock, pass_hlock,
        }
        locks {
            acquire_lock, acquire_lock_pt, acquire_lock_spt, acquire_lock_s2page, acquire_lock_core,
            acquire_lock_vm, acquire_lock_smmu, release_lock_pt, release_lock_spt, release_lock_s2page,
            release_lock_core, release_lock_vm, release_lock_smmu,
        }
        pt_alloc {
            alloc_pgd_page, alloc_pud_page, alloc_pmd_page,
        }
        pt_walk {
            walk_pgd, walk_pud, walk_pmd, walk_pte, set_pmd, set_pte,
        }
        npt_walk {
            get_npt_level, walk_npt, set_npt, mem_load_ref, mem_store_ref,
        }
        npt_ops {
            get_level_s2pt, walk_s2pt, map_s2pt, clear_pfn_host,
        }
        mmio_pt_alloc {
            alloc_smmu_pgd_page, alloc_smmu_pmd_page,
        }
        mmio_pt_walk {
            walk_smmu_pgd, walk_smmu_pmd, walk_smmu_pte, set_smmu_pte,
        }
        mmio_spt_walk {
            clear_smmu_pt, walk_smmu_pt, set_smmu_pt, dev_load_ref, dev_store_ref,
        }
        mmio_spt_ops {
            init_spt, walk_spt, map_spt, unmap_spt,
        }
        page_index {
            get_s2_page_index,
        }
        page_manager {
            get_pfn_owner, set_pfn_owner, get_pfn_count, set_pfn_count, get_pfn_map, set_pfn_map,
        }
        mem_manager {
            map_page_host, clear_vm_page, assign_pfn_to_vm, map_pfn_vm, map_vm_io, grant_vm_page,
            revoke_vm_page, assign_pfn_to_smmu, update_smmu_page, unmap_smmu_page,
        }
        vm_power {
            set_vm_poweroff, get_vm_poweron,
        }
        boot_core {
            gen_vmid, alloc_remap_addr,
        }
        boot_ops {
            search_load_info, set_vcpu_active, set_vcpu_inactive, register_vcpu, register_kvm,
            set_boot_info, remap_vm_image, alloc_smmu, assign_smmu, map_smmu, clear_smmu, map_io,
            is_inc_exe, save_encrypted_vcpu, load_encrypted_vcpu, save_encrypt_buf, load_decrypt_buf,
        }
        mmio_raw {
            host_get_mmio_data, smmu_init_pte, smmu_get_cbndx,
        }
        mmio_core_aux {
            handle_smmu_global_access, handle_smmu_cb_access, __handle_smmu_write, __handle_smmu_read,
        }
        mmio_core {
            handle_smmu_write, handle_smmu_read,
        }
        mmio_ops_aux {
            is_smmu_range, handle_host_mmio,
        }
        mmio_ops {
            emulate_mmio, el2_free_smmu_pgd, el2_alloc_smmu_pgd, smmu_assign_page, smmu_map_page,
            el2_arm_lpae_iova_to_phys, el2_arm_lpae_clear,
        }
        vcpu_ops_aux {
            reset_gp_regs, reset_sys_regs, sync_dirty_to_shadow, prep_wfx, prep_hvc, prep_abort,
            update_exception_gp_regs, post_handle_shadow_s2pt_fault,
        }
        vcpu_ops {
            save_shadow_kvm_regs, restore_shadow_kvm_regs,
        }
    }
}
