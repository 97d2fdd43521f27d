"""Videos: the decoder in a process of its own, the frames it sends, the writer of overlays."""
