"""The terminal: one line a step, a bar while one works, a summary at the end, an error as its line.

Everything goes to standard error; standard output belongs to `--json`.
"""

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from components.context import Outcome
from components.contracts.errors import MillraceError
from flows.runs import RunRecord
from flows.search import shown

PLAIN_SECONDS = 2.0
LATER_SECONDS = 10.0


class Terminal:
    """Draws a run.

    Without a terminal it prints plain lines: the first two seconds after a step began, then one every ten.
    """

    def __init__(self) -> None:
        self.out = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: Any = None
        self._next = 0.0
        self._began = time.monotonic()

    def note(self, text: str) -> None:
        """A dim line, with the time since the start where there is no terminal to show it."""
        self.out.print(f"  [dim]{escape(text)}[/dim]")

    def started(self, step: str) -> None:
        """Show that a step works."""
        self._next = time.monotonic() + PLAIN_SECONDS
        if not self.out.is_terminal:
            return
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<11}"),
            BarColumn(24),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.out,
            transient=True,
        )
        self._task = self._bar.add_task(step, total=None, note="")
        self._bar.start()

    def advanced(self, step: str, done: float, total: int, unit: str, note: str = "") -> None:
        """Move the bar."""
        text = f"{done:.1f}".removesuffix(".0") + f"/{total} {unit}" + (f"  {note}" if note else "")
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
            if note or unit != "epochs":
                self._bar.update(self._task, note=text)
        elif not self.out.is_terminal and time.monotonic() >= self._next:
            self._next = time.monotonic() + LATER_SECONDS
            self.out.print(f"    {step:<11}{escape(text)}")

    def finished(self, outcome: Outcome) -> None:
        """One line for the step."""
        self.stop()
        mark, word = ("[cyan]=[/cyan]", "reused") if outcome.reused else ("[green]✓[/green]", "ran")
        rows = f"{outcome.rows:,} rows" if outcome.rows is not None else ""
        line = f"  {mark} {outcome.step:<11}{word:<7}{outcome.seconds:7.2f} s  {rows:>12}"
        self.out.print(f"{line}  [dim]{escape(outcome.why)}[/dim]")

    def warned(self, line: str) -> None:
        """A yellow line, above the bar."""
        self.out.print(f"  [yellow]![/yellow] {escape(line)}")

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def failed(self, error: MillraceError) -> None:
        """The error's line, and those of its companions."""
        self.stop()
        for one in (error, *error.others):
            self.out.print(f"[red]{one.code}[/red]{escape(one.line().removeprefix(one.code))}")

    def repeated(self, record: RunRecord) -> None:
        """The figures of all trials."""
        self.stop()
        seeds = record.repeated["seeds"]
        trials = len(record.repeated["trials"])
        self.out.print(f"\n  [bold]{record.recipe}[/bold]  [green]{trials} trials[/green]")
        self.out.print("    [dim]metric            mean    spread  of each seed[/dim]")
        for name, value in record.metrics.items():
            each = "  ".join(f"{one:.4f}" for one in seeds[name])
            spread = record.repeated["spread"][name]
            self.out.print(f"    {name.replace('_', ' '):<15}{value:>7.4f}  {spread:>8.4f}  [dim]{each}[/dim]")
        self.out.print(f"    {'time':<15}{record.seconds['total']:.1f} s")

    def tuned(self, record: RunRecord, command: str) -> None:
        """What a search found, and what its winner reaches on the test part."""
        self.stop()
        found = record.tuned
        ended = sum(one["state"] == "pruned" for one in found["trials"])
        early = f", {ended} of them ended early" if ended else ""
        self.out.print(f"\n  [bold]{record.recipe}[/bold]  [green]{len(found['trials'])} trials{early}[/green]")
        lines = [("best", f"trial {found['trial']}, {found['figure'].replace('_', ' ')} {found['reached']:.4f}", "")]
        for key, value in found["values"].items():
            share = found["importances"].get(key)
            lines.append((key, shown(value), f"{100 * share:.0f} % of the variance" if share is not None else ""))
        lines += [(name.replace("_", " "), f"{value:.4f}", "") for name, value in record.metrics.items()]
        lines += [("report", record.report, ""), ("time", f"{record.seconds['total']:.1f} s", "")]
        width = max(len(name) for name, _, _ in lines) + 2
        for name, value, more in lines:
            self.out.print(f"    {escape(name.ljust(width))}{escape(value)}" + (f"  [dim]{more}[/dim]" if more else ""))
        self.out.print(f"\n  next\n    {escape(command)}  [dim]let it through the gate and register it[/dim]")

    def summary(self, record: RunRecord, next_commands: list[tuple[str, str]]) -> None:
        """How it ended, and what to do next."""
        self.stop()
        out = self.out
        colour = {"Rejected": "red", "AwaitingApproval": "yellow"}.get(record.state, "green")
        out.print(f"\n  [bold]{record.recipe}[/bold]  [{colour}]{record.state}[/{colour}]")
        for name, value in record.metrics.items():
            out.print(f"    {name.replace('_', ' '):<14} {value:.4f}")
        out.print(f"    {'gate':<15}{record.verdict}")
        for line in record.checks:
            out.print(f"    {'':<15}[dim]{escape(line)}[/dim]")
        if record.model:
            aliases = ", ".join(f"@{alias}" for alias in record.model["aliases"])
            out.print(f"    {'model':<15}{record.model['name']} version {record.model['version']} {aliases}")
        out.print(f"    {'report':<15}{escape(record.report)}")
        seconds = record.seconds
        out.print(
            f"    {'time':<15}{seconds['total']:.1f} s "
            f"[dim](and {seconds['imports']:.1f} s imports, {seconds['server_start']:.1f} s server start)[/dim]"
        )
        out.print("\n  next")
        width = max((len(command) for command, _ in next_commands), default=0)
        for command, what in next_commands:
            out.print(f"    {escape(command.ljust(width))}  [dim]{escape(what)}[/dim]")
