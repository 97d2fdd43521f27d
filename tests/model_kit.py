"""Small hand-written models for tests of the linker, the model file and the runtime."""

from __future__ import annotations

import numpy as np

from artifact_kit import Parts, label_manifest, reverse_manifest
from smalti.artifact.manifest import TeamEntries
from smalti.llvm.backend import emit_object
from smalti.llvm.link import Blob, link
from smalti.llvm.team import DRIVE, SERVE, with_team
from smalti.target.host import resolve_target
from smalti.target.target import Target

BARRIER = """
define internal void @barrier(ptr %counters, i64 %nthreads, ptr %yield) noinline nounwind {
  %generation_at = getelementptr i32, ptr %counters, i64 16
  %generation = load atomic i32, ptr %generation_at acquire, align 4
  %before = atomicrmw add ptr %counters, i32 1 acq_rel
  %arrived = add i32 %before, 1
  %all = trunc i64 %nthreads to i32
  %last = icmp eq i32 %arrived, %all
  br i1 %last, label %open, label %wait
open:
  store atomic i32 0, ptr %counters monotonic, align 4
  %old = atomicrmw add ptr %generation_at, i32 1 release
  ret void
wait:
  %spins = phi i32 [ 0, %0 ], [ %more, %again ], [ 0, %rest ]
  %now = load atomic i32, ptr %generation_at acquire, align 4
  %opened = icmp ne i32 %now, %generation
  br i1 %opened, label %done, label %again
again:
  %more = add i32 %spins, 1
  %tired = icmp ugt i32 %more, 2000
  br i1 %tired, label %rest, label %wait
rest:
  %ignored = call i32 %yield()
  br label %wait
done:
  ret void
}
"""

_STEP = """
define internal void @step{k}(ptr %counters, i64 %n, ptr %src, ptr %dst, ptr %constants) noinline nounwind {{
  %counter = getelementptr i32, ptr %counters, i64 {counter}
  br label %take
take:
  %start32 = atomicrmw add ptr %counter, i32 16 monotonic
  %start = zext i32 %start32 to i64
  %work = icmp slt i64 %start, %n
  br i1 %work, label %chunk, label %done
chunk:
  %limit = add i64 %start, 16
  %inside = icmp slt i64 %limit, %n
  %stop = select i1 %inside, i64 %limit, i64 %n
  br label %item
item:
  %i = phi i64 [ %start, %chunk ], [ %next, %item ]
{body}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %stop
  br i1 %more, label %item, label %take
done:
  ret void
}}
"""

_DOUBLE = """  %a = getelementptr float, ptr %src, i64 %i
  %x = load float, ptr %a, align 4
  %y = fmul float %x, 2.0
  %b = getelementptr float, ptr %dst, i64 %i
  store float %y, ptr %b, align 4"""

_REVERSE = """  %end = sub i64 %n, 1
  %j = sub i64 %end, %i
  %a = getelementptr float, ptr %src, i64 %j
  %x = load float, ptr %a, align 4
  %c = load float, ptr %constants, align 4
  %y = fadd float %x, %c
  %b = getelementptr float, ptr %dst, i64 %i
  store float %y, ptr %b, align 4"""

_RUN = """
declare i64 @llvm.readcyclecounter()
define internal void @stamp(ptr %profile, i64 %tid, i64 %k) nounwind {
  %off = icmp eq ptr %profile, null
  %other = icmp ne i64 %tid, 0
  %skip = or i1 %off, %other
  br i1 %skip, label %done, label %write
write:
  %at = getelementptr i64, ptr %profile, i64 %k
  %now = call i64 @llvm.readcyclecounter()
  store i64 %now, ptr %at, align 8
  br label %done
done:
  ret void
}
define i32 @run(ptr %ctx, i64 %tid, i64 %nthreads) nounwind {
  %constants = load ptr, ptr %ctx, align 8
  %arena_at = getelementptr ptr, ptr %ctx, i64 1
  %arena = load ptr, ptr %arena_at, align 8
  %dims_at = getelementptr ptr, ptr %ctx, i64 2
  %dims = load ptr, ptr %dims_at, align 8
  %offsets_at = getelementptr ptr, ptr %ctx, i64 3
  %offsets = load ptr, ptr %offsets_at, align 8
  %io_at = getelementptr ptr, ptr %ctx, i64 4
  %io = load ptr, ptr %io_at, align 8
  %counters_at = getelementptr ptr, ptr %ctx, i64 5
  %counters = load ptr, ptr %counters_at, align 8
  %yield_at = getelementptr ptr, ptr %ctx, i64 6
  %yield = load ptr, ptr %yield_at, align 8
  %profile_at = getelementptr ptr, ptr %ctx, i64 7
  %profile = load ptr, ptr %profile_at, align 8
  %n_at = getelementptr i64, ptr %dims, i64 1
  %n = load i64, ptr %n_at, align 8
  %offset = load i64, ptr %offsets, align 8
  %temporary = getelementptr i8, ptr %arena, i64 %offset
  %x = load ptr, ptr %io, align 8
  %y_at = getelementptr ptr, ptr %io, i64 1
  %y = load ptr, ptr %y_at, align 8
  call void @stamp(ptr %profile, i64 %tid, i64 0)
  call void @step0(ptr %counters, i64 %n, ptr %x, ptr %temporary, ptr %constants)
  call void @barrier(ptr %counters, i64 %nthreads, ptr %yield)
  call void @stamp(ptr %profile, i64 %tid, i64 1)
  call void @step1(ptr %counters, i64 %n, ptr %temporary, ptr %y, ptr %constants)
  call void @barrier(ptr %counters, i64 %nthreads, ptr %yield)
  call void @stamp(ptr %profile, i64 %tid, i64 2)
  ret i32 0
}
"""

