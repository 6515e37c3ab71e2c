//! `cargo xtask rule-docs`: docs/rules/<rule>.md, made from the schemas of the configs of our rules.

use crate::workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep a config is described; deeper is a schema that refers to itself.
const DEPTH_MAX: usize = 8;

/// Write the reference of our rules' configs, docs/rules/<rule>.md, from their schemas.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail when a page is old
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes or checks.
pub(crate) fn run(args: &Args) -> Result<()> {
    for (path, text) in pages()? {
        let shown = path.strip_prefix(workspace::root()).unwrap_or(&path).display();
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            println!("{shown}: as it should be");
        } else if args.check {
            bail!("{shown} is old: `cargo xtask rule-docs` writes it from the rule's schema");
        } else {
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            println!("{shown}: written");
        }
    }
    Ok(())
}

fn pages() -> Result<Vec<(PathBuf, String)>> {
    let (plugins, docs) = (workspace::root().join("plugins"), workspace::root().join("docs/rules"));
    let mut pages = Vec::new();
    for entry in fs::read_dir(&plugins).with_context(|| format!("read {}", plugins.display()))? {
        let folder = entry?.path();
        let schema = folder.join("config.schema.json");
        if let (true, Some(name)) = (schema.is_file(), folder.file_name()) {
            let name = name.to_string_lossy();
            pages.push((docs.join(format!("{name}.md")), page(&name, &read(&schema)?)));
        }
    }
    pages.sort();
    Ok(pages)
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// The page of one rule.
fn page(name: &str, schema: &Value) -> String {
    let mut text = format!("# {name}\n\n");
    if let Some(about) = schema["description"].as_str() {
        let _ = write!(text, "{about}\n\n");
    }
    let _ = write!(
        text,
        "Made from [plugins/{name}/config.schema.json](../../plugins/{name}/config.schema.json) by `cargo xtask rule-docs`; \
         `drover plugin check FILE --config CONFIG` names each field of a config that does not fit.\n\n"
    );
    text.push_str("| field | what it takes | default | what it is |\n|---|---|---|---|\n");
    fields(schema, schema, "", 0, &mut text);
    text
}

/// A row for each property, and for those inside it.
fn fields(root: &Value, schema: &Value, prefix: &str, depth: usize, text: &mut String) {
    if depth > DEPTH_MAX {
        return;
    }
    let schema = resolved(root, schema);
    let required = |name: &str| {
        schema["required"].as_array().into_iter().flatten().any(|required| required.as_str() == Some(name))
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let target = resolved(root, property);
        // What stands beside a reference is said of this use of it.
        let said = |key: &str| property.get(key).or_else(|| target.get(key));
        let default = match said("default") {
            Some(default) => format!("`{default}`"),
            None if required(name) => "needed".to_owned(),
            None => "-".to_owned(),
        };
        let about = said("description").and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(text, "| `{path}` | {} | {default} | {} |", takes(root, property, 0), cell(about));
        inside(root, property, &path, depth + 1, text);
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for branch in schema[key].as_array().into_iter().flatten() {
            fields(root, branch, prefix, depth + 1, text);
        }
    }
}

/// What is inside an object, a list or a map.
fn inside(root: &Value, schema: &Value, path: &str, depth: usize, text: &mut String) {
    let schema = resolved(root, schema);
    if schema["items"].is_object() {
        inside(root, &schema["items"], &format!("{path}[]"), depth + 1, text);
    } else if schema["additionalProperties"].is_object() {
        inside(root, &schema["additionalProperties"], &format!("{path}.*"), depth + 1, text);
    }
    let is_branching = ["oneOf", "anyOf", "allOf"].iter().any(|key| schema[*key].is_array());
    if schema["properties"].is_object() || is_branching {
        fields(root, schema, path, depth + 1, text);
    }
}

/// In a few words what a value must be.
fn takes(root: &Value, schema: &Value, depth: usize) -> String {
    let schema = resolved(root, schema);
    if depth > 3 {
        return "...".to_owned();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    }
    if !schema["const"].is_null() {
        return format!("`{}`", schema["const"]);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(branches) = schema[key].as_array().filter(|_| schema["type"].is_null()) {
            let mut said: Vec<String> = branches.iter().map(|branch| takes(root, branch, depth + 1)).collect();
            said.dedup();
            return said.join(" or ");
        }
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec!["anything"],
    };
    let mut said = kinds.join(" or ");
    if kinds.contains(&"array") && schema["items"].is_object() {
        let _ = write!(said, " of {}", takes(root, &schema["items"], depth + 1));
    }
    let bounds = [("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below")];
    for (key, word) in bounds {
        if let Some(bound) = schema[key].as_number() {
            let _ = write!(said, " {word} {bound}");
        }
    }
    for (key, word) in [("minItems", "at least"), ("maxItems", "at most")] {
        if let Some(count) = schema[key].as_u64() {
            let _ = write!(said, ", {word} {count}");
        }
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(said, " like `{}`", cell(pattern));
    }
    said
}

/// Follows references within the schema.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let mut at = schema;
    for _ in 0..DEPTH_MAX {
        let target = at["$ref"].as_str().and_then(|path| root.pointer(path.strip_prefix('#')?));
        let Some(target) = target else { return at };
        at = target;
    }
    at
}

/// As a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_field_has_a_row() {
        let schema = json!({
            "description": "About.", "type": "object", "required": ["a"],
            "properties": {
                "a": {"type": "number", "minimum": 0, "description": "First."},
                "list": {"type": "array", "maxItems": 3, "default": [], "items": {"$ref": "#/$defs/item"}},
                "either": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/item"}]}
            },
            "$defs": {"item": {"type": "object", "properties": {"kind": {"enum": ["x", "y"]}, "self": {"$ref": "#/$defs/item"}}}}
        });
        let text = page("rule", &schema);
        for row in [
            "| `a` | number from 0 | needed | First. |",
            "| `list` | array of object, at most 3 | `[]` |  |",
            "| `list[].kind` | `\"x\"`, `\"y\"` | - |  |",
            "| `either` | null or object | - |  |",
            "| `either.kind` | `\"x\"`, `\"y\"` | - |  |",
        ] {
            assert!(text.contains(row), "{row} in\n{text}");
        }
    }
}
