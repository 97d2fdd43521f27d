/* SPDX-License-Identifier: Apache-2.0 */
/* What this CPU can do, under LLVM's names, and which programs it can run. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

/* ---- features ---------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)

typedef enum word { LEAF1_C, LEAF1_D, LEAF7_B, LEAF7_C, LEAF71_A, EXTENDED_C, WORDS } word;
typedef enum need { ANY, AVX, AVX512 } need; /* registers that the system must save for it to be usable */

static const struct {
  const char *name;
  uint8_t word, bit, need;
} known[] = {
    {"avx", LEAF1_C, 28, AVX},         {"avx2", LEAF7_B, 5, AVX},         {"avx512bf16", LEAF71_A, 5, AVX512},
    {"avx512bw", LEAF7_B, 30, AVX512}, {"avx512cd", LEAF7_B, 28, AVX512}, {"avx512dq", LEAF7_B, 17, AVX512},
    {"avx512f", LEAF7_B, 16, AVX512},  {"avx512vl", LEAF7_B, 31, AVX512}, {"avx512vnni", LEAF7_C, 11, AVX512},
    {"avxvnni", LEAF71_A, 4, AVX},     {"bmi", LEAF7_B, 3, ANY},          {"bmi2", LEAF7_B, 8, ANY},
    {"cx16", LEAF1_C, 13, ANY},        {"f16c", LEAF1_C, 29, AVX},        {"fma", LEAF1_C, 12, AVX},
    {"lzcnt", EXTENDED_C, 5, ANY},     {"movbe", LEAF1_C, 22, ANY},       {"popcnt", LEAF1_C, 23, ANY},
    {"sahf", EXTENDED_C, 0, ANY},      {"sse", LEAF1_D, 25, ANY},         {"sse2", LEAF1_D, 26, ANY},
    {"sse3", LEAF1_C, 0, ANY},         {"sse4.1", LEAF1_C, 19, ANY},      {"sse4.2", LEAF1_C, 20, ANY},
    {"ssse3", LEAF1_C, 9, ANY}};

typedef struct cpu {
  uint32_t words[WORDS];
  bool avx, avx512;
} cpu;

static cpu read_cpu(void) {
  cpu c = {.avx = false};
  uint32_t a = 0, b = 0, x = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &x, &d)) {
    c.words[LEAF1_C] = x;
    c.words[LEAF1_D] = d;
  }
  if (__get_cpuid_count(7, 0, &a, &b, &x, &d)) {
    c.words[LEAF7_B] = b;
    c.words[LEAF7_C] = x;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &x, &d)) c.words[LEAF71_A] = a;
  }
  if (__get_cpuid(0x80000001, &a, &b, &x, &d)) c.words[EXTENDED_C] = x;
  if (c.words[LEAF1_C] >> 27 & 1) { /* OSXSAVE: XGETBV may be asked */
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    c.avx = (low & 0x06) == 0x06;
    c.avx512 = (low & 0xe6) == 0xe6;
  }
  return c;
}

static bool cpu_has(const cpu *c, size_t feature) {
  if (known[feature].need == AVX && !c->avx) return false;
  if (known[feature].need == AVX512 && !c->avx512) return false;
  return c->words[known[feature].word] >> known[feature].bit & 1;
}

bool smi_cpu_has_sha(void) {
  cpu c = read_cpu();
  return (c.words[LEAF7_B] >> 29 & 1) && (c.words[LEAF1_C] >> 19 & 1);
}

const char *smi_cpu_arch(void) { return "x86_64"; }

#elif defined(__aarch64__)

static const struct {
  const char *name;
  uint8_t second, bit; /* of AT_HWCAP, or AT_HWCAP2 */
} known[] = {{"bf16", 1, 14},     {"dotprod", 0, 20}, {"fp-armv8", 0, 0},
             {"fullfp16", 0, 10}, {"i8mm", 1, 13},    {"neon", 0, 1}};

