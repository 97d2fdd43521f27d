/* SPDX-License-Identifier: Apache-2.0 */
/* Placement of a model's temporaries in one workspace: buffers that are alive at the same step never overlap.
 *
 * Greedy best fit: buffers are taken by decreasing size (or size x lifetime, whichever ends smaller); each goes into the
 * tightest gap between the buffers alive with it, or behind them.  The Python runtime places them in the same way. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

typedef struct item {
  smi_u128 key;
  size_t index;
} item;

typedef struct spot {
  uint64_t start, end;
  size_t index;
} spot;

static int by_key(const void *a, const void *b) {
  const item *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? 1 : -1;
  return (x->index > y->index) - (x->index < y->index);
}

static uint64_t best_gap(const smi_buffer *buffers, const smi_buffer *buffer, const spot *placed, size_t count,
                         uint64_t size) {
  uint64_t best = 0, best_size = 0, end = 0;
  bool found = false;
  for (size_t i = 0; i < count; i++) {
    const smi_buffer *other = &buffers[placed[i].index];
    if (other->first > buffer->last || buffer->first > other->last) continue;
    if (placed[i].start >= end + size && (!found || placed[i].start - end < best_size)) {
      found = true;
      best = end;
      best_size = placed[i].start - end;
    }
    if (placed[i].end > end) end = placed[i].end;
  }
  return found ? best : end;
}

static uint64_t place(const smi_buffer *buffers, const uint64_t *sizes, const item *order, size_t count, spot *placed,
                      int64_t *offsets) {
  uint64_t total = 0;
  size_t used = 0;
  for (size_t k = 0; k < count; k++) {
    size_t i = order[k].index;
    offsets[i] = 0;
    if (sizes[i] == 0) continue;
    uint64_t start = best_gap(buffers, &buffers[i], placed, used, sizes[i]), end = start + sizes[i];
    offsets[i] = (int64_t)start;
    if (end > total) total = end;
    size_t at = used++;
    while (at > 0 && (placed[at - 1].start > start || (placed[at - 1].start == start && placed[at - 1].end > end) ||
                      (placed[at - 1].start == start && placed[at - 1].end == end && placed[at - 1].index > i))) {
      placed[at] = placed[at - 1];
      at--;
    }
    placed[at] = (spot){start, end, i};
  }
  return total;
}

smalti_status smi_arena_place(const smi_buffer *buffers, uint64_t *sizes, size_t count, int64_t *offsets,
                              size_t *total, smalti_error *error) {
  *total = 0;
  if (count == 0) return SMALTI_OK;
  item *order = calloc(count, sizeof(*order));
  spot *placed = calloc(count, sizeof(*placed));
  int64_t *other = calloc(count, sizeof(*other));
  smalti_status status = SMALTI_OK;
  if (order == NULL || placed == NULL || other == NULL) {
    status = smi_no_memory(error, "a plan");
  } else {
    for (size_t i = 0; i < count; i++) {
      sizes[i] = (sizes[i] + SMI_LINE - 1) / SMI_LINE * SMI_LINE;
      order[i] = (item){sizes[i], i};
    }
    qsort(order, count, sizeof(*order), by_key);
    uint64_t first = place(buffers, sizes, order, count, placed, offsets);
    for (size_t i = 0; i < count; i++) {
      order[i] = (item){(smi_u128)sizes[i] * (uint64_t)(buffers[i].last - buffers[i].first + 1), i};
    }
    qsort(order, count, sizeof(*order), by_key);
    uint64_t second = place(buffers, sizes, order, count, placed, other);
    if (second < first) memcpy(offsets, other, count * sizeof(*offsets));
    *total = (size_t)(second < first ? second : first);
  }
  free(order);
  free(placed);
  free(other);
  return status;
}
