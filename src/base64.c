/* base64.c: bytes in, RFC 4648 base64 out; and back. The encoder takes the widest kernel that the processor has and
 * leaves to libb64 what is too short for that kernel; the decoder is a table. */
#include <b64/cencode.h>
#include <string.h>

#include "lmm.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define WITH_AVX2
#if defined(__clang__) ? __clang_major__ >= 6 : __GNUC__ >= 7
#define WITH_AVX512
#endif
#include <immintrin.h>
#endif

/* ---- libb64: any processor -------------------------------------------------------------------------------------- */

/* libb64 breaks lines after 72 characters and counts in int. A piece that makes fewer characters, encoded from a
 * fresh state, has neither trouble. */
#define PIECE ((size_t)51)

static size_t encode_libb64(char *out, const unsigned char *in, size_t count) {
  size_t whole = count - count % 3;
  for (size_t done = 0; done < whole; done += PIECE) {
    size_t length = whole - done < PIECE ? whole - done : PIECE;
    base64_encodestate state;
    base64_init_encodestate(&state);
    (void)base64_encode_block((const char *)in + done, (int)length, out + done / 3 * 4, &state);
  }
  return whole;
}

/* The last one or two bytes, with padding. libb64 ends them with a line break, which must not reach `out`. */
static void encode_last(char *out, const unsigned char *in, size_t count) {
  char scratch[8];
  base64_encodestate state;
  base64_init_encodestate(&state);
  int length = base64_encode_block((const char *)in, (int)count, scratch, &state);
  (void)base64_encode_blockend(scratch + length, &state);
  memcpy(out, scratch, 4);
}

static bool always(void) { return true; }

/* ---- SSSE3 and AVX2 --------------------------------------------------------------------------------------------- */

/* Both work on the same plan (W. Mula and D. Lemire, "Faster Base64 Encoding and Decoding Using AVX2 Instructions",
 * 2018), AVX2 on two halves of 16 characters at once:
 *
 * 1. A triple of bytes a b c becomes b a c b, four bytes of which each 16-bit half holds two digits whole.
 * 2. Multiplication shifts each half by an amount of its own: the first and third digit to the right, out of the high
 *    word of the product, the second and fourth to the left, out of the low word.
 * 3. A digit becomes a character by adding an offset that depends on its range: 0 to 25 take row 0 of a table, 26 to
 *    51 row 1, 52 to 61 rows 2 to 11, 62 row 12 and 63 row 13.
 *
 * A step stores exactly the characters of the bytes it consumes, and has loaded these before, so it may work in place.
 * Its load reaches further: a kernel ends before one would pass `count`. */
#ifdef WITH_AVX2

#define SPREAD(i) SPREAD_TRIPLE(i), SPREAD_TRIPLE((i) + 3), SPREAD_TRIPLE((i) + 6), SPREAD_TRIPLE((i) + 9)
#define SPREAD_TRIPLE(i) (i) + 1, (i), (i) + 2, (i) + 1
#define OFFSETS 'A', 'a' - 26, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, '+' - 62, '/' - 63, 0, 0

/* Loads 16 bytes, of which it takes 12. */
__attribute__((target("ssse3"))) static inline __m128i step_ssse3(const unsigned char *in) {
  __m128i bytes = _mm_shuffle_epi8(_mm_loadu_si128((const void *)in), _mm_setr_epi8(SPREAD(0)));
  __m128i odd = _mm_mulhi_epu16(_mm_and_si128(bytes, _mm_set1_epi32(0x0FC0FC00)), _mm_set1_epi32(0x04000040));
  __m128i even = _mm_mullo_epi16(_mm_and_si128(bytes, _mm_set1_epi32(0x003F03F0)), _mm_set1_epi32(0x01000010));
  __m128i digits = _mm_or_si128(odd, even);
  __m128i above_25 = _mm_cmpgt_epi8(digits, _mm_set1_epi8(25)); /* -1 where it is so */
  __m128i rows = _mm_sub_epi8(_mm_subs_epu8(digits, _mm_set1_epi8(51)), above_25);
  return _mm_add_epi8(digits, _mm_shuffle_epi8(_mm_setr_epi8(OFFSETS), rows));
}

