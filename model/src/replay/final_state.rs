// SPDX-License-Identifier: GPL-2.0-only
//! Final states: the vectors' form and the model's state, both as a map from a path to a value.
//!
//! Runs are written out, so that it does not matter how a file groups them. Everything is compared, ghosts included.

use crate::constants::{INVALID, pgd_start, pmd_start, pud_start};
use crate::page_table::{Npt, NptEntry, Spt, SptEntry, Words};
use crate::rdata::{Barrier, Own, RData, VmInfo};
use crate::registers::{RegisterFile, group};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Display;

/// How many differences a failure lists.
const SHOWN: usize = 8;

/// Entries of flat memory that a file lists at most.
const LISTED_PAGES: usize = 32;

/// A state. What a script does not mention is as it was at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Final(BTreeMap<String, String>);

impl Final {
    /// Reads a file's form.
    pub fn parse(json: &Value) -> Result<Self, String> {
        let mut state = Self::default();
        for (key, value) in json.as_object().ok_or("final is no object")? {
            match key.as_str() {
                "s2page" => state.runs(key, value, |run, i| match run {
                    [key, _, owner, count, gfn] => {
                        Some((key.wrapping_add(i), format!("{owner} {count} {}", gfn.wrapping_add(i))))
                    }
                    _ => None,
                })?,
                "npts" => {
                    for (vmid, npt) in object(key, value)? {
                        for (field, value) in object(key, npt)? {
                            state.npt_field(&format!("npts/{vmid}"), field, value)?;
                        }
                    }
                }
                "spts" => {
                    for (field, value) in object(key, value)? {
                        state.spt_field(field, value)?;
                    }
                }
                "flatmem" => {
                    for (field, value) in object(key, value)? {
                        if field == "entries" {
                            state.runs("flatmem", value, |entry, _| match entry {
                                [pfn, value] => Some((*pfn, value.to_string())),
                                _ => None,
                            })?;
                        } else {
                            state.tree(&format!("flatmem/{field}"), value);
                        }
                    }
                }
                _ => state.tree(key, value),
            }
        }
        Ok(state)
    }

    /// Reads a field of a stage-2 table.
    fn npt_field(&mut self, path: &str, field: &str, value: &Value) -> Result<(), String> {
        let path = format!("{path}/{field}");
        if field == "pt" {
            self.runs(&path, value, |run, i| match run {
                [gfn, _, pfn, level, pte] => {
                    Some((gfn.wrapping_add(i), format!("{} {level} {pte}", pfn.wrapping_add(i))))
                }
                _ => None,
            })
        } else {
            self.tree(&path, value);
            Ok(())
        }
    }

    /// Reads a field of the SMMU tables.
    fn spt_field(&mut self, field: &str, value: &Value) -> Result<(), String> {
        if field == "pt" {
            for (ttbr, table) in object(field, value)? {
                self.runs(&format!("spts/pt/{ttbr}"), table, |run, i| match run {
                    [gfn, _, pfn, pte] => Some((gfn.wrapping_add(i), format!("{} {pte}", pfn.wrapping_add(i)))),
                    _ => None,
                })?;
            }
        } else {
            self.tree(&format!("spts/{field}"), value);
        }
        Ok(())
    }

    /// Reads a list of runs; `entry` gives key and value of entry `i` of a run. A run's second number is its length,
    /// except in lists of pairs.
    fn runs(
        &mut self,
        path: &str,
        value: &Value,
        entry: impl Fn(&[u64], u64) -> Option<(u64, String)>,
    ) -> Result<(), String> {
        let bad = || format!("{path}: not a list of runs");
        for run in value.as_array().ok_or_else(bad)? {
            let run: Vec<u64> = run.as_array().ok_or_else(bad)?.iter().filter_map(Value::as_u64).collect();
            let length = if run.len() > 2 { run[1] } else { 1 };
            for i in 0..length {
                let (key, value) = entry(&run, i).ok_or_else(bad)?;
                self.put(format!("{path}/{key}"), value);
            }
        }
        Ok(())
    }

