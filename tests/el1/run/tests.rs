// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod basics;
mod calls;
mod interrupts;
mod lists;
mod many;
mod traps;

crate::tests! {
    basics:
        a_vm_computes,
        the_console_and_each_exit,
        faults_are_answered_by_pages_and_blocks,
        exceptions_stay_in_the_vm,
        a_device_that_is_not_there;
    calls:
        pages_are_shared_and_taken_back,
        a_shared_vm_hides_nothing,
        a_shared_vm_has_devices_anywhere,
        a_shared_vm_that_goes_while_its_host_reads_it;
    interrupts:
        sgis_between_vcpus,
        timers_of_vcpus;
    lists:
        vms_find_nothing_of_each_others_interrupts,
        time_has_the_offset_of_the_first_entry,
        the_maintenance_interrupt_says_why,
        malformed_list_registers_are_refused;
    many:
        vcpus_of_one_vm,
        vcpus_go_from_cpu_to_cpu,
        vcpus_that_go_off_and_on,
        a_vcpu_sleeps_until_an_interrupt,
        two_vms_at_once,
        everything_at_once,
        destroyed_while_it_runs;
    traps:
        what_a_vm_is_trapped_at;
}
