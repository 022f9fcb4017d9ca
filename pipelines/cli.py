"""The command line: `ornstein DOMAIN VERB INPUT... -o OUTPUT [options]`, generated from typed signatures.

Nothing that takes long is imported before the words are read: `ornstein --help` starts in a fraction of a second.
"""

import argparse
import contextlib
import difflib
import importlib
import importlib.metadata
import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from ornstein.core.errors import UsageError
from ornstein.pipelines.answers import Answer
from ornstein.pipelines.console import Console, silent_libraries
from ornstein.pipelines.driver import Flags, in_our_words, run
from ornstein.pipelines.provenance import plain
from ornstein.pipelines.signature import Parameter, parameters, positionals
from ornstein.pipelines.verbs import Verb

DOMAINS = {
    "mri": "magnetic resonance imaging: from k-space to pictures",
    "speech": "recordings of speech: noise and rooms removed",
    "atmosphere": "fields of the atmosphere: fine ones from coarse ones and observations",
    "molecule": "molecules: generated as learnt, around parts, towards goals",
    "graph": "graphs like those of a set",
}
"""A domain is a module of this package of the same name, with its verbs in `VERBS` and a function `evaluate`."""

COMMANDS = {
    "evaluate": "compare results with references in the field's own measures",
    "models": "list the shipped models, or show one",
    "quickstart": "run every domain on a small input, compare with the classical methods, write a report",
    "train": "train a model from a configuration file",
    "workflow": "copy a workflow for many files into a folder, or report on many results",
    "doctor": "check this installation",
}

Run = Callable[[list[str]], int]


@dataclass(frozen=True)
class Entry:
    """A word of the command line and what may follow it.

    Args:
        help: one line.
        children: the words that may follow, loaded when they are needed, or None.
        run: what takes the remaining words, where none of ours follows.
    """

    help: str
    children: Callable[[], dict[str, "Entry"]] | None = None
    run: Run | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; the exit status. Errors are told in one line, with a second that says what to do."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    # A polite end (a cluster's time limit) cleans up as Ctrl-C does; in a thread, where signals cannot be set, it does not.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        code = _walk(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`ornstein ... | head`): nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if debug:
            traceback.print_exc()
        ours = in_our_words(error)
        _say(f"ornstein: {ours}")
        if ours.hint:
            _say(f"  {ours.hint}")
        return ours.code


def _walk(words: list[str]) -> int:
    """Follows the words down the tree of commands."""
    entry, path = Entry(_description(), _root), ["ornstein"]
    while entry.children is not None:
        children = entry.children()
        word = words.pop(0) if words else ""
        if word in ("-h", "--help", "help"):
            print(_overview(path, entry.help, children))
            return 0
        if word == "--version":
            return _version()
        if word not in children:
            if not word:
                _say(_overview(path, entry.help, children))
                return UsageError.code
            close = difflib.get_close_matches(word, children, 1)
            raise UsageError(
                f"{' '.join(path)}: unknown {'option' if word.startswith('-') else 'command'} {word!r}",
                f"did you mean {close[0]}?" if close else f"known: {', '.join(children)}",
            )
        entry, path = children[word], [*path, word]
    assert entry.run is not None
    return entry.run(words)


def _root() -> dict[str, Entry]:
    domains = {name: Entry(text, partial(_verbs, name)) for name, text in DOMAINS.items()}
    commands = {name: _command(name, name, name, text) for name, text in COMMANDS.items()}
    models = {
        "list": _command("models list", "models", "list_models", "list the shipped models"),
        "show": _command("models show", "models", "show_model", "show a model's card"),
    }
    workflow = {
        "init": _command("workflow init", "workflow", "init", "copy a workflow into a folder"),
        "report": _command("workflow report", "summary", "summarise", "one page and one table about many results"),
    }
    commands["evaluate"] = Entry(COMMANDS["evaluate"], _evaluations)
    commands["models"] = Entry(COMMANDS["models"], lambda: models)
    commands["workflow"] = Entry(COMMANDS["workflow"], lambda: workflow)
    return domains | commands


def _verbs(domain: str) -> dict[str, Entry]:
    module = importlib.import_module(f"ornstein.pipelines.{domain}")
    return {verb.name: Entry(_first_line(verb), run=partial(_run_verb, verb)) for verb in module.VERBS}


def _evaluations() -> dict[str, Entry]:
    return {
        domain: _command(f"evaluate {domain}", domain, "evaluate", f"results of {text}")
        for domain, text in DOMAINS.items()
    }


def _command(name: str, module: str, function: str, text: str) -> Entry:
    return Entry(text, run=partial(_run_command, name, module, function))


def _run_verb(verb: Verb[..., Any], words: list[str]) -> int:
    """A domain's verb: its options from its signature, and those that every verb has."""
    command = shlex.join(["ornstein", verb.domain, verb.name, *words])
    parser = _Parser(f"ornstein {verb.domain} {verb.name}", _first_line(verb))
    files = parser.add_argument_group("files")
    if verb.inputs:
        files.add_argument("INPUT", nargs="+", help=f"a file ({', '.join(verb.inputs)}), several, or a folder of them")
    files.add_argument(
        "-o",
        "--output",
        required=True,
        help=f"the file to write ({', '.join(verb.outputs)}), or a folder for several inputs",
    )
    _add_options(parser, verb.parameters)
    group = parser.add_argument_group("for every command")
    group.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    group.add_argument("--resume", action="store_true", help="make only what is missing")
    group.add_argument(
        "--report", metavar="FILE.html", help="write a self-contained page with pictures, measures and settings"
    )
    _add_streams(group)
    given = parser.read(words)
    flags = Flags(given.overwrite, given.resume, given.report, given.json, given.quiet, given.debug)
    options = verb.check({p.name: getattr(given, p.name) for p in verb.parameters})
    if "-" in (given.output, *getattr(given, "INPUT", [])):
        return _run_pipe(verb, getattr(given, "INPUT", []), given.output, options, flags)
    return run(verb, getattr(given, "INPUT", []), given.output, options, flags, command)