REVERSE_MODULE = (
    BARRIER + _STEP.format(k=0, counter=32, body=_DOUBLE) + _STEP.format(k=1, counter=48, body=_REVERSE) + _RUN
)

LABEL_MODULE = """
define i32 @run(ptr %ctx, i64 %tid, i64 %nthreads) nounwind {
entry:
  %dims_at = getelementptr ptr, ptr %ctx, i64 2
  %dims = load ptr, ptr %dims_at, align 8
  %io_at = getelementptr ptr, ptr %ctx, i64 4
  %io = load ptr, ptr %io_at, align 8
  %counters_at = getelementptr ptr, ptr %ctx, i64 5
  %counters = load ptr, ptr %counters_at, align 8
  %n_at = getelementptr i64, ptr %dims, i64 4
  %n = load i64, ptr %n_at, align 8
  %x = load ptr, ptr %io, align 8
  %y_at = getelementptr ptr, ptr %io, i64 1
  %y = load ptr, ptr %y_at, align 8
  call void @step0(ptr %counters, i64 %n, ptr %x, ptr %y, ptr null)
  ret i32 0
}
""" + _STEP.format(
    k=0,
    counter=32,
    body="""  %i3 = mul i64 %i, 3
  %p0 = getelementptr i8, ptr %src, i64 %i3
  %p1 = getelementptr i8, ptr %p0, i64 1
  %p2 = getelementptr i8, ptr %p0, i64 2
  %b0 = load i8, ptr %p0, align 1
  %b1 = load i8, ptr %p1, align 1
  %b2 = load i8, ptr %p2, align 1
  %w0 = zext i8 %b0 to i32
  %w1 = zext i8 %b1 to i32
  %w2 = zext i8 %b2 to i32
  %s1 = add i32 %w0, %w1
  %s2 = add i32 %s1, %w2
  %q = getelementptr i32, ptr %dst, i64 %i
  store i32 %s2, ptr %q, align 4""",
)


def build(module: str, target: Target | None = None) -> Blob:
    """Compile and link a module for a target (default: the generic one of this machine)."""
    return link(emit_object(module, target or resolve_target("generic")))


def build_with_team(module: str, target: Target | None = None) -> tuple[bytes, int, TeamEntries]:
    """Return the code of a module with the functions of a team added, and where it is entered."""
    blob = build(with_team(module), target)
    return blob.code, blob.entries["run"], TeamEntries(blob.entries[DRIVE], blob.entries[SERVE])


def reverse_parts(bias: float = 0.5, target: Target | None = None, padding: int = 0) -> Parts:
    """A model of two steps with a barrier: ``y[0, i] = 2 * x[0, n - 1 - i] + bias``, n from 1 to 100,000."""
    target = target or resolve_target("generic")
    code, entry, team = build_with_team(REVERSE_MODULE, target)
    return Parts(reverse_manifest(target, entry, team), np.float32(bias).tobytes() + bytes(60 + padding), code)


def label_parts(batch_size: int | None = 1, target: Target | None = None) -> Parts:
    """A model of images up to 600 x 600: the label of a pixel is the sum of its three bytes."""
    target = target or resolve_target("generic")
    code, entry, team = build_with_team(LABEL_MODULE, target)
    return Parts(label_manifest(batch_size, target, entry, team), b"", code)
