// The C side of the `tokenizers` and `minijinja` crates: everything that C++ may call. Written by
// hand to match src/lib.rs.
//
// Functions that can fail return false (or nullptr) and set *error to a text that the caller frees
// with qd_tokenizer_free_text. No panic crosses this border. A tokenizer may be used from many
// threads.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct QdTokenizer QdTokenizer;

// Bytes that Rust owns until they are given back.
typedef struct QdText {
  uint8_t* data;
  size_t size;
  size_t capacity;
} QdText;

typedef struct QdIds {
  uint32_t* data;
  size_t size;
  size_t capacity;
} QdIds;

// A tokenizer from the bytes of a tokenizer.json, or NULL.
QdTokenizer* qd_tokenizer_load(const uint8_t* json, size_t size, QdText* error);
void qd_tokenizer_free(QdTokenizer* tokenizer);

// 1 on success, 0 on failure. `text` must be UTF-8; `add_special_tokens` is 0 or 1.
int32_t qd_tokenizer_encode(const QdTokenizer* tokenizer, const uint8_t* text, size_t size,
                            int32_t add_special_tokens, QdIds* ids, QdText* error);
// 1 on success, 0 on failure. Special tokens are kept in the text.
int32_t qd_tokenizer_decode(const QdTokenizer* tokenizer, const uint32_t* ids, size_t count,
                            QdText* text, QdText* error);
// With added tokens; 0 if it cannot be told.
size_t qd_tokenizer_vocabulary_size(const QdTokenizer* tokenizer);

typedef struct QdTemplate QdTemplate;

// A chat template from its Jinja source, or NULL. Nothing is run.
QdTemplate* qd_template_compile(const uint8_t* source, size_t size, QdText* error);
void qd_template_free(QdTemplate* template_);
// 1 on success, 0 on failure. `context`: a JSON object of the template's variables. Work is
// bounded, memory is not: who renders for strangers limits it.
int32_t qd_template_render(const QdTemplate* template_, const uint8_t* context, size_t size,
                           QdText* text, QdText* error);

// Called by Rust when an allocation has failed; defined in C++. May return: Rust then aborts.
void qd_allocation_failed(void);

void qd_tokenizer_free_text(QdText text);
void qd_tokenizer_free_ids(QdIds ids);

#ifdef __cplusplus
}
#endif
