/* SPDX-License-Identifier: Apache-2.0 */
/* JSON reader for manifests: RFC 8259, with nothing more than Python's reader takes and nothing less.
 *
 * It does not recurse: a value knows its parent while it is open, so hostile nesting costs no stack.  Fractions are
 * checked but not kept, because nothing that the runtime needs is one. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define DIGITS 4300 /* of an integer; Python refuses to convert more */
#define NONE UINT32_MAX

/* The digits of 2^1024 - 2^970: what is not smaller has no finite value as a float64. */
static const char infinite[] =
    "1797693134862315807937289714053034150799341327100378269361737789804449682927647509466490179775872070963"
    "3028641669288791094655554785194040263065748867150582068190890200070838367627385484581771153176447573027"
    "0069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";

typedef struct reader {
  const uint8_t *at, *end;
  smi_document *document;
  uint32_t count;      /* values so far */
  uint32_t texts_used; /* bytes of texts so far */
  uint32_t key, key_bytes;
  smalti_error *error;
} reader;

static smalti_status not_json(reader *r) {
  return smi_fail(r->error, SMALTI_DAMAGED, "the file is damaged: its manifest is not JSON");
}

static smalti_status holds(reader *r, const char *what) {
  return smi_fail(r->error, SMALTI_DAMAGED, "the file is damaged: its manifest holds %s", what);
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

/* Length of the UTF-8 sequence at `at`, 0 if it is not one. */
static size_t utf8_sequence(const uint8_t *at, const uint8_t *end) {
  uint8_t first = *at;
  if (first < 0x80) return 1;
  size_t bytes = first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (bytes == 0 || (size_t)(end - at) < bytes) return 0;
  for (size_t i = 1; i < bytes; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  bool overlong = (first == 0xe0 && at[1] < 0xa0) || (first == 0xf0 && at[1] < 0x90);
  bool beyond = (first == 0xed && at[1] >= 0xa0) || (first == 0xf4 && at[1] >= 0x90);
  return overlong || beyond ? 0 : bytes;
}

static bool is_utf8(const uint8_t *at, const uint8_t *end) {
  while (at < end) {
    size_t bytes = utf8_sequence(at, end);
    if (bytes == 0) return false;
    at += bytes;
  }
  return true;
}

size_t smi_characters(const char *text, size_t bytes) {
  size_t count = 0;
  for (size_t i = 0; i < bytes; i++) count += ((unsigned char)text[i] & 0xc0) != 0x80;
  return count;
}

static int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_unit(const uint8_t *at, const uint8_t *end, uint32_t *unit) {
  if (end - at < 4) return false;
  *unit = 0;
  for (int i = 0; i < 4; i++) {
    int digit = hex_digit(at[i]);
    if (digit < 0) return false;
    *unit = *unit << 4 | (uint32_t)digit;
  }
  return true;
}

static void put(reader *r, uint32_t byte) { r->document->texts[r->texts_used++] = (char)byte; }

static void put_code_point(reader *r, uint32_t code) {
  if (code < 0x80) {
    put(r, code);
    return;
  }
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  put(r, (0xff00u >> (more + 1) & 0xffu) | code >> (6 * more));
  while (more-- > 0) put(r, 0x80 | (code >> (6 * more) & 0x3f));
}

static bool read_escape(reader *r) {
  static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  if (r->at == r->end) return false;
  uint8_t letter = *r->at++;
  if (letter != 'u') {
    const char *found = letter != 0 ? strchr(letters, letter) : NULL;
    if (found == NULL) return false;
    put(r, (uint8_t)meant[found - letters]);
    return true;
  }
  uint32_t code, low;
  if (!read_unit(r->at, r->end, &code)) return false;
  r->at += 4;
  bool is_high = code >= 0xd800 && code < 0xdc00;
  if (is_high && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u' && read_unit(r->at + 2, r->end, &low) &&
      low >= 0xdc00 && low < 0xe000) {
    code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
    r->at += 6;
  }
  put_code_point(r, code); /* half of a pair stands alone, as in Python */
  return true;
}

/* Read a text behind its opening quote.  It cannot outgrow what it was written as, so there is always room. */
static bool read_text(reader *r, uint32_t *start, uint32_t *bytes) {
  *start = r->texts_used;
  while (r->at < r->end && *r->at != '"') {
    uint8_t byte = *r->at++;
    if (byte < 0x20) return false;
    if (byte != '\\') {
      put(r, byte);
    } else if (!read_escape(r)) {
      return false;
    }
  }
  if (r->at == r->end) return false;
  r->at++;
  *bytes = r->texts_used - *start;
  put(r, 0);
  return true;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end) {
  while (at < end && *at >= '0' && *at <= '9') at++;
  return at;
}

/* Whether a number with a fraction or an exponent has no finite float64. */
static bool is_infinite(const uint8_t *digits, const uint8_t *end, int64_t exponent) {
  const uint8_t *point = memchr(digits, '.', (size_t)(end - digits));
  const uint8_t *first = digits;
  while (first < end && (*first == '0' || *first == '.')) first++;
  if (first == end) return false;
  if (point == NULL) point = end;
  int64_t scale = exponent + (first < point ? point - first - 1 : point - first); /* of the first digit */
  if (scale != 308) return scale > 308;
  for (size_t i = 0; infinite[i] != '\0'; first++) {
    if (first < end && *first == '.') continue;
    int digit = first < end ? *first : '0';
    if (digit != infinite[i]) return digit > infinite[i];
    i++;
  }
  return true;
}

static smalti_status read_integer(reader *r, const uint8_t *digits, bool negative, smi_json *value) {
  if (r->at - digits > DIGITS) return not_json(r);
  value->kind = SMI_INTEGER;
  int64_t number = 0;
  for (const uint8_t *at = digits; at < r->at; at++) {
    int64_t digit = *at - '0';
    if (__builtin_mul_overflow(number, 10, &number) ||
        __builtin_add_overflow(number, negative ? -digit : digit, &number)) {
      value->kind = SMI_HUGE;
      return SMALTI_OK;
    }
  }
  value->value.integer = number;
  return SMALTI_OK;
}

static bool follows(const reader *r, const char *word) {
  size_t bytes = strlen(word);
  return (size_t)(r->end - r->at) >= bytes && memcmp(r->at, word, bytes) == 0;
}

static smalti_status read_number(reader *r, smi_json *value) {
  if (follows(r, "-Infinity")) return holds(r, "-Infinity");
  bool negative = *r->at == '-';
  const uint8_t *digits = r->at + negative, *end = skip_digits(digits, r->end);
  if (end == digits) return not_json(r);
  if (*digits == '0') end = digits + 1; /* what follows a leading zero is not part of the number */
  r->at = end;
  if (end + 1 < r->end && *end == '.' && skip_digits(end + 1, r->end) > end + 1) end = skip_digits(end + 1, r->end);
  const uint8_t *mantissa_end = end;
  int64_t exponent = 0;
  if (end < r->end && (*end == 'e' || *end == 'E')) {
    const uint8_t *at = end + 1;
    bool down = at < r->end && *at == '-';
    if (at < r->end && (*at == '-' || *at == '+')) at++;
    const uint8_t *stop = skip_digits(at, r->end);
    if (stop > at) {
      for (; at < stop; at++) exponent = exponent < 100000000000 ? exponent * 10 + (*at - '0') : exponent;
      if (down) exponent = -exponent;
      end = stop;
    }
  }
  if (end == r->at) return read_integer(r, digits, negative, value);
  r->at = end;
  value->kind = SMI_REAL;
  return is_infinite(digits, mantissa_end, exponent) ? holds(r, "a number that is too large") : SMALTI_OK;
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

static void skip_space(reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

static bool take(reader *r, uint8_t byte) {
  if (r->at == r->end || *r->at != byte) return false;
  r->at++;
  return true;
}

static bool read_key(reader *r) {
  skip_space(r);
  if (!take(r, '"') || !read_text(r, &r->key, &r->key_bytes)) return false;
  skip_space(r);
  return take(r, ':');
}

static smalti_status check_keys(reader *r, const smi_json *object) {
  const smi_document *d = r->document;
  uint32_t count = object->value.items.count;
  if (count < 2) return SMALTI_OK;
  smi_name few[16], *keys = few;
  if (count > 16) {
    keys = malloc(count * sizeof(*keys));
    if (keys == NULL) return smi_no_memory(r->error, "the manifest");
  }
  uint32_t index = object->value.items.first;
  for (uint32_t i = 0; i < count; i++, index = d->values[index].next) {
    keys[i] = (smi_name){d->texts + d->values[index].key, d->values[index].key_bytes};
  }
  qsort(keys, count, sizeof(*keys), smi_compare_names);
  bool repeats = false;
  for (uint32_t i = 1; i < count; i++) repeats = repeats || smi_compare_names(&keys[i - 1], &keys[i]) == 0;
  if (keys != few) free(keys);
  if (repeats) return smi_fail(r->error, SMALTI_DAMAGED, "the file is damaged: its manifest repeats a key");
  return SMALTI_OK;
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

/* Read a scalar, or open a list or an object. */
static smalti_status read_value(reader *r, smi_json *value) {
  static const struct {
    const char *word;
    uint8_t kind;
  } words[] = {{"null", SMI_NULL}, {"true", SMI_TRUE}, {"false", SMI_FALSE}};
  if (r->at == r->end) return not_json(r);
  uint8_t first = *r->at;
  if (first == '"') {
    r->at++;
    value->kind = SMI_TEXT;
    return read_text(r, &value->value.text.at, &value->value.text.bytes) ? SMALTI_OK : not_json(r);
  }
  if (first == '[' || first == '{') {
    r->at++;
    value->kind = first == '[' ? SMI_LIST : SMI_OBJECT;
    return SMALTI_OK;
  }
  if (first == '-' || (first >= '0' && first <= '9')) return read_number(r, value);
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    if (follows(r, words[i].word)) {
      r->at += strlen(words[i].word);
      value->kind = words[i].kind;
      return SMALTI_OK;
    }
  }
  if (follows(r, "NaN")) return holds(r, "NaN");
  return follows(r, "Infinity") ? holds(r, "Infinity") : not_json(r);
}

/* Read the value at the reader's place as the next item of `parent`, whose last item so far is `*last`. */
static smalti_status read_item(reader *r, uint32_t parent, uint32_t *last) {
  smi_json *values = r->document->values;
  uint32_t index = r->count++;
  smi_json *value = &values[index];
  if (parent != NONE) {
    if (values[parent].value.items.count++ == 0) {
      values[parent].value.items.first = index;
    } else {
      values[*last].next = index;
    }
    if (values[parent].kind == SMI_OBJECT) {
      value->key = r->key;
      value->key_bytes = r->key_bytes;
    }
  }
  *last = index;
  skip_space(r);
  return read_value(r, value);
}

static smalti_status read_document(reader *r) {
  smi_json *values = r->document->values;
  uint32_t open[SMI_JSON_DEPTH];
  uint32_t depth = 0, last = 0;
  for (;;) {
    smalti_status status = read_item(r, depth > 0 ? open[depth - 1] : NONE, &last);
    if (status != SMALTI_OK) return status;
    bool complete = true; /* a list or object that was just opened is not, unless it is empty */
    if (values[last].kind == SMI_LIST || values[last].kind == SMI_OBJECT) {
      if (depth == SMI_JSON_DEPTH) return not_json(r);
      open[depth++] = last;
      skip_space(r);
      complete = r->at < r->end && *r->at == (values[last].kind == SMI_LIST ? ']' : '}');
      if (!complete && values[last].kind == SMI_OBJECT && !read_key(r)) return not_json(r);
    }
    while (complete) {
      skip_space(r);
      if (depth == 0) return r->at == r->end ? SMALTI_OK : not_json(r);
      const smi_json *parent = &values[open[depth - 1]];
      bool is_list = parent->kind == SMI_LIST;
      if (take(r, is_list ? ']' : '}')) {
        status = is_list ? SMALTI_OK : check_keys(r, parent);
        if (status != SMALTI_OK) return status;
        last = open[--depth];
      } else if (take(r, ',')) {
        if (!is_list && !read_key(r)) return not_json(r);
        complete = false;
      } else {
        return not_json(r);
      }
    }
  }
}

smalti_status smi_json_parse(const uint8_t *data, size_t bytes, smi_document *document, smalti_error *error) {
  memset(document, 0, sizeof(*document));
  reader r = {.at = data, .end = data + bytes, .document = document, .error = error};
  if (bytes > SMI_MANIFEST_BYTES || !is_utf8(data, data + bytes)) return not_json(&r);
  size_t most = 1; /* every value but the first follows one of these */
  for (size_t i = 0; i < bytes; i++) most += data[i] == '[' || data[i] == ',' || data[i] == ':';
  document->values = calloc(most, sizeof(smi_json));
  document->texts = malloc(bytes + 1);
  if (document->values == NULL || document->texts == NULL) {
    smi_json_free(document);
    return smi_no_memory(error, "the manifest");
  }
  smalti_status status = read_document(&r);
  if (status != SMALTI_OK) smi_json_free(document);
  return status;
}

void smi_json_free(smi_document *document) {
  free(document->values);
  free(document->texts);
  memset(document, 0, sizeof(*document));
}
