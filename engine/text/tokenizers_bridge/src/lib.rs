//! The Hugging Face tokenizers crate and chat templates behind a few C functions: see
//! ../tokenizers_bridge.h, which says what each does. A panic inside comes back as an error and
//! never crosses into C++.

mod allocator;
mod chat_template;
mod python_text;

use chat_template::ChatTemplate;
use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;
use tokenizers::Tokenizer;

pub struct QdTokenizer(Tokenizer);
pub struct QdTemplate(ChatTemplate);

#[repr(C)]
pub struct QdText {
    data: *mut u8,
    size: usize,
    capacity: usize,
}

#[repr(C)]
pub struct QdIds {
    data: *mut u32,
    size: usize,
    capacity: usize,
}

/// Hands the memory of a vector to the caller; given back through `take`.
fn give<T>(vector: Vec<T>) -> (*mut T, usize, usize) {
    let mut vector = std::mem::ManuallyDrop::new(vector);
    (vector.as_mut_ptr(), vector.len(), vector.capacity())
}

fn give_text(text: String) -> QdText {
    let (data, size, capacity) = give(text.into_bytes());
    QdText { data, size, capacity }
}

unsafe fn take<T>(data: *mut T, size: usize, capacity: usize) {
    if !data.is_null() {
        drop(Vec::from_raw_parts(data, size, capacity));
    }
}

/// A slice of C memory; an empty one may come with a null pointer.
unsafe fn borrow<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A panic that becomes an error is reported by the caller, not on standard error as well.
fn silence_guarded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !INSIDE.with(Cell::get) {
                usual(info);
            }
        }));
    });
}

/// Runs `body` and turns an error or a panic into a text at `error`.
unsafe fn guarded<T>(error: *mut QdText, body: impl FnOnce() -> Result<T, String>) -> Option<T> {
    silence_guarded_panics();
    INSIDE.with(|inside| inside.set(true));
    let outcome = catch_unwind(AssertUnwindSafe(body));
    INSIDE.with(|inside| inside.set(false));
    let message = match outcome {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(message)) => message,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
                .unwrap_or_else(|| "unknown".to_string());
            format!("panicked: {text}")
        }
    };
    *error = give_text(message);
    None
}

#[no_mangle]
pub unsafe extern "C" fn qd_tokenizer_load(
    json: *const u8,
    size: usize,
    error: *mut QdText,
) -> *mut QdTokenizer {
    let loaded = guarded(error, || {
        let mut tokenizer = Tokenizer::from_bytes(borrow(json, size)).map_err(|e| e.to_string())?;
        // Truncation and padding belong to training batches; a text is encoded whole.
        tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
        tokenizer.with_padding(None);
        Ok(tokenizer)
    });
    match loaded {
        Some(tokenizer) => Box::into_raw(Box::new(QdTokenizer(tokenizer))),
        None => std::ptr::null_mut(),
    }
}

#[no_mangle]
pub unsafe extern "C" fn qd_tokenizer_free(tokenizer: *mut QdTokenizer) {
    if !tokenizer.is_null() {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(tokenizer))));
    }
}

#[no_mangle]
pub unsafe extern "C" fn qd_tokenizer_encode(
    tokenizer: *const QdTokenizer,
    text: *const u8,
    size: usize,
    add_special_tokens: i32,
    ids: *mut QdIds,
    error: *mut QdText,
) -> i32 {
    let encoded = guarded(error, || {
        let text = std::str::from_utf8(borrow(text, size)).map_err(|e| e.to_string())?;
        let encoding =
            (*tokenizer).0.encode_fast(text, add_special_tokens != 0).map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().to_vec())
    });
    match encoded {
        Some(vector) => {
            let (data, size, capacity) = give(vector);
            *ids = QdIds { data, size, capacity };
            1
        }
        None => 0,
    }
}

#[no_mangle]
pub unsafe extern "C" fn qd_tokenizer_decode(
    tokenizer: *const QdTokenizer,
    ids: *const u32,
    count: usize,
    text: *mut QdText,
    error: *mut QdText,
) -> i32 {
    let decoded = guarded(error, || {
        (*tokenizer).0.decode(borrow(ids, count), false).map_err(|e| e.to_string())
    });
    match decoded {
        Some(string) => {
            *text = give_text(string);
            1
        }
        None => 0,
    }
}

#[no_mangle]
pub unsafe extern "C" fn qd_tokenizer_vocabulary_size(tokenizer: *const QdTokenizer) -> usize {
    catch_unwind(AssertUnwindSafe(|| (*tokenizer).0.get_vocab_size(true))).unwrap_or(0)
}

#[no_mangle]
pub unsafe extern "C" fn qd_template_compile(
    source: *const u8,
    size: usize,
    error: *mut QdText,
) -> *mut QdTemplate {
    let compiled = guarded(error, || {
        let source = std::str::from_utf8(borrow(source, size)).map_err(|e| e.to_string())?;
        ChatTemplate::compile(source)
    });
    match compiled {
        Some(template) => Box::into_raw(Box::new(QdTemplate(template))),
        None => std::ptr::null_mut(),
    }
}

#[no_mangle]
pub unsafe extern "C" fn qd_template_free(template: *mut QdTemplate) {
    if !template.is_null() {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(template))));
    }
}

#[no_mangle]
pub unsafe extern "C" fn qd_template_render(
    template: *const QdTemplate,
    context: *const u8,
    size: usize,
    text: *mut QdText,
    error: *mut QdText,
) -> i32 {
    match guarded(error, || (*template).0.render(borrow(context, size))) {
        Some(string) => {
            *text = give_text(string);
            1
        }
        None => 0,
    }
}

#[no_mangle]
pub unsafe extern "C" fn qd_tokenizer_free_text(text: QdText) {
    take(text.data, text.size, text.capacity);
}

#[no_mangle]
pub unsafe extern "C" fn qd_tokenizer_free_ids(ids: QdIds) {
    take(ids.data, ids.size, ids.capacity);
}