__attribute__((target("ssse3"))) static size_t encode_ssse3(char *out, const unsigned char *in, size_t count) {
  size_t done = 0;
  for (; count - done >= 16; done += 12, out += 16) _mm_storeu_si128((void *)out, step_ssse3(in + done));
  return done;
}

static bool has_ssse3(void) { return __builtin_cpu_supports("ssse3") != 0; }

/* Loads 32 bytes, of which it takes 24: those from `in` on. The load begins 4 bytes earlier, so that each half holds
 * the 12 bytes of its own 16 characters; two loads instead are slower by a fifth. */
__attribute__((target("avx2"))) static inline __m256i step_avx2(const unsigned char *in) {
  __m256i bytes = _mm256_loadu_si256((const void *)(in - 4));
  bytes = _mm256_shuffle_epi8(bytes, _mm256_setr_epi8(SPREAD(4), SPREAD(0)));
  __m256i odd = _mm256_and_si256(bytes, _mm256_set1_epi32(0x0FC0FC00));
  __m256i even = _mm256_and_si256(bytes, _mm256_set1_epi32(0x003F03F0));
  odd = _mm256_mulhi_epu16(odd, _mm256_set1_epi32(0x04000040));
  even = _mm256_mullo_epi16(even, _mm256_set1_epi32(0x01000010));
  __m256i digits = _mm256_or_si256(odd, even);
  __m256i above_25 = _mm256_cmpgt_epi8(digits, _mm256_set1_epi8(25));
  __m256i rows = _mm256_sub_epi8(_mm256_subs_epu8(digits, _mm256_set1_epi8(51)), above_25);
  return _mm256_add_epi8(digits, _mm256_shuffle_epi8(_mm256_setr_epi8(OFFSETS, OFFSETS), rows));
}

__attribute__((target("avx2"))) static size_t encode_avx2(char *out, const unsigned char *in, size_t count) {
  if (count < 16) return 0;
  _mm_storeu_si128((void *)out, step_ssse3(in)); /* so that there is something before `in` to load */
  size_t done = 12;
  out += 16;
  for (; count - done >= 100; done += 96, out += 128) { /* four steps at once keep more of the processor busy */
    __m256i first = step_avx2(in + done), second = step_avx2(in + done + 24);
    __m256i third = step_avx2(in + done + 48), fourth = step_avx2(in + done + 72);
    _mm256_storeu_si256((void *)out, first);
    _mm256_storeu_si256((void *)(out + 32), second);
    _mm256_storeu_si256((void *)(out + 64), third);
    _mm256_storeu_si256((void *)(out + 96), fourth);
  }
  for (; count - done >= 28; done += 24, out += 32) _mm256_storeu_si256((void *)out, step_avx2(in + done));
  return done;
}

static bool has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }

#endif

/* ---- AVX-512 VBMI ----------------------------------------------------------------------------------------------- */

#ifdef WITH_AVX512

/* 48 bytes become b a c b as above; an unaligned shift takes each digit from its place in them (the bits above the
 * digit's six do not matter to the last instruction), and a digit is an index into the alphabet. */
__attribute__((target("avx512f,avx512bw,avx512vbmi")))
static size_t encode_avx512(char *out, const unsigned char *in, size_t count) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static const unsigned char spread[64] = {SPREAD(0), SPREAD(12), SPREAD(24), SPREAD(36)};
  const __m512i order = _mm512_loadu_si512(spread), characters = _mm512_loadu_si512(alphabet);
  const __m512i shifts = _mm512_set1_epi64(0x3036242A1016040A); /* from the lowest: 10, 4, 22, 16; then 32 more */
  size_t done = 0;
  for (; count - done >= 64; done += 48, out += 64) {
    __m512i bytes = _mm512_permutexvar_epi8(order, _mm512_loadu_si512(in + done));
    __m512i digits = _mm512_multishift_epi64_epi8(shifts, bytes);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi8(digits, characters));
  }
  return done;
}

