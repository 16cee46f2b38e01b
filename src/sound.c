/* sound.c: streams of frames and pages come in: MPEG audio, AAC, what a tag stands before, Ogg. What they are goes out. */
#include "view.h"

/* The length of the MPEG audio frame at the front, 0 where there is none, with ISO 11172-3's bit rates in kbit/s: the
 * rows are version 1's layers I, II and III, then version 2's layer I, and II and III. */
static uint64_t mpeg_frame_length(lmm_view frame) {
  static const unsigned short rates[5][16] = {
      {0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0},
      {0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0},
      {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0},
      {0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0},
      {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0},
  };
  static const unsigned samplings[4] = {44100, 48000, 32000, 0};
  uint64_t bits = big(frame, 0, 4);
  unsigned version = bits >> 19 & 3, layer = 4 - (bits >> 17 & 3); /* version: 3 is 1, 2 is 2, 0 is 2.5 */
  if (bits >> 21 != 0x7FF || version == 1 || layer == 4) return 0;
  unsigned row = version == 3 ? layer - 1 : layer == 1 ? 3 : 4;
  unsigned rate = rates[row][bits >> 12 & 15] * 1000u, padding = bits >> 9 & 1;
  unsigned sampling = samplings[bits >> 10 & 3] >> (version == 3 ? 0 : version == 2 ? 1 : 2);
  if (rate == 0 || sampling == 0) return 0;
  if (layer == 1) return (12 * rate / sampling + padding) * 4;
  return (version != 3 && layer == 3 ? 72 : 144) * rate / sampling + padding;
}

/* The length of the AAC frame (ADTS, ISO 13818-7) at the front, 0 where there is none. */
static uint64_t adts_frame_length(lmm_view frame) {
  uint64_t bits = big(frame, 0, 4), length = big(frame, 3, 3) >> 5 & 0x1FFF;
  return bits >> 20 == 0xFFF && (bits >> 17 & 3) == 0 && length >= 7 ? length : 0;
}

/* Four bytes with a frame's look are common elsewhere (UTF-16 text begins FF FE): a second frame must follow, with the
 * same version, layer and sampling, which a stream keeps. */
static bool is_followed(lmm_view head, uint64_t (*frame_length)(lmm_view), uint64_t kept) {
  uint64_t length = frame_length(head);
  lmm_view second = after(head, length);
  return length != 0 && ((big(head, 0, 4) ^ big(second, 0, 4)) & kept) == 0 && frame_length(second) != 0;
}

void lmm_sound_look_frames(lmm_view head, lmm_sniffed *type) {
  if (is_followed(head, mpeg_frame_length, 0xFFFE0C00)) type->mime = "audio/mpeg";
  if (is_followed(head, adts_frame_length, 0xFFFEFC00)) type->mime = "audio/aac";
}

void lmm_sound_look_zeros(lmm_view head, lmm_sniffed *type) {
  uint64_t at = 0;
  while (at < LMM_SNIFF_BYTES && reaches(head, at, 1) && byte(head, at) == 0) at++;
  if (byte(head, at) == 0xFF) lmm_sound_look_frames(after(head, at), type);
}

/* The tag says nothing of what it tags, but is nearly always an MP3's; where what follows can be seen, it decides. */
void lmm_sound_look_id3(lmm_view head, lmm_sniffed *type) {
  uint64_t bytes = big(head, 6, 4), version = big(head, 3, 1);
  bool sound = reaches(head, 0, 10) && version >= 2 && version <= 4 && (bytes & 0x80808080) == 0;
  uint64_t size = (bytes >> 3 & 0xFE00000) | (bytes >> 2 & 0x1FC000) | (bytes >> 1 & 0x3F80) | (bytes & 0x7F);
  lmm_view rest = after(head, 10 + size + (byte(head, 5) & 0x10 ? 10 : 0)); /* a footer repeats the header */
  if (!sound)
    type->mime = NULL;
  else if (STARTS(rest, "fLaC"))
    type->mime = "audio/flac";
  else if (big(rest, 0, 2) >> 4 == 0xFFF && (byte(rest, 1) & 6) == 0) /* AAC in ADTS */
    type->mime = "audio/aac";
}

/* A file's streams all begin before any of them goes on: the first pages say what is in it. */
void lmm_sound_look_ogg(lmm_view head, lmm_sniffed *type) {
  const char *mime = NULL;
  lmm_view page = head;
  while (STARTS(page, "OggS") && reaches(page, 0, 27) && (byte(page, 5) & 2) != 0) {
    unsigned count = byte(page, 26);
    lmm_view lengths = part(page, 27, count), data = after(page, 27 + (uint64_t)count);
    uint64_t size = 0;
    for (uint64_t i = 0; i < lengths.count; i++) size += byte(lengths, i);
    if (STARTS(data, "\x80theora")) mime = "video/ogg";
    bool audio = STARTS(data, "\x01vorbis") || STARTS(data, "OpusHead") || STARTS(data, "\x7F" "FLAC") ||
                 STARTS(data, "Speex   ");
    if (audio && mime == NULL) mime = "audio/ogg";
    page = after(data, size);
  }
  bool all_seen = STARTS(page, "OggS.") && reaches(page, 0, 6) && (byte(page, 5) & 2) == 0;
  if (all_seen || (mime != NULL && mime[0] == 'v')) type->mime = mime;
}