    /// Reads anything else: objects by their keys, lists as sets.
    fn tree(&mut self, path: &str, value: &Value) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| self.tree(&format!("{path}/{key}"), value)),
            Value::Array(items) => items.iter().for_each(|item| self.put(format!("{path}/{item}"), "present")),
            Value::String(text) => self.put(path.to_owned(), text),
            value => self.put(path.to_owned(), value),
        }
    }

    /// Adds one value.
    fn put(&mut self, path: String, value: impl Display) {
        self.0.insert(path, value.to_string());
    }

    /// Adds one number, unless it is the initial one.
    fn put_unless(&mut self, initial: u64, path: String, value: impl Into<u64>) {
        let value = value.into();
        if value != initial {
            self.put(path, value);
        }
    }

    /// The model's state.
    pub fn of(d: &RData) -> Self {
        let mut s = Self::default();
        s.put("halt".into(), d.halt);
        s.put("tstate".into(), d.tstate);
        s.put("curid".into(), d.curid);
        s.put("cur_vmid".into(), d.cur_vmid);
        s.put("cur_vcpuid".into(), d.cur_vcpuid);
        s.put("core_data/next_vmid".into(), d.core_data.next_vmid);
        s.put("core_data/next_remap_ptr".into(), d.core_data.next_remap_ptr);
        match d.bars {
            Barrier::Valid => {}
            Barrier::Barriered => s.put("bars".into(), "barriered"),
            Barrier::Needed => s.put("bars".into(), "needed"),
        }
        for (id, own) in &d.locks {
            s.put(format!("locks/{id}"), if *own == Own::Pulled { "own_true" } else { "own_false" });
        }
        for (id, log) in &d.logs {
            s.put_unless(0, format!("log_len/{id}"), log.len());
        }
        for (key, page) in d.s2page.changed() {
            s.put(format!("s2page/{key}"), format!("{} {} {}", page.owner, page.count, page.gfn));
        }
        s.flatmem(&d.flatmem);
        for (vmid, info) in &d.vminfos {
            s.vm(*vmid, info);
        }
        for (id, vmid) in d.smmu_vmid.iter().filter(|(_, vmid)| **vmid != INVALID) {
            s.put(format!("smmu_vmid/{id}"), vmid);
        }
        for (vmid, npt) in (0..).zip(&d.npts) {
            s.npt(vmid, npt);
        }
        s.spt(&d.spts);
        s.registers("regs", &d.regs);
        for (id, ctxt) in &d.shadow_ctxts {
            s.registers(&format!("ctxts/{id}"), ctxt);
        }
        for (vmid, pos) in &d.data_log {
            s.put_unless(0, format!("data_log/{vmid}"), *pos);
        }
        for (vmid, pos) in &d.core_data_log {
            s.put_unless(0, format!("core_data_log/{vmid}"), *pos);
        }
        s
    }

    /// Contents of pages: how many are not 0, a sum, and the contents if they are few.
    fn flatmem(&mut self, flatmem: &BTreeMap<u64, u64>) {
        let sum = flatmem.iter().fold(0u64, |sum, (pfn, value)| sum.wrapping_add((pfn + 1).wrapping_mul(*value)));
        self.put("flatmem/count".into(), flatmem.len());
        self.put("flatmem/sum".into(), sum);
        if flatmem.len() <= LISTED_PAGES {
            for (pfn, value) in flatmem {
                self.put(format!("flatmem/{pfn}"), value);
            }
        }
    }

    /// A VM's record.
    fn vm(&mut self, vmid: u32, info: &VmInfo) {
        let path = format!("vms/{vmid}");
        self.put_unless(0, format!("{path}/kvm"), info.kvm);
        self.put_unless(0, format!("{path}/state"), info.vm_state);
        self.put_unless(0, format!("{path}/next_load_info"), info.next_load_info);
        self.put_unless(0, format!("{path}/inc_exe"), info.inc_exe);
        for (vcpuid, state) in &info.vcpu_state {
            self.put_unless(0, format!("{path}/vcpu_state/{vcpuid}"), *state);
        }
        for (vcpuid, vcpu) in &info.vcpu {
            self.put_unless(0, format!("{path}/vcpu/{vcpuid}"), *vcpu);
        }
        for (i, image) in &info.images {
            self.put_unless(0, format!("{path}/load_addr/{i}"), image.load_addr);
            self.put_unless(0, format!("{path}/load_size/{i}"), image.load_size);
            self.put_unless(0, format!("{path}/remap_addr/{i}"), image.remap_addr);
            self.put_unless(0, format!("{path}/mapped_pages/{i}"), image.mapped_pages);
        }
    }

    /// A stage-2 table.
    fn npt(&mut self, vmid: u32, npt: &Npt) {
        let path = format!("npts/{vmid}");
        self.put_unless(pgd_start(vmid), format!("{path}/pgd_next"), npt.pgd_next);
        self.put_unless(pud_start(vmid), format!("{path}/pud_next"), npt.pud_next);
        self.put_unless(pmd_start(vmid), format!("{path}/pmd_next"), npt.pmd_next);
        for (gfn, e) in npt.pt.iter().filter(|(_, e)| **e != NptEntry::default()) {
            self.put(format!("{path}/pt/{gfn}"), format!("{} {} {}", e.pfn, e.level, e.pte));
        }
        npt.pgd_t.iter().for_each(|i| self.put(format!("{path}/pgd_t/{i}"), "present"));
        npt.pud_t.iter().for_each(|(i, j)| self.put(format!("{path}/pud_t/{i}/{j}"), "present"));
        npt.pmd_t.iter().for_each(|(i, j, k)| self.put(format!("{path}/pmd_t/{i}/{j}/{k}"), "present"));
        self.words(&path, "vttbr_pool", &npt.vttbr_pool);
        self.words(&path, "pgd_pool", &npt.pgd_pool);
        self.words(&path, "pud_pool", &npt.pud_pool);
        self.words(&path, "pmd_pool", &npt.pmd_pool);
        self.words(&path, "pgd_par", &npt.pgd_par);
        self.words(&path, "pud_par", &npt.pud_par);
        self.words(&path, "pmd_par", &npt.pmd_par);
    }

    /// The SMMU tables.
    fn spt(&mut self, spt: &Spt) {
        let initial = Spt::default();
        self.put_unless(initial.pgd_next, "spts/pgd_next".into(), spt.pgd_next);
        self.put_unless(initial.pmd_next, "spts/pmd_next".into(), spt.pmd_next);
        for ((ttbr, gfn), e) in spt.pt.iter().filter(|(_, e)| **e != SptEntry::default()) {
            self.put(format!("spts/pt/{ttbr}/{gfn}"), format!("{} {}", e.pfn, e.pte));
        }
        spt.pgd_t.iter().for_each(|(ttbr, i)| self.put(format!("spts/pgd_t/{ttbr}/{i}"), "present"));
        spt.pmd_t.iter().for_each(|(ttbr, i, j)| self.put(format!("spts/pmd_t/{ttbr}/{i}/{j}"), "present"));
        self.words("spts", "vttbr_pool", &spt.vttbr_pool);
        self.words("spts", "pgd_pool", &spt.pgd_pool);
        self.words("spts", "pmd_pool", &spt.pmd_pool);
        self.words("spts", "pgd_par", &spt.pgd_par);
        self.words("spts", "pmd_par", &spt.pmd_par);
    }

    /// Words of a pool.
    fn words(&mut self, path: &str, pool: &str, words: &Words) {
        words.iter().for_each(|(addr, value)| self.put(format!("{path}/{pool}/{addr}"), value));
    }

    /// A register file.
    fn registers(&mut self, path: &str, registers: &RegisterFile) {
        registers.nonzero().for_each(|(reg, value)| self.put(format!("{path}/{}/{reg}", group(reg).name()), value));
    }

    /// Where `self`, what was expected, and `got` differ: the first few, in both versions.
    pub fn difference(&self, got: &Self) -> Option<(String, String)> {
        let mut paths: Vec<&String> =
            self.0.iter().filter(|(path, v)| got.0.get(*path) != Some(v)).map(|e| e.0).collect();
        paths.extend(got.0.keys().filter(|path| !self.0.contains_key(*path)));
        if paths.is_empty() {
            return None;
        }
        let more = paths.len().saturating_sub(SHOWN);
        let list = |state: &Self| {
            let shown = paths.iter().take(SHOWN);
            let mut parts: Vec<String> =
                shown.map(|p| format!("{p}={}", state.0.get(*p).map_or("initial", String::as_str))).collect();
            if more > 0 {
                parts.push(format!("and {more} more"));
            }
            parts.join(", ")
        };
        Some((list(self), list(got)))
    }
}

/// The fields of a JSON object.
fn object<'a>(key: &str, value: &'a Value) -> Result<&'a serde_json::Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{key}: no object"))
}
