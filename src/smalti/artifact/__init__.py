"""The offline model file: its layout, writer and reader.  See docs/offline-model-file.md."""
