#include "engine/text/builtin_texts.h"

// The assembler copies the files into the read-only data: no generated source, no limit of the
// compiler on the length of a literal.
#define QD_EMBED(symbol, file)                   \
  __asm__(                                       \
      ".pushsection .rodata\n"                   \
      ".global " #symbol "_begin\n" #symbol      \
      "_begin:\n"                                \
      ".incbin \"" QUANTD_BUILTIN_TEXTS "/" file \
      "\"\n"                                     \
      ".global " #symbol "_end\n" #symbol        \
      "_end:\n"                                  \
      ".byte 0\n"                                \
      ".popsection\n");                          \
  extern "C" const char symbol##_begin[];        \
  extern "C" const char symbol##_end[]

QD_EMBED(quantd_calibration_text, "calibration.txt");
QD_EMBED(quantd_evaluation_text, "evaluation.txt");

namespace quantd {

std::optional<std::string_view> BuiltinText(std::string_view name) {
  if (name == "calibration")
    return std::string_view(quantd_calibration_text_begin, quantd_calibration_text_end);
  if (name == "evaluation")
    return std::string_view(quantd_evaluation_text_begin, quantd_evaluation_text_end);
  return std::nullopt;
}

}  // namespace quantd