typedef struct cpu {
  uint64_t words[2];
} cpu;

static cpu read_cpu(void) { return (cpu){{getauxval(AT_HWCAP), getauxval(AT_HWCAP2)}}; }

static bool cpu_has(const cpu *c, size_t feature) { return c->words[known[feature].second] >> known[feature].bit & 1; }

bool smi_cpu_has_sha(void) { return getauxval(AT_HWCAP) >> 6 & 1; }

const char *smi_cpu_arch(void) { return "aarch64"; }

#else
#error "models run on x86-64 and aarch64 CPUs only"
#endif

#define KNOWN (sizeof(known) / sizeof(known[0]))

size_t smalti_cpu_features(char *text, size_t bytes) {
  cpu c = read_cpu();
  size_t used = 0;
  if (text == NULL) bytes = 0;
  if (bytes > 0) text[0] = '\0';
  for (size_t i = 0; i < KNOWN; i++) {
    if (!cpu_has(&c, i)) continue;
    const char *comma = used > 0 ? "," : "";
    if (used < bytes) snprintf(text + used, bytes - used, "%s%s", comma, known[i].name);
    used += strlen(comma) + strlen(known[i].name);
  }
  return used;
}

static bool has_feature(const cpu *c, const char *name, size_t bytes) {
  for (size_t i = 0; i < KNOWN; i++) {
    if (strlen(known[i].name) == bytes && memcmp(known[i].name, name, bytes) == 0) return cpu_has(c, i);
  }
  return false;
}

void smi_cpu_model(char *room, size_t bytes) {
  char text[8192];
  smi_read_small_file("/proc/cpuinfo", text, sizeof(text));
  char *end = strstr(text, "\n\n"); /* the first CPU only */
  if (end != NULL) *end = '\0';
  char *line = strncmp(text, "model name", 10) == 0 ? text : strstr(text, "\nmodel name");
  char *colon = line != NULL ? strchr(line, ':') : NULL;
  if (colon == NULL) {
    snprintf(room, bytes, "unknown");
    return;
  }
  colon += strspn(colon, ": \t");
  size_t length = strcspn(colon, "\n");
  while (length > 0 && (colon[length - 1] == ' ' || colon[length - 1] == '\t')) length--;
  snprintf(room, bytes, "%.*s", (int)length, colon);
}

/* ---- targets ----------------------------------------------------------------------------------------------------- */

#define V2 "cx16,popcnt,sahf,sse,sse2,sse3,sse4.1,sse4.2,ssse3"
#define V3 V2 ",avx,avx2,bmi,bmi2,f16c,fma,lzcnt,movbe"
#define V4 V3 ",avx512bw,avx512cd,avx512dq,avx512f,avx512vl"

static const struct {
  const char *name, *arch, *features, *extensions; /* pairs of an extension and its feature */
} levels[] = {{"x86-64-v2", "x86_64", V2, ""},
              {"x86-64-v3", "x86_64", V3, "vnni=avxvnni,"},
              {"x86-64-v4", "x86_64", V4, "bf16=avx512bf16,vnni=avx512vnni,"},
              {"aarch64", "aarch64", "fp-armv8,neon", "bf16=bf16,dotprod=dotprod,fp16=fullfp16,i8mm=i8mm,"}};

#define MOST_FEATURES 32 /* of a target */

typedef struct target {
  const char *arch;
  smi_name features[MOST_FEATURES];
  size_t count;
} target;

static void add_feature(target *t, const char *text, size_t bytes) {
  if (t->count < MOST_FEATURES) t->features[t->count++] = (smi_name){text, bytes};
}

/* Add the feature of an extension that lies at `name`; false: there is none. */
static bool add_extension(target *t, const char *extensions, const char *name, size_t bytes) {
  for (const char *at = extensions; *at != '\0'; at += strcspn(at, ",") + 1) {
    size_t length = strcspn(at, "=");
    if (length == bytes && memcmp(at, name, bytes) == 0) {
      add_feature(t, at + length + 1, strcspn(at + length + 1, ","));
      return true;
    }
  }
  return false;
}

