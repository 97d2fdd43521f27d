"""Pictures in, label maps out: decoding, resizing, palettes, the VOC layout and mean intersection over union."""
