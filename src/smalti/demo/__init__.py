"""The embedded demo: a small segmentation network trained on generated pictures, and the generator of its val set."""
