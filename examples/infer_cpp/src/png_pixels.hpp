// SPDX-License-Identifier: Apache-2.0
// Whether the packed pixels of a PNG are all there: a decoder may leave missing rows black and tell nobody.
#pragma once

#include "picture.hpp"

namespace app {

// `data` is a PNG whose parts are sound.  A little more than its rows take is let pass.  Throws Problem(Exit::bad_data)
// where the packed pixels do not fill the rows, do not reach their own end or fail their own checksum.
void check_png_pixels(const Bytes& data);

}  // namespace app
