"""The walks: what a new user does in the first hour, each with the commands of the pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from walks.pages import Step, line, steps

TUTORIAL = "docs/tutorial.md"
REAL = "deeplabv3_mnv2_pascal_train_aug"
# What the tutorial says of the demo, said of the real model.
OF_THE_REAL = {
    "data/demo/": f"data/{REAL}/",
    "data/demo_voc": "data/VOCdevkit/VOC2012",
    "--model demo --dataset demo": f"--model {REAL} --dataset voc2012",
}


@dataclass(frozen=True, slots=True)
class Walk:
    """Steps in one empty folder: those of ``refused`` come last, and must be refused.

    ``is_real`` needs the archives of the real model; ``program`` is one that serves while the steps behind it run.
    """

    name: str
    about: str
    steps: tuple[Step, ...]
    is_real: bool = False
    refused: tuple[Step, ...] = ()
    program: str = ""
    asked: tuple[Step, ...] = ()


def walks(mirror: str | None) -> list[Walk]:
    """Return all walks; those with the real model only where a folder with its archives is given."""
    own = [readme(), folder(), int8(), service(), mistakes()]
    return own + ([real(mirror), real_folder(mirror), real_int8(mirror)] if mirror else [])


def readme() -> Walk:
    """Return the walk of the README with the demo."""
    return Walk("readme", "what the README shows, with the demo", tuple(steps("README.md")))


def folder() -> Walk:
    """Return the first label map and own pictures."""
    parts = ("2. The first label map", "3. The same from Python", "4. Your own pictures")
    return Walk("folder", "label my folder", tuple(steps(TUTORIAL, *parts)))


def int8() -> Walk:
    """Return an int8 model, and the table that says what it costs."""
    table = (step for step in steps("docs/accuracy.md") if step.text.startswith("smalti accuracy"))
    small = steps(TUTORIAL, "6. Smaller and faster: int8")
    return Walk("int8", "int8 with a table", (line(TUTORIAL, "smalti export"), *small, *table))


def service() -> Walk:
    """Return a model behind HTTP, and a picture that is sent to it."""
    page = "docs/service.md"
    program = next(step for step in steps(page, "The service", every=True) if step.language == "python")
    asked = tuple(steps(page, "Asking it", every=True))
    made = tuple(steps(page, "The model"))
    return Walk("service", "a service in ten lines", made, program=program.text, asked=asked)


def mistakes() -> Walk:
    """Return what goes wrong at first: everything is refused, and told what to do."""
    graph = "data/demo/frozen_inference_graph.pb"
    build = f"smalti build --model {graph} --output-model-path x.smalti"
    wrong = (
        "smalti build --model nowhere.pb --output-model-path x.smalti",
        "smalti build --model data/demo/labels.txt --output-model-path x.smalti",
        f"{build} --quant-mode int8",
        f"{build} --quant-mode q8_f16",
        f"{build} --outputs nothing:0",
        f"{build} --target pentium",
        f"{build} --labels demo.smalti",
        f"{build} --bind is_training=false",
        f"smalti infer --model {graph} --image-dir data",
        "smalti infer --model nowhere.smalti --image-dir data",
        "smalti infer --model demo.smalti",
        "smalti infer --model demo.smalti --image-dir nowhere",
        "smalti infer --model demo.smalti --image-dir data",
        "smalti infer --model demo.smalti --image-dir data --file-list nowhere.txt",
        "smalti infer --model demo.smalti --image-dir data --threads 0",
        "smalti eval --pred-dir nowhere --gt-dir data",
        "smalti eval --gt-dir data",
        "smalti export --model no-such-model",
        "smalti run --model no-such-model",
        "smalti bench --model demo.smalti --input-dims 1x513x513x3",
        "smalti bench --model demo.smalti --input-dims banana",
        "smalti bench --model demo.smalti --duration soon",
        "smalti compare --model demo.smalti",
        "smalti inspect",
        "smalti inspect demo.smalti --no-such-option",
        "smalti nonsense",
    )
    made = (line(TUTORIAL, "smalti export"), line(TUTORIAL, f"smalti build --model {graph} --output-model-path demo."))
    return Walk("mistakes", "what goes wrong at first", made, refused=tuple(Step("bash", text) for text in wrong))


def real(mirror: str) -> Walk:
    """Return the real model, with the one command of the README."""
    found = line("README.md", f"smalti run --model {REAL} --mirror DIR")
    return Walk("real", "the real model", (_changed(found, {"DIR": mirror}),), is_real=True)


def real_folder(mirror: str) -> Walk:
    """Return the tutorial's first label map with the real model."""
    return replace(_of_the_real("real-folder", folder(), mirror), about="label my folder with the real model")


def real_int8(mirror: str) -> Walk:
    """Return the tutorial's int8 model and a table, with the real model and few pictures."""
    walk = _of_the_real("real-int8", int8(), mirror)
    few = {"smalti accuracy": f"smalti accuracy --model {REAL} --mirror {mirror}", "--image-num 4": "--image-num 20"}
    return replace(
        walk, about="int8 with a table, of the real model", steps=tuple(_changed(s, few) for s in walk.steps)
    )


def _of_the_real(name: str, walk: Walk, mirror: str) -> Walk:
    changes = {"smalti export": f"smalti export --mirror {mirror}", **OF_THE_REAL}
    return replace(walk, name=name, steps=tuple(_changed(step, changes) for step in walk.steps), is_real=True)


def _changed(step: Step, changes: Mapping[str, str]) -> Step:
    text = step.text
    for old, new in changes.items():
        text = text.replace(old, new)
    return replace(step, text=text)
