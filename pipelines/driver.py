"""One command, from words to files: a verb run over its inputs, with everything that is the same for every domain."""

import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ornstein.core.errors import BatchError, InputError, ModelError, OrnsteinError, TooLargeError, UsageError
from ornstein.pipelines import outputs, runtime
from ornstein.pipelines.batch import Job, plan
from ornstein.pipelines.console import Console, duration, silent_libraries
from ornstein.pipelines.provenance import plain
from ornstein.pipelines.results import Result
from ornstein.pipelines.verbs import Verb


@dataclass(frozen=True)
class Flags:
    """The options that concern the command and not the science.

    Args:
        overwrite: replace outputs that are there.
        resume: make only the outputs that are missing.
        report: an HTML page to write about the results, or None.
        json: the summary as one JSON object on standard output.
        quiet: nothing on standard error but errors.
        debug: tracebacks and the libraries' own messages.
    """

    overwrite: bool = False
    resume: bool = False
    report: str | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False


def run(
    verb: Verb[..., Any], sources: Sequence[str], output: str, options: Mapping[str, Any], flags: Flags, command: str
) -> int:
    """Runs a verb over its inputs and writes every result; the exit status.

    Raises:
        OrnsteinError: for whatever a user can act on; BatchError where a part of a batch failed.
    """
    console = Console(flags.quiet)
    report_path = (
        outputs.check_target(flags.report, (".html", ".htm"), flags.overwrite or flags.resume) if flags.report else None
    )
    work = plan(sources, output, verb.inputs, verb.outputs, flags.overwrite, flags.resume)
    waiting = [job for job in work.jobs if not job.done]
    if len(waiting) < len(work.jobs):
        console.say(f"{len(work.jobs) - len(waiting)} of {len(work.jobs)} are there already")
    if not work.batch:
        for job in waiting:
            if job.source is not None and not job.source.exists():
                raise InputError(f"{job.source}: no such file", "is the name right?")
    if waiting and "device" in options:
        with silent_libraries(flags.quiet, flags.debug):
            place = runtime.describe_device(options["device"])
        console.say(f"{verb.domain} {verb.name} on {place}")
    page = _page(verb) if report_path else None
    made: list[dict[str, Any]] = []
    failed: list[tuple[Job, OrnsteinError]] = []
    for number, job in enumerate(waiting, 1):
        label = (job.source or job.target).name + (f" ({number} of {len(waiting)})" if work.batch else "")
        try:
            with silent_libraries(flags.quiet, flags.debug):
                result = _one(verb, job, options, flags, command, console, label)
        except Exception as error:
            ours = in_our_words(error, job.source)
            if not work.batch or isinstance(
                ours, (UsageError, ModelError)
            ):  # not the file's fault: the next would end the same
                raise ours from error
            if flags.debug:
                traceback.print_exception(error, file=console.stream)
            console.error(f"{job.source}: failed: {ours}")
            failed.append((job, ours))
            continue
        made.append({"output": str(job.target), **result.record})
        _tell(result, job, console)
        if page is not None:
            if work.batch:
                page.part(str(job.target))
            with silent_libraries(flags.quiet, flags.debug):
                result.describe(page)
            page.provenance(result.record)
    if page is not None and report_path is not None:
        page.save(report_path, overwrite=True)
        console.say(f"{report_path} written")
    if flags.json:
        skipped = [str(job.target) for job in work.jobs if job.done]
        errors = [{"input": str(job.source), "error": str(error), "code": error.code} for job, error in failed]
        summary = made[0] if made and not work.batch else {"outputs": made, "skipped": skipped, "failed": errors}
        print(json.dumps(plain(summary), ensure_ascii=False, allow_nan=False))
    if failed:
        names = ", ".join(str(job.source) for job, _ in failed)
        raise BatchError(
            f"{len(failed)} of {len(work.jobs)} failed: {names}",
            "the others are written; --resume tries only what is missing",
        )
    return 0


def _one(
    verb: Verb[..., Any], job: Job, options: Mapping[str, Any], flags: Flags, command: str, console: Console, label: str
) -> Result:
    """Makes and writes one result."""
    progress = console.progress(label)
    try:
        hidden = {"progress": progress} if verb.takes_progress else {}
        result = verb.call(str(job.source) if job.source else None, options, command, **hidden)
        result.save(job.target, overwrite=flags.overwrite)
    finally:
        progress.close()
    return result


def _tell(result: Result, job: Job, console: Console) -> None:
    for warning in result.warnings:
        console.say(f"warning: {warning}")
    if result.provenance is not None:
        console.say(f"{job.target} written in {duration(result.provenance.seconds)}")


def in_our_words(error: BaseException, source: Path | None = None) -> OrnsteinError:
    """The error as one that a user can act on; what we did not foresee names itself and points to --debug."""
    if isinstance(error, OrnsteinError):
        return error
    text = " ".join(str(error).split())
    where = f"{source}: " if source is not None else ""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return TooLargeError(
            f"{where}does not fit in memory", "use --max-memory with less, fewer samples, or a machine with more memory"
        )
    return OrnsteinError(
        f"{where}unexpected {type(error).__name__}: {text[:300]}", "run with --debug to see where; please report it"
    )


def _page(verb: Verb[..., Any]) -> Any:
    from ornstein.pipelines.report import Report

    return Report(f"{verb.domain} {verb.name}", medical=verb.medical)
