//! Chat templates: Jinja2 as the transformers library runs it, by minijinja. See
//! ../tokenizers_bridge.h.

use crate::python_text::{json_text, print_text, JsonLayout};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use minijinja_contrib::pycompat::unknown_method_callback;

const NAME: &str = "chat template";
/// Instructions of one rendering: hundreds of times what a long conversation takes.
const FUEL: u64 = 20_000_000;

pub struct ChatTemplate {
    environment: Environment<'static>,
}

/// The day that every template is told: renderings are the same tomorrow. It is the one that
/// Llama's templates name where nobody tells the time.
const DAY: [(char, &str); 18] = [
    ('a', "Fri"),
    ('A', "Friday"),
    ('b', "Jul"),
    ('B', "July"),
    ('d', "26"),
    ('e', "26"),
    ('F', "2024-07-26"),
    ('H', "00"),
    ('I', "12"),
    ('j', "208"),
    ('m', "07"),
    ('M', "00"),
    ('p', "AM"),
    ('S', "00"),
    ('T', "00:00:00"),
    ('y', "24"),
    ('Y', "2024"),
    ('%', "%"),
];

fn strftime_now(format: &str) -> String {
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut code = letters.next();
        let bare = code == Some('-');
        if bare {
            code = letters.next();
        }
        let value = DAY.iter().find(|(name, _)| Some(*name) == code).map_or("", |(_, value)| value);
        // %-m: no leading zero.
        let short = value.trim_start_matches('0');
        out.push_str(if bare && !short.is_empty() { short } else { value });
    }
    out
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
}

/// json.dumps(value, ensure_ascii=False) with the options that transformers takes.
fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<(String, String)> = match options.get::<Option<Value>>("separators")? {
        Some(pair) => Some((
            pair.get_item(&Value::from(0))?.to_string(),
            pair.get_item(&Value::from(1))?.to_string(),
        )),
        None => None,
    };
    let (item_separator, key_separator) = separators.unwrap_or_else(|| {
        (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string())
    });
    let layout = JsonLayout {
        indent,
        item_separator,
        key_separator,
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    Ok(Value::from_safe_string(json_text(value, &layout)))
}

/// `{% generation %}` marks what the assistant says, for training: here it is a block that is
/// always there.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(begin) = rest.find("{%") {
        let Some(length) = rest[begin..].find("%}") else { break };
        let inner = &rest[begin + 2..begin + length];
        let around = |letter: char| letter.is_whitespace() || "-+".contains(letter);
        let name = inner.trim_matches(around);
        out.push_str(&rest[..begin]);
        let tag = &rest[begin..begin + length + 2];
        match name {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = &rest[begin + length + 2..];
    }
    out.push_str(rest);
    out
}

impl ChatTemplate {
    pub fn compile(source: &str) -> Result<ChatTemplate, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| error.to_string())?);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(|out, _, value| {
            if value.kind() == ValueKind::Undefined {
                return Ok(());
            }
            out.write_str(&print_text(value)).map_err(Error::from)
        });
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_filter("string", |value: &Value| print_text(value));
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| format!("{error:#}"))?;
        Ok(ChatTemplate { environment })
    }

    /// `context`: a JSON object of the variables.
    pub fn render(&self, context: &[u8]) -> Result<String, String> {
        let variables: Value = serde_json::from_slice(context).map_err(|e| e.to_string())?;
        let template = self.environment.get_template(NAME).map_err(|e| e.to_string())?;
        template.render(variables).map_err(|error| format!("{error:#}"))
    }
}