static bool has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vbmi");
}

#endif

/* ---- the kernels, and the encoder around them ------------------------------------------------------------------- */

const lmm_base64_kernel lmm_base64_kernels[] = {
#ifdef WITH_AVX512
    {"avx512", encode_avx512, has_avx512},
#endif
#ifdef WITH_AVX2
    {"avx2", encode_avx2, has_avx2},
    {"ssse3", encode_ssse3, has_ssse3},
#endif
    {"libb64", encode_libb64, always},
    {NULL, NULL, NULL},
};

/* What $LMM_BASE64 names; NULL where it names nothing. Set when the module opens. */
static const lmm_base64_kernel *preferred;

const lmm_base64_kernel *lmm_base64_find(const char *name) {
  if (name == NULL && preferred != NULL) return preferred;
  for (const lmm_base64_kernel *kernel = lmm_base64_kernels; kernel->name != NULL; kernel++)
    if ((name == NULL || strcmp(name, kernel->name) == 0) && kernel->supported()) return kernel;
  return NULL;
}

size_t lmm_base64_encode(const lmm_base64_kernel *kernel, char *out, const unsigned char *in, size_t count) {
  size_t done = kernel->encode(out, in, count);
  done += encode_libb64(out + done / 3 * 4, in + done, count - done);
  if (done < count) encode_last(out + done / 3 * 4, in + done, count - done);
  return LMM_BASE64_LENGTH(count);
}

/* ---- the decoder ------------------------------------------------------------------------------------------------ */

/* The value of each character of the alphabet, with a mark that tells it from all other bytes. */
#define MARK 64u

static const unsigned char digit_of[256] = {
    ['A'] = 64,  65,  66,  67,  68,  69,  70,  71,  72,  73,  74,  75,  76,  /* A to M */
    77,          78,  79,  80,  81,  82,  83,  84,  85,  86,  87,  88,  89,  /* N to Z */
    ['a'] = 90,  91,  92,  93,  94,  95,  96,  97,  98,  99,  100, 101, 102, /* a to m */
    103,         104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, /* n to z */
    ['0'] = 116, 117, 118, 119, 120, 121, 122, 123, 124, 125,                /* 0 to 9 */
    ['+'] = 126, ['/'] = 127};

/* Decodes what is not four characters of the alphabet: a last group with padding, or the place of an error. */
static ptrdiff_t decode_last(unsigned char *out, const unsigned char *in, size_t count) {
  size_t digits = 0;
  unsigned bits = 0;
  for (; digits < count && digit_of[in[digits]] != 0; digits++) bits = bits << 6 | (digit_of[in[digits]] & ~MARK);
  if (digits < count && (in[digits] != '=' || digits < 2)) return -1 - (ptrdiff_t)digits;
  if (digits < count && (bits & (digits == 2 ? 0xFu : 0x3u)) != 0) return -(ptrdiff_t)digits; /* the digit before */
  for (size_t i = digits; i < count; i++)
    if (i > 3 || in[i] != '=') return -1 - (ptrdiff_t)i;
  if (count < 4) return -1 - (ptrdiff_t)count;
  out[0] = (unsigned char)(bits >> (digits == 2 ? 4 : 10));
  if (digits == 3) out[1] = (unsigned char)(bits >> 2);
  return (ptrdiff_t)digits - 1;
}

