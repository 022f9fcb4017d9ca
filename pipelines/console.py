"""What a run says while it works: messages, progress and the time left, all on standard error."""

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO


def duration(seconds: float) -> str:
    """Seconds in words of the clock: 4.2 s, 3:07 min, 1:02 h.

    Example:
        >>> duration(4.21), duration(187), duration(3725)
        ('4.2 s', '3:07 min', '1:02 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


@dataclass
class Console:
    """Messages for a person, on standard error.

    Args:
        quiet: say nothing but errors.
        stream: where to write; standard error as it was when the run began, so that libraries can be silenced.
    """

    quiet: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)

    def say(self, text: str) -> None:
        """A message, unless quiet."""
        if not self.quiet:
            self._write(text + "\n")

    def error(self, text: str) -> None:
        """A message, also when quiet."""
        self._write(text + "\n")

    def progress(self, label: str) -> "Progress":
        """A display of the share done, called with (done, total)."""
        return Progress(label, self)

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (BrokenPipeError, ValueError):  # a closed standard error must not end a long run
            pass


@dataclass
class Progress:
    """The share done and the time left: one line that is redrawn on a terminal, now and then a new line elsewhere.

    Args:
        label: what is being done, in a few words.
        console: where to say it.
        patience: seconds before the first line, so that short runs stay silent.
    """

    label: str
    console: Console
    patience: float = 2.0
    _start: float = field(default_factory=time.monotonic)
    _first: tuple[float, float] | None = None
    _next: float = 0.0
    _drawn: bool = False

    def __call__(self, done: float, total: float) -> None:
        """Done of total, in whatever unit the work counts."""
        now = time.monotonic() - self._start
        if self.console.quiet or total <= 0:
            return
        share = min(max(done / total, 0.0), 1.0)
        # The rate is counted from the first call on: what came before (imports, reading) does not come again.
        began, before = self._first = self._first or (now, share)
        if share == 1 or now < max(self.patience, self._next):
            return
        left = f", {duration((now - began) * (1 - share) / (share - before))} left" if before < share < 1 else ""
        text = f"{self.label}: {share:4.0%}{left}"
        if self.console.stream.isatty():
            self.console._write(f"\r\x1b[K{text}")
            self._drawn, self._next = True, now + 0.2
        else:
            self.console._write(text + "\n")
            self._next = now + min(max(now, 5.0), 60.0)  # 2 s, 7 s, 14 s, 28 s ... then once a minute: logs stay short

    def close(self) -> None:
        """Takes the line away; what follows starts on an empty one."""
        if self._drawn:
            self.console._write("\r\x1b[K")
            self._drawn = False


@contextlib.contextmanager
def silent_libraries(quiet: bool, debug: bool) -> Iterator[None]:
    """Keeps what libraries print away from standard output, and their warnings from the user.

    Standard output belongs to results: a library's print goes to standard error, with `quiet` nowhere. Warnings and log
    messages are shown with `debug` only; with `quiet` also what C libraries write to the descriptor is dropped.
    """
    if debug:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    stderr = sys.stderr
    logging.disable(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        stack.callback(logging.disable, logging.NOTSET)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if quiet:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            with contextlib.suppress(OSError, ValueError, AttributeError):
                kept = os.dup(stderr.fileno())
                os.dup2(nowhere.fileno(), stderr.fileno())
                stack.callback(os.close, kept)
                stack.callback(os.dup2, kept, stderr.fileno())
            stack.enter_context(contextlib.redirect_stderr(nowhere))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        else:
            stack.enter_context(contextlib.redirect_stdout(stderr))
        yield
