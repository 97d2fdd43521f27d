// SPDX-License-Identifier: Apache-2.0
// Decoding by libjpeg-turbo and libpng.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

// jpeglib.h needs size_t and FILE from the headers above.
#include <jpeglib.h>
#include <jerror.h>

#include "picture_file.hpp"
#include "problem.hpp"

namespace app {
namespace {

Problem damaged(Format format) {
  return bad_picture(std::string("the ") + format_name(format) +
                     " data is damaged, cut or of a kind that is not supported");
}

// libjpeg and libpng report errors by a long jump.  The functions that they jump back to hold no C++ objects of their
// own, so that no destructor is skipped.

struct JpegErrors {
  jpeg_error_mgr manager;
  std::jmp_buf back;
  bool lacks_pixels;  // the decoder met a marker before it had all pixels, and went on with zeros
};

[[noreturn]] void jpeg_failed(j_common_ptr common) {
  std::longjmp(reinterpret_cast<JpegErrors*>(common->err)->back, 1);
}

boolean jpeg_ran_out(j_decompress_ptr decoder) {
  jpeg_failed(reinterpret_cast<j_common_ptr>(decoder));
}

void jpeg_noticed(j_common_ptr common, int level) {
  if (level < 0 && common->err->msg_code == JWRN_HIT_MARKER)
    reinterpret_cast<JpegErrors*>(common->err)->lacks_pixels = true;
}

void install(JpegErrors& errors) {
  jpeg_std_error(&errors.manager);
  errors.manager.error_exit = jpeg_failed;
  errors.manager.emit_message = jpeg_noticed;
  errors.manager.output_message = [](j_common_ptr) {};
}

struct JpegDecoder {
  jpeg_decompress_struct state{};
  JpegErrors errors{};
  JpegDecoder() {
    install(errors);
    state.err = &errors.manager;
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&state); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
};

bool jpeg_start(JpegDecoder& decoder, const Bytes& data) {
  if (setjmp(decoder.errors.back)) return false;
  jpeg_decompress_struct& state = decoder.state;
  jpeg_create_decompress(&state);
  jpeg_mem_src(&state, data.data(), static_cast<unsigned long>(data.size()));
  state.src->fill_input_buffer = jpeg_ran_out;  // libjpeg's own would paint the missing part grey
  jpeg_read_header(&state, TRUE);
  const int channels = state.num_components;
  if (channels != 1 && channels != 3 && channels != 4) return false;
  state.out_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_start_decompress(&state);
  return state.output_components == channels;
}

// `whole`: go on to the end marker, as libjpeg wants it.
bool jpeg_rows(JpegDecoder& decoder, std::uint8_t* pixels, std::size_t stride, bool whole) {
  if (setjmp(decoder.errors.back)) return false;
  jpeg_decompress_struct& state = decoder.state;
  while (state.output_scanline < state.output_height) {
    JSAMPROW row = pixels + stride * state.output_scanline;
    jpeg_read_scanlines(&state, &row, 1);
  }
  if (whole) jpeg_finish_decompress(&state);
  return true;
}

// `a * b / 255`, rounded.
std::uint8_t times(int a, int b) {
  const int product = a * b + 128;
  return static_cast<std::uint8_t>(((product >> 8) + product) >> 8);
}

// Four-channel JPEGs hold inverted inks, as Adobe's programs write them.
void inks_to_rgb(const std::uint8_t* ink, std::uint8_t* rgb, std::size_t count) {
  for (; count > 0; --count, ink += 4, rgb += 3)
    for (int c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>(ink[3] - times(255 - ink[c], ink[3]));
}

void grey_to_rgb(const std::uint8_t* grey, std::uint8_t* rgb, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i, rgb += 3) rgb[0] = rgb[1] = rgb[2] = grey[i];
}

struct JpegSamples {
  Bytes values;  // as coded: grey, RGB or inverted inks
  std::size_t channels = 0;
  bool lacks_pixels = false;
};

bool decode_samples(const PictureFile& file, const Bytes& data, bool whole, JpegSamples& samples) {
  JpegDecoder decoder;
  if (!jpeg_start(decoder, data)) return false;
  const auto height = static_cast<int>(decoder.state.output_height), width = static_cast<int>(decoder.state.output_width);
  if (height != file.height || width != file.width) throw bad_picture("the JPEG gives two different sizes");
  samples.channels = static_cast<std::size_t>(decoder.state.output_components);
  const std::size_t stride = static_cast<std::size_t>(width) * samples.channels;
  samples.values.resize(stride * static_cast<std::size_t>(height));
  if (!jpeg_rows(decoder, samples.values.data(), stride, whole)) return false;
  samples.lacks_pixels = decoder.errors.lacks_pixels;
  return true;
}

// The file with bytes before every marker that ends coded pixels: a decoder that has all pixels skips them.
Bytes filled(const PictureFile& file) {
  const std::size_t share = (std::size_t{16} << 20) / file.piece_ends.size();
  Bytes filling(std::min(std::size_t{1024}, std::max(std::size_t{256}, share)));
  filling[0] = 0xfe;  // short codes begin with zeros, and zeros are what a decoder fills in by itself
  std::uint32_t state = 1;
  for (std::size_t i = 1; i < filling.size(); ++i) {
    state = state * 1664525 + 1013904223;
    filling[i] = static_cast<std::uint8_t>(1 + (state >> 16) % 254);
  }
  Bytes made;
  std::size_t start = 0;
  for (const std::size_t end : file.piece_ends) {
    made.insert(made.end(), &file.data[start], &file.data[end]);
    made.insert(made.end(), filling.begin(), filling.end());
    start = end;
  }
  made.insert(made.end(), &file.data[start], file.data.data() + file.data.size());
  return made;
}

// As smalti.vision.jpeg does it, which only sees pixels: what is refused there is refused here, and nothing else.
JpegSamples decode_all_samples(const PictureFile& file) {
  JpegSamples samples;
  if (file.in_order) {
    Bytes cut(file.data.data(), &file.data[file.piece_ends[0]]);
    cut.insert(cut.end(), 8, 0xfe);  // as many bytes as a decoder looks ahead
    if (decode_samples(file, cut, false, samples)) return samples;
  }
  if (!decode_samples(file, file.data, true, samples)) throw damaged(file.format);
  if (!samples.lacks_pixels) return samples;
  JpegSamples other;
  if (!decode_samples(file, filled(file), true, other)) throw damaged(file.format);
  if (samples.values != other.values) throw bad_picture("the JPEG is cut: pixels are missing");
  return samples;
}

Picture decode_jpeg(const PictureFile& file) {
  JpegSamples samples = decode_all_samples(file);
  Picture picture{file.height, file.width, {}};
  if (samples.channels == 3) {
    picture.rgb = std::move(samples.values);
    return picture;
  }
  const auto pixels = static_cast<std::size_t>(file.height) * static_cast<std::size_t>(file.width);
  picture.rgb.resize(pixels * 3);
  (samples.channels == 1 ? grey_to_rgb : inks_to_rgb)(samples.values.data(), picture.rgb.data(), pixels);
  return picture;
}

struct PngDecoder {
  png_structp state = nullptr;
  png_infop info = nullptr;
  const Bytes& data;
  std::size_t at = 0;
  png_color palette[256] = {};
  int bit_depth = 0;
  int colour_type = 0;
  explicit PngDecoder(const Bytes& bytes) : data(bytes) {
    state = png_create_read_struct(
        PNG_LIBPNG_VER_STRING, nullptr, [](png_structp png, png_const_charp) { png_longjmp(png, 1); },
        [](png_structp, png_const_charp) {});
    if (state != nullptr) info = png_create_info_struct(state);
    if (info == nullptr) {
      png_destroy_read_struct(&state, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  ~PngDecoder() { png_destroy_read_struct(&state, &info, nullptr); }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;
};

void png_next_bytes(png_structp png, png_bytep to, png_size_t bytes) {
  auto* decoder = static_cast<PngDecoder*>(png_get_io_ptr(png));
  if (bytes > decoder->data.size() - decoder->at) png_error(png, "cut");
  std::memcpy(to, decoder->data.data() + decoder->at, bytes);
  decoder->at += bytes;
}

// Bytes of one row after the transformations: palette indices, grey or RGB, one byte a sample; 0: failed.
std::size_t png_start(PngDecoder& decoder) {
  png_structp png = decoder.state;
  if (setjmp(png_jmpbuf(png))) return 0;
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_read_fn(png, &decoder, png_next_bytes);
  png_read_info(png, decoder.info);
  decoder.bit_depth = png_get_bit_depth(png, decoder.info);
  decoder.colour_type = png_get_color_type(png, decoder.info);
  png_colorp palette = nullptr;
  int colours = 0;
  if (png_get_PLTE(png, decoder.info, &palette, &colours) != 0)
    std::copy(palette, palette + std::min(colours, 256), decoder.palette);  // the rest stays black
  png_set_strip_16(png);
  png_set_packing(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, decoder.info);
  return png_get_rowbytes(png, decoder.info);
}

bool png_rows(PngDecoder& decoder, png_bytepp rows) {
  if (setjmp(png_jmpbuf(decoder.state))) return false;
  png_read_image(decoder.state, rows);
  return true;
}

Picture decode_png(const PictureFile& file) {
  PngDecoder decoder(file.data);
  const std::size_t stride = png_start(decoder);
  const auto height = static_cast<std::size_t>(file.height), width = static_cast<std::size_t>(file.width);
  const bool colour = decoder.colour_type == PNG_COLOR_TYPE_RGB || decoder.colour_type == PNG_COLOR_TYPE_RGB_ALPHA;
  if (stride != width * (colour ? 3 : 1)) throw damaged(file.format);
  Bytes samples(height * stride);
  std::vector<png_bytep> rows(height);
  for (std::size_t y = 0; y < height; ++y) rows[y] = &samples[y * stride];
  if (!png_rows(decoder, rows.data())) throw damaged(file.format);
  Picture picture{file.height, file.width, {}};
  if (colour) {
    picture.rgb = std::move(samples);
    return picture;
  }
  picture.rgb.resize(height * width * 3);
  if (decoder.colour_type == PNG_COLOR_TYPE_PALETTE) {
    std::uint8_t* rgb = picture.rgb.data();
    for (const std::uint8_t index : samples) {
      const png_color& entry = decoder.palette[index];
      *rgb++ = entry.red, *rgb++ = entry.green, *rgb++ = entry.blue;
    }
    return picture;
  }
  if (decoder.bit_depth < 8) {
    const int step = 255 / ((1 << decoder.bit_depth) - 1);
    for (std::uint8_t& grey : samples) grey = static_cast<std::uint8_t>(grey * step);
  }
  grey_to_rgb(samples.data(), picture.rgb.data(), height * width);
  return picture;
}

struct JpegEncoder {
  jpeg_compress_struct state{};
  JpegErrors errors{};
  unsigned char* made = nullptr;
  unsigned long bytes = 0;
  JpegEncoder() {
    install(errors);
    state.err = &errors.manager;
  }
  ~JpegEncoder() {
    jpeg_destroy_compress(&state);
    std::free(made);
  }
  JpegEncoder(const JpegEncoder&) = delete;
  JpegEncoder& operator=(const JpegEncoder&) = delete;
};

bool jpeg_write(JpegEncoder& encoder, const Picture& picture) {
  if (setjmp(encoder.errors.back)) return false;
  jpeg_compress_struct& state = encoder.state;
  jpeg_create_compress(&state);
  jpeg_mem_dest(&state, &encoder.made, &encoder.bytes);
  state.image_width = static_cast<JDIMENSION>(picture.width);
  state.image_height = static_cast<JDIMENSION>(picture.height);
  state.input_components = 3;
  state.in_color_space = JCS_RGB;
  jpeg_set_defaults(&state);
  jpeg_set_quality(&state, 92, TRUE);
  jpeg_start_compress(&state, TRUE);
  while (state.next_scanline < state.image_height) {
    const std::size_t offset = std::size_t{state.next_scanline} * state.image_width * 3;
    JSAMPROW row = const_cast<JSAMPROW>(picture.rgb.data() + offset);
    jpeg_write_scanlines(&state, &row, 1);
  }
  jpeg_finish_compress(&state);
  return true;
}

}  // namespace

Picture decode_pixels(const PictureFile& file) {
  return file.format == Format::jpeg ? decode_jpeg(file) : decode_png(file);
}

Bytes encode_jpeg(const Picture& picture) {
  JpegEncoder encoder;
  if (!jpeg_write(encoder, picture)) throw bad_picture("this picture cannot be stored as a JPEG");
  return Bytes(encoder.made, encoder.made + encoder.bytes);
}

}  // namespace app
