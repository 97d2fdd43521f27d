/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, names and options. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define MOST_OPTION_BYTES 4096u /* no struct of options will be larger: a size above was never set */
#define SMI_STRING_OF(x) #x
#define SMI_STRING(x) SMI_STRING_OF(x)

const char *smalti_version(void) {
  return SMI_STRING(SMALTI_VERSION_MAJOR) "." SMI_STRING(SMALTI_VERSION_MINOR) "." SMI_STRING(SMALTI_VERSION_PATCH);
}

uint32_t smalti_abi_version(void) { return SMALTI_ABI_VERSION; }

const char *smalti_status_name(smalti_status status) {
  switch (status) {
    case SMALTI_OK: return "OK";
    case SMALTI_USAGE: return "UsageError";
    case SMALTI_NOT_A_MODEL: return "NotAModelError";
    case SMALTI_DAMAGED: return "DamagedModelError";
    case SMALTI_VERSION: return "ModelVersionError";
    case SMALTI_TARGET: return "TargetError";
    case SMALTI_FILE: return "ModelFileError";
    case SMALTI_INPUT: return "InputError";
    case SMALTI_RESOURCE: return "ResourceError";
    case SMALTI_INTERNAL: return "CompilerError";
  }
  return "unknown";
}

static const struct {
  const char *name;
  size_t bytes;
} dtypes[] = {{NULL, 0},    {"float32", 4}, {"float64", 8}, {"float16", 2}, {"bfloat16", 2}, {"uint8", 1},
              {"int8", 1},  {"uint16", 2},  {"int16", 2},   {"int32", 4},   {"int64", 8},    {"bool", 1},
              {"uint32", 4}, {"uint64", 8}};

static size_t dtype_index(smalti_dtype dtype) {
  size_t index = (size_t)dtype;
  return index < sizeof(dtypes) / sizeof(dtypes[0]) ? index : 0;
}

const char *smalti_dtype_name(smalti_dtype dtype) { return dtypes[dtype_index(dtype)].name; }

size_t smalti_dtype_bytes(smalti_dtype dtype) { return dtypes[dtype_index(dtype)].bytes; }

/* ---- text -------------------------------------------------------------------------------------------------------- */

void smi_start(smi_text *text) {
  text->used = 0;
  text->bytes[0] = '\0';
}

static void add_arguments(smi_text *text, const char *format, va_list arguments) {
  size_t room = sizeof(text->bytes) - text->used;
  int written = vsnprintf(text->bytes + text->used, room, format, arguments);
  if (written < 0) {
    text->bytes[text->used] = '\0';
    return;
  }
  text->used += (size_t)written < room ? (size_t)written : room - 1;
}

void smi_add(smi_text *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  add_arguments(text, format, arguments);
  va_end(arguments);
}

static size_t character_bytes(const unsigned char *at, size_t left) {
  size_t bytes = *at < 0x80 ? 1 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
  return bytes <= left ? bytes : left;
}

static uint32_t code_point(const unsigned char *at, size_t bytes) {
  if (bytes == 1) return at[0];
  uint32_t value = at[0] & (0xffu >> (bytes + 1));
  for (size_t i = 1; i < bytes; i++) value = value << 6 | (at[i] & 0x3fu);
  return value;
}

/* Halves of pairs, and spaces and marks that nobody sees. */
static bool is_invisible(uint32_t code) {
  return (code >= 0xd800 && code < 0xf900) || (code >= 0x2000 && code < 0x2010) || (code >= 0x2028 && code < 0x2030) ||
         (code >= 0x205f && code < 0x2070) || code == 0x3000 || code == 0xfeff;
}

