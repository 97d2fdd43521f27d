// SPDX-License-Identifier: Apache-2.0
#include "picture_file.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "jpeg_scans.hpp"
#include "png_pixels.hpp"
#include "problem.hpp"

namespace app {
namespace {

constexpr std::uint8_t kPngSignature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr int kMaxSegments = 10000;
constexpr int kMaxChunks = 200000;
constexpr std::int64_t kScansPerPicture = 16;

std::uint32_t big16(const std::uint8_t* p) { return std::uint32_t{p[0]} << 8 | p[1]; }
std::uint32_t big32(const std::uint8_t* p) { return big16(p) << 16 | big16(p + 2); }

bool starts_with(const std::uint8_t* at, std::size_t bytes, const char* text, std::size_t length) {
  return bytes >= length && std::memcmp(at, text, length) == 0;
}

// The orientation of an EXIF block that starts at its TIFF header; 1 when it gives none.
int exif_orientation(const Bytes& exif) {
  if (exif.size() < 8) return 1;
  const bool little = std::memcmp(exif.data(), "II*\0", 4) == 0;
  if (!little && std::memcmp(exif.data(), "MM\0*", 4) != 0) return 1;
  const auto u16 = [&](std::size_t at) -> std::uint32_t {
    return little ? exif[at] | std::uint32_t{exif[at + 1]} << 8 : big16(&exif[at]);
  };
  const auto u32 = [&](std::size_t at) -> std::uint32_t {
    return little ? u16(at) | u16(at + 2) << 16 : big32(&exif[at]);
  };
  const std::size_t start = u32(4);
  if (start + 2 > exif.size()) return 1;
  const std::size_t count = u16(start);
  for (std::size_t i = 0, at = start + 2; i < count && at + 12 <= exif.size(); ++i, at += 12) {
    if (u16(at) != 0x0112) continue;
    const std::uint32_t value = u16(at + 8);
    return u16(at + 2) == 3 && u32(at + 4) == 1 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

void check_size(const PictureFile& file, std::int64_t scans, std::int64_t max_pixels) {
  const std::int64_t pixels = std::int64_t{file.width} * file.height;
  const std::string size = std::to_string(file.width) + " x " + std::to_string(file.height) + " pixels are ";
  if (pixels > max_pixels)
    throw bad_picture(size + "more than the limit of " + std::to_string(max_pixels) + " (--max-pixels)");
  if (scans * pixels > kScansPerPicture * max_pixels)
    throw bad_picture(std::to_string(scans) + " scans over " + size + "too much work");
}

// Walks the segments of a JPEG up to its first scan.
class JpegReader {
 public:
  explicit JpegReader(const Bytes& data) : data_(data) {}

  PictureFile read(std::int64_t max_pixels) {
    file_.data = {0xff, 0xd8};
    for (int i = 0; i < kMaxSegments; ++i) {
      if (next_segment()) return finish(max_pixels);
    }
    throw bad_picture("the JPEG has too many segments");
  }

 private:
  static Problem cut() { return bad_picture("the JPEG is cut before its first scan"); }

  // Returns true at the first scan.
  bool next_segment() {
    const auto found = std::find(data_.begin() + static_cast<std::ptrdiff_t>(at_), data_.end(), 0xff);
    at_ = static_cast<std::size_t>(found - data_.begin());
    if (at_ + 2 > data_.size()) throw cut();
    const std::uint8_t marker = data_[at_ + 1];
    if (marker == 0xff) return at_ += 1, false;
    if (marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd7)) return at_ += 2, false;
    if (marker == 0xd8 || marker == 0xd9) throw bad_picture("the JPEG ends before its first scan");
    if (at_ + 4 > data_.size()) throw cut();
    if (marker == 0xda) {
      if (frame_.marker == 0) throw bad_picture("the JPEG has a scan before its frame header");
      return true;
    }
    const std::size_t length = big16(&data_[at_ + 2]);
    if (length < 2 || at_ + 2 + length > data_.size()) throw cut();
    segment(marker, &data_[at_], 2 + length);
    at_ += 2 + length;
    return false;
  }

  void segment(std::uint8_t marker, const std::uint8_t* bytes, std::size_t size) {
    if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc)
      frame(marker, bytes, size);
    if (marker == 0xdd) frame_.interval = size >= 6 ? big16(bytes + 4) : size == 5 ? bytes[4] : 0;
    if (marker == 0xe1 && starts_with(bytes + 4, size - 4, "Exif\0\0", 6) && exif_.empty())
      exif_.assign(bytes + 10, bytes + size);
    if (makes_pixels(marker, bytes + 4, size - 4)) file_.data.insert(file_.data.end(), bytes, bytes + size);
  }

  // JFIF (APP0) and Adobe (APP14), if whole, tell how colours are coded; every other APPn and COM is for people.
  static bool makes_pixels(std::uint8_t marker, const std::uint8_t* bytes, std::size_t size) {
    if (marker == 0xe0) return size >= 14 && starts_with(bytes, size, "JFIF\0", 5);
    if (marker == 0xee) return size >= 12 && starts_with(bytes, size, "Adobe", 5);
    return !((marker >= 0xe0 && marker <= 0xef) || marker == 0xfe);
  }

  // Arithmetic coding too: its encoders leave out zeros at the end, so that no cut could be told apart.
  static void check_coding(std::uint8_t marker) {
    if (marker <= 0xc2) return;
    const bool arithmetic = marker >= 0xc9 && marker <= 0xcb;
    throw bad_picture(std::string("this JPEG is ") +
                      (arithmetic ? "arithmetic-coded" : marker == 0xc3 ? "lossless" : "hierarchical") +
                      ": only baseline and progressive Huffman coding is supported");
  }

  void frame(std::uint8_t marker, const std::uint8_t* bytes, std::size_t size) {
    if (frame_.marker != 0) throw bad_picture("the JPEG has two frame headers");
    check_coding(marker);
    if (size < 10) throw bad_picture("the JPEG frame header is cut");
    file_.height = static_cast<int>(big16(bytes + 5));
    file_.width = static_cast<int>(big16(bytes + 7));
    if (file_.width == 0 || file_.height == 0) throw bad_picture("the JPEG header gives no size");
    if (bytes[4] != 8) throw bad_picture("a JPEG of " + std::to_string(bytes[4]) + " bits a sample is not supported");
    frame_.marker = marker;
    frame_.body.assign(bytes + 4, bytes + size);
  }

  PictureFile finish(std::int64_t max_pixels) {
    check_size(file_, 1, max_pixels);
    JpegScans scans = check_jpeg_scans(data_, at_, frame_);
    check_size(file_, scans.count, max_pixels);
    for (std::size_t& end : scans.piece_ends) end = end - at_ + file_.data.size();
    file_.piece_ends = std::move(scans.piece_ends);
    file_.in_order = frame_.marker <= 0xc1 && file_.piece_ends.size() == 1;
    file_.data.insert(file_.data.end(), data_.begin() + static_cast<std::ptrdiff_t>(at_),
                      data_.begin() + static_cast<std::ptrdiff_t>(scans.end));
    file_.orientation = exif_orientation(exif_);
    return std::move(file_);
  }

  const Bytes& data_;
  std::size_t at_ = 2;
  PictureFile file_;
  Bytes exif_;
  JpegFrame frame_;
};

std::uint32_t checksum(const std::uint8_t* bytes, std::size_t size) {
  return static_cast<std::uint32_t>(crc32(0, bytes, static_cast<uInt>(size)));
}

PictureFile read_png(const Bytes& data, std::int64_t max_pixels) {
  if (data.size() < 33 || std::memcmp(&data[8], "\0\0\0\rIHDR", 8) != 0) throw bad_picture("the PNG header is cut");
  if (checksum(&data[12], 17) != big32(&data[29])) throw bad_picture("the PNG header is damaged");
  const std::uint32_t width = big32(&data[16]), height = big32(&data[20]);
  if (width == 0 || height == 0 || width > INT32_MAX || height > INT32_MAX)
    throw bad_picture("the PNG header gives no valid size");
  if (data[26] != 0 || data[27] != 0 || data[28] > 1)
    throw bad_picture("the PNG header gives an unknown compression, filter or interlacing");
  PictureFile file;
  file.format = Format::png;
  file.width = static_cast<int>(width);
  file.height = static_cast<int>(height);
  check_size(file, 1, max_pixels);
  file.data.assign(kPngSignature, kPngSignature + 8);
  Bytes exif;
  const bool has_palette = data[25] == 3;  // the colour type
  bool lacks_palette = has_palette;
  std::size_t at = 8;
  for (int i = 0; i < kMaxChunks; ++i) {
    if (at + 12 > data.size()) throw bad_picture("the PNG is cut");
    const std::size_t length = big32(&data[at]), end = at + 12 + length;
    if (end > data.size()) throw bad_picture("the PNG is cut");
    const std::string kind(reinterpret_cast<const char*>(&data[at + 4]), 4);
    if (kind == "IHDR" || kind == "PLTE" || kind == "IDAT" || kind == "IEND") {
      if (checksum(&data[at + 4], length + 4) != big32(&data[end - 4]))
        throw bad_picture("the PNG is damaged: a checksum does not match");
      if (kind == "IHDR" && at > 8) throw bad_picture("the PNG has two headers");
      if (kind != "PLTE" || has_palette) file.data.insert(file.data.end(), &data[at], &data[at] + (end - at));
    } else if ((kind[0] & 0x20) == 0) {
      throw bad_picture("the PNG has a critical part of unknown kind");
    } else if (kind == "eXIf" && exif.empty()) {
      exif.assign(&data[at + 8], &data[at + 8] + length);
    }
    at = end;
    if (kind == "PLTE" && has_palette) {
      if (!lacks_palette || length % 3 != 0 || length == 0 || length > 3 * 256)
        throw bad_picture("the PNG is damaged: its palette is not one list of 1 to 256 colours");
      lacks_palette = false;
    }
    if (kind == "IDAT" && lacks_palette) throw bad_picture("the PNG is damaged: its palette is missing");
    if (kind == "IEND") {
      check_png_pixels(file.data);
      file.orientation = exif_orientation(exif);
      return file;
    }
  }
  throw bad_picture("the PNG has too many parts");
}

// The kind of a picture that `smalti infer` reads and this program does not, or nothing.
std::string other_kind(const Bytes& data) {
  const auto begins = [&](const char* start, std::size_t at, std::size_t bytes) {
    return data.size() >= at + bytes && std::memcmp(&data[at], start, bytes) == 0;
  };
  if (begins("RIFF", 0, 4) && begins("WEBP", 8, 4)) return "WebP";
  if (begins("II*\0", 0, 4) || begins("MM\0*", 0, 4)) return "TIFF";
  if (begins("BM", 0, 2)) return "BMP";
  return "";
}

}  // namespace

const char* format_name(Format format) { return format == Format::jpeg ? "JPEG" : "PNG"; }

PictureFile open_picture(const Bytes& data, std::int64_t max_pixels) {
  if (data.size() >= 8 && std::memcmp(data.data(), kPngSignature, 8) == 0) return read_png(data, max_pixels);
  if (data.size() >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff)
    return JpegReader(data).read(max_pixels);
  if (data.empty()) throw bad_picture("the file is empty");
  const std::string kind = other_kind(data);
  if (kind.empty()) throw bad_picture("not a JPEG or PNG picture");
  throw bad_picture("not a JPEG or PNG picture but a " + kind +
                    ", which this program does not read: `smalti infer` does, or convert it to PNG");
}

}  // namespace app
