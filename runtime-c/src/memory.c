/* SPDX-License-Identifier: Apache-2.0 */
/* Memory from the system: code (written, then made executable, never both), shared constants, workspaces. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define ADDRESS_SPACE ((size_t)1 << 47)

static size_t pages(size_t size) {
  long page = sysconf(_SC_PAGESIZE);
  size_t bytes = page > 0 ? (size_t)page : 65536;
  return (size + bytes - 1) / bytes * bytes;
}

static smalti_status map(size_t length, int protection, int descriptor, uint64_t offset, const char *what,
                         smi_region *region, smalti_error *error) {
  if (length >= ADDRESS_SPACE) {
    return smi_fail(error, SMALTI_RESOURCE, "cannot get memory for %s: it is larger than any address space", what);
  }
  int flags = MAP_PRIVATE | (descriptor < 0 ? MAP_ANONYMOUS : 0);
  void *base = mmap(NULL, length, protection, flags, descriptor, (off_t)offset);
  if (base == MAP_FAILED) {
    char reason[128];
    smi_system_error(errno, reason, sizeof(reason));
    return smi_fail(error, SMALTI_RESOURCE, "cannot get memory for %s: %s", what, reason);
  }
  region->base = base;
  region->length = length;
  region->address = base;
  return SMALTI_OK;
}

smalti_status smi_map(size_t size, bool huge, const char *what, smi_region *region, smalti_error *error) {
  if (size >= ADDRESS_SPACE) {
    return smi_fail(error, SMALTI_RESOURCE, "cannot get memory for %s: it is larger than any address space", what);
  }
  bool align = huge && size >= HUGE_PAGE;
  size_t body = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  size_t length = align ? body + HUGE_PAGE : pages(size > 0 ? size : 1);
  smalti_status status = map(length, PROT_READ | PROT_WRITE, -1, 0, what, region, error);
  if (status != SMALTI_OK) return status;
  region->size = size;
  if (align) {
    uintptr_t start = (uintptr_t)region->base;
    region->address += (HUGE_PAGE - start % HUGE_PAGE) % HUGE_PAGE;
    (void)madvise(region->address, body, MADV_HUGEPAGE); /* a wish: without huge pages it runs as well */
  }
  return SMALTI_OK;
}

smalti_status smi_map_file(int descriptor, uint64_t offset, size_t size, smi_region *region, smalti_error *error) {
  if (size == 0) return smi_map(1, false, "the model's constants", region, error);
  uint64_t start = offset / pages(1) * pages(1); /* pages may be larger than the 4096 bytes that sections keep to */
  size_t skew = (size_t)(offset - start);
  smalti_status status =
      map(pages(skew + size), PROT_READ, descriptor, start, "the model's constants", region, error);
  if (status != SMALTI_OK) return status;
  region->address += skew;
  region->size = size;
  return SMALTI_OK;
}

smalti_status smi_make_executable(const smi_region *region, smalti_error *error) {
  if (mprotect(region->base, region->length, PROT_READ | PROT_EXEC) != 0) {
    char reason[128];
    smi_system_error(errno, reason, sizeof(reason));
    return smi_fail(error, SMALTI_RESOURCE, "the system refuses to make the model's code executable: %s", reason);
  }
  __builtin___clear_cache((char *)region->address, (char *)region->address + region->size);
  return SMALTI_OK;
}

smalti_status smi_make_read_only(const smi_region *region, smalti_error *error) {
  if (mprotect(region->base, region->length, PROT_READ) != 0) {
    char reason[128];
    smi_system_error(errno, reason, sizeof(reason));
    return smi_fail(error, SMALTI_RESOURCE, "cannot protect the model's constants: %s", reason);
  }
  return SMALTI_OK;
}

void smi_unmap(smi_region *region) {
  if (region->base != NULL) (void)munmap(region->base, region->length);
  memset(region, 0, sizeof(*region));
}
