//! How Python writes a value: `str` for what a template prints, `json.dumps` for its filter tojson.
//! Templates are written for Jinja2, and models were trained on what that prints.

use minijinja::value::{Value, ValueKind};

/// How `json.dumps` lays a value out.
pub struct JsonLayout {
    pub indent: Option<usize>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
    pub ascii: bool,
}

/// repr(float): scientific from 1e16 and below 1e-4, with a sign and two digits of exponent.
fn float_text(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && value.is_finite() && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        if let Some((mantissa, exponent)) = text.split_once('e') {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            return format!("{mantissa}e{sign}{digits:0>2}");
        }
    }
    if value.is_nan() {
        return "nan".to_string();
    }
    format!("{value:?}")
}

fn number_text(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map(float_text).unwrap_or_else(|_| value.to_string())
}

fn json_float(value: &Value) -> String {
    match number_text(value).as_str() {
        "nan" => "NaN".to_string(),
        "inf" => "Infinity".to_string(),
        "-inf" => "-Infinity".to_string(),
        text => text.to_string(),
    }
}

fn json_string(text: &str, ascii: bool) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    if !ascii {
        return quoted;
    }
    let mut escaped = String::new();
    for letter in quoted.chars() {
        if letter.is_ascii() {
            escaped.push(letter);
            continue;
        }
        let mut units = [0; 2];
        for unit in letter.encode_utf16(&mut units) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    escaped
}

/// Begins a line `depth` levels deep, where the layout has lines.
fn new_line(layout: &JsonLayout, depth: usize, out: &mut String) {
    if let Some(indent) = layout.indent {
        out.push('\n');
        out.push_str(&" ".repeat(indent * depth));
    }
}

fn write_json(value: &Value, layout: &JsonLayout, depth: usize, out: &mut String) {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&json_float(value)),
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter().map(Iterator::collect).unwrap_or_default();
            if layout.sort_keys {
                keys.sort();
            }
            out.push('{');
            for (i, key) in keys.iter().enumerate() {
                if i > 0 {
                    out.push_str(&layout.item_separator);
                }
                new_line(layout, depth + 1, out);
                out.push_str(&json_string(&key.to_string(), layout.ascii));
                out.push_str(&layout.key_separator);
                write_json(&value.get_item(key).unwrap_or_default(), layout, depth + 1, out);
            }
            if !keys.is_empty() {
                new_line(layout, depth, out);
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut empty = true;
            for item in value.try_iter().into_iter().flatten() {
                if !empty {
                    out.push_str(&layout.item_separator);
                }
                empty = false;
                new_line(layout, depth + 1, out);
                write_json(&item, layout, depth + 1, out);
            }
            if !empty {
                new_line(layout, depth, out);
            }
            out.push(']');
        }
        _ => out.push_str(&json_string(&value.to_string(), layout.ascii)),
    }
}

pub fn json_text(value: &Value, layout: &JsonLayout) -> String {
    let mut out = String::new();
    write_json(value, layout, 0, &mut out);
    out
}

/// repr(str): single quotes, unless they are inside and double ones are not.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter == quote => {
                out.push('\\');
                out.push(letter);
            }
            letter if letter.is_control() => out.push_str(&format!("\\x{:02x}", letter as u32)),
            letter => out.push(letter),
        }
    }
    out.push(quote);
    out
}

fn repr(value: &Value) -> String {
    match value.as_str() {
        Some(text) => quoted(text),
        None => print_text(value),
    }
}

/// str(value).
pub fn print_text(value: &Value) -> String {
    match value.kind() {
        ValueKind::None => "None".to_string(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_string(),
        ValueKind::Number => number_text(value),
        ValueKind::Map => {
            let keys = value.try_iter().into_iter().flatten();
            let items: Vec<String> = keys
                .map(|key| {
                    format!("{}: {}", repr(&key), repr(&value.get_item(&key).unwrap_or_default()))
                })
                .collect();
            format!("{{{}}}", items.join(", "))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<String> =
                value.try_iter().into_iter().flatten().map(|item| repr(&item)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => value.to_string(),
    }
}