def _run_pipe(verb: Verb[..., Any], sources: list[str], output: str, options: dict[str, Any], flags: Flags) -> int:
    """A verb between standard input and standard output, by the `pipe` of its domain's module; no sidecar."""
    module = importlib.import_module(f"ornstein.pipelines.{verb.domain}")
    if verb.name not in getattr(module, "PIPED", ()):
        raise UsageError(f"{verb.domain} {verb.name} does not read or write -", "name files")
    if sources != ["-"] or output != "-" or flags.report:
        raise UsageError("- is standard input and standard output together, without a report", "use: - -o -")
    with silent_libraries(flags.quiet, flags.debug):
        summary = module.pipe(verb.name, sys.stdin.buffer, sys.__stdout__.buffer, options)  # type: ignore[union-attr]
    if flags.json:
        print(json.dumps(plain(summary), ensure_ascii=False, allow_nan=False), file=sys.stderr)
    return 0


def _run_command(name: str, module: str, function: str, words: list[str]) -> int:
    """A command that is a plain function: positional parameters are its words, what it returns is printed."""
    call = getattr(importlib.import_module(f"ornstein.pipelines.{module}"), function)
    parser = _Parser(f"ornstein {name}", _first_line(call))
    places = positionals(call)
    for place in places:
        extra: dict[str, Any] = {"nargs": "+"} if place.many else {}
        extra = extra if place.required else {"nargs": "?", "default": place.default}
        parser.add_argument(place.name.upper(), help=_help(place), **extra)
    options = [p for p in parameters(call) if not p.option.hidden]
    _add_options(parser, options)
    _add_streams(parser.add_argument_group("for every command"))
    given = parser.read(words)
    hidden = {"console": Console(given.quiet)} if any(p.name == "console" for p in parameters(call)) else {}
    with silent_libraries(given.quiet, given.debug):
        answer = call(
            *(word for p in places for word in _listed(getattr(given, p.name.upper()), p.many)),
            **{p.name: getattr(given, p.name) for p in options},
            **hidden,
        )
    assert isinstance(answer, Answer), f"{name} gives {type(answer).__name__}, wanted Answer"
    print(answer.json() if given.json else answer.text)
    return answer.code


def _listed(value: Any, many: bool) -> list[Any]:
    return list(value) if many else [value]


class _Parser(argparse.ArgumentParser):
    """argparse with errors of ours and no abbreviations."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, description=description, allow_abbrev=False, add_help=False, formatter_class=_Formatter)

    def read(self, words: list[str]) -> argparse.Namespace:
        if "--version" in words:
            _version()
            raise SystemExit(0)
        return self.parse_intermixed_args(words)

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help lists the options"
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            close = difflib.get_close_matches(word.partition("=")[0], list(self._option_string_actions), 1)
            message = f"unknown option {word}"
            hint = f"did you mean {close[0]}? {hint}" if close else hint
        raise UsageError(f"{self.prog}: {message}", hint)


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)


def _add_options(parser: argparse.ArgumentParser, options: list[Parameter]) -> None:
    group = parser.add_argument_group("options")
    for p in options:
        if p.kind is bool:
            action = argparse.BooleanOptionalAction if p.default else "store_true"
            group.add_argument(p.flag, dest=p.name, action=action, default=p.default, help=_help(p))
        else:
            extra: dict[str, Any] = {"required": True} if p.required else {"default": p.default}
            group.add_argument(p.flag, dest=p.name, type=_reader(p), metavar=p.metavar, help=_help(p), **extra)


def _reader(parameter: Parameter) -> Callable[[str], Any]:
    def read(word: str) -> Any:
        try:
            return parameter.read(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _help(p: Parameter) -> str:
    default = p.option.none if p.default is None else p.default
    notes = [p.range] if p.kind in (int, float) and p.range else []
    if default is not None and not p.required and not isinstance(default, bool):
        notes.append(f"default {default:g}" if isinstance(default, float) else f"default {default}")
    return (p.help + (f" ({'; '.join(notes)})" if notes else "")).replace("%", "%%")


def _add_streams(group: Any) -> None:
    group.add_argument("--json", action="store_true", help="the summary as one JSON object on standard output")
    group.add_argument("--quiet", action="store_true", help="nothing on standard error but errors")
    group.add_argument("--debug", action="store_true", help="tracebacks and the libraries' own messages")
    group.add_argument("-h", "--help", action="help", help="show this page")
    group.add_argument("--version", action="store_true", help="show the version")


def _overview(path: list[str], text: str, children: dict[str, Entry]) -> str:
    width = max(map(len, children))
    lines = [f"{name:{width}}  {entry.help}" for name, entry in children.items()]
    usage = "DOMAIN VERB INPUT... -o OUTPUT [options]" if len(path) == 1 else f"{'|'.join(children)} ... [options]"
    return "\n".join(
        [
            f"usage: {' '.join(path)} {usage}",
            "",
            text,
            "",
            *(f"  {line}" for line in lines),
            "",
            f"{' '.join(path)} WORD --help tells more.",
        ]
    )


def _description() -> str:
    return "Diffusion models for science, with uncertainty, provenance and a classical baseline beside every result."


def _first_line(function: Any) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0].replace("%", "%%")


def _version() -> int:
    print(f"ornstein {importlib.metadata.version('ornstein')}")
    return 0


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError, ValueError):
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
