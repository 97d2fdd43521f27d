"""Protobuf messages from tables of their fields: no file of declarations, and no package of a format, is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FieldType = descriptor_pb2.FieldDescriptorProto
FieldRow = tuple[str, int, str, bool]
"""Name, number, kind (a scalar's name or a message's), and whether it is repeated."""


def message_classes(
    package: str, messages: Mapping[str, Iterable[FieldRow]], scalars: Mapping[str, int]
) -> dict[str, Any]:
    """Return the class of each message.

    Args:
        package: the protobuf package, different for each format.
        messages: the fields of each message.
        scalars: protobuf's number of each scalar type; any other kind is a message.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    for message, rows in messages.items():
        target = file.message_type.add(name=message)
        for name, number, kind, is_repeated in rows:
            field = target.field.add(name=name, number=number)
            field.label = FieldType.LABEL_REPEATED if is_repeated else FieldType.LABEL_OPTIONAL
            if kind in scalars:
                field.type = scalars[kind]
                # As proto3 writes repeated numbers.  The parser takes both forms.
                if is_repeated and field.type != FieldType.TYPE_BYTES:
                    field.options.packed = True
            else:
                field.type = FieldType.TYPE_MESSAGE
                field.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}
