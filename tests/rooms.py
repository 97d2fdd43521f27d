"""Which room of the package may import which: the one table, read by the test of the layers and by docs/pipeline.md."""

from __future__ import annotations

from dataclasses import dataclass

BEGIN, END = "<!-- the rooms, from tests/rooms.py -->\n", "<!-- end of the rooms -->\n"


@dataclass(frozen=True, slots=True)
class Room:
    """A package or module of ``smalti``, and the rooms that it may import beside itself.

    A folder of a package may be a room of its own (``frontend.tensorflow``); then the package's room is the rest.
    """

    name: str
    purpose: str
    imports: tuple[str, ...] = ()


_BASE = ("errors", "knobs", "numerics", "strict_json")
_DEPLOYED = (*_BASE, "target", "artifact", "runtime")
_GRAPHS = (*_BASE, "ir")
_FORMAT = ("frontend", "frontend.lower", "frontend.importing")
_COMPILED = (
    *_DEPLOYED,
    "ir",
    "frontend",
    "passes",
    "quant",
    "llvm",
    "kernels",
    "plan",
    "codegen",
    "compiling",
    "compiler",
)
_STOCK = (*_DEPLOYED, "vision", "demo", "fetch")
_JOBS = ("jobs", "annotations", "segmenter", "building", "labelling", "delivery", "bench", "comparing", "scoring")

ROOMS = (
    Room("errors", "the exceptions"),
    Room("knobs", "the environment variables", ("errors",)),
    Room("numerics", "number types and rounding", ("errors",)),
    Room("strict_json", "the one reader of JSON files"),
    Room("target", "the CPUs that code is for, as a frozen value; `host.py` alone reads this machine", _BASE),
    Room("artifact", "the offline model file", (*_BASE, "target")),
    Room("runtime", "what loads and runs it: up to here numpy and the standard library are enough", _DEPLOYED[:-1]),
    Room("ir", "the unified graph, its verifier and its numpy meaning ([ir.md](ir.md))", _BASE),
    Room(
        "frontend",
        "what formats share: limits, values, symbolic sizes, what a handler sees, and the protocol of a format",
        _GRAPHS,
    ),
    Room(
        "frontend.lower",
        "builders: operations as they are meant, with plain arguments, for handlers of any format",
        (*_GRAPHS, "frontend"),
    ),
    Room(
        "frontend.importing",
        "raw nodes of any format to a graph: inputs and outputs, the walk over the nodes, the report",
        (*_GRAPHS, "frontend"),
    ),
    Room(
        "frontend.tensorflow",
        "one format: GraphDefs to raw nodes, their attributes, their handlers ([add-a-format.md](add-a-format.md))",
        (*_GRAPHS, *_FORMAT),
    ),
    Room(
        "frontend.onnx", "one format: ONNX models to raw nodes, their attributes, their handlers", (*_GRAPHS, *_FORMAT)
    ),
    Room("passes", "graph to graph", _GRAPHS),
    Room(
        "quant",
        "precision modes: half types, calibration, integers ([quantisation.md](quantisation.md))",
        (*_GRAPHS, "passes"),
    ),
    Room("llvm", "a builder of typed loops and vectors, the back end, the linker; knows nothing of graphs", _DEPLOYED),
    Room(
        "kernels",
        "one object for each way to compute a node ([add-a-kernel.md](add-a-kernel.md))",
        (*_GRAPHS, "target", "artifact", "llvm", "quant"),
    ),
    Room(
        "plan",
        "which kernel computes which node, where every tensor lies",
        (*_GRAPHS, "target", "artifact", "llvm", "kernels"),
    ),
    Room(
        "codegen",
        "plan to module, manifest and constants",
        (*_GRAPHS, "target", "artifact", "llvm", "kernels", "plan"),
    ),
    Room(
        "compiling",
        "its options, the graph's file, image sizes, and what a model file says about itself",
        (*_COMPILED[:-2], "frontend.importing", "frontend.tensorflow", "frontend.onnx"),
    ),
    Room("compiler", "the page that lists the stages: all of the above, one after another", _COMPILED[:-1]),
    Room(
        "onnx_backend",
        "ONNX's own backend interface, for suites of others",
        (*_COMPILED, "frontend.onnx", "frontend.importing"),
    ),
    Room("vision", "picture files, palette, VOC layout, mIoU", ("errors",)),
    Room("demo", "the embedded network and its pictures", ("errors", "vision")),
    Room("fetch", "downloads and archives", ("errors", "strict_json", "vision", "demo")),
    Room("jobs", "what all jobs stand on: output files, places, an engine over many pictures, tables", _STOCK),
    Room("annotations", "label maps as COCO, labelme, GeoJSON and CSV", ("errors", "vision", "jobs")),
    Room("segmenter", "a picture in; labels, masks, polygons out", (*_STOCK, "jobs", "annotations")),
    Room("building", "build and calibrate", (*_COMPILED, "vision", "jobs")),
    Room("labelling", "infer: a job that can be stopped and goes on", (*_STOCK, "jobs", "annotations", "segmenter")),
    Room("delivery", "export, export-c, inspect", (*_STOCK, "llvm", "jobs")),
    Room("bench", "times, layers, limits, plots", (*_COMPILED, "vision", "jobs", "labelling", "delivery")),
    Room("comparing", "compare and sensitivity", (*_COMPILED, "vision", "jobs", "building")),
    Room(
        "scoring",
        "mIoU on masks, and the table of precision modes",
        (*_COMPILED, *_STOCK[-3:], "jobs", "segmenter", "building", "delivery", "bench"),
    ),
    Room(
        "apps",
        "a thin façade: names to functions, loaded when first asked for; the one-click road",
        (*_COMPILED, *_STOCK[-3:], *_JOBS),
    ),
    Room(
        "cli",
        "parses arguments",
        (
            *_COMPILED,
            *_STOCK[-3:],
            *_JOBS,
            "apps",
        ),
    ),
    Room("__main__", "`python -m smalti`", ("cli",)),
)
BY_NAME = {room.name: room for room in ROOMS}
NUMPY_ONLY = _DEPLOYED


def room_of(module: str) -> str:
    """Return the room of a module, named without the package's name before it; the smallest that holds it."""
    parts = module.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in BY_NAME), parts[0])


def rooms_markdown() -> str:
    """Return the table of rooms, from the bottom to the top."""
    lines = ["| room | what it is | may import |", "|---|---|---|"]
    lines += [f"| `{room.name}` | {room.purpose} | {_shown(room)} |" for room in ROOMS]
    return "\n".join(lines) + "\n"


def _shown(room: Room) -> str:
    """Return what a room may import; the whole compiler and its like under one name."""
    rest = list(room.imports)
    words: list[str] = []
    for rooms, word in ((_COMPILED, "`errors` to `compiler`"), (_DEPLOYED, "`errors` to `runtime`")):
        if set(rooms) <= set(rest):
            words.append(word)
            rest = [name for name in rest if name not in rooms]
    return ", ".join([*words, *(f"`{name}`" for name in rest)]) or "-"


def with_rooms(page: str) -> str:
    """Return the page with the table between its two marks written again."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{rooms_markdown()}\n{END}{after}"
