"""The digest of a model with the values that stand in a second file, which decide what it computes as its bytes do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from smalti.errors import GraphError
from smalti.frontend.budget import GraphLimits
from smalti.frontend.onnx.wire.external import Folder
from smalti.frontend.onnx.wire.skeleton import parse_model
from smalti.frontend.onnx.wire.tensors import OnnxTensor, Store

_EXTERNAL = 1
_KEY = b"location"


def model_digest(data: bytes, folder: Path, limits: GraphLimits) -> str:
    """Return the SHA-256 of a model, in hexadecimal: of its bytes, then of its values in second files, in file order.

    A model without second files has the digest of its file.  Values that cannot be read, or are over the limit of
    constants, are left out: the import says what is wrong with them.
    """
    digest = hashlib.sha256(data)
    if _KEY not in data:
        return digest.hexdigest()
    try:
        model = parse_model(data, limits)
    except GraphError:
        return digest.hexdigest()
    store, left = Store(data, Folder(folder)), limits.max_constant_bytes
    for message in _outside(model):
        try:
            array = OnnxTensor(message, store).decode(left)
        except (GraphError, ValueError):
            continue
        left -= array.nbytes
        digest.update(array.tobytes())
    return digest.hexdigest()


def _outside(message: Any) -> Iterator[Any]:
    """Yield the tensors of a message whose values stand in a second file."""
    if message.DESCRIPTOR.name == "Tensor":
        if message.data_location == _EXTERNAL:
            yield message
        return
    for field, held in message.ListFields():
        if field.message_type is None:
            continue
        for part in (held,) if isinstance(held, Message) else held:
            yield from _outside(part)
