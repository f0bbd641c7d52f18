"""Which commit of the code a run is of, read from git's own files: no process is started for it."""

from pathlib import Path

from components.contracts.closure import ROOT


def git_commit(root: Path = ROOT) -> str:
    """The commit that is checked out at `root`; empty where git does not keep it, in an image for one."""
    try:
        folder = root / ".git"
        if folder.is_file():
            # A worktree, or a submodule.
            folder = root / folder.read_text().partition(":")[2].strip()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        name = head.partition(":")[2].strip()
        common = folder / (folder / "commondir").read_text().strip() if (folder / "commondir").exists() else folder
        if (common / name).exists():
            return (common / name).read_text().strip()
        packed = (common / "packed-refs").read_text().splitlines()
        return next((line.partition(" ")[0] for line in packed if line.endswith(f" {name}")), "")
    except OSError:
        return ""
