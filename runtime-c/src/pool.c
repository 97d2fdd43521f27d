/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is given back all at once. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

typedef struct smi_chunk {
  struct smi_chunk *next;
  size_t used, size;
  _Alignas(16) uint8_t bytes[];
} smi_chunk;

void *smi_take(smi_pool *pool, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) return NULL;
  bytes = (bytes + 15) / 16 * 16;
  if (bytes == 0) bytes = 16;
  smi_chunk *chunk = pool->chunks;
  if (chunk == NULL || chunk->size - chunk->used < bytes) {
    size_t room = bytes > 4096 ? bytes : 16384;
    chunk = calloc(1, sizeof(smi_chunk) + room);
    if (chunk == NULL) return NULL;
    chunk->size = room;
    if (pool->chunks != NULL && bytes > 4096) { /* keep filling the chunk in use */
      chunk->next = pool->chunks->next;
      pool->chunks->next = chunk;
    } else {
      chunk->next = pool->chunks;
      pool->chunks = chunk;
    }
  }
  void *taken = chunk->bytes + chunk->used;
  chunk->used += bytes;
  return taken;
}

char *smi_take_text(smi_pool *pool, const char *text, size_t bytes) {
  char *copy = smi_take(pool, bytes + 1, 1);
  if (copy != NULL) memcpy(copy, text, bytes);
  return copy;
}

void smi_pool_free(smi_pool *pool) {
  smi_chunk *chunk = pool->chunks;
  while (chunk != NULL) {
    smi_chunk *next = chunk->next;
    free(chunk);
    chunk = next;
  }
  pool->chunks = NULL;
}
