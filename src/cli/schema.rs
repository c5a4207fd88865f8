//! `schema`: the JSON Schema (2020-12) of each kind of object that is printed with `--json`.
//!
//! `schemas.json` has them all, and is the one place where a field is described: docs/json.md is made from it, and the
//! tests hold every output against it. What is printed for one kind stands alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::asking::SchemaArgs;
use crate::cli::fail::Failure;
use crate::cli::out::{Form, Out};
use crate::cli::text::left;

const SCHEMAS: &str = include_str!("schemas.json");
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// How one schema names another.
const REFERENCE: &str = "\"#/$defs/";

#[derive(Debug, Deserialize)]
struct Schemas<'a> {
    #[serde(borrow)]
    kinds: BTreeMap<&'a str, &'a RawValue>,
    /// What several kinds have in common.
    #[serde(borrow)]
    values: BTreeMap<&'a str, &'a RawValue>,
}

/// What is asked of a kind's own schema.
#[derive(Debug, Deserialize)]
struct Kind<'a> {
    title: &'a str,
    description: &'a str,
    #[serde(rename = "type")]
    shape: &'a str,
    #[serde(borrow)]
    properties: &'a RawValue,
    #[serde(borrow)]
    required: &'a RawValue,
}

/// A schema that stands alone; its parts as they are written in the file.
#[derive(Debug, Serialize)]
struct Alone<'a> {
    #[serde(rename = "$schema")]
    dialect: &'a str,
    #[serde(rename = "$id")]
    id: String,
    title: &'a str,
    description: &'a str,
    #[serde(rename = "type")]
    shape: &'a str,
    properties: &'a RawValue,
    required: &'a RawValue,
    #[serde(rename = "$defs")]
    values: BTreeMap<&'a str, &'a RawValue>,
}

pub(crate) fn run(args: &SchemaArgs, out: &mut Out) -> Result<u8, Failure> {
    let schemas: Schemas<'_> = serde_json::from_str(SCHEMAS).expect("schemas.json has the shape above");
    let Some(asked) = &args.kind else {
        return schemas.list(out);
    };
    // As it stands in an object, too: taskledger.task/1.
    let name = asked.strip_prefix("taskledger.").unwrap_or(asked);
    let name = name.strip_suffix("/1").unwrap_or(name);
    let Some((name, raw)) = schemas.kinds.get_key_value(name) else {
        return Err(Failure::new("USAGE", format!("no object is of a kind {asked}"))
            .hint("`taskledger schema` lists the kinds there are"));
    };
    let schema = schemas.alone(name, raw);
    match out.form {
        Form::People => {
            serde_json::to_writer_pretty(&mut *out, &schema).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Form::Json => out.json(&on_one_line(&schema))?,
    }
    Ok(0)
}

/// Without the line breaks of the file.
fn on_one_line(schema: &Alone<'_>) -> Value {
    serde_json::to_value(schema).expect("it was JSON before")
}

impl Schemas<'_> {
    /// All kinds: what they are, or with `--json` their schemas.
    fn list(&self, out: &mut Out) -> Result<u8, Failure> {
        let wide = self.kinds.keys().map(|name| name.len()).max().unwrap_or(0);
        for (name, raw) in &self.kinds {
            match out.form {
                Form::People => writeln!(out, "{}  {}", left(name, wide), kind(raw).description)?,
                Form::Json => out.json(&on_one_line(&self.alone(name, raw)))?,
            }
        }
        Ok(0)
    }

    fn alone<'a>(&'a self, name: &str, raw: &'a RawValue) -> Alone<'a> {
        let kind = kind(raw);
        Alone {
            dialect: DIALECT,
            id: format!("urn:taskledger:{name}:1"),
            title: kind.title,
            description: kind.description,
            shape: kind.shape,
            properties: kind.properties,
            required: kind.required,
            values: self.referred(raw),
        }
    }

    /// All that a schema refers to, and what that refers to in turn.
    fn referred<'a>(&'a self, raw: &'a RawValue) -> BTreeMap<&'a str, &'a RawValue> {
        let mut found = BTreeMap::new();
        let mut open: BTreeSet<&str> = references(raw).collect();
        while let Some(name) = open.pop_first() {
            let raw = self.values.get(name).or_else(|| self.kinds.get(name)).expect("each reference leads somewhere");
            if found.insert(name, *raw).is_none() {
                open.extend(references(raw));
            }
        }
        found
    }
}

fn kind(raw: &RawValue) -> Kind<'_> {
    serde_json::from_str(raw.get()).expect("each kind has a title, a description, properties and required ones")
}

fn references(raw: &RawValue) -> impl Iterator<Item = &str> {
    raw.get().split(REFERENCE).skip(1).filter_map(|rest| rest.split('"').next())
}