ptrdiff_t lmm_base64_decode(unsigned char *out, const char *in, size_t count) {
  const unsigned char *text = (const unsigned char *)in;
  size_t at = 0, length = 0;
  for (; count - at >= 4; at += 4, length += 3) {
    unsigned a = digit_of[text[at]], b = digit_of[text[at + 1]];
    unsigned c = digit_of[text[at + 2]], d = digit_of[text[at + 3]];
    if ((a & b & c & d & MARK) == 0) break;
    unsigned bits = a << 18 ^ b << 12 ^ c << 6 ^ d ^ (MARK << 18 ^ MARK << 12 ^ MARK << 6 ^ MARK);
    out[length] = (unsigned char)(bits >> 16);
    out[length + 1] = (unsigned char)(bits >> 8);
    out[length + 2] = (unsigned char)bits;
  }
  if (at == count) return (ptrdiff_t)length;
  ptrdiff_t last = decode_last(out + length, text + at, count - at);
  return last < 0 ? last - (ptrdiff_t)at : (ptrdiff_t)length + last;
}

/* ---- Lua -------------------------------------------------------------------------------------------------------- */

#include <stdlib.h>

#include "compat.h"

/* Pushes the supported kernels' names, best first, for an error message. */
static const char *push_names(lua_State *L) {
  luaL_Buffer names;
  luaL_buffinit(L, &names);
  for (const lmm_base64_kernel *kernel = lmm_base64_kernels; kernel->name != NULL; kernel++) {
    if (!kernel->supported()) continue;
    luaL_addstring(&names, kernel->name);
    if (kernel[1].name != NULL) luaL_addstring(&names, ", ");
  }
  luaL_pushresult(&names);
  return lua_tostring(L, -1);
}

static const lmm_base64_kernel *check_kernel(lua_State *L, int index) {
  const char *name = luaL_optstring(L, index, NULL);
  const lmm_base64_kernel *kernel = lmm_base64_find(name);
  if (kernel == NULL) {
    const char *names = push_names(L);
    luaL_argerror(L, index, lua_pushfstring(L, "no base64 kernel '%s' here; there are: %s", name, names));
  }
  return kernel;
}

/* encode(text, kernel's name or nil for the default) -> string */
static int base64_encode(lua_State *L) {
  size_t count;
  const char *text = luaL_checklstring(L, 1, &count);
  const lmm_base64_kernel *kernel = check_kernel(L, 2);
  char *out = lua_newuserdata(L, LMM_BASE64_LENGTH(count));
  lua_pushlstring(L, out, lmm_base64_encode(kernel, out, (const unsigned char *)text, count));
  return 1;
}

/* decode(text) -> string | nil, offset of the first bad byte counted from 0 (#text where the text is too short) */
static int base64_decode(lua_State *L) {
  size_t count;
  const char *text = luaL_checklstring(L, 1, &count);
  unsigned char *out = lua_newuserdata(L, count / 4 * 3);
  ptrdiff_t length = lmm_base64_decode(out, text, count);
  if (length >= 0) {
    lua_pushlstring(L, (const char *)out, (size_t)length);
    return 1;
  }
  lua_pushnil(L);
  lua_pushinteger(L, (lua_Integer)(-1 - length));
  return 2;
}

/* kernels() -> names of the kernels that this processor supports, best first; name of the default */
static int base64_kernels(lua_State *L) {
  int count = 0;
  lua_newtable(L);
  for (const lmm_base64_kernel *kernel = lmm_base64_kernels; kernel->name != NULL; kernel++) {
    if (!kernel->supported()) continue;
    lua_pushstring(L, kernel->name);
    lua_rawseti(L, -2, ++count);
  }
  lua_pushstring(L, lmm_base64_find(NULL)->name);
  return 2;
}

/* $LMM_BASE64 names the default kernel; empty is the same as not set. */
int lmm_base64_open(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"encode", base64_encode}, {"decode", base64_decode}, {"kernels", base64_kernels}, {NULL, NULL}};
  const char *name = getenv("LMM_BASE64");
  if (name != NULL && *name != '\0') {
    const lmm_base64_kernel *kernel = lmm_base64_find(name);
    if (kernel == NULL)
      return luaL_error(L, "lmm: $LMM_BASE64: no base64 kernel '%s' here; there are: %s", name, push_names(L));
    preferred = kernel;
  }
  luaL_newlib(L, functions);
  return 1;
}
