"""Predict millions of images by many processes, and go on where an earlier run stopped.

The input is cut into parts. A process predicts one part at a time and writes its results to a file
in the folder ``OUT.parts``; the journal there lists the finished parts. When all are there, they
become the file ``OUT``, and the folder is removed.
"""

import errno
import fcntl
import json
import multiprocessing
import os
import re
import signal
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from lenet_cpp._base.files import naming
from lenet_cpp._base.memory import memory_errors
from lenet_cpp._base.optional import require
from lenet_cpp.bulk import tables
from lenet_cpp.bulk.batch_predictor import BatchPredictor
from lenet_cpp.bulk.clusters import call_on
from lenet_cpp.bulk.tables import Part
from lenet_cpp.errors import BackendFailure, BadInput, Error
from lenet_cpp.formats.manifest import sha256_file

_Report = Callable[[int], None]

_JOURNAL = "journal.jsonl"
_JOURNAL_BEGINS = b'{"input": "'  # as json.dumps writes the facts
# A part takes some 150 bytes, and another 150 each time that its file is found to be changed.
_JOURNAL_BYTES_OF_A_PART = 1 << 12
_JOURNAL_BYTES = 1 << 20
# The files of parts, and what a process that was killed leaves of one (atomic_path).
_OWN_FILE = re.compile(r"(part-\d{6,}|\.part-\d{6,}\.[0-9a-f]{12})\.(parquet|csv|jsonl)")
_ATTEMPTS = 3  # of a part: more often than that, the process was not killed by chance
_EXAMPLES = 5  # of the bad rows of a part, to be shown
_BATCH_BYTES = 1 << 26  # of float32 input
_MAX_BATCH = 1024


@dataclass(frozen=True)
class Job:
    """What every process needs to know."""

    predictor: BatchPredictor  # of class_id, label, probability, and perhaps more
    folder: Path  # of the parts
    suffix: str  # of their files
    column: str  # of images, in a .parquet file
    keep: tuple[str, ...]  # further columns to hand on
    batch_size: int  # rows to run at once

    def file_of(self, part: int) -> Path:
        """Return the file of a part's results."""
        return self.folder / f"part-{part:06}{self.suffix}"


@dataclass(frozen=True)
class Done:
    """A finished part, as the journal lists it."""

    part: int
    rows: int
    skipped: int
    sha256: str  # of the file
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Total:
    """What a run found."""

    rows: int  # of the input, each of which is in the result once
    skipped: int  # bad ones of them
    resumed: int  # those that an earlier run had predicted


def _ignore(_fact: object) -> None:
    """Take what nobody asked for."""


def _start_no_progress(_rows: int, _done: int) -> Callable[[int], object]:
    return _ignore