void smi_add_quoted(smi_text *text, const char *name, size_t bytes, size_t limit) {
  const unsigned char *at = (const unsigned char *)name;
  char quote = memchr(name, '\'', bytes) != NULL && memchr(name, '"', bytes) == NULL ? '"' : '\'';
  smi_add(text, "%c", quote);
  for (size_t shown = 0; bytes > 0 && shown < limit; shown++) {
    size_t size = character_bytes(at, bytes);
    uint32_t code = code_point(at, size);
    if (code == (uint32_t)quote || code == '\\') {
      smi_add(text, "\\%c", (char)code);
    } else if (code == '\n' || code == '\r' || code == '\t') {
      smi_add(text, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    } else if (code < 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0xad) {
      smi_add(text, "\\x%02x", (unsigned)code);
    } else if (is_invisible(code)) {
      smi_add(text, "\\u%04x", (unsigned)code);
    } else {
      smi_add(text, "%.*s", (int)size, (const char *)at);
    }
    at += size;
    bytes -= size;
  }
  smi_add(text, "%c", quote);
}

void smi_add_sizes(smi_text *text, const int64_t *sizes, size_t count) {
  smi_add(text, "[");
  for (size_t i = 0; i < count && text->used + 1 < sizeof(text->bytes); i++) {
    smi_add(text, i == 0 ? "%lld" : ", %lld", (long long)sizes[i]);
  }
  smi_add(text, "]");
}

int smi_compare_names(const void *a, const void *b) {
  const smi_name *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);
  return order != 0 ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static void set_message(smalti_error *error, const char *bytes, size_t used) {
  size_t room = sizeof(error->message) - 1;
  if (used > room) {
    used = room;
    while (used > 0 && ((unsigned char)bytes[used] & 0xc0) == 0x80) used--;
  }
  memmove(error->message, bytes, used);
  error->message[used] = '\0';
}

smalti_status smi_fail_text(smalti_error *error, smalti_status status, const smi_text *text) {
  if (error != NULL) {
    error->status = status;
    set_message(error, text->bytes, text->used);
  }
  return status;
}

smalti_status smi_fail(smalti_error *error, smalti_status status, const char *format, ...) {
  if (error != NULL) {
    smi_text text;
    smi_start(&text);
    va_list arguments;
    va_start(arguments, format);
    add_arguments(&text, format, arguments);
    va_end(arguments);
    smi_fail_text(error, status, &text);
  }
  return status;
}

smalti_status smi_no_memory(smalti_error *error, const char *what) {
  return smi_fail(error, SMALTI_RESOURCE, "there is no memory for %s", what);
}

void smi_prefix(smalti_error *error, const char *path) {
  if (error == NULL) return;
  smi_text text;
  smi_start(&text);
  smi_add(&text, "%s: %s", path, error->message);
  set_message(error, text.bytes, text.used);
}

const char *smi_system_error(int number, char *room, size_t bytes) {
  if (strerror_r(number, room, bytes) != 0) snprintf(room, bytes, "error %d", number);
  return room;
}

/* ---- settings ---------------------------------------------------------------------------------------------------- */

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

smalti_status smi_knob(const char *name, int64_t low, int64_t high, int64_t *value, smalti_error *error) {
  const char *text = getenv(name);
  if (text == NULL) return SMALTI_OK;
  while (is_space(*text)) text++;
  size_t bytes = strlen(text);
  while (bytes > 0 && is_space(text[bytes - 1])) bytes--;
  if (bytes == 0) return SMALTI_OK;
  int64_t number = 0;
  bool good = bytes < 10;
  for (size_t i = 0; good && i < bytes; i++) {
    good = text[i] >= '0' && text[i] <= '9';
    number = number * 10 + (text[i] - '0');
  }
  if (good && number >= low && number <= high) {
    *value = number;
    return SMALTI_OK;
  }
  smi_text message;
  smi_start(&message);
  smi_add(&message, "%s must be a whole number from %lld to %lld, not ", name, (long long)low, (long long)high);
  smi_add_quoted(&message, text, bytes, 40);
  return smi_fail_text(error, SMALTI_USAGE, &message);
}

bool smi_knows_options(const void *options, size_t given, size_t known) {
  if (given < known || given > MOST_OPTION_BYTES) return false;
  const unsigned char *bytes = options;
  for (size_t i = known; i < given; i++) {
    if (bytes[i] != 0) return false; /* a newer program asks for something that this library does not have */
  }
  return true;
}
