/* SPDX-License-Identifier: Apache-2.0 */
/* What files, code and runtimes agree on.  Made by scripts/docs from the tables in src/smalti/artifact. */
#ifndef SMALTI_ABI_H
#define SMALTI_ABI_H

#define SMI_LINE 64u
#define SMI_PAGE 4096u
#define SMI_SPINS 2000
#define SMI_SPINS_IN_A_CROWD 20
#define SMI_CTX_WORDS 9
#define SMI_TEAM_WORDS 32
#define SMI_FORMAT_VERSION 1u
#define SMI_PREFIX_BYTES 32u
#define SMI_FIXED_BYTES 128u
#define SMI_ENTRY_BYTES 64u
#define SMI_NAME_BYTES 40
#define SMI_PROGRAMS 16
#define SMI_NAME_CHARACTERS 4096
#define SMI_JSON_DEPTH 900
#define SMI_MANIFEST_BYTES 16777216ull
#define SMI_CODE_BYTES 268435456ull
#define SMI_FILE_BYTES 4294967296ull
#define SMI_WORKSPACE_BYTES 70368744177664ull
#define SMI_COUNTERS(steps) (32 + 16 * (steps))
#define SMI_MAGIC 0x89, 0x53, 0x4d, 0x41, 0x4c, 0x54, 0x49, 0x0a
#define SMI_MANIFEST_FORMAT "smalti-model-1"

/* Words of a context and of a team. */
enum {
  SMI_CTX_CONSTANTS = 0,
  SMI_CTX_WORKSPACE = 1,
  SMI_CTX_DIMS = 2,
  SMI_CTX_OFFSETS = 3,
  SMI_CTX_TENSORS = 4,
  SMI_CTX_COUNTERS = 5,
  SMI_CTX_YIELD = 6,
  SMI_CTX_PROFILE = 7,
  SMI_CTX_SPINS = 8
};

enum {
  SMI_TEAM_CONTEXT = 0,
  SMI_TEAM_THREADS = 1,
  SMI_TEAM_WAIT = 2,
  SMI_TEAM_POST = 3,
  SMI_TEAM_SEMAPHORES = 4,
  SMI_TEAM_YIELD = 5,
  SMI_TEAM_GET = 6,
  SMI_TEAM_SET = 7,
  SMI_TEAM_STOP = 8,
  SMI_TEAM_FAILED = 24
};

/* Sections of a file; offsets of the fields of its header and of an entry of its table. */
enum {
  SMI_SECTION_MANIFEST = 1,
  SMI_SECTION_CONSTANTS = 2,
  SMI_SECTION_CODE = 3
};

enum {
  SMI_HEADER_MAGIC = 0,
  SMI_HEADER_VERSION = 8,
  SMI_HEADER_HEADER_BYTES = 12,
  SMI_HEADER_FILE_BYTES = 16,
  SMI_HEADER_ZERO = 24,
  SMI_HEADER_CRC = 28,
  SMI_HEADER_SECTIONS = 32,
  SMI_HEADER_ZEROS = 36,
  SMI_HEADER_CONTENT_SHA256 = 64,
  SMI_HEADER_HEADER_SHA256 = 96
};

enum {
  SMI_ENTRY_KIND = 0,
  SMI_ENTRY_ZERO = 4,
  SMI_ENTRY_OFFSET = 8,
  SMI_ENTRY_SIZE = 16,
  SMI_ENTRY_NAME = 24
};

/* Instructions of the dims program, and their names in a manifest. */
typedef enum smi_op {
  SMI_CONST,
  SMI_SYMBOL,
  SMI_ADD,
  SMI_MUL,
  SMI_FLOORDIV,
  SMI_MAX,
  SMI_MIN
} smi_op;
#define SMI_OPS 7
#define SMI_OP_NAMES "const", "symbol", "add", "mul", "floordiv", "max", "min"

#endif