@memory_errors("predicting many images")
def predict_all(
    predictor: BatchPredictor,
    names: Sequence[Path],
    target: Path,
    *,
    column: str = "image",
    keep: Sequence[str] = (),
    outputs: Sequence[str] = ("class_id", "label", "probability"),
    skip_errors: bool = False,
    workers: int | None = None,
    threads: int = 1,
    on: str | None = None,
    part_rows: int | None = None,
    start: Callable[[int, int], Callable[[int], object]] = _start_no_progress,
    skipped: Callable[[str], object] = _ignore,
) -> Total:
    """Predict all images of the input, and write one row of results for each.

    Args:
        predictor: The model.
        names: The input, as for :func:`lenet_cpp.bulk.tables.find_parts`, also for ``part_rows``.
        target: The file to write: .parquet, .csv or .jsonl.
        column: The column of images, of a .parquet file.
        keep: Its columns to hand on.
        outputs: The results to write.
        skip_errors: Record what is wrong with a bad row, and go on.
        workers: Number of processes; by default one for every ``threads`` usable processors. One
            is this process.
        threads: Threads of each of them.
        on: The cluster, as for :func:`lenet_cpp.bulk.clusters.call_on`, whose machines see the same
            files under the same names.
        part_rows: About how many rows a part has.
        start: Called with the number of rows, and how many are done; what it returns is called
            with the number of rows of each batch.
        skipped: Called with some of the bad rows, and what is wrong.

    Raises:
        BadInput: A row is bad, the folder of parts belongs to another input or model, or there is
            no .parquet file whose columns ``keep`` could name.
        lenet_cpp.Error: What the model and the input raise; the parts that were finished stay.
    """
    folder = _folder_for(target)
    reserved = {"file", "row", "error", "model", *outputs}
    if taken := sorted(reserved & set(keep)):
        raise BadInput(f"--keep {taken[0]}: the results have a column of that name")
    predictor = predictor.for_bulk(outputs, errors="error" if skip_errors else None)
    parts = tables.find_parts(names, part_rows=part_rows, missing=skip_errors)
    if keep and not any(part.table.endswith(".parquet") for part in parts):
        raise BadInput(
            f"--keep {','.join(keep)}: only .parquet files have further columns to copy, and the"
            " input has none"
        )
    batch_size = max(1, min(_MAX_BATCH, _BATCH_BYTES // predictor.input_bytes))
    job = Job(predictor, folder.absolute(), target.suffix, column, tuple(keep), batch_size)
    facts = {
        "input": tables.fingerprint(parts),
        "parts": len(parts),
        "column": column,
        "keep": list(keep),
        "outputs": list(outputs),
        "model": predictor.checksum,
        "settings": predictor.settings,
    }
    if workers is None:
        workers = max(1, len(os.sched_getaffinity(0)) // threads)
    with _journal(folder, facts) as (done, record):
        finished = _finished_parts(job, parts, done)
        rows, resumed = sum(part.rows for part in parts), _rows_of(finished)
        progress = start(rows, resumed)
        todo = [part for part in parts if part.number not in finished]
        for message in _results(job, todo, min(workers, len(todo)), threads, on):
            if isinstance(message, Done):
                finished[message.part] = message
                record(message)
                for why in message.examples:
                    skipped(why)
            else:
                progress(message)
        if _rows_of(finished) != rows:
            raise BackendFailure(f"{folder} does not hold every row of the input: remove it")
        _require_whole(job, finished)
        results = [name for name in tables.RESULTS if name in {*outputs, "error", "model"}]
        files = [job.file_of(part.number) for part in parts]
        tables.join_parts(target, files, ("file", "row", *keep, *results))
    _remove_folder(folder)
    return Total(rows, sum(one.skipped for one in finished.values()), resumed)


def _finished_parts(job: Job, parts: Sequence[Part], journal: Iterable[Done]) -> dict[int, Done]:
    """Return the parts that an earlier run finished and whose files are unchanged, by number."""
    known = [one for one in journal if one.part < len(parts)]
    return {one.part: one for one in known if _is_whole(job.file_of(one.part), one)}


def _rows_of(finished: Mapping[int, Done]) -> int:
    return sum(one.rows for one in finished.values())


def _require_whole(job: Job, finished: Mapping[int, Done]) -> None:
    """Refuse the file of a part that is not as it was written, with BackendFailure."""
    for number in sorted(finished):
        path = job.file_of(number)
        if not _is_whole(path, finished[number]):
            raise BackendFailure(
                f"{path} was changed since it was written: the same command predicts it anew"
            )


def _remove_folder(folder: Path) -> None:
    """Remove the folder of the parts.

    Its name is changed first, so that half a folder never looks like the one to go on with.
    """
    trash = _trash_of(folder)
    moved = _remove_own(trash)  # unless somebody put a file there meanwhile
    if moved:
        folder.rename(trash)
    _remove_own(trash if moved else folder)


@memory_errors("predicting a part of the images")
def predict_part(job: Job, part: Part, report: _Report | None = None) -> Done:
    """Predict a part and write its results; ``report`` gets the number of rows of each batch."""
    found: list[dict[str, Any]] = []
    kept = []
    first = 0
    for images, more in tables.read_part(part, job.column, job.keep, job.batch_size):
        found.append(job.predictor.columns(images, names=_Names(part, first)))
        if more is not None and job.keep:
            kept.append(more)
        first += len(images)
        if report is not None:
            report(len(images))
    found = found or [job.predictor.columns([])]
    columns: dict[str, Any] = {n: np.concatenate([each[n] for each in found]) for n in found[0]}
    why = columns.setdefault("error", np.full(part.rows, None, dtype=object))
    bad = [row for row, error in enumerate(why) if error is not None]
    examples = tuple(
        why[row] if part.name_of(row) in why[row] else f"{part.name_of(row)}: {why[row]}"
        for row in bad[:_EXAMPLES]
    )
    columns["model"] = np.full(part.rows, job.predictor.checksum, dtype=object)
    target = job.file_of(part.number)
    tables.write_part(target, part, columns, _table(job, part, kept))
    return Done(part.number, part.rows, len(bad), sha256_file(target), examples)


class _Names:
    """The names of a part's rows from one on, made only when there is an error."""

    def __init__(self, part: Part, first: int) -> None:
        self._part, self._first = part, first

    def __getitem__(self, row: int) -> str:
        return self._part.name_of(self._first + row)


def _table(job: Job, part: Part, kept: list[Any]) -> Any:
    if not job.keep or not part.table.endswith(".parquet"):
        return None
    import pyarrow as pa
    from pyarrow import parquet

    if kept:
        return pa.Table.from_batches(kept)
    return parquet.read_schema(part.table).empty_table().select(job.keep)


def _is_whole(path: Path, done: Done) -> bool:
    return path.is_file() and sha256_file(path) == done.sha256


def _folder_for(target: Path) -> Path:
    """Return the folder of the parts of a file to write.

    Raises:
        BadInput: There cannot be such a file, or something that is not ours is in the way.
        Unsupported: It is a .parquet file, and pyarrow is not installed.
    """
    if target.suffix not in tables.SUFFIXES:
        raise BadInput(f"{target}: choose a name that ends in {', '.join(tables.SUFFIXES)}")
    if target.is_dir():
        raise BadInput(f"{target} is a folder; name a file to write")
    if target.suffix == ".parquet":
        require("pyarrow", extra="parquet")
    folder = target.with_name(f"{target.name}.parts")
    for each in (folder, _trash_of(folder)):
        _require_own(each)
    return folder


def _trash_of(folder: Path) -> Path:
    """Return where a folder of parts is removed."""
    return folder.with_name(f".{folder.name}.old")


def _require_own(folder: Path) -> None:
    """Refuse what is in the way of a folder of parts, unless an earlier run wrote all of it.

    Such a folder has a journal that begins as we write it, and no other files than those of parts.
    It may be empty: a run was killed before it began the journal, or after it removed it.

    Raises:
        BadInput: It is something else, whose owner is asked to move it away.
    """
    try:
        facts = folder.lstat()
    except FileNotFoundError:
        return
    why = ""
    if stat.S_ISLNK(facts.st_mode):
        why = "is a link"
    elif not stat.S_ISDIR(facts.st_mode):
        why = "is no folder"
    else:
        names = sorted(path.name for path in folder.iterdir())
        foreign = [name for name in names if not _is_own(folder / name)]
        if foreign:
            why = f"holds {foreign[0]!r}, which this command did not write"
        elif names and _JOURNAL not in names:
            why = f"has no {_JOURNAL}, so that this command did not write it"
        elif names and not _begins_as_ours(folder / _JOURNAL):
            why = f"has a {_JOURNAL} that is damaged, or another program wrote it"
    if why:
        raise BadInput(
            f"{folder} {why}: move or remove it, or choose another output; this command keeps its"
            " parts in a folder of that name, and removes it at the end"
        )


def _is_own(path: Path) -> bool:
    """Return whether this program writes files of this name, and it is a file, not a link."""
    if path.name != _JOURNAL and _OWN_FILE.fullmatch(path.name) is None:
        return False
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:  # another process of ours has just finished it
        return True


def _begins_as_ours(journal: Path) -> bool:
    """Return whether a journal begins as we write it; of an empty one nothing is lost."""
    with journal.open("rb") as file:
        begin = file.read(len(_JOURNAL_BEGINS))
    return _JOURNAL_BEGINS.startswith(begin)


def _remove_own(folder: Path) -> bool:
    """Remove what this program wrote there, and the folder when nothing else is in it.

    The journal goes last, so that a folder that was removed in part can be told from another's.
    Returns whether the folder is gone.
    """
    try:
        own = [path for path in folder.iterdir() if _is_own(path)]
    except FileNotFoundError:
        return True
    for path in sorted(own, key=lambda path: path.name == _JOURNAL):
        path.unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        return False
    return True


def _done_from(line: bytes) -> Done:
    """Read a line of the journal; raise ValueError or TypeError when we do not write such a one."""
    done = Done(**json.loads(line))
    numbers = (done.part, done.rows, done.skipped)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a number")
    if not isinstance(done.sha256, str) or done.examples not in ([], ()):
        raise ValueError("a text")
    return done


@contextmanager
def _journal(
    folder: Path, facts: dict[str, Any]
) -> Iterator[tuple[list[Done], Callable[[Done], None]]]:
    """Open the journal of a folder of parts, which no other process may use meanwhile.

    Its first line says what is predicted, each other one is a finished part. A crash may leave half
    a line at the end, which is removed. The block gets the parts that earlier runs finished, and a
    function that adds one.
    """
    path = folder / _JOURNAL
    folder.mkdir(parents=True, exist_ok=True)
    # Not buffered: else closing would write it again.
    with open(path, "a+b", buffering=0, opener=_open_file) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadInput(f"another process is writing to {folder}: wait for it") from error
        file.seek(0)
        most = _JOURNAL_BYTES + _JOURNAL_BYTES_OF_A_PART * int(facts.get("parts", 0))
        content = file.read(most + 1)
        whole = content[: content.rfind(b"\n") + 1]

        def write(values: dict[str, Any]) -> None:
            line = json.dumps(values).encode() + b"\n"
            with naming(path, folder):
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())

        damage = f"{path} is damaged, or another version wrote it: remove {folder}"
        if len(content) > most:
            raise BadInput(damage)
        head, *lines = whole.splitlines() or [b""]
        try:
            before: Any = dict(json.loads(head)) if whole else None
            done = [_done_from(line) for line in lines]
        except (ValueError, TypeError, RecursionError) as error:
            raise BadInput(damage) from error
        if before != facts and done:
            differ = [name for name in facts if before.get(name) != facts[name]]
            raise BadInput(
                f"{folder} holds the results of an earlier run with another {', '.join(differ)}:"
                " repeat that command, or remove the folder to begin anew"
            )
        file.truncate(len(whole))
        if before != facts:  # new, or of a command that failed before it finished a part
            file.truncate(0)
            write(facts)
        try:
            yield done, lambda one: write({**asdict(one), "examples": ()})
        except BaseException:
            with path.open("rb") as finished:
                lines = list(islice(finished, 2))
            if len(lines) < 2:  # no part to go on with
                _remove_own(folder)
            raise


def _open_file(path: str, flags: int) -> int:
    """Open a regular file and nothing else: a pipe would make us wait, a link leads elsewhere.

    Raises:
        BadInput: It is something else.
    """
    refusal = BadInput(f"{path} is no file that this command wrote: move or remove it")
    try:
        number = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV}:
            raise refusal from error
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise refusal
    return number


def _results(
    job: Job, parts: Sequence[Part], workers: int, threads: int, on: str | None
) -> Iterator[Done | int]:
    """Yield the finished parts, and numbers of rows on the way."""
    if on is not None:
        for answer in call_on(on, partial(_answer, job), parts, threads=threads):
            if isinstance(answer, Exception):
                raise answer
            yield answer.rows
            yield answer
    elif workers > 1:
        with closing(_Pool(job, parts)) as pool:
            while pool.waiting or pool.busy:
                pool.occupy(workers)
                for channel in wait([*pool.busy]):
                    yield pool.receive(channel)
    else:
        for part in parts:
            done = predict_part(job, part)
            yield done.rows
            yield done


def _answer(job: Job, part: Part, report: _Report | None = None) -> Done | Error | OSError:
    """Predict a part in another process: return its error instead of raising it."""
    try:
        return predict_part(job, part, report)
    except (Error, OSError) as error:
        return error


def _work(channel: Connection, job: Job, parent: int) -> None:
    """Predict parts in a worker until the driver goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides on Ctrl-C

    def report(rows: int) -> None:
        if os.getppid() != parent:
            os._exit(1)
        channel.send(rows)

    try:
        while True:
            channel.send(_answer(job, channel.recv(), report))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


class _Pool:
    """Processes that predict a part at a time; one that is killed is replaced."""

    def __init__(self, job: Job, parts: Sequence[Part]) -> None:
        self._job, self._context = job, multiprocessing.get_context("spawn")
        self.waiting, self.busy = deque(parts), dict[Any, Part]()
        self._processes: dict[Any, Any] = {}
        self._deaths, self._reported = Counter[int](), Counter[int]()  # of each part

    def occupy(self, workers: int) -> None:
        """Give every process a part, of as many processes as there shall be."""
        while len(self._processes) < min(workers, len(self.waiting) + len(self.busy)):
            ours, theirs = self._context.Pipe()
            arguments = (theirs, self._job, os.getpid())
            process = self._context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._processes[ours] = process
        for channel in self._processes.keys() - self.busy.keys():
            if self.waiting:
                self.busy[channel] = self.waiting.popleft()
                with suppress(OSError):  # it was killed, as receive() will find
                    channel.send(self.busy[channel])

    def receive(self, channel: Any) -> Done | int:
        """Return what a process has to say; raise its error."""
        number = self.busy[channel].number
        try:
            message: Any = channel.recv()
        except (EOFError, OSError):
            return self._replace(channel)
        if isinstance(message, int):
            self._reported[number] += message
            return message
        if not isinstance(message, Done):
            raise message
        del self.busy[channel]
        return message

    def _replace(self, channel: Any) -> int:
        """Let another process have the part of one that died; take back what it reported."""
        part, process = self.busy.pop(channel), self._processes.pop(channel)
        process.join()
        self._deaths[part.number] += 1
        if self._deaths[part.number] == _ATTEMPTS:
            raise BackendFailure(
                f"{_ATTEMPTS} processes ended with code {process.exitcode} between"
                f" {part.name_of(0)} and {part.name_of(part.rows - 1)}"
            )
        self.waiting.appendleft(part)
        return -self._reported.pop(part.number, 0)

    def close(self) -> None:
        for channel, process in self._processes.items():
            channel.close()
            process.kill()
            process.join()
