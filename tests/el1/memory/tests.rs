// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod aarch32;
mod devices;
mod hand_over;
mod host_tree;
mod pstate;
mod ram;
mod refused;
mod shadow;
mod walks;

crate::tests! {
    host_tree:
        corevisor_is_reserved,
        hypervisor_node,
        only_the_physical_timer,
        no_smmu_in_the_tree,
        chosen_is_the_hosts,
        psci_by_smc;
    refused:
        every_page_of_corevisor,
        every_kind_of_access,
        accesses_across_the_edge,
        el0_accesses,
        addresses_beyond_reach;
    pstate:
        pstate_as_by_the_cpu_itself;
    aarch32:
        aarch32_accesses;
    devices:
        device_blocks_are_mapped_once,
        uart_works,
        gic_works,
        devices_are_not_executable,
        holes_are_the_machines,
        fw_cfg,
        smmu_window,
        the_hypervisors_gic_registers;
    ram:
        all_ram_is_mapped;
    hand_over:
        take_and_give_back,
        take_from_a_large_block,
        neighbours_keep_their_content,
        code_page_comes_back,
        pages_that_cannot_be_taken,
        pages_that_cannot_be_given;
    walks:
        page_table_page_taken;
    shadow:
        random_hand_overs;
}