/* Whether the part of `name` at `at` stands in it before. */
static bool is_repeated(const char *name, const char *at, size_t bytes) {
  for (const char *before = strchr(name, '+'); before != NULL && before + 1 < at; before = strchr(before + 1, '+')) {
    if (strcspn(before + 1, "+") == bytes && memcmp(before + 1, at, bytes) == 0) return true;
  }
  return false;
}

static bool parse_target(const smi_name *name, target *t) {
  memset(t, 0, sizeof(*t));
  if (strlen(name->text) != name->bytes) return false;
  size_t base = strcspn(name->text, "+");
  for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
    if (strlen(levels[i].name) != base || memcmp(levels[i].name, name->text, base) != 0) continue;
    t->arch = levels[i].arch;
    for (const char *at = levels[i].features; *at != '\0'; at += *at == ',') {
      add_feature(t, at, strcspn(at, ","));
      at += strcspn(at, ",");
    }
    const char *at = name->text + base;
    while (*at == '+') {
      size_t bytes = strcspn(++at, "+");
      if (!add_extension(t, levels[i].extensions, at, bytes) || is_repeated(name->text, at, bytes)) return false;
      at += bytes;
    }
    return true;
  }
  return false;
}

/* The least name among those of the target and the manifest that is above `last` and that the CPU lacks. */
static bool next_missing(const cpu *c, const target *t, const smi_manifest *m, const smi_name *last, smi_name *out) {
  *out = (smi_name){NULL, 0};
  for (size_t i = 0; i < t->count + m->feature_count; i++) {
    const smi_name *name = i < t->count ? &t->features[i] : &m->features[i - t->count];
    if (has_feature(c, name->text, name->bytes)) continue;
    if (last->text != NULL && smi_compare_names(name, last) <= 0) continue;
    if (out->text == NULL || smi_compare_names(name, out) < 0) *out = *name;
  }
  return out->text != NULL;
}

/* Add the features that this CPU lacks; false: none. */
static bool add_missing(smi_text *text, const target *t, const smi_manifest *m) {
  cpu c = read_cpu();
  smi_name last = {NULL, 0}, name;
  bool any = false;
  while (text->used + 1 < sizeof(text->bytes) && next_missing(&c, t, m, &last, &name)) {
    smi_add(text, any ? ", %.*s" : "%.*s", (int)name.bytes, name.text);
    last = name;
    any = true;
  }
  return any;
}

bool smi_obstacle(const smi_manifest *manifest, smi_text *why) {
  target t;
  smi_start(why);
  if (!parse_target(&manifest->target, &t)) {
    smi_add(why, "is not known to this Smalti");
    return true;
  }
  if (strcmp(t.arch, smi_cpu_arch()) != 0) {
    smi_add(why, "is for %s CPUs", t.arch);
    return true;
  }
  smi_add(why, "lacks ");
  return add_missing(why, &t, manifest);
}

void smi_describe_target(const smi_manifest *manifest, smi_text *message) {
  target t;
  smi_start(message);
  smi_add(message, "the model was built for ");
  if (!parse_target(&manifest->target, &t)) {
    smi_add_quoted(message, manifest->target.text, manifest->target.bytes, SIZE_MAX);
    smi_add(message, ", which this Smalti does not know: update Smalti, or build it again with this one");
    return;
  }
  if (strcmp(t.arch, smi_cpu_arch()) != 0) {
    smi_add(message, "%s CPUs (%s), this machine is %s: build it again here with --target native", t.arch,
            manifest->target.text, smi_cpu_arch());
    return;
  }
  char model[128];
  smi_cpu_model(model, sizeof(model));
  smi_add(message, "%s, but this CPU (%s) lacks ", manifest->target.text, model);
  add_missing(message, &t, manifest);
  smi_add(message, ": build it again with --target native on this machine, or --target generic for any machine");
}
