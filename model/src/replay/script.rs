// SPDX-License-Identifier: GPL-2.0-only
//! Scripts, as the vectors' files have them: one JSON object a line.

use super::final_state::Final;
use crate::rdata::S2Index;
use serde_json::Value;
use std::fmt;

/// A script's initial state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Ownership by page number.
    High,
    /// Ownership by record number.
    LowPage,
}

impl From<Init> for S2Index {
    fn from(init: Init) -> Self {
        match init {
            Init::High => S2Index::Pfn,
            Init::LowPage => S2Index::Record,
        }
    }
}

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A number.
    Number(u64),
    /// A register's name.
    Name(String),
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The function: the specification's name, `low.` before the low ones, `env.` before what is none.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Arg>,
    /// Its result, if it has one.
    pub ret: Option<u64>,
    /// Whether the machine has halted after it.
    pub halt: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (i, arg) in self.args.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match arg {
                Arg::Number(n) => write!(f, "{comma}{n}")?,
                Arg::Name(name) => write!(f, "{comma}{name}")?,
            }
        }
        write!(f, ")")
    }
}

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its name.
    pub id: String,
    /// Where it starts.
    pub init: Init,
    /// Calls on which the specification gives a result.
    pub steps: Vec<Step>,
    /// A last call on which it gives none.
    pub undefined: Option<Step>,
    /// The state after the last step.
    pub final_state: Option<Final>,
}

impl Script {
    /// Reads one line of a file.
    pub fn parse(line: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let id = text(&json, "id")?.to_owned();
        let init = match text(&json, "init")? {
            "high" => Init::High,
            "low_page" => Init::LowPage,
            other => return Err(format!("{id}: unknown initial state {other}")),
        };
        let steps = json.get("steps").and_then(Value::as_array).ok_or_else(|| format!("{id}: no steps"))?;
        let steps = steps.iter().map(Step::parse).collect::<Result<_, _>>().map_err(|e| format!("{id}: {e}"))?;
        let undefined = json.get("undefined").map(Step::parse).transpose().map_err(|e| format!("{id}: {e}"))?;
        let final_state = json.get("final").map(Final::parse).transpose().map_err(|e| format!("{id}: {e}"))?;
        if undefined.is_none() && final_state.is_none() {
            return Err(format!("{id}: neither a final state nor an undefined call"));
        }
        Ok(Self { id, init, steps, undefined, final_state })
    }
}

impl Step {
    /// Reads a call.
    fn parse(json: &Value) -> Result<Self, String> {
        let name = text(json, "fn")?.to_owned();
        let args = json.get("args").and_then(Value::as_array).ok_or_else(|| format!("{name}: no args"))?;
        let arg = |value: &Value| match value {
            Value::String(name) => Ok(Arg::Name(name.clone())),
            value => value.as_u64().map(Arg::Number).ok_or_else(|| format!("{name}: argument {value}")),
        };
        let args = args.iter().map(arg).collect::<Result<_, _>>()?;
        let ret = match json.get("ret") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_u64().ok_or_else(|| format!("{name}: result {value}"))?),
        };
        let halt = json.get("halt").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { name, args, ret, halt })
    }
}

/// The text at `key`.
fn text<'a>(json: &'a Value, key: &str) -> Result<&'a str, String> {
    json.get(key).and_then(Value::as_str).ok_or_else(|| format!("no {key}"))
}
