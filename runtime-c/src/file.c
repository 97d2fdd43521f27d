/* SPDX-License-Identifier: Apache-2.0 */
/* Reads offline model files: header, sections and checksums, before a caller sees one byte of code. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

#define MOST_SECTIONS (2u * SMI_PROGRAMS + 1u)
#define MOST_HEADER_BYTES (SMI_FIXED_BYTES + SMI_ENTRY_BYTES * MOST_SECTIONS)
#define CHUNK ((size_t)256 << 10)

static const uint8_t magic[] = {SMI_MAGIC};

typedef struct section {
  uint32_t kind;
  uint64_t offset, size;
  char name[SMI_NAME_BYTES + 1];
} section;

/* Where bytes come from, and what was found there. */
typedef struct reader {
  int descriptor; /* -1: memory */
  const uint8_t *data;
  uint64_t bytes;
  const smi_wish *wish;
  smi_contents *contents;
  smalti_error *error;
  uint8_t header[MOST_HEADER_BYTES];
  uint32_t header_bytes;
  uint64_t promised;
  section sections[MOST_SECTIONS];
  uint32_t section_count;
  smi_sha256 content, whole;
  uint8_t *chunk;
} reader;

static uint32_t load32(const uint8_t *at) {
  return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t load64(const uint8_t *at) { return load32(at) | (uint64_t)load32(at + 4) << 32; }

static const char *kind_name(uint32_t kind) {
  return kind == SMI_SECTION_MANIFEST ? "manifest" : kind == SMI_SECTION_CONSTANTS ? "constants" : "code";
}

#define DAMAGED(r, ...) smi_fail((r)->error, SMALTI_DAMAGED, "the file is damaged: " __VA_ARGS__)

static smalti_status became_shorter(reader *r) {
  return smi_fail(r->error, SMALTI_DAMAGED, "the file is cut: it became shorter while it was read");
}

static smalti_status cannot_read(reader *r) {
  char reason[128];
  smi_system_error(errno, reason, sizeof(reason));
  return smi_fail(r->error, SMALTI_FILE, "cannot read the model file: %s", reason);
}

/* Read up to `bytes` bytes; `*got` says how many there were. */
static smalti_status read_at(reader *r, uint64_t offset, void *into, size_t bytes, size_t *got) {
  *got = 0;
  if (r->descriptor < 0) {
    if (offset < r->bytes) *got = r->bytes - offset < bytes ? (size_t)(r->bytes - offset) : bytes;
    if (*got > 0) memcpy(into, r->data + offset, *got);
    return SMALTI_OK;
  }
  while (*got < bytes) {
    ssize_t count = pread(r->descriptor, (char *)into + *got, bytes - *got, (off_t)(offset + *got));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return cannot_read(r);
    if (count == 0) break;
    *got += (size_t)count;
  }
  return SMALTI_OK;
}

/* ---- header ------------------------------------------------------------------------------------------------------ */

static smalti_status check_prefix(reader *r, size_t got) {
  const uint8_t *h = r->header;
  unsigned long long has = r->bytes;
  if (got == 0) {
    return smi_fail(r->error, SMALTI_NOT_A_MODEL, "the file is empty, so it is not an offline model");
  }
  if (got < 2 || memcmp(h, magic, got < sizeof(magic) ? got : sizeof(magic)) != 0) {
    return smi_fail(r->error, SMALTI_NOT_A_MODEL, "the file is not an offline model (it does not start like one)");
  }
  if (got < SMI_PREFIX_BYTES) {
    return smi_fail(r->error, SMALTI_DAMAGED, "the file is cut: it ends after %zu bytes, inside its header", got);
  }
  uint32_t version = load32(h + SMI_HEADER_VERSION);
  r->header_bytes = load32(h + SMI_HEADER_HEADER_BYTES);
  r->promised = load64(h + SMI_HEADER_FILE_BYTES);
  unsigned long long promised = r->promised;
  if (load32(h + SMI_HEADER_CRC) != smi_crc32(h, SMI_HEADER_CRC) || load32(h + SMI_HEADER_ZERO) != 0) {
    return DAMAGED(r, "the checksum of its first bytes does not match");
  }
  if (version > SMI_FORMAT_VERSION) {
    return smi_fail(r->error, SMALTI_VERSION,
                    "the file has format version %lu, this Smalti reads up to version %u: "
                    "update Smalti, or build the model again with this one",
                    (unsigned long)version, SMI_FORMAT_VERSION);
  }
  if (version < 1) return DAMAGED(r, "there is no format version 0");
  if (promised > SMI_FILE_BYTES) return DAMAGED(r, "its header says %llu bytes, more than any model has", promised);
  if (has < promised) {
    return smi_fail(r->error, SMALTI_DAMAGED, "the file is cut: its header says %llu bytes, but it has %llu", promised,
                    has);
  }
  if (has > promised) return DAMAGED(r, "%llu bytes follow the %llu that its header says", has - promised, promised);
  if (r->header_bytes <= SMI_FIXED_BYTES || r->header_bytes > MOST_HEADER_BYTES || r->header_bytes > promised) {
    return DAMAGED(r, "a header cannot have %lu bytes", (unsigned long)r->header_bytes);
  }
  return SMALTI_OK;
}

static smalti_status check_header_digest(reader *r) {
  static const uint8_t zeros[32];
  uint8_t digest[32];
  smi_sha256 hash;
  smi_sha256_start(&hash);
  smi_sha256_add(&hash, r->header, SMI_HEADER_HEADER_SHA256);
  smi_sha256_add(&hash, zeros, sizeof(zeros));
  smi_sha256_add(&hash, r->header + SMI_FIXED_BYTES, r->header_bytes - SMI_FIXED_BYTES);
  smi_sha256_end(&hash, digest);
  if (memcmp(digest, r->header + SMI_HEADER_HEADER_SHA256, sizeof(digest)) != 0) {
    return DAMAGED(r, "the checksum of its header does not match");
  }
  return SMALTI_OK;
}

static smalti_status read_section(reader *r, const uint8_t *entry, section *s) {
  s->kind = load32(entry + SMI_ENTRY_KIND);
  s->offset = load64(entry + SMI_ENTRY_OFFSET);
  s->size = load64(entry + SMI_ENTRY_SIZE);
  memcpy(s->name, entry + SMI_ENTRY_NAME, SMI_NAME_BYTES);
  s->name[SMI_NAME_BYTES] = '\0';
  size_t used = SMI_NAME_BYTES;
  while (used > 0 && s->name[used - 1] == '\0') used--;
  bool good = load32(entry + SMI_ENTRY_ZERO) == 0 && s->kind >= SMI_SECTION_MANIFEST && s->kind <= SMI_SECTION_CODE;
  for (size_t i = 0; i < used; i++) good = good && (unsigned char)s->name[i] >= 1 && (unsigned char)s->name[i] < 0x80;
  if (!good) return DAMAGED(r, "a section table entry is malformed");
  if ((used > 0) != (s->kind == SMI_SECTION_CODE)) {
    return DAMAGED(r, "code sections have a target name, others have none");
  }
  return SMALTI_OK;
}

static smalti_status check_sequence(reader *r) {
  uint32_t count = r->section_count / 2;
  bool good = count >= 1 && count <= SMI_PROGRAMS && r->section_count == 2 * count + 1;
  for (uint32_t i = 0; good && i < r->section_count; i++) {
    uint32_t wanted = i < count ? SMI_SECTION_MANIFEST : i == count ? SMI_SECTION_CONSTANTS : SMI_SECTION_CODE;
    good = r->sections[i].kind == wanted;
  }
  if (!good) {
    return DAMAGED(r, "it must hold 1 to %d manifests, constants and as many codes, in this order", SMI_PROGRAMS);
  }
  for (uint32_t i = count + 1; i < r->section_count; i++) {
    for (uint32_t j = count + 1; j < i; j++) {
      if (strcmp(r->sections[i].name, r->sections[j].name) == 0) {
        return DAMAGED(r, "it holds two programs for one target");
      }
    }
  }
  return SMALTI_OK;
}

static smalti_status check_places(reader *r) {
  uint64_t end = r->header_bytes;
  for (uint32_t i = 0; i < r->section_count; i++) {
    const section *s = &r->sections[i];
    uint64_t alignment = s->kind == SMI_SECTION_MANIFEST ? SMI_LINE : SMI_PAGE;
    uint64_t limit = s->kind == SMI_SECTION_MANIFEST ? SMI_MANIFEST_BYTES
                     : s->kind == SMI_SECTION_CODE   ? SMI_CODE_BYTES
                                                     : SMI_FILE_BYTES;
    if (s->offset != (end + alignment - 1) / alignment * alignment) {
      return DAMAGED(r, "its %s overlap, leave a hole or misalign", kind_name(s->kind));
    }
    if (s->size > limit || s->offset + s->size > r->promised) {
      return DAMAGED(r, "its %s cannot have %llu bytes", kind_name(s->kind), (unsigned long long)s->size);
    }
    end = s->offset + s->size;
  }
  if (end != r->promised) {
    return DAMAGED(r, "its sections end at %llu of %llu bytes", (unsigned long long)end,
                   (unsigned long long)r->promised);
  }
  return SMALTI_OK;
}

static smalti_status read_header(reader *r) {
  size_t got;
  smalti_status status = read_at(r, 0, r->header, SMI_PREFIX_BYTES, &got);
  if (status == SMALTI_OK) status = check_prefix(r, got);
  if (status != SMALTI_OK) return status;
  status = read_at(r, 0, r->header, r->header_bytes, &got);
  if (status != SMALTI_OK) return status;
  if (got != r->header_bytes) return became_shorter(r);
  status = check_header_digest(r);
  if (status != SMALTI_OK) return status;
  r->section_count = load32(r->header + SMI_HEADER_SECTIONS);
  bool good = SMI_FIXED_BYTES + (uint64_t)SMI_ENTRY_BYTES * r->section_count == r->header_bytes;
  for (uint32_t i = SMI_HEADER_ZEROS; i < SMI_HEADER_CONTENT_SHA256; i++) good = good && r->header[i] == 0;
  if (!good) return DAMAGED(r, "its section table does not fit its header");
  for (uint32_t i = 0; i < r->section_count; i++) {
    status = read_section(r, r->header + SMI_FIXED_BYTES + SMI_ENTRY_BYTES * i, &r->sections[i]);
    if (status != SMALTI_OK) return status;
  }
  status = check_sequence(r);
  return status == SMALTI_OK ? check_places(r) : status;
}

/* ---- contents ---------------------------------------------------------------------------------------------------- */

static void hash(reader *r, const void *data, size_t bytes) {
  smi_sha256_add(&r->content, data, bytes);
  if (r->wish->sha256 != NULL) smi_sha256_add(&r->whole, data, bytes);
}

static smalti_status check_padding(reader *r, uint64_t start, uint64_t end) {
  uint8_t bytes[4096];
  size_t got;
  if (end == start) return SMALTI_OK;
  smalti_status status = read_at(r, start, bytes, (size_t)(end - start), &got);
  if (status != SMALTI_OK) return status;
  if (got != end - start) return became_shorter(r);
  for (size_t i = 0; i < got; i++) {
    if (bytes[i] != 0) return DAMAGED(r, "there are bytes between its sections");
  }
  hash(r, bytes, got);
  return SMALTI_OK;
}

/* Hash a section, and keep its bytes at `keep` unless that is NULL. */
static smalti_status read_bytes(reader *r, const section *s, uint8_t *keep) {
  if (r->descriptor < 0) {
    hash(r, r->data + s->offset, (size_t)s->size);
    if (keep != NULL && s->size > 0) memcpy(keep, r->data + s->offset, (size_t)s->size);
    return SMALTI_OK;
  }
  for (uint64_t done = 0; done < s->size;) {
    size_t bytes = s->size - done < CHUNK ? (size_t)(s->size - done) : CHUNK, got;
    uint8_t *into = keep != NULL ? keep + done : r->chunk;
    smalti_status status = read_at(r, s->offset + done, into, bytes, &got);
    if (status != SMALTI_OK) return status;
    if (got != bytes) return became_shorter(r);
    hash(r, into, bytes);
    done += bytes;
  }
  return SMALTI_OK;
}

static smalti_status read_manifest(reader *r, const section *s, size_t index) {
  uint8_t *text = malloc(s->size > 0 ? (size_t)s->size : 1);
  if (text == NULL) return smi_no_memory(r->error, "the manifest");
  r->contents->manifests[index] = text;
  r->contents->programs[index].manifest = text;
  r->contents->programs[index].manifest_bytes = (size_t)s->size;
  return read_bytes(r, s, text);
}

static smalti_status read_constants(reader *r, const section *s) {
  smi_contents *c = r->contents;
  c->constants_bytes = (size_t)s->size;
  bool in_place = r->descriptor < 0 && !r->wish->copy_constants && (uintptr_t)r->data % 64 == 0;
  if (in_place) {
    c->constants = r->data + s->offset;
    return read_bytes(r, s, NULL);
  }
  if (r->descriptor >= 0 && !r->wish->copy_constants) return read_bytes(r, s, NULL); /* mapped when all is checked */
  smalti_status status = smi_map(c->constants_bytes, true, "the model's constants", &c->constants_region, r->error);
  if (status != SMALTI_OK) return status;
  c->constants = c->constants_region.address;
  status = read_bytes(r, s, c->constants_region.address);
  return status == SMALTI_OK ? smi_make_read_only(&c->constants_region, r->error) : status;
}

/* Code goes straight to the memory that it will run in. */
static smalti_status read_code(reader *r, const section *s, size_t index) {
  smi_program *program = &r->contents->programs[index];
  memcpy(r->contents->names[index], s->name, sizeof(s->name));
  program->target = r->contents->names[index];
  program->code_bytes = (size_t)s->size;
  if (r->descriptor < 0) {
    program->code = r->data + s->offset;
    return read_bytes(r, s, NULL);
  }
  smalti_status status = smi_map(program->code_bytes, false, "the model's code", &program->region, r->error);
  if (status != SMALTI_OK) return status;
  program->code = program->region.address;
  return read_bytes(r, s, program->region.address);
}

static smalti_status read_sections(reader *r) {
  uint64_t end = r->header_bytes;
  size_t count = r->section_count / 2;
  for (size_t i = 0; i < r->section_count; i++) {
    const section *s = &r->sections[i];
    smalti_status status = check_padding(r, end, s->offset);
    if (status != SMALTI_OK) return status;
    if (s->kind == SMI_SECTION_MANIFEST) {
      status = read_manifest(r, s, i);
    } else {
      status = s->kind == SMI_SECTION_CODE ? read_code(r, s, i - count - 1) : read_constants(r, s);
    }
    if (status != SMALTI_OK) return status;
    end = s->offset + s->size;
  }
  r->contents->count = count;
  return SMALTI_OK;
}

static smalti_status check_whole(reader *r) {
  uint8_t digest[32];
  char found[65] = "", wanted[65] = "";
  smi_sha256_end(&r->whole, digest);
  for (size_t i = 0; i < 64; i++) {
    int half = i % 2 == 0 ? digest[i / 2] >> 4 : digest[i / 2] & 15;
    char given = r->wish->sha256[i];
    found[i] = "0123456789abcdef"[half];
    wanted[i] = given >= 'A' && given <= 'F' ? (char)(given | 0x20) : given;
  }
  if (strcmp(found, wanted) == 0) return SMALTI_OK;
  return smi_fail(r->error, SMALTI_DAMAGED, "the file has SHA-256 %s, expected %s", found, wanted);
}

static smalti_status read_contents(reader *r) {
  uint8_t digest[32];
  smi_sha256_start(&r->content);
  smi_sha256_start(&r->whole);
  if (r->wish->sha256 != NULL) smi_sha256_add(&r->whole, r->header, r->header_bytes);
  if (r->descriptor >= 0) {
    r->chunk = malloc(CHUNK);
    if (r->chunk == NULL) return smi_no_memory(r->error, "reading the model file");
  }
  smalti_status status = read_sections(r);
  free(r->chunk);
  if (status != SMALTI_OK) return status;
  smi_sha256_end(&r->content, digest);
  if (memcmp(digest, r->header + SMI_HEADER_CONTENT_SHA256, sizeof(digest)) != 0) {
    return DAMAGED(r, "the checksum of its contents does not match");
  }
  return r->wish->sha256 != NULL ? check_whole(r) : SMALTI_OK;
}

static smalti_status check_wish(const smi_wish *wish, smalti_error *error) {
  if (wish->sha256 == NULL) return SMALTI_OK;
  if (strspn(wish->sha256, "0123456789abcdefABCDEF") == 64 && wish->sha256[64] == '\0') return SMALTI_OK;
  return smi_fail(error, SMALTI_USAGE, "sha256 must be 64 hexadecimal digits");
}

static smalti_status check_open_file(reader *r) {
  struct stat status;
  if (fstat(r->descriptor, &status) != 0) return cannot_read(r);
  if (!S_ISREG(status.st_mode)) {
    return smi_fail(r->error, SMALTI_NOT_A_MODEL, "this is %s, so it is not an offline model",
                    S_ISDIR(status.st_mode) ? "a folder" : "not a regular file");
  }
  r->bytes = (uint64_t)status.st_size;
  smalti_status result = read_header(r);
  return result == SMALTI_OK ? read_contents(r) : result;
}

static smalti_status map_constants(reader *r) {
  smi_contents *c = r->contents;
  if (c->constants != NULL) return SMALTI_OK;
  uint64_t offset = r->sections[r->section_count / 2].offset;
  smalti_status status = smi_map_file(r->descriptor, offset, c->constants_bytes, &c->constants_region, r->error);
  c->constants = c->constants_region.address;
  return status;
}

smalti_status smi_read_file(const char *path, const smi_wish *wish, smi_contents *contents, smalti_error *error) {
  memset(contents, 0, sizeof(*contents));
  smalti_status status = check_wish(wish, error);
  if (status != SMALTI_OK) return status;
  /* Without O_NONBLOCK, opening a named pipe would wait for a writer. */
  int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) {
    bool is_device = errno == ENXIO || errno == ENODEV;
    const char *advice = errno == ENOENT ? ": give one that `smalti build` has written" : "";
    char reason[128];
    smi_system_error(errno, reason, sizeof(reason));
    return smi_fail(error, is_device ? SMALTI_NOT_A_MODEL : SMALTI_FILE, "%s: cannot open the model file: %s%s", path,
                    reason, advice);
  }
  reader r = {.descriptor = descriptor, .wish = wish, .contents = contents, .error = error};
  status = check_open_file(&r);
  if (status >= SMALTI_NOT_A_MODEL && status <= SMALTI_FILE) smi_prefix(error, path);
  if (status == SMALTI_OK) status = map_constants(&r);
  (void)close(descriptor);
  return status;
}

smalti_status smi_read_memory(const void *data, size_t bytes, const smi_wish *wish, smi_contents *contents,
                              smalti_error *error) {
  memset(contents, 0, sizeof(*contents));
  smalti_status status = check_wish(wish, error);
  if (status != SMALTI_OK) return status;
  reader r = {.descriptor = -1, .data = data, .bytes = bytes, .wish = wish, .contents = contents, .error = error};
  status = read_header(&r);
  return status == SMALTI_OK ? read_contents(&r) : status;
}

void smi_contents_free(smi_contents *contents) {
  for (size_t i = 0; i < SMI_PROGRAMS; i++) {
    smi_unmap(&contents->programs[i].region);
    free(contents->manifests[i]);
  }
  smi_unmap(&contents->constants_region);
  memset(contents, 0, sizeof(*contents));
}
