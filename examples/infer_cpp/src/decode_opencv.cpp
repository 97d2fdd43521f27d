// SPDX-License-Identifier: Apache-2.0
// Decoding by OpenCV.
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include <string>

#include "picture_file.hpp"
#include "problem.hpp"

namespace app {
namespace {

void swap_red_and_blue(std::uint8_t* pixels, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) std::swap(pixels[3 * i], pixels[3 * i + 2]);
}

}  // namespace

Picture decode_pixels(const PictureFile& file) {
  cv::Mat decoded;
  try {
    // The orientation is applied later, for both decoders alike.
    decoded = cv::imdecode(file.data, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
  } catch (const cv::Exception&) {
    decoded.release();
  }
  if (decoded.empty() || decoded.type() != CV_8UC3 || !decoded.isContinuous())
    throw bad_picture(std::string("the ") + format_name(file.format) +
                      " data is damaged, cut or of a kind that is not supported");
  if (decoded.rows != file.height || decoded.cols != file.width)
    throw bad_picture(std::string("the ") + format_name(file.format) + " gives two different sizes");
  Picture picture{decoded.rows, decoded.cols, Bytes(decoded.data, decoded.data + decoded.total() * 3)};
  swap_red_and_blue(picture.rgb.data(), decoded.total());
  return picture;
}

Bytes encode_jpeg(const Picture& picture) {
  Picture drawn = picture;
  swap_red_and_blue(drawn.rgb.data(), drawn.rgb.size() / 3);
  Bytes made;
  try {
    if (cv::imencode(".jpg", cv::Mat(drawn.height, drawn.width, CV_8UC3, drawn.rgb.data()), made,
                     {cv::IMWRITE_JPEG_QUALITY, 92}))
      return made;
  } catch (const cv::Exception&) {
    made.clear();
  }
  throw bad_picture("this picture cannot be stored as a JPEG");
}

}  // namespace app
