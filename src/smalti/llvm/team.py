"""Functions of every model's code that wake, run and join helper threads without returning to the interpreter.

``drive(team)`` runs the model: it wakes the helpers, takes part as thread 0 and waits for those that have come.
``serve(team, thread)`` is a helper: it sleeps on its semaphore, runs its share, and sleeps again until told to stop.
Each has a state: 0 asleep, 1 invited, 2 at work.  An invitation that nobody has followed when the work is done is taken
back, so a run does not wait for a helper that the system has not yet let run.
Both set the default floating-point environment; ``drive`` gives the caller's back.  The layout of ``team`` is in
``artifact/abi.py``.
"""

from __future__ import annotations

from string import Template

from smalti.artifact.abi import HELPER_STATE, LINE, Ctx, TeamWord

DRIVE = "drive"
SERVE = "serve"

_TEMPLATE = Template("""
define internal i64 @team.word(ptr %team, i64 %word) nounwind alwaysinline {
  %at = getelementptr i64, ptr %team, i64 %word
  %value = load i64, ptr %at, align 8
  ret i64 %value
}

define internal ptr @team.pointer(ptr %team, i64 %word) nounwind alwaysinline {
  %at = getelementptr ptr, ptr %team, i64 %word
  %value = load ptr, ptr %at, align 8
  ret ptr %value
}

define internal ptr @team.semaphore(ptr %team, i64 %thread) nounwind alwaysinline {
  %all = call ptr @team.pointer(ptr %team, i64 $SEMAPHORES)
  %offset = shl i64 %thread, $LINE_SHIFT
  %one = getelementptr i8, ptr %all, i64 %offset
  ret ptr %one
}

define internal ptr @team.state(ptr %team, i64 %thread) nounwind alwaysinline {
  %semaphore = call ptr @team.semaphore(ptr %team, i64 %thread)
  %state = getelementptr i8, ptr %semaphore, i64 $HELPER_STATE
  ret ptr %state
}

define i32 @drive(ptr %team) nounwind {
entry:
  %environment = alloca [256 x i8], align 64
  %get = call ptr @team.pointer(ptr %team, i64 $GET)
  %set = call ptr @team.pointer(ptr %team, i64 $SET)
  %post = call ptr @team.pointer(ptr %team, i64 $POST)
  %yield = call ptr @team.pointer(ptr %team, i64 $YIELD)
  %ctx = call ptr @team.pointer(ptr %team, i64 $CONTEXT)
  %threads = call i64 @team.word(ptr %team, i64 $THREADS)
  %patience_at = getelementptr i64, ptr %ctx, i64 $SPINS
  %patience = load i64, ptr %patience_at, align 8
  %failed = getelementptr i64, ptr %team, i64 $FAILED
  store atomic i64 0, ptr %failed monotonic, align 8
  %g = call i32 %get(ptr %environment)
  %d = call i32 %set(ptr inttoptr (i64 -1 to ptr))
  br label %waking
waking:
  %thread = phi i64 [ 1, %entry ], [ %following, %wake ]
  %sleeping = icmp slt i64 %thread, %threads
  br i1 %sleeping, label %wake, label %work
wake:
  %semaphore = call ptr @team.semaphore(ptr %team, i64 %thread)
  %invite = call ptr @team.state(ptr %team, i64 %thread)
  store atomic i64 1, ptr %invite release, align 8
  %p = call i32 %post(ptr %semaphore)
  %following = add i64 %thread, 1
  br label %waking
work:
  %status = call i32 @run(ptr %ctx, i64 0, i64 %threads) noinline
  br label %joining
joining:
  %helper = phi i64 [ 1, %work ], [ %beyond, %left ]
  %missing = icmp slt i64 %helper, %threads
  br i1 %missing, label %cancel, label %done
cancel:
  %state = call ptr @team.state(ptr %team, i64 %helper)
  %exchange = cmpxchg ptr %state, i64 1, i64 0 acq_rel acquire
  br label %join
join:
  %spins = phi i64 [ 0, %cancel ], [ %more, %wait ], [ %spins, %rest ]
  %now = load atomic i64, ptr %state acquire, align 8
  %gone = icmp eq i64 %now, 0
  br i1 %gone, label %left, label %check
check:
  %tired = icmp uge i64 %spins, %patience
  br i1 %tired, label %rest, label %wait
wait:
  %more = add i64 %spins, 1
  br label %join
rest:
  %y = call i32 %yield()
  br label %join
left:
  %beyond = add i64 %helper, 1
  br label %joining
done:
  %r = call i32 %set(ptr %environment)
  %others = load atomic i64, ptr %failed monotonic, align 8
  %others32 = trunc i64 %others to i32
  %result = or i32 %status, %others32
  ret i32 %result
}

define i32 @serve(ptr %team, i64 %thread) nounwind {
entry:
  %set = call ptr @team.pointer(ptr %team, i64 $SET)
  %wait = call ptr @team.pointer(ptr %team, i64 $WAIT)
  %semaphore = call ptr @team.semaphore(ptr %team, i64 %thread)
  %state = call ptr @team.state(ptr %team, i64 %thread)
  %failed = getelementptr i64, ptr %team, i64 $FAILED
  %stop_at = getelementptr i64, ptr %team, i64 $STOP
  %d = call i32 %set(ptr inttoptr (i64 -1 to ptr))
  br label %sleep
sleep:
  %interrupted = call i32 %wait(ptr %semaphore)
  %again = icmp ne i32 %interrupted, 0
  br i1 %again, label %sleep, label %awake
awake:
  %stop = load atomic i64, ptr %stop_at acquire, align 8
  %ends = icmp ne i64 %stop, 0
  br i1 %ends, label %end, label %join
join:
  %exchange = cmpxchg ptr %state, i64 1, i64 2 acq_rel acquire
  %invited = extractvalue { i64, i1 } %exchange, 1
  br i1 %invited, label %work, label %sleep
work:
  %ctx = call ptr @team.pointer(ptr %team, i64 $CONTEXT)
  %threads = call i64 @team.word(ptr %team, i64 $THREADS)
  %status = call i32 @run(ptr %ctx, i64 %thread, i64 %threads) noinline
  %status64 = zext i32 %status to i64
  %f = atomicrmw or ptr %failed, i64 %status64 monotonic
  store atomic i64 0, ptr %state release, align 8
  br label %sleep
end:
  ret i32 0
}
""")
_TEXT = _TEMPLATE.substitute(
    {word.name: int(word) for word in TeamWord},
    SPINS=int(Ctx.SPINS),
    HELPER_STATE=HELPER_STATE,
    LINE_SHIFT=LINE.bit_length() - 1,
)


def with_team(module_text: str) -> str:
    """Return the text of a module that defines ``@run``, with ``@drive`` and ``@serve`` added."""
    return module_text + _TEXT
