/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) in portable C, with the instructions that x86 and Arm CPUs have for it; CRC-32 of zlib. */
#include <string.h>

#include "internal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRYPTO)
#include <arm_neon.h>
#endif

static const uint32_t round_constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t rotate(uint32_t x, int bits) { return x >> bits | x << (32 - bits); }

static inline uint32_t load_big(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void store_big(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void portable_blocks(uint32_t state[8], const uint8_t *data, size_t blocks) {
  for (; blocks > 0; blocks--, data += 64) {
    uint32_t w[16], s[8];
    memcpy(s, state, sizeof(s));
    for (int i = 0; i < 16; i++) w[i] = load_big(data + 4 * i);
    for (int i = 0; i < 64; i++) {
      if (i >= 16) {
        uint32_t w1 = w[(i + 14) & 15], w15 = w[(i + 1) & 15];
        uint32_t low = rotate(w15, 7) ^ rotate(w15, 18) ^ w15 >> 3;
        uint32_t high = rotate(w1, 17) ^ rotate(w1, 19) ^ w1 >> 10;
        w[i & 15] += low + w[(i + 9) & 15] + high;
      }
      uint32_t e = s[4], a = s[0];
      uint32_t t1 = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & s[5]) ^ (~e & s[6])) +
                    round_constants[i] + w[i & 15];
      uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
      s[7] = s[6];
      s[6] = s[5];
      s[5] = e;
      s[4] = s[3] + t1;
      s[3] = s[2];
      s[2] = s[1];
      s[1] = a;
      s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
  }
}

#if defined(__x86_64__)
/* The instructions keep the state as two vectors, a b e f and c d g h, the first letter in the highest lane. */
__attribute__((target("sha,sse4.1"))) static void x86_blocks(uint32_t state[8], const uint8_t *data, size_t blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i abef = _mm_set_epi32((int)state[0], (int)state[1], (int)state[4], (int)state[5]);
  __m128i cdgh = _mm_set_epi32((int)state[2], (int)state[3], (int)state[6], (int)state[7]);
  for (; blocks > 0; blocks--, data += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];
    for (int i = 0; i < 4; i++) {
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(data + 16 * i)), swap);
    }
    for (int i = 0; i < 16; i++) { /* four rounds each */
      __m128i now = w[i & 3];
      __m128i sum = _mm_add_epi32(now, _mm_load_si128((const __m128i *)(const void *)(round_constants + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
      if (i < 12) {
        __m128i last = w[(i + 3) & 3];
        __m128i next = _mm_sha256msg1_epu32(now, w[(i + 1) & 3]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(last, w[(i + 2) & 3], 4));
        w[i & 3] = _mm_sha256msg2_epu32(next, last);
      }
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  uint32_t first[4], second[4];
  _mm_storeu_si128((__m128i *)(void *)first, abef);
  _mm_storeu_si128((__m128i *)(void *)second, cdgh);
  for (int i = 0; i < 2; i++) {
    state[i] = first[3 - i];
    state[i + 4] = first[1 - i];
    state[i + 2] = second[3 - i];
    state[i + 6] = second[1 - i];
  }
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRYPTO)
static void arm_blocks(uint32_t state[8], const uint8_t *data, size_t blocks) {
  uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
  for (; blocks > 0; blocks--, data += 64) {
    const uint32x4_t abcd_before = abcd, efgh_before = efgh;
    uint32x4_t w[4];
    for (int i = 0; i < 4; i++) w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * i)));
    for (int i = 0; i < 16; i++) { /* four rounds each */
      uint32x4_t sum = vaddq_u32(w[i & 3], vld1q_u32(round_constants + 4 * i)), abcd_old = abcd;
      abcd = vsha256hq_u32(abcd, efgh, sum);
      efgh = vsha256h2q_u32(efgh, abcd_old, sum);
      if (i < 12) {
        w[i & 3] = vsha256su1q_u32(vsha256su0q_u32(w[i & 3], w[(i + 1) & 3]), w[(i + 2) & 3], w[(i + 3) & 3]);
      }
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(state, abcd);
  vst1q_u32(state + 4, efgh);
}
#endif

static smi_sha256_blocks fastest(void) {
#if defined(__x86_64__)
  if (smi_cpu_has_sha()) return x86_blocks;
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRYPTO)
  if (smi_cpu_has_sha()) return arm_blocks;
#endif
  return portable_blocks;
}

void smi_sha256_start(smi_sha256 *hash) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memset(hash, 0, sizeof(*hash));
  memcpy(hash->state, start, sizeof(start));
  hash->blocks = fastest();
}

void smi_sha256_add(smi_sha256 *hash, const void *data, size_t bytes) {
  const uint8_t *at = data;
  size_t held = hash->bytes % 64;
  hash->bytes += bytes;
  if (held > 0) {
    size_t part = bytes < 64 - held ? bytes : 64 - held;
    memcpy(hash->block + held, at, part);
    if (held + part < 64) return;
    hash->blocks(hash->state, hash->block, 1);
    at += part;
    bytes -= part;
  }
  if (bytes >= 64) hash->blocks(hash->state, at, bytes / 64);
  at += bytes / 64 * 64;
  if (bytes % 64 > 0) memcpy(hash->block, at, bytes % 64);
}

void smi_sha256_end(smi_sha256 *hash, uint8_t digest[32]) {
  static const uint8_t padding[64] = {0x80};
  uint64_t bits = hash->bytes * 8;
  uint8_t length[8];
  store_big(length, (uint32_t)(bits >> 32));
  store_big(length + 4, (uint32_t)bits);
  smi_sha256_add(hash, padding, (55 - hash->bytes % 64 + 64) % 64 + 1);
  smi_sha256_add(hash, length, sizeof(length));
  for (int i = 0; i < 8; i++) store_big(digest + 4 * i, hash->state[i]);
}

/* Bit by bit: only the 28 bytes at the start of a file have one. */
uint32_t smi_crc32(const uint8_t *data, size_t bytes) {
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < bytes; i++) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ ((crc & 1) ? 0xedb88320 : 0);
  }
  return ~crc;
}
