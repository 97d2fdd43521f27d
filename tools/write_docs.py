"""Write the generated pages of docs/ again: see scripts/docs, which puts tests/ on the path."""

from __future__ import annotations

from pathlib import Path

import abi_page
from api_page import api_markdown
from cli_page import cli_markdown
from graphs_page import graphs_markdown
from rooms import with_rooms
from smalti.frontend.onnx.supported import supported_onnx_markdown
from smalti.frontend.tensorflow.supported import supported_ops_markdown
from soak_page import with_figures
from zoo_page import zoo_markdown

DOCS = Path(__file__).resolve().parents[1] / "docs"

(DOCS / "python-api.md").write_text(api_markdown(), encoding="utf-8")
(DOCS / "graphs-known-to-work.md").write_text(graphs_markdown(DOCS / "graphs.json"), encoding="utf-8")
(DOCS / "zoo.md").write_text(zoo_markdown(DOCS / "zoo.json"), encoding="utf-8")
(DOCS / "cli.md").write_text(cli_markdown(), encoding="utf-8")
page = DOCS / "reliability.md"
page.write_text(with_figures(page.read_text(encoding="utf-8"), DOCS / "soak.json"), encoding="utf-8")
page = DOCS / "pipeline.md"
page.write_text(with_rooms(page.read_text(encoding="utf-8")), encoding="utf-8")
(DOCS / "supported-ops.md").write_text(supported_ops_markdown(), encoding="utf-8")
(DOCS / "supported-onnx.md").write_text(supported_onnx_markdown(), encoding="utf-8")
abi_page.HEADER.write_text(abi_page.c_header(), encoding="utf-8")
abi_page.PAGE.write_text(abi_page.with_tables(abi_page.PAGE.read_text(encoding="utf-8")), encoding="utf-8")
